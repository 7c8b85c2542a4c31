"""Lines with bands: what is measured along an ordered axis, over training steps and step sizes of a sampler too."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import plotly.graph_objects as go

from icl_interp.figures.choices import Place
from icl_interp.figures.figure import Figure
from icl_interp.figures.theme import (
    GREY,
    AxisKind,
    TraceStyle,
    axis_range,
    base_layout,
    log_labels,
    predictor_style,
    role_style,
    shift_style,
    translucent,
)
from icl_interp.files import finite
from probes.learning_coefficient.calibration import LlcCalibration

_LOWEST = 1e-6
"""What lies below is drawn here: a logarithmic axis has no zero."""


@dataclass(frozen=True, slots=True)
class Line:
    """One named line."""

    name: str
    x: Sequence[Any]
    """Numbers, or labels of places in order."""
    y: Sequence[float]
    style: TraceStyle
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    width: float | int = 2
    """In pixels."""
    markers: bool = False
    place: Place | None = None
    """The layer, head or shift that it belongs to."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the x axis, from a value to the right end, that is set apart from the rest."""

    start: float
    end: float
    """The largest x that is drawn."""
    label: str
    """What is different there; written into the figure."""


def lines_figure(
    lines: Sequence[Line],
    *,
    x: str,
    y: str,
    y_type: AxisKind = "linear",
    y_range: tuple[float | int, float | int] | None = None,
    legend: bool = True,
    stretch: Stretch | None = None,
) -> go.Figure:
    figure = Figure(layout=base_layout(x=x, y=y, y_type=y_type, hovermode="x unified", legend=legend))
    for line in lines:
        xs = list(line.x)
        if line.low is not None and line.high is not None:
            figure.add_scatter(
                x=[*xs, *reversed(xs)],
                y=[*line.high, *reversed(list(line.low))],
                fill="toself",
                fillcolor=line.style.band(),
                line={"width": 0},
                mode="lines",
                hoverinfo="skip",
                showlegend=False,
                name=f"{line.name}, band",
                legendgroup=line.name,
                meta=line.place,
            )
        figure.add_scatter(
            x=xs,
            y=list(line.y),
            name=line.name,
            legendgroup=line.name,
            meta=line.place,
            mode="lines+markers" if line.markers else "lines",
            line=line.style.line(width=line.width),
            marker=line.style.marker(),
        )
    if stretch is not None:
        _shade(figure, stretch)
    if y_type == "log":
        figure.update_yaxes(log_labels(y_range or _drawn(lines)))
    if y_range is not None:
        figure.update_yaxes(range=axis_range(y_range, y_type))
    return figure


def _shade(figure: go.Figure, stretch: Stretch) -> None:
    figure.add_vrect(x0=stretch.start, x1=stretch.end, fillcolor=translucent(GREY, 0.18), line_width=0, layer="below")
    figure.add_vline(x=stretch.start, line={"color": GREY, "dash": "dash", "width": 1})
    figure.add_annotation(
        x=stretch.start, y=1, xref="x", yref="paper", xanchor="left", yanchor="top", showarrow=False,
        text=stretch.label, font={"size": 11},
    )  # fmt: skip


def _drawn(lines: Sequence[Line]) -> Iterator[float]:
    for line in lines:
        for values in (line.y, line.low, line.high):
            yield from () if values is None else values


def loss_figure(metrics: Sequence[Mapping[str, Any]]) -> go.Figure:
    steps, losses = [line["step"] for line in metrics], [_drawn_curves(line["loss"]) for line in metrics]
    line = Line(name="loss", x=steps, y=losses, style=role_style("model"))
    return _log_steps(lines_figure([line], x="step", y="squared error", y_type="log", legend=False))


def distance_figure(metrics: Sequence[Mapping[str, Any]], family: str) -> go.Figure:
    evaluated = [line for line in metrics if family in line.get("distances", {})]
    names = evaluated[-1]["distances"][family] if evaluated else {}
    lines = [
        Line(
            name=name,
            x=[line["step"] for line in evaluated],
            y=[_drawn_curves(line["distances"][family][name]) for line in evaluated],
            style=predictor_style(name),
            markers=True,
        )
        for name in names
    ]
    return _log_steps(lines_figure(lines, x="step", y="squared distance / E[y²]", y_type="log"))


def _drawn_curves(value: float | None) -> float:
    return math.nan if value is None else max(value, _LOWEST)  # null was not finite, and is a gap


def _log_steps(figure: go.Figure) -> go.Figure:
    return figure.update_xaxes(type="log")


def calibration_figure(calibration: LlcCalibration) -> go.Figure:
    """Draw the sweep that a recommendation rests on.

    Filled markers are cells without a raised flag, open ones name their flags on hover; error bars are one standard
    error; a star marks the recommended cell.
    """
    figure = Figure(layout=base_layout(calibration.reason, x="step size (lr)", y="learning coefficient", x_type="log"))
    for index, localization in enumerate(calibration.localizations):
        style = shift_style(index)
        cells = calibration.results[index]
        marker = style.marker(size=8)
        marker["symbol"] = ["circle-open" if cell.raised else "circle" for cell in cells]
        figure.add_scatter(
            x=list(calibration.lrs),
            y=[finite(cell.estimate) for cell in cells],
            error_y={"array": [finite(cell.total_error) for cell in cells], "thickness": 1.5, "width": 0},
            mode="lines+markers",
            name=f"localization {localization:g}",
            text=[", ".join(cell.raised) or "no flag" for cell in cells],
            hovertemplate="lr %{x:g}: %{y:.3g}<br>%{text}",
            line=style.line(),
            marker=marker,
        )
    best = calibration.recommended
    if best is not None:
        star = role_style("model").marker(size=16)
        star["symbol"] = "star"
        figure.add_scatter(x=[best.lr], y=[best.estimate], mode="markers", name="recommended", marker=star)
    return figure


@dataclass(frozen=True, slots=True)
class StepMark:
    """One checkpoint of a curve that is pointed out."""

    name: str
    """For the legend, such as "t_crit"."""
    step: float | int
    y: float | int
    colour: str


def timeline_figure(
    lines: Sequence[Line],
    *,
    y: str,
    y_type: AxisKind = "linear",
    boundaries: Sequence[float | int] = (),
    marks: Sequence[StepMark] = (),
    legend: bool = True,
) -> go.Figure:
    """Draw curves over training steps.

    The axis shows step + 1, so that step 0 has a place on a logarithmic axis; two buttons switch its scale. Every
    second stage is shaded.
    """
    shown = [_after_first(line) for line in lines]
    figure = lines_figure(shown, x="step + 1", y=y, y_type=y_type, legend=legend)
    last = max((max(line.x) for line in shown if len(line.x)), default=1.0)
    edges = [1.0, *(step + 1 for step in boundaries), last]
    for start, end in list(itertools.pairwise(edges))[1::2]:
        figure.add_vrect(x0=start, x1=end, fillcolor=translucent(GREY, 0.14), line_width=0, layer="below")
    for name in dict.fromkeys(mark.name for mark in marks):
        same = [mark for mark in marks if mark.name == name]
        figure.add_scatter(
            x=[mark.step + 1 for mark in same],
            y=[mark.y for mark in same],
            name=name,
            mode="markers",
            marker={"symbol": "circle-open", "size": 13, "line": {"width": 2}, "color": [m.colour for m in same]},
        )
    figure.update_xaxes(type="log", dtick=1, tickformat="~g")
    figure.update_layout(updatemenus=[_step_buttons()])
    return figure


def _step_buttons() -> dict[str, Any]:
    scales = {
        "log steps": {"xaxis.type": "log", "xaxis.dtick": 1, "xaxis.autorange": True},
        "linear steps": {"xaxis.type": "linear", "xaxis.dtick": None, "xaxis.autorange": True},
    }
    return {
        "type": "buttons",
        "direction": "right",
        "showactive": True,
        "x": 1,
        "xanchor": "right",
        "y": 1.02,
        "yanchor": "bottom",
        "pad": {"t": 0, "b": 0, "r": 0},
        "bgcolor": "rgba(0,0,0,0)",
        "bordercolor": GREY,
        "font": {"size": 11, "color": GREY},
        "buttons": [{"label": name, "method": "relayout", "args": [change]} for name, change in scales.items()],
    }


def _after_first(line: Line) -> Line:
    return replace(line, x=[step + 1 for step in line.x])
