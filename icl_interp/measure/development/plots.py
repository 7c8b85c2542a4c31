"""The views of a development, as plotly figures."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.figures.lines import Line, StepMark, timeline_figure
from icl_interp.figures.paths import Landmark, PlanePath, paths_figure
from icl_interp.figures.theme import TraceStyle, role_style, shift_style
from icl_interp.measure.development.one_run import RunDevelopment
from icl_interp.measure.families import IN_DISTRIBUTION

if TYPE_CHECKING:
    from icl_interp.measure.development.result import Development

_LOWEST = 1e-6
"""What lies below is drawn here: a logarithmic axis has no zero."""


def _run_style(number: int, n_runs: int) -> TraceStyle:
    """Give the style of a run."""
    return role_style("model") if n_runs == 1 else shift_style(number)


def prefix(found: "Development", run: RunDevelopment) -> str:
    """Say whose curve it is."""
    return "" if len(found.runs) == 1 else f"{run.name}: "


def boundaries(found: "Development") -> list[float]:
    """Give the steps between which stages are shaded."""
    stages = found.runs[0].stages if len(found.runs) == 1 else None
    return [] if stages is None else stages.boundaries.tolist()


def curve(name: str, run: RunDevelopment, values: Iterable[float] | Tensor, style: TraceStyle) -> Line:
    """Make a line with a marker for each checkpoint."""
    shown = [float(value) if math.isfinite(float(value)) else math.nan for value in values]
    return Line(name, run.steps, shown, style, markers=True)


def _log_curve(name: str, run: RunDevelopment, values: Iterable[float] | Tensor, style: TraceStyle) -> Line:
    """Make a line for a logarithmic axis."""
    return Line(name, run.steps, [max(float(value), _LOWEST) for value in values], style, markers=True)


_RELATIVE = ("weight norm", "scale norm", "read-in rank", "position rank", "read-out width")
"""Metrics that are positive, and that a collapse makes small."""


def _draw_icl_score(found: "Development") -> Any:
    """Draw how much examples help."""
    lines = [
        curve(run.name if len(found.runs) > 1 else "in-context-learning score", run, run.icl_scores().tolist(), style)
        for run, style in ((run, _run_style(number, len(found.runs))) for number, run in enumerate(found.runs))
    ]
    return timeline_figure(lines, y="first minus last loss", boundaries=boundaries(found), legend=len(found.runs) > 1)


def best_probes(run: RunDevelopment) -> dict[str, list[float]]:
    """Give the best probe of each place, checkpoint by checkpoint."""
    return {
        site: [max(record.probe_r2[site].values(), default=math.nan) for record in run.records]
        for site in run.records[0].probe_r2
    }


def _draw_probes(found: "Development") -> Any:
    """Draw the best probe of each place."""
    return _many(found, {run.name: best_probes(run) for run in found.runs}, y="best R²")


def _draw_attention(found: "Development") -> Any:
    """Draw how broadly each head looks."""
    return _many(found, {run.name: _entropies(run) for run in found.runs}, y="entropy / max")


def relative_weights(run: RunDevelopment) -> dict[str, list[float]]:
    """Give the weights' metrics that shrink in a collapse."""
    first = run.records[0].weights
    return {
        name: [record.weights[name] / value for record in run.records]
        for name, value in first.items()
        if name.endswith(_RELATIVE) and value > 0
    }


def draw_weights(found: "Development") -> Any:
    """Draw norms, normalisation scales and ranks, each relative to its first value."""
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


_SYMBOLS: Mapping[str, str] = {"ridge": "square", "dMMSE": "diamond"}


def draw(found: "Development", panel: str) -> Any:
    """Draw one view."""
    if lack := needs(found, panel):
        raise InputError(f"the panel {panel!r} {lack}")
    return _PANELS[panel](found)


def needs(found: "Development", panel: str) -> str | None:
    """Say what a view needs and does not have."""
    if panel == "trajectory" and found.trajectory is None:
        return "needs four checkpoints in all and prompts that all runs share; measure more, or fewer tasks."
    if panel == "complexity" and not any(_known(run) for run in found.runs):
        return "needs learning coefficients; pass llc=LlcSettings()."
    if panel == "attention" and not any(run.records[0].attention_entropy for run in found.runs):
        return "needs attention that sums to one, which these networks do not have."
    if panel == "diversity" and not any(None not in found.endpoints(run) for run in found.runs):
        return "needs a run on a task pool, whose references are dMMSE and ridge."
    return None


def _loss(found: "Development") -> Any:
    lines, marks = [], []
    for number, run in enumerate(found.runs):
        style = _run_style(number, len(found.runs))
        plain, dashed = (TraceStyle(style.colour, dash, style.symbol) for dash in ("solid", "dot"))
        name = prefix(found, run)
        lines.append(_log_curve(f"{name}in distribution", run, run.losses(), plain))
        lines.append(_log_curve(f"{name}{run.ood_family}", run, run.losses(run.ood_family), dashed))
        if run.t_crit is not None and run.fresh_family is not None:
            at = run.steps.index(run.t_crit)
            marks.append(StepMark("t_crit", run.t_crit, float(run.losses(run.fresh_family)[at]), style.colour))
    return timeline_figure(lines, y="squared error", y_type="log", boundaries=boundaries(found), marks=marks)


def _distance(found: "Development") -> Any:
    # One run: all references. Several: a pool's posterior mean and ridge, each run in its colour.
    lines = []
    for number, run in enumerate(found.runs):
        names = list(run.records[0].distances[IN_DISTRIBUTION])
        if len(found.runs) == 1:
            lines += [
                _log_curve(n, run, run.distances(n, unit="per_label"), shift_style(i)) for i, n in enumerate(names)
            ]
            continue
        for label, curve, dash in zip(
            ("dMMSE", "ridge"), found.endpoints(run, unit="per_label"), ("solid", "dot"), strict=True
        ):
            if curve is not None:
                style = shift_style(number)
                lines.append(
                    _log_curve(f"{run.name}: {label}", run, curve, TraceStyle(style.colour, dash, style.symbol))
                )
    return timeline_figure(lines, y="squared distance / E[y²]", y_type="log", boundaries=boundaries(found))


def _signature(found: "Development") -> Any:
    lines = []
    for number, run in enumerate(found.runs):
        style, emergence = _run_style(number, len(found.runs)), run.emergence
        plain, faint = (TraceStyle(style.colour, dash, style.symbol) for dash in ("solid", "dot"))
        name = prefix(found, run)
        lines.append(_log_curve(f"{name}overlap within prompts", run, emergence.within, plain))
        lines.append(_log_curve(f"{name}overlap with the last checkpoint", run, emergence.overlap_with_final, faint))
    first, overlaps = found.runs[0], found.runs[0].untrained_overlaps
    if overlaps:
        steps, n = [first.steps[0], first.steps[-1]], len(overlaps)
        lines.insert(0, Line(
            "untrained networks, within prompts", steps, [sum(overlaps) / n] * 2, role_style("untrained"),
            low=[min(overlaps)] * 2, high=[max(overlaps)] * 2,
        ))  # fmt: skip
    return timeline_figure(lines, y="overlap of leading subspaces", boundaries=boundaries(found))


def _trajectory(found: "Development") -> Any:
    pca = found.trajectory
    if pca is None:
        raise InputError("the panel 'trajectory' needs a trajectory.")
    paths = []
    for number, run in enumerate(found.runs):
        x, y = pca.scores[run.name].T.tolist()[:2]
        ring = None if run.t_crit is None or run.fresh_family == IN_DISTRIBUTION else run.steps.index(run.t_crit)
        paths.append(PlanePath(run.name, run.steps, x, y, _run_style(number, len(found.runs)), ring))
    landmarks = [
        Landmark(name, float(place[0]), float(place[1]), _SYMBOLS.get(found.landmark_roles.get(name, ""), "cross"))
        for name, place in pca.landmarks.items()
    ]
    shares = [f"PC{i + 1} ({float(share):.0%})" for i, share in enumerate(pca.explained)]
    return paths_figure(paths, x=shares[0], y=shares[1], landmarks=landmarks, slider=True)


def _complexity(found: "Development") -> Any:
    paths = []
    for number, run in enumerate(found.runs):
        if known := _known(run):
            steps, losses, values, errors = zip(*known, strict=True)
            paths.append(PlanePath(
                run.name, steps, losses, values, _run_style(number, len(found.runs)), y_error=errors,
            ))  # fmt: skip
    return paths_figure(paths, x="training loss", y="learning coefficient", slider=True)


def _diversity(found: "Development") -> Any:
    paths = []
    for number, run in enumerate(found.runs):
        own, ridge = found.endpoints(run, unit="per_label")
        if own is None or ridge is None:
            continue
        ring = None if run.t_crit is None else run.steps.index(run.t_crit)
        style = _run_style(number, len(found.runs))
        paths.append(PlanePath(run.name, run.steps, own.tolist(), ridge.tolist(), style, ring))
    return paths_figure(paths, x="distance from dMMSE / E[y²]", y="distance from ridge / E[y²]", diagonal=True)


def _known(run: RunDevelopment) -> list[tuple[int, float, float, float]]:
    return [(r.step, r.loss, r.estimate, r.standard_error or 0.0) for r in run.llc if r.estimate is not None]


_PANELS: Mapping[str, Callable[["Development"], Any]] = {
    "loss": _loss,
    "distance": _distance,
    "icl": _draw_icl_score,
    "signature": _signature,
    "trajectory": _trajectory,
    "complexity": _complexity,
    "diversity": _diversity,
    "probes": _draw_probes,
    "attention": _draw_attention,
    "weights": draw_weights,
}
