"""Figures for a paper hold what the plotly figures hold: compared trace by trace, on every kind of figure there is."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest
from matplotlib.text import Text
from print_checks import STYLE, assert_same_figure, drawn_as, title_of

from icl_interp.errors import InputError
from icl_interp.figures.dots import Cloud, DotSeries, clouds_figure, dots_figure
from icl_interp.figures.heatmap import (
    MatrixBlock,
    Pattern,
    heatmap_figure,
    log_heatmap_figure,
    matrix_figure,
    patterns_figure,
)
from icl_interp.figures.lines import Line, StepMark, Stretch, lines_figure, loss_figure, timeline_figure
from icl_interp.figures.paths import Landmark, PlanePath, paths_figure
from icl_interp.figures.save import Panel, PrintStyle
from icl_interp.figures.static import draw
from icl_interp.figures.theme import role_style, shift_style

MODEL, OTHER = role_style("model"), role_style("untrained")
BAND = Line("model", [0, 1, 2, 3], [1.0, 0.5, float("nan"), 0.1], MODEL, [0.9, 0.4, 0.2, 0.05], [1.1, 0.6, 0.4, 0.2])
PATH = PlanePath("run", [0, 1, 10], [0.0, 1.0, 2.0], [2.0, 1.0, 0.5], MODEL, ring=1, y_error=[0.1, 0.2, 0.1])
TABLE = [[0.5, -0.001, float("nan")], [1.0, 0.25, -1.0]]
FIGURES = {
    "band": lines_figure([BAND], x="examples", y="error", y_type="log"),
    "stretch": lines_figure([BAND], x="examples", y="error", stretch=Stretch(1.5, 3.0, "never seen")),
    "places": lines_figure(
        [Line("model", ["read-in", "block 0", "a long name of a place"], [1.0, 2.0, 3.0], MODEL, markers=True)],
        x="site", y="R²", y_range=(0.0, 4.0),
    ),
    "many lines": lines_figure(
        [Line(f"shift number {i}", [0, 1], [i + 0.5, i + 1.0], shift_style(i)) for i in range(24)], x="x", y="y"
    ),
    "loss": loss_figure([{"step": 0, "loss": 1.0}, {"step": 9, "loss": None}, {"step": 99, "loss": 1e-9}]),
    "timeline": timeline_figure(
        [Line("loss", [0, 9, 99], [3.0, 2.0, 1.0], MODEL)], y="loss", boundaries=(4, 19, 49),
        marks=[StepMark("t_crit", 9, 2.0, "#111111"), StepMark("t_crit", 99, 1.0, "#222222")],
    ),
    "dots": dots_figure(
        [
            DotSeries("model", ["x_scale=3", "label_noise=1"], [0.9, 0.5], MODEL, [0.8, 0.4], [1.0, 0.55]),
            DotSeries("untrained", ["x_scale=3", "label_noise=1"], [0.6, 0.5], OTHER),
        ],
        x="AUROC", reference=0.5, x_range=(-0.02, 1.02),
    ),
    "dots on a logarithmic axis": dots_figure(
        [DotSeries("risk", ["a", "b"], [0.01, 3.0], MODEL, [1e-5, 2.0], [0.1, 4.0])], x="risk", x_type="log"
    ),
    "clouds": clouds_figure(
        [Cloud("in distribution", [0.1, 0.2], [1e-3, 1.0], MODEL), Cloud("x_mean", [0.3], [5.0], OTHER)],
        x="1 - overlap", y="error",
    ),
    "heat map": heatmap_figure(
        TABLE, rows=["a", "b"], columns=["0", "1", "2"], x="head", y="layer", unit="rise of error",
        marked=[(1, 2)], scale="diverging", text=True,
    ),
    "matrix": matrix_figure(
        [MatrixBlock("first", {"kNN": [0.1, 0.9]}), MatrixBlock("second", {"‖X‖": [0.5, 1.0]})],
        ["x_scale=3", "label_noise=1"], value="AUROC", value_range=(0.0, 1.0), middle=0.5,
    ),
    "eight bits": patterns_figure(
        [Pattern(f"head 0.{i}", np.array([[255, 0], [i, 9]], np.uint8), {"layer": 0, "head": i}) for i in range(3)],
        names=["x1", "y1"], shown=1, largest=1.0, unit="attention", x="to", y="from",
    ),
    "eight bits with signs": patterns_figure(
        [Pattern("head 0.0", np.array([[-127, 64]], np.int8), {"layer": 0, "head": 0})],
        names=["xy1", "query"], shown=0, largest=0.5, unit="weight", x="to", y="from",
    ),
    "colours by decades": log_heatmap_figure(
        [[1e-7, 0.02], [float("nan"), 3.0]], rows=["a", "b"], columns=["1", "2"], x="examples", y="site", unit="error",
        floor=1e-4,
    ),
    "paths": paths_figure([PATH], x="first", y="second", landmarks=[Landmark("ridge", 1.0, 1.0)], equal_scale=True),
    "paths with a slider": paths_figure([PATH], x="loss", y="llc", slider=True, diagonal=True),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_the_same_figure_in_print(name):
    figure = assert_same_figure([Panel(FIGURES[name])])
    spec = json.loads(FIGURES[name].to_json())
    for letter, said in (("x", figure.axes[0].get_xlabel()), ("y", figure.axes[0].get_ylabel())):
        assert " ".join(said.split()) == title_of(spec, letter)


@pytest.mark.parametrize("name", ["many lines", "heat map", "dots", "paths"])
def test_so_it_is_in_one_column_and_with_serifs(name):
    figure = assert_same_figure([Panel(FIGURES[name])], PrintStyle(width="single", font="serif"))
    assert {text.get_fontname() for text in figure.findobj(Text) if text.get_text().isascii()} == {"STIXGeneral"}


def test_cells_hold_their_numbers_and_marked_ones_a_frame():
    figure = draw([Panel(FIGURES["heat map"])], STYLE)
    axes = figure.axes[0]
    assert [text.get_text() for text in drawn_as(axes, "cell")] == ["0.50", "0.00", "1.00", "0.25", "-1.00"]
    (frame,) = drawn_as(axes, "shape-0")
    assert frame.get_bbox().extents.tolist() == [1.5, 0.5, 2.5, 1.5]
    assert figure.axes[1].get_ylabel().split() == ["rise", "of", "error"]


def test_numbers_that_fit_no_cell_are_left_out_and_names_are_turned():
    wide = heatmap_figure(
        [[0.5] * 60], rows=["a"], columns=[f"{i}.0" for i in range(60)], x="head", y="y", unit="share", text=True
    )
    axes = draw([Panel(wide)], PrintStyle(width="single")).axes[0]
    assert drawn_as(axes, "cell") == []
    labels = axes.get_xticklabels()
    assert {label.get_rotation() for label in labels} == {90}
    shown = [int(label.get_text().removesuffix(".0")) for label in labels]
    assert shown == list(range(0, 60, shown[1]))


def test_a_legend_is_shared_and_says_each_name_once():
    figure = assert_same_figure([Panel(FIGURES["band"], "first"), Panel(FIGURES["band"], "second")])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["model"]
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["first", "second"]
    assert [axes.get_ylabel() for axes in figure.axes] == ["error", ""]


LINES = {"x": [1, 2], "y": [1, 2]}


@pytest.mark.parametrize(
    ("figure", "sentence"),
    [
        (go.Figure(go.Bar(LINES)), "scatter and heatmap traces, got 'bar'"),
        (go.Figure(go.Scatter(LINES), {"xaxis2": {"title": "more"}}), "one pair of axes, got xaxis2"),
        (go.Figure(go.Scatter(LINES), {"xaxis": {"type": "date"}}), "axis, got 'date' for x"),
        (go.Figure(go.Scatter(LINES, fill="tozeroy")), "filled 'toself', got 'tozeroy'"),
        (go.Figure(go.Scatter(LINES, mode="markers", marker={"symbol": "hash"})), "markers out of circle.* got 'hash'"),
        (go.Figure().add_shape(type="circle", x0=0, x1=1, y0=0, y1=1), "lines or rectangles, got 'circle'"),
        (go.Figure(go.Heatmap(z=[[1.0]], texttemplate="%{x}")), "made of z and text, got 'x'"),
    ],
    ids=["trace", "axes", "kind of axis", "fill", "marker", "shape", "cell"],
)
def test_what_is_not_known_is_refused_and_not_left_out(figure, sentence):
    with pytest.raises(InputError, match=sentence):
        draw([Panel(figure)], STYLE)


def test_plain_plotly_figures_are_drawn_by_plotly_s_rules():
    words = go.Figure(go.Scatter(x=["1", "2"], y=np.array([1.0, 2.0]), name="a"))
    axes = draw([Panel(words)], STYLE).axes[0]
    np.testing.assert_allclose(drawn_as(axes, "trace-0-line")[0].get_xydata(), [[1, 1], [2, 2]])
    assert len(drawn_as(axes, "trace-0-markers")) == 1
    heat = go.Figure(go.Heatmap(z=[[1.0, 3.0]], zmid=0.0, text=[["low", "high"]], texttemplate="%{text}"))
    figure = draw([Panel(heat)], STYLE)
    assert [text.get_text() for text in drawn_as(figure.axes[0], "cell")] == ["low", "high"]
    assert drawn_as(figure.axes[0], "trace-0-cells")[0].get_clim() == (-3.0, 3.0)
