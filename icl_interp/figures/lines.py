"""Lines with bands: anything that is measured along an ordered axis."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from icl_interp.figures.axes import axis_range, log_labels
from icl_interp.figures.figure import Figure
from icl_interp.figures.palette import GREY, translucent
from icl_interp.figures.theme import AxisKind, TraceStyle, base_layout

__all__ = ["Line", "Stretch", "lines_figure"]


@dataclass(frozen=True, slots=True)
class Line:
    """One named line."""

    name: str
    """For the legend."""
    x: Sequence[Any]
    """Numbers, or labels of places in order."""
    y: Sequence[float]
    """One value for each x."""
    style: TraceStyle
    """Colour, dash and symbol."""
    low: Sequence[float] | None = None
    """Lower end of the band, where there is one."""
    high: Sequence[float] | None = None
    """Upper end."""
    width: float | int = 2
    """In pixels."""
    markers: bool = False
    """Whether each point is marked."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the x axis, from a value to the right end, that is set apart from the rest."""

    start: float
    """Where it begins, in units of x."""
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
    """Draw lines over one axis.

    Args:
        lines: In drawing order; the last is on top.
        x: Title of the x axis, with its unit.
        y: Title of the y axis, with its unit.
        y_type: "linear" or "log".
        y_range: In axis units (not logarithms); None lets plotly choose.
        legend: Whether to show one.
        stretch: Shaded behind the lines, with a dashed border and its label.

    Returns:
        A figure without size, for any page.
    """
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
            )
        figure.add_scatter(
            x=xs,
            y=list(line.y),
            name=line.name,
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
