"""Clouds of prompts: one point a prompt, one colour a family."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from icl_interp.figures.figure import Figure
from icl_interp.figures.theme import AxisKind, TraceStyle, base_layout

__all__ = ["Cloud", "clouds_figure"]


@dataclass(frozen=True, slots=True)
class Cloud:
    """One family of points."""

    name: str
    """For the legend."""
    x: Sequence[float]
    """One a prompt."""
    y: Sequence[float]
    """One a prompt."""
    style: TraceStyle
    """Colour and symbol."""


def clouds_figure(clouds: Sequence[Cloud], *, x: str, y: str, y_type: AxisKind = "log") -> go.Figure:
    """Draw clouds over two axes."""
    figure = Figure(layout=base_layout(x=x, y=y, y_type=y_type))
    for cloud in clouds:
        figure.add_scatter(
            x=list(cloud.x),
            y=list(cloud.y),
            mode="markers",
            name=cloud.name,
            marker=cloud.style.marker(size=5, opacity=0.55),
        )
    return figure
