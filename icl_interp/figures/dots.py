"""Dots with intervals, one row a name: scores of several rivals, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from icl_interp.figures.theme import TraceStyle, base_layout

__all__ = ["DotSeries", "dots_figure"]


@dataclass(frozen=True, slots=True)
class DotSeries:
    """One rival: a value and an interval in each row."""

    name: str
    """For the legend."""
    rows: Sequence[str]
    """Row labels."""
    values: Sequence[float]
    """One a row."""
    style: TraceStyle
    """Colour and symbol."""
    low: Sequence[float] | None = None
    """Lower ends."""
    high: Sequence[float] | None = None
    """Upper ends."""


def dots_figure(
    series: Sequence[DotSeries],
    *,
    x: str,
    reference: float | None = None,
    x_range: tuple[float, float] | None = None,
) -> go.Figure:
    """Draw rivals as dots, the first row on top.

    Args:
        series: With the same rows, in drawing order.
        x: Title of the value axis.
        reference: A vertical line, such as chance.
        x_range: None lets plotly choose.

    Returns:
        A figure without size.
    """
    figure = go.Figure(layout=base_layout(x=x, hovermode="closest"))
    for rival in series:
        error = None
        if rival.low is not None and rival.high is not None:
            error = {
                "array": [h - v for h, v in zip(rival.high, rival.values, strict=True)],
                "arrayminus": [v - low for v, low in zip(rival.values, rival.low, strict=True)],
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
        figure.add_vline(x=reference, line={"width": 1, "dash": "dot"})
    figure.update_yaxes(autorange="reversed", type="category")
    if x_range is not None:
        figure.update_xaxes(range=list(x_range))
    return figure
