"""Heat maps: order, gaps, frames, limits and refusals."""

import numpy as np
import pytest

from icl_interp.figures.heatmap import heatmap_figure

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
