"""Dots with intervals, and clouds: distances to both ends, the first row on top, edges."""

import numpy as np
import pytest

from icl_interp.figures.dots import Cloud, DotSeries, clouds_figure, dots_figure
from icl_interp.figures.theme import role_style, shift_style

STYLE = role_style("model")
ROWS = ["x_scale=3", "label_noise=1"]


def test_intervals_are_drawn_as_distances_from_the_value():
    series = DotSeries("model", ROWS, [0.75, 0.5], STYLE, low=[0.5, 0.25], high=[1.0, 0.5])
    (trace,) = dots_figure([series], x="AUROC").data
    assert (trace.name, trace.mode, list(trace.y)) == ("model", "markers", ROWS)
    np.testing.assert_array_equal(trace.x, [0.75, 0.5])
    np.testing.assert_array_equal(trace.error_x.array, [0.25, 0.0])
    np.testing.assert_array_equal(trace.error_x.arrayminus, [0.25, 0.25])


@pytest.mark.parametrize("ends", [{}, {"low": [0.0, 0.0]}, {"high": [1.0, 1.0]}], ids=["none", "lower", "upper"])
def test_without_both_ends_there_is_no_interval(ends):
    (trace,) = dots_figure([DotSeries("model", ROWS, [0.5, 0.6], STYLE, **ends)], x="AUROC").data
    assert trace.error_x.array is None


def test_the_first_row_is_on_top_and_numbers_as_labels_stay_labels():
    figure = dots_figure([DotSeries("model", ["1", "2"], [0.5, 0.6], STYLE)], x="AUROC")
    assert (figure.layout.yaxis.autorange, figure.layout.yaxis.type) == ("reversed", "category")


def test_rivals_keep_their_order_and_their_symbols():
    roles = ["norm baseline", "untrained", "model"]
    figure = dots_figure([DotSeries(role, ROWS, [0.5, 0.6], role_style(role)) for role in roles], x="AUROC")
    assert [trace.name for trace in figure.data] == roles
    assert len({trace.marker.symbol for trace in figure.data}) == 3


@pytest.mark.parametrize("reference", [None, 0.0, 0.5])
def test_a_reference_is_a_vertical_line(reference):
    figure = dots_figure([DotSeries("model", ROWS, [0.5, 0.6], STYLE)], x="AUROC", reference=reference)
    found = [line.x0 for line in figure.layout.shapes]
    assert found == [value for value in [reference] if value is not None]


def test_a_range_is_kept_and_otherwise_left_to_plotly():
    series = [DotSeries("model", ROWS, [0.5, 0.6], STYLE)]
    np.testing.assert_array_equal(
        dots_figure(series, x="AUROC", x_range=(-0.02, 1.02)).layout.xaxis.range, [-0.02, 1.02]
    )
    assert dots_figure(series, x="AUROC").layout.xaxis.range is None


def test_no_series_and_no_rows_are_drawn_as_nothing():
    assert len(dots_figure([], x="AUROC").data) == 0
    empty = DotSeries("model", [], [], STYLE, low=[], high=[])
    assert len(dots_figure([empty], x="AUROC").data[0].x) == 0


def test_ends_that_do_not_fit_the_values_are_refused():
    series = DotSeries("model", ROWS, [0.5, 0.6], STYLE, low=[0.1], high=[0.9, 0.9])
    with pytest.raises(ValueError, match=r"zip\(\) argument 2 is longer"):
        dots_figure([series], x="AUROC")


def test_on_a_logarithmic_axis_no_interval_reaches_zero():
    series = DotSeries("model", ROWS, [0.5, 20.0], STYLE, low=[-1.0, 10.0], high=[2.0, 30.0])
    figure = dots_figure([series], x="error", x_type="log", reference=1.0)
    np.testing.assert_allclose(figure.data[0].error_x.arrayminus, [0.45, 10.0], rtol=1e-12)
    assert (figure.layout.xaxis.type, figure.layout.xaxis.dtick) == ("log", 1)
    near = DotSeries("model", ROWS, [0.003, 0.1], STYLE)
    assert dots_figure([near], x="error", x_type="log").layout.xaxis.dtick == "D2"
    assert dots_figure([near], x="error", x_type="log", reference=1.0).layout.xaxis.dtick == 1
    ranged = dots_figure([series], x="error", x_type="log", x_range=(1.0, 10.0))
    np.testing.assert_allclose(ranged.layout.xaxis.range, [0.0, 1.0], rtol=0, atol=1e-15)
    assert ranged.layout.xaxis.dtick == "D2"


def test_a_cloud_is_drawn_as_it_was_given():
    cloud = Cloud("in distribution", [0.1, 0.2], [1.0, 2.0], role_style("in distribution"))
    figure = clouds_figure([cloud], x="score", y="error")
    (trace,) = figure.data
    assert (trace.name, trace.mode) == ("in distribution", "markers")
    np.testing.assert_array_equal([trace.x, trace.y], [[0.1, 0.2], [1.0, 2.0]])
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("score", "error")


def test_points_are_translucent_so_that_density_shows():
    (trace,) = clouds_figure([Cloud("a", [0.1], [1.0], shift_style(0))], x="score", y="error").data
    assert trace.marker.opacity < 1
    assert trace.marker.color == shift_style(0).colour


@pytest.mark.parametrize(
    ("options", "kind"), [({}, "log"), ({"y_type": "log"}, "log"), ({"y_type": "linear"}, "linear")]
)
def test_the_error_axis(options, kind):
    assert clouds_figure([], x="score", y="error", **options).layout.yaxis.type == kind


def test_clouds_keep_their_order():
    clouds = [Cloud(name, [0.1], [1.0], shift_style(i)) for i, name in enumerate(("first", "second", "third"))]
    assert [trace.name for trace in clouds_figure(clouds, x="score", y="error").data] == ["first", "second", "third"]


def test_empty_clouds_are_drawn_as_nothing():
    assert len(clouds_figure([], x="score", y="error").data) == 0
    (trace,) = clouds_figure([Cloud("a", [], [], shift_style(0))], x="score", y="error").data
    assert len(trace.x) == 0
