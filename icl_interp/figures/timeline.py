"""Curves over training steps: one step axis that switches between logarithmic and linear, stages shaded."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go

from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.palette import GREY, translucent
from icl_interp.figures.theme import AxisKind

__all__ = ["StepMark", "timeline_figure"]


@dataclass(frozen=True, slots=True)
class StepMark:
    """One checkpoint of a curve that is pointed out."""

    name: str
    """For the legend, such as "t_crit"."""
    step: float | int
    """Optimiser steps."""
    y: float | int
    """Height of the curve there."""
    colour: str
    """`#rrggbb`, that of the curve."""


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
    """Make the two named buttons that switch the scale of a step axis."""
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
    return Line(
        line.name, [step + 1 for step in line.x], line.y, line.style, line.low, line.high, line.width, line.markers
    )
