"""The inside of a network over training, as plotly figures: examples, probes, attention and weights."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from icl_interp.figures.theme import shift_style
from icl_interp.figures.timeline import timeline_figure
from icl_interp.measure.development_curves import boundaries, curve, prefix, run_style
from icl_interp.measure.development_run import RunDevelopment

if TYPE_CHECKING:
    from icl_interp.measure.development_result import Development

__all__ = ["best_probes", "draw_attention", "draw_icl_score", "draw_probes", "draw_weights", "relative_weights"]

_RELATIVE = ("weight norm", "scale norm", "read-in rank", "position rank", "read-out width")
"""Metrics that are positive, and that a collapse makes small."""


def draw_icl_score(found: "Development") -> Any:
    """Draw how much examples help.

    Args:
        found: The analysis.

    Returns:
        A plotly figure with one line a run.
    """
    lines = [
        curve(run.name if len(found.runs) > 1 else "in-context-learning score", run, run.icl_scores().tolist(), style)
        for run, style in ((run, run_style(number, len(found.runs))) for number, run in enumerate(found.runs))
    ]
    return timeline_figure(lines, y="first minus last loss", boundaries=boundaries(found), legend=len(found.runs) > 1)


def best_probes(run: RunDevelopment) -> dict[str, list[float]]:
    """Give the best probe of each place, checkpoint by checkpoint.

    Args:
        run: One run.

    Returns:
        The largest held-out R² over references, by place in the network.
    """
    return {
        site: [max(record.probe_r2[site].values(), default=math.nan) for record in run.records]
        for site in run.records[0].probe_r2
    }


def draw_probes(found: "Development") -> Any:
    """Draw the best probe of each place.

    Args:
        found: The analysis.

    Returns:
        A plotly figure with one line a run and place.
    """
    return _many(found, {run.name: best_probes(run) for run in found.runs}, y="best R²")


def draw_attention(found: "Development") -> Any:
    """Draw how broadly each head looks.

    Args:
        found: The analysis.

    Returns:
        A plotly figure with one line a run and head.
    """
    return _many(found, {run.name: _entropies(run) for run in found.runs}, y="entropy / max")


def relative_weights(run: RunDevelopment) -> dict[str, list[float]]:
    """Give the weights' metrics that shrink in a collapse.

    Args:
        run: One run.

    Returns:
        Norms, scales and ranks divided by their value at the first checkpoint, by name; what starts at 0 is left out.
    """
    first = run.records[0].weights
    return {
        name: [record.weights[name] / value for record in run.records]
        for name, value in first.items()
        if name.endswith(_RELATIVE) and value > 0
    }


def draw_weights(found: "Development") -> Any:
    """Draw norms, normalisation scales and ranks, each relative to its first value.

    Args:
        found: The analysis.

    Returns:
        A plotly figure with one line a run and metric.
    """
    return _many(found, {run.name: relative_weights(run) for run in found.runs}, y="value / first")


def _entropies(run: RunDevelopment) -> dict[str, list[float]]:
    places = [
        (layer, head) for layer, heads in enumerate(run.records[0].attention_entropy) for head in range(len(heads))
    ]
    return {f"head {i}.{j}": [r.attention_entropy[i][j] for r in run.records] for i, j in places}


def _many(found: "Development", by_run: Mapping[str, Mapping[str, list[float]]], *, y: str) -> Any:
    lines = []
    for run in found.runs:
        curves = by_run[run.name]
        lines += [curve(f"{prefix(found, run)}{n}", run, v, shift_style(i)) for i, (n, v) in enumerate(curves.items())]
    return timeline_figure(lines, y=y, boundaries=boundaries(found))
