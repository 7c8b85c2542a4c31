"""Clouds: one marker a prompt, drawn in order, on the axis that was asked for."""

import numpy as np
import pytest

from icl_interp.figures.dots import Cloud, clouds_figure
from icl_interp.figures.theme import role_style, shift_style


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
