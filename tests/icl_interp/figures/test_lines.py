"""Lines: bands without markers beneath their lines, ranges in axis units, edges."""

import numpy as np
import pytest

from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import role_style

STYLE = role_style("model")


def figure_of(*lines: Line, **options: object):
    return lines_figure(list(lines), x="examples", y="error", **options)


def test_a_line_is_drawn_as_it_was_given():
    line = Line("model", range(3), [3.0, 2.0, 1.0], role_style("ridge"), width=1.2)
    figure = figure_of(line)
    (trace,) = figure.data
    assert (trace.name, trace.mode) == ("model", "lines")
    np.testing.assert_array_equal(trace.x, [0, 1, 2])
    np.testing.assert_array_equal(trace.y, [3.0, 2.0, 1.0])
    assert (trace.line.color, trace.line.dash) == (role_style("ridge").colour, role_style("ridge").dash)
    np.testing.assert_allclose(trace.line.width, 1.2, rtol=0)
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("examples", "error")


def test_a_band_is_an_area_without_markers_beneath_its_line():
    line = Line("model", [0, 1], [2.0, 3.0], STYLE, low=[1.0, 2.0], high=[4.0, 5.0], markers=True)
    band, trace = figure_of(line).data
    assert (band.fill, band.mode, band.showlegend, band.hoverinfo) == ("toself", "lines", False, "skip")
    np.testing.assert_array_equal(band.line.width, 0)
    # up along the upper end, back along the lower one
    np.testing.assert_array_equal(band.x, [0, 1, 1, 0])
    np.testing.assert_array_equal(band.y, [4.0, 5.0, 2.0, 1.0])
    assert band.fillcolor == STYLE.band()
    assert band.name == "model, band"
    assert trace.mode == "lines+markers"


@pytest.mark.parametrize("ends", [{"low": [1.0]}, {"high": [1.0]}], ids=["no upper end", "no lower end"])
def test_half_a_band_is_no_band(ends):
    assert len(figure_of(Line("model", [0], [1.0], STYLE, **ends)).data) == 1


def test_the_last_line_is_on_top():
    lines = [Line(name, [0], [1.0], STYLE) for name in ("below", "above")]
    assert [trace.name for trace in figure_of(*lines).data] == ["below", "above"]


def test_places_can_be_named():
    (trace,) = figure_of(Line("model", ["read-in", "block 0"], [0.0, 1.0], STYLE)).data
    assert trace.x == ("read-in", "block 0")


@pytest.mark.parametrize(
    ("kind", "expected"), [("linear", (0.01, 10.0)), ("log", (-2.0, 1.0))], ids=["linear", "logarithmic"]
)
def test_ranges_are_given_in_axis_units(kind, expected):
    figure = figure_of(Line("model", [0], [1.0], STYLE), y_type=kind, y_range=(0.01, 10))
    assert figure.layout.yaxis.type == kind
    np.testing.assert_allclose(figure.layout.yaxis.range, expected, rtol=1e-12)  # one logarithm


def test_without_a_range_plotly_chooses():
    assert figure_of(Line("model", [0], [1.0], STYLE)).layout.yaxis.range is None


@pytest.mark.parametrize("legend", [True, False])
def test_the_legend_can_be_left_out(legend):
    assert figure_of(legend=legend).layout.showlegend is legend


def test_no_lines_and_missing_values_are_drawn_as_nothing():
    assert len(figure_of().data) == 0
    (trace,) = figure_of(Line("model", [0, 1], [float("nan"), 1.0], STYLE)).data
    np.testing.assert_array_equal(trace.y, [np.nan, 1.0])
    assert figure_of(Line("model", [], [], STYLE)).to_json()


def test_a_short_logarithmic_axis_has_labels_inside_its_decades():
    line = Line("model", [0, 1], [7.0, 1.2], STYLE)
    assert figure_of(line, y_type="log").layout.yaxis.dtick == "D2"
    band = Line("model", [0, 1], [7.0, 1.2], STYLE, low=[0.01, 1.0], high=[8.0, 2.0])
    assert figure_of(band, y_type="log").layout.yaxis.dtick == 1
    assert figure_of(line, y_type="log", y_range=(0.01, 10)).layout.yaxis.dtick == 1
    assert figure_of(line).layout.yaxis.dtick is None
    short = Line("model", [0, 1], [2.0, 2.4], STYLE, low=[1.9, 2.3], high=[2.1, 2.5])
    assert figure_of(short, y_type="log").layout.yaxis.dtick is None
