"""How a run goes: loss, and distance to each reference predictor, along the steps."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import role_style, shift_style

__all__ = ["distance_figure", "loss_figure"]

_LOWEST = 1e-6
"""What lies below is drawn here: a logarithmic axis has no zero."""


def loss_figure(metrics: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Draw the loss against the step.

    Args:
        metrics: Lines of metrics.jsonl.

    Returns:
        A figure with two logarithmic axes.
    """
    steps, losses = [line["step"] for line in metrics], [_drawn(line["loss"]) for line in metrics]
    line = Line(name="loss", x=steps, y=losses, style=role_style("model"))
    return _log_steps(lines_figure([line], x="step", y="squared error", y_type="log", legend=False))


def distance_figure(metrics: Sequence[Mapping[str, Any]], family: str) -> go.Figure:
    """Draw the distance from each reference predictor against the step.

    Args:
        metrics: Lines of metrics.jsonl, of which those with an evaluation count.
        family: "in distribution", or the label of a shift.

    Returns:
        A figure with two logarithmic axes.
    """
    evaluated = [line for line in metrics if family in line.get("distances", {})]
    names = evaluated[-1]["distances"][family] if evaluated else {}
    lines = [
        Line(
            name=name,
            x=[line["step"] for line in evaluated],
            y=[_drawn(line["distances"][family][name]) for line in evaluated],
            style=shift_style(number),
            markers=True,
        )
        for number, name in enumerate(names)
    ]
    return _log_steps(lines_figure(lines, x="step", y="squared distance / E[y²]", y_type="log"))


def _drawn(value: float | None) -> float:
    return math.nan if value is None else max(value, _LOWEST)  # null was not finite, and is a gap


def _log_steps(figure: go.Figure) -> go.Figure:
    return figure.update_xaxes(type="log")
