"""Dots: scores of several rivals with intervals, one row a name, and clouds, one point per prompt."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from icl_interp.figures.choices import Place
from icl_interp.figures.figure import Figure
from icl_interp.figures.theme import AxisKind, TraceStyle, axis_range, base_layout, log_labels


@dataclass(frozen=True, slots=True)
class DotSeries:
    """One rival: a value and an interval in each row."""

    name: str
    rows: Sequence[str]
    values: Sequence[float]
    style: TraceStyle
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None


def dots_figure(
    series: Sequence[DotSeries],
    *,
    x: str,
    x_type: AxisKind = "linear",
    reference: float | None = None,
    x_range: tuple[float, float] | None = None,
) -> go.Figure:
    figure = Figure(layout=base_layout(x=x, x_type=x_type, hovermode="closest"))
    drawn: list[float] = []
    for rival in series:
        error = None
        drawn += rival.values
        if rival.low is not None and rival.high is not None:
            lows = [max(a, v / 10) if x_type == "log" else a for a, v in zip(rival.low, rival.values, strict=True)]
            drawn += [*lows, *rival.high]
            error = {
                "array": [h - v for h, v in zip(rival.high, rival.values, strict=True)],
                "arrayminus": [v - low for v, low in zip(rival.values, lows, strict=True)],
                "thickness": 1.5,
                "width": 0,
            }
        figure.add_scatter(
            x=list(rival.values),
            y=list(rival.rows),
            error_x=error,
            mode="markers",
            name=rival.name,
            marker=rival.style.marker(size=9),
        )
    if reference is not None:
        drawn.append(reference)
        figure.add_vline(x=reference, line={"width": 1, "dash": "dot"})
    figure.update_yaxes(autorange="reversed", type="category")
    if x_type == "log":
        figure.update_xaxes(log_labels(x_range or drawn))
    if x_range is not None:
        figure.update_xaxes(range=axis_range(x_range, x_type))
    return figure


@dataclass(frozen=True, slots=True)
class Cloud:
    """One family of points."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: TraceStyle
    place: Place | None = None
    """The layer, head or shift that it belongs to."""


def clouds_figure(clouds: Sequence[Cloud], *, x: str, y: str, y_type: AxisKind = "log") -> go.Figure:
    figure = Figure(layout=base_layout(x=x, y=y, y_type=y_type))
    for cloud in clouds:
        figure.add_scatter(
            x=list(cloud.x),
            y=list(cloud.y),
            mode="markers",
            name=cloud.name,
            meta=cloud.place,
            marker=cloud.style.marker(size=5, opacity=0.55),
        )
    return figure
