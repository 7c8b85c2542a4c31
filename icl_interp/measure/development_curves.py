"""Curves of a development: a run's values over its steps, in the run's style."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from torch import Tensor

from icl_interp.figures.lines import Line
from icl_interp.figures.theme import TraceStyle, role_style, shift_style
from icl_interp.measure.development_run import RunDevelopment

if TYPE_CHECKING:
    from icl_interp.measure.development_result import Development

__all__ = ["boundaries", "curve", "log_curve", "prefix", "run_style"]

_LOWEST = 1e-6
"""What lies below is drawn here: a logarithmic axis has no zero."""


def run_style(number: int, n_runs: int) -> TraceStyle:
    """Give the style of a run.

    Args:
        number: Its place.
        n_runs: How many there are.

    Returns:
        The model's own style for a single run, one of the series otherwise.
    """
    return role_style("model") if n_runs == 1 else shift_style(number)


def prefix(found: "Development", run: RunDevelopment) -> str:
    """Say whose curve it is.

    Args:
        found: The analysis.
        run: One of its runs.

    Returns:
        The run's name and a colon; nothing where there is no other run.
    """
    return "" if len(found.runs) == 1 else f"{run.name}: "


def boundaries(found: "Development") -> list[float]:
    """Give the steps between which stages are shaded.

    Args:
        found: The analysis.

    Returns:
        None for several runs, whose stages differ.
    """
    stages = found.runs[0].stages if len(found.runs) == 1 else None
    return [] if stages is None else stages.boundaries.tolist()


def curve(name: str, run: RunDevelopment, values: Iterable[float] | Tensor, style: TraceStyle) -> Line:
    """Make a line with a marker for each checkpoint.

    Args:
        name: For the legend.
        run: Whose steps.
        values: One a checkpoint; what is not finite leaves a gap.
        style: Colour, dash and symbol.

    Returns:
        The line.
    """
    shown = [float(value) if math.isfinite(float(value)) else math.nan for value in values]
    return Line(name, run.steps, shown, style, markers=True)


def log_curve(name: str, run: RunDevelopment, values: Iterable[float] | Tensor, style: TraceStyle) -> Line:
    """Make a line for a logarithmic axis.

    Args:
        name: For the legend.
        run: Whose steps.
        values: One a checkpoint; what lies below 1e-6 is drawn there.
        style: Colour, dash and symbol.

    Returns:
        The line.
    """
    return Line(name, run.steps, [max(float(value), _LOWEST) for value in values], style, markers=True)
