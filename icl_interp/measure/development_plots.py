"""The views of a development, as plotly figures."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from icl_interp.errors import InputError
from icl_interp.figures.lines import Line
from icl_interp.figures.paths import Landmark, PlanePath, paths_figure
from icl_interp.figures.theme import TraceStyle, role_style, shift_style
from icl_interp.figures.timeline import StepMark, timeline_figure
from icl_interp.measure.development_curves import boundaries, log_curve, prefix, run_style
from icl_interp.measure.development_inside import draw_attention, draw_icl_score, draw_probes, draw_weights
from icl_interp.measure.development_run import RunDevelopment
from icl_interp.measure.families import IN_DISTRIBUTION

if TYPE_CHECKING:
    from icl_interp.measure.development_result import Development

__all__ = ["draw", "needs"]

_SYMBOLS: Mapping[str, str] = {"ridge": "square", "dMMSE": "diamond"}


def draw(found: "Development", panel: str) -> Any:
    """Draw one view.

    Args:
        found: The analysis.
        panel: Its name; see `Development.plot`.

    Returns:
        A plotly figure.

    Raises:
        InputError: If what the view needs was not measured.
    """
    if lack := needs(found, panel):
        raise InputError(f"the panel {panel!r} {lack}")
    return _PANELS[panel](found)


def needs(found: "Development", panel: str) -> str | None:
    """Say what a view needs and does not have.

    Args:
        found: The analysis.
        panel: Its name.

    Returns:
        A clause with advice; None where nothing is missing.
    """
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
        style = run_style(number, len(found.runs))
        plain, dashed = (TraceStyle(style.colour, dash, style.symbol) for dash in ("solid", "dot"))
        name = prefix(found, run)
        lines.append(log_curve(f"{name}in distribution", run, run.losses(), plain))
        lines.append(log_curve(f"{name}{run.ood_family}", run, run.losses(run.ood_family), dashed))
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
                log_curve(n, run, run.distances(n, unit="per_label"), shift_style(i)) for i, n in enumerate(names)
            ]
            continue
        for label, curve, dash in zip(
            ("dMMSE", "ridge"), found.endpoints(run, unit="per_label"), ("solid", "dot"), strict=True
        ):
            if curve is not None:
                style = shift_style(number)
                lines.append(
                    log_curve(f"{run.name}: {label}", run, curve, TraceStyle(style.colour, dash, style.symbol))
                )
    return timeline_figure(lines, y="squared distance / E[y²]", y_type="log", boundaries=boundaries(found))


def _signature(found: "Development") -> Any:
    lines = []
    for number, run in enumerate(found.runs):
        style, emergence = run_style(number, len(found.runs)), run.emergence
        plain, faint = (TraceStyle(style.colour, dash, style.symbol) for dash in ("solid", "dot"))
        name = prefix(found, run)
        lines.append(log_curve(f"{name}overlap within prompts", run, emergence.within, plain))
        lines.append(log_curve(f"{name}overlap with the last checkpoint", run, emergence.overlap_with_final, faint))
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
        paths.append(PlanePath(run.name, run.steps, x, y, run_style(number, len(found.runs)), ring))
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
                run.name, steps, losses, values, run_style(number, len(found.runs)), y_error=errors,
            ))  # fmt: skip
    return paths_figure(paths, x="training loss", y="learning coefficient", slider=True)


def _diversity(found: "Development") -> Any:
    paths = []
    for number, run in enumerate(found.runs):
        own, ridge = found.endpoints(run, unit="per_label")
        if own is None or ridge is None:
            continue
        ring = None if run.t_crit is None else run.steps.index(run.t_crit)
        style = run_style(number, len(found.runs))
        paths.append(PlanePath(run.name, run.steps, own.tolist(), ridge.tolist(), style, ring))
    return paths_figure(paths, x="distance from dMMSE / E[y²]", y="distance from ridge / E[y²]", diagonal=True)


def _known(run: RunDevelopment) -> list[tuple[int, float, float, float]]:
    return [(r.step, r.loss, r.estimate, r.standard_error or 0.0) for r in run.llc if r.estimate is not None]


_PANELS: Mapping[str, Callable[["Development"], Any]] = {
    "loss": _loss,
    "distance": _distance,
    "icl": draw_icl_score,
    "signature": _signature,
    "trajectory": _trajectory,
    "complexity": _complexity,
    "diversity": _diversity,
    "probes": draw_probes,
    "attention": draw_attention,
    "weights": draw_weights,
}
