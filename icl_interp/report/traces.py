"""The numbers inside a plotly figure's JSON, as a table."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from icl_interp.report.tables import Cell, TableView

__all__ = ["table_of_traces"]


def table_of_traces(figure: Mapping[str, Any], caption: str) -> TableView | None:
    """List every point that a figure's traces draw.

    Traces without a hover label (the bands around lines) are left out, and so are those without x
    and y of one length.

    Args:
        figure: Plotly JSON, parsed; arrays may be plain or packed (`bdata`).
        caption: What the table shows.

    Returns:
        Rows of series, x and y, in the order drawn; None when there is no point to list.

    Example:
        >>> table_of_traces({"data": [{"name": "model", "x": [1, 2], "y": [0.5, None]}]}, "Error").rows
        (('model', 1, 0.5), ('model', 2, None))
    """
    rows = tuple(row for i, trace in enumerate(figure["data"]) for row in _rows(trace, i))
    return TableView(("series", "x", "y"), rows, caption=caption) if rows else None


def _rows(trace: Mapping[str, Any], index: int) -> list[tuple[Cell, ...]]:
    xs, ys = _values(trace.get("x")), _values(trace.get("y"))
    if trace.get("hoverinfo") == "skip" or len(xs) != len(ys):
        return []
    name = str(trace.get("name") or f"trace {index + 1}")
    return [(name, x, y) for x, y in zip(xs, ys, strict=True)]


def _values(array: object) -> Sequence[Cell]:
    if isinstance(array, Mapping) and "bdata" in array:
        flat = np.frombuffer(base64.b64decode(array["bdata"]), dtype=np.dtype(str(array["dtype"])))
        return list(flat.tolist())
    if not isinstance(array, list):
        return []
    return [v if isinstance(v, str | int | float) else None for v in array]
