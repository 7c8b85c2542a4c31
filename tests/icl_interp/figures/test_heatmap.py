"""Heat maps: order, gaps, frames, limits, blocks of rows and refusals."""

import numpy as np
import pytest

from icl_interp.figures.heatmap import MatrixBlock, heatmap_figure, log_heatmap_figure, matrix_figure

LABELS = {"rows": ["a", "b"], "columns": ["1", "2", "4"], "x": "steps", "y": "site", "unit": "SimE"}


def test_values_labels_and_gaps():
    figure = heatmap_figure([[0.0, 0.5, 1.0], [float("nan"), 0.25, 0.75]], **LABELS)
    (trace,) = figure.data
    assert trace.z[1][0] is None
    assert (list(trace.y), list(trace.x)) == (["a", "b"], ["1", "2", "4"])
    assert (trace.zmin, trace.zmax) == (0.0, 1.0)
    assert figure.layout.yaxis.autorange == "reversed"  # the first row on top


def test_marked_cells_are_framed():
    figure = heatmap_figure([[0.0, 0.5, 1.0]] * 2, marked=[(1, 2)], **LABELS)
    (frame,) = figure.layout.shapes
    np.testing.assert_allclose((frame.x0, frame.x1, frame.y0, frame.y1), (1.5, 2.5, 0.5, 1.5), rtol=0)


@pytest.mark.parametrize(
    ("options", "limits"),
    [({}, (-1.0, 3.0)), ({"scale": "diverging"}, (-3.0, 3.0)), ({"limits": (0.0, 9.0), "text": True}, (0.0, 9.0))],
)
def test_limits_of_colours(options, limits):
    (trace,) = heatmap_figure([[-1.0, 0.5, 3.0]] * 2, **LABELS, **options).data
    assert (trace.zmin, trace.zmax) == limits


def test_nothing_finite_is_drawn_all_the_same():
    (trace,) = heatmap_figure([[float("nan")] * 3] * 2, **LABELS).data
    assert (trace.zmin, trace.zmax) == (0.0, 0.0)


@pytest.mark.parametrize("values", [[[1.0, 2.0, 3.0]], [[1.0, 2.0], [1.0, 2.0]]], ids=["rows", "columns"])
def test_labels_that_do_not_fit_are_refused(values):
    with pytest.raises(ValueError, match="heatmap_figure needs 2 rows of 3 values"):
        heatmap_figure(values, **LABELS)


BLOCKS = [MatrixBlock("above", {"a": [0.1, 0.9], "b": [0.5, float("nan")]}), MatrixBlock("below", {"c": [1.0, 0.0]})]


def test_blocks_stand_above_one_another_with_a_gap():
    (map_,) = matrix_figure(BLOCKS, ["left", "right"], value="AUROC", value_range=(0.0, 1.0)).data
    assert list(map_.x) == ["left", "right"]
    assert [label.strip() for label in map_.y] == ["a", "b", "", "c"]
    values = np.array(map_.z, dtype=float)
    np.testing.assert_array_equal(values, [[0.1, 0.9], [0.5, np.nan], [np.nan, np.nan], [1.0, 0.0]])
    assert (map_.zmin, map_.zmax, map_.zmid) == (0.0, 1.0, None)


def test_a_middle_gets_a_scale_with_two_arms():
    rising = matrix_figure(BLOCKS, ["left", "right"], value="v", value_range=(0.0, 1.0)).data[0]
    both = matrix_figure(BLOCKS, ["left", "right"], value="v", value_range=(0.0, 1.0), middle=0.5).data[0]
    assert both.zmid == 0.5
    assert both.colorscale != rising.colorscale


@pytest.mark.parametrize(
    ("values", "floor", "logs", "ticks"),
    [
        ([[1e-7, 0.01, 10.0]], 1e-4, [-4, -2, 1], ["0.0001", "0.001", "0.01", "0.1", "1"]),
        ([[0.0, 0.2, 0.4]], None, [np.log10(0.2), np.log10(0.2), np.log10(0.4)], ["0.2", "0.4"]),
    ],
    ids=["a floor", "less than a decade, and a zero"],
)
def test_colours_by_decades_tell_true_numbers_in_the_hover(values, floor, logs, ticks):
    labels = {**LABELS, "rows": ["a"]}
    (trace,) = log_heatmap_figure(values, floor=floor, **labels).data
    np.testing.assert_allclose(trace.z[0], logs)
    assert list(trace.colorbar.ticktext) == ticks
    assert list(trace.customdata[0]) == [f"{value:.3g}" for value in values[0]]
    assert "%{customdata}" in trace.hovertemplate
