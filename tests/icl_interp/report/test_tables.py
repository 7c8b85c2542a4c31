"""Numbers as a reader sees them, and tables read from figures."""

import json
import math

import numpy as np
import plotly.graph_objects as go
import pytest

from icl_interp.report.page import _table_of_traces
from icl_interp.report.tables import _MINUS, TableView, format_column


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        ((0.97341, 0.5, 1.0), ("0.973", "0.500", "1.000")),
        ((12.345, 1.5), ("12.3", "1.5")),
        ((1234.5, 20000.25), ("1,234", "20,000")),
        ((0.0123, 0.0456), ("0.0123", "0.0456")),
        ((0.0123, 0.0456, 0.2), ("0.012", "0.046", "0.200")),
        ((0.5, 1e-9), ("0.500", f"1.00e{_MINUS}9")),
        ((0.0, 0.0), ("0.00", "0.00")),
        ((-0.25, None, math.nan), (f"{_MINUS}0.250", "n/a", "n/a")),
        ((math.inf, -math.inf), ("∞", f"{_MINUS}∞")),
        ((1, 9999, 10000), ("1", "9999", "10,000")),
        ((3e6, 2.0), ("3.00e6", "2")),
        (("plain-text", None), ("plain-text", "n/a")),
        ((), ()),
    ],
    ids=str,
)
def test_format_column(cells, texts):
    assert format_column(cells) == texts


def test_numbers_go_right_and_words_left():
    table = TableView(("shift", "n", "score"), (("a", 1, None), ("b", 2, 0.5)), caption="T")
    assert table.align == ("left", "right", "right")


@pytest.mark.parametrize("xs", [[0, 1, 2], np.arange(3.0), np.arange(3, dtype=np.float32)], ids=["list", "f8", "f4"])
def test_traces_become_rows(xs):
    figure = go.Figure([go.Scatter(x=xs, y=xs, name="model"), go.Scatter(x=xs, y=xs, hoverinfo="skip")])
    table = _table_of_traces(_parsed(figure), caption="T")
    assert table.rows == (("model", 0, 0), ("model", 1, 1), ("model", 2, 2))


def test_unnamed_traces_are_counted_and_odd_ones_left_out():
    figure = {"data": [{"x": [1], "y": [2, 3]}, {"x": ["a"], "y": [None]}]}
    assert _table_of_traces(figure, caption="T").rows == (("trace 2", "a", None),)


def test_no_points_is_no_table():
    assert _table_of_traces({"data": [{"z": [[1.0]]}]}, caption="T") is None


def _parsed(figure):
    return json.loads(figure.to_json())
