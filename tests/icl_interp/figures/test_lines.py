"""Lines: bands beneath their lines, ranges in axis units, stretches, training curves, calibrations, edges."""

import math

import numpy as np
import pytest
import torch

from icl_interp.figures.lines import Line, Stretch, calibration_figure, distance_figure, lines_figure, loss_figure
from icl_interp.figures.theme import role_style
from probes.learning_coefficient.calibration import LlcCalibration, calibrate

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


def test_a_stretch_is_shaded_bordered_and_labelled() -> None:
    line = Line("a", range(5), [1.0, 2.0, 3.0, 4.0, 5.0], role_style("model"))
    figure = lines_figure([line], x="x", y="y", y_type="log", stretch=Stretch(2.5, 4.5, "unknown land"))
    area, border = figure.layout.shapes
    assert (area.type, area.x0, area.x1, area.layer) == ("rect", 2.5, 4.5, "below")
    assert (border.type, border.x0, border.x1, border.line.dash) == ("line", 2.5, 2.5, "dash")
    (note,) = figure.layout.annotations
    assert (note.text, note.x, note.xref, note.yref) == ("unknown land", 2.5, "x", "paper")


def test_without_one_nothing_is_drawn() -> None:
    figure = lines_figure([Line("a", range(2), [1.0, 2.0], role_style("model"))], x="x", y="y")
    assert figure.layout.shapes == figure.layout.annotations == ()


METRICS = [
    {"step": 1, "loss": 4.0, "lr": 0.1},
    {"step": 10, "loss": 0.0, "lr": 0.1, "distances": {"in distribution": {"zero": 0.5, "Bayes": 0.25}}},
    {"step": 20, "loss": 1.0, "lr": 0.1, "distances": {"in distribution": {"zero": 0.75, "Bayes": 0.125}}},
]


def test_the_loss_is_drawn_over_all_lines() -> None:
    (trace,) = loss_figure(METRICS).data
    assert list(trace.x) == [1, 10, 20]
    assert list(trace.y) == pytest.approx([4.0, 1e-6, 1.0])  # a logarithmic axis has no zero


def test_each_reference_has_a_line_over_the_evaluations() -> None:
    zero, bayes = distance_figure(METRICS, "in distribution").data
    assert (zero.name, list(zero.x), list(zero.y)) == ("zero", [10, 20], [0.5, 0.75])
    assert (bayes.name, list(bayes.y)) == ("Bayes", [0.25, 0.125])
    assert zero.line.color != bayes.line.color
    assert len(distance_figure(METRICS, "x_scale=3").data) == 0


def test_a_number_that_was_not_finite_is_a_gap() -> None:
    line = {"step": 30, "loss": None, "lr": 0.1, "distances": {"in distribution": {"zero": None, "Bayes": 0.5}}}
    (trace,) = loss_figure([*METRICS, line]).data
    zero, bayes = distance_figure([*METRICS, line], "in distribution").data
    assert math.isnan(trace.y[-1])
    assert math.isnan(zero.y[-1])
    assert bayes.y[-1] == 0.5


def bowl(params: dict[str, torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
    return params["w"].square().sum() + 0 * batch.sum()


def sweep(lrs: tuple[float, ...]) -> LlcCalibration:
    start = {"w": torch.zeros(8)}
    return calibrate(bowl, start, torch.zeros(1), nbeta=100.0, lrs=lrs, localizations=(1.0, 10.0), num_chains=16)


@pytest.fixture(scope="module")
def swept() -> LlcCalibration:
    return sweep((1e-3, 2e-3, 1e-1))


def test_each_cell_is_a_point_and_flags_open_it(swept: LlcCalibration) -> None:
    first, second, star = calibration_figure(swept).data
    assert (first.name, second.name, star.name) == ("localization 1", "localization 10", "recommended")
    np.testing.assert_allclose(first.x, swept.lrs)
    np.testing.assert_allclose(first.y[:2], swept.estimates[0, :2])
    assert first.y[2] is None  # all chains diverged
    assert first.marker.symbol == ("circle", "circle", "circle-open")
    assert first.text[0] == "no flag"
    assert "diverged" in first.text[2]
    assert (star.x[0], star.marker.symbol) == (swept.recommended_lr, "star")


def test_axes_and_reason(swept: LlcCalibration) -> None:
    layout = calibration_figure(swept).layout
    assert (layout.xaxis.type, layout.title.text) == ("log", swept.reason)


def test_without_a_recommendation_there_is_no_star() -> None:
    nothing = sweep((1e-1, 2e-1))
    assert [trace.name for trace in calibration_figure(nothing).data] == ["localization 1", "localization 10"]
