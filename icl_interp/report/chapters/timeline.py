"""The last chapter: how the model came to be what it is, from the checkpoints of its run, or of several runs."""

import math
from collections.abc import Callable, Mapping

from icl_interp.measure.development_plots import needs
from icl_interp.measure.development_result import Development, Panel
from icl_interp.measure.development_run import LEAST_LLC
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.report.chapters.timeline_tables import checkpoints_table, llc_table, runs_table
from icl_interp.report.model import FigureView, Section
from icl_interp.report.sentences import number

__all__ = ["timeline_chapter"]

_TITLES: Mapping[Panel, str] = {
    "loss": "Loss over training",
    "distance": "Distance from the reference predictors over training",
    "signature": "The spectral signature over training",
    "trajectory": "Joint trajectory of the predictions",
    "complexity": "Loss against complexity",
    "diversity": "Distance from dMMSE against distance from ridge",
}


def timeline_chapter(found: Development) -> Section:
    """Write the chapter.

    Args:
        found: One run or several.

    Returns:
        Curves over steps, trajectories, and the runs side by side.
    """
    figures = tuple(_view(found, panel) for panel in _TITLES if needs(found, panel) is None)
    tables = [runs_table(found), checkpoints_table(found)]
    if any(run.llc for run in found.runs):
        tables.insert(1, llc_table(found))
    return Section(id="timeline", title="How it developed", lead=_lead(found), figures=figures, tables=tuple(tables))


def _view(found: Development, panel: Panel) -> FigureView:
    title = _TITLES[panel]
    sentence = _SENTENCES[panel](found)
    tall = panel in {"trajectory", "complexity", "diversity"}
    return FigureView(
        id=f"timeline-{panel}",
        title=title,
        figure=found.plot(panel),
        sentence=sentence,
        aria_label=f"{'Paths in a plane' if tall else 'Line chart over training steps'}: {title.lower()}. {sentence}",
        height=520 if tall else 400,
    )


def _lead(found: Development) -> str:
    runs = found.runs
    several = f"{len(runs)} runs, " if len(runs) > 1 else ""
    text = (
        f"{several}{sum(len(run.records) for run in runs)} checkpoints, each on the same "
        f"{found.settings.n_prompts} prompts a family. Steps are shown as step + 1; the buttons change the scale."
    )
    if len(runs) == 1 and runs[0].stages is not None:
        text += f" Every second stage is shaded; stages come from the {runs[0].stages_from}"
        text += "." if runs[0].stages_from != "loss" else f", since {LEAST_LLC} learning coefficients would be a curve."
    if found.llc_settings is not None:
        text += f" Learning coefficients: {found.llc_settings.describe()}."
    return " ".join((text, *found.notes))


def _loss(found: Development) -> str:
    if len(found.runs) > 1:
        risen = [run for run in found.runs if run.transience is not None and run.fresh_family != IN_DISTRIBUTION]
        if not risen:
            return "Each run's loss in distribution, and its loss out of distribution dotted."
        parts = ", ".join(f"{number(run.transience or 0.0)} for {run.name} (t_crit {run.t_crit})" for run in risen)
        return (
            f"From its lowest value to the end, the loss on fresh weights rises by {parts}; a rise within the scatter "
            "from checkpoint to checkpoint is none."
        )
    run = found.runs[0]
    first, last = float(run.losses()[0]), float(run.losses()[-1])
    text = f"In distribution the loss goes from {number(first)} to {number(last)}"
    curve = run.losses(run.ood_family)
    low = int(curve.argmin())
    text += f"; under {run.ood_family} it is lowest, {number(float(curve[low]))}, at step {run.steps[low]}"
    return f"{text}, and {number(float(curve[-1]))} at the end."


def _distance(found: Development) -> str:
    if len(found.runs) > 1:
        return "Distance from the run's own dMMSE, and from ridge dotted, in distribution."
    run = found.runs[0]
    names = run.records[0].distances[IN_DISTRIBUTION]
    ends = {name: run.distances(name, unit="per_label") for name in names}
    start = min(ends, key=lambda name: float(ends[name][0]))
    end = min(ends, key=lambda name: float(ends[name][-1]))
    return f"At first the model is nearest to {start}, at the end to {end} ({number(float(ends[end][-1]))} E[y²] away)."


def _signature(found: Development) -> str:
    parts = []
    for run in found.runs:
        within = run.emergence.within.tolist()
        parts.append(f"{run.name} from {number(within[0])} to {number(within[-1])}")
    overlaps = found.runs[0].untrained_overlaps
    control = "; untrained networks were switched off" if not overlaps else ""
    if overlaps:
        control = f"; untrained networks have {number(math.fsum(overlaps) / len(overlaps))}"
    return f"Two prompts share their leading subspaces with an overlap that goes, {', '.join(parts)}{control}."


def _trajectory(found: Development) -> str:
    pca = found.trajectory
    explained = null = ""
    if pca is not None:
        explained, null = (f"{float(share.sum()):.0%}" for share in (pca.explained, pca.null.explained))
    return (
        f"Two components explain {explained} of the variance of the predictions on prompts of {found.trajectory_task}; "
        f"random walks of the same step lengths have {null}, so smooth curves alone are no finding. References are "
        "projected and not fitted; stars are ends."
    )


def _complexity(found: Development) -> str:
    text = "Each point is a checkpoint with its learning coefficient, in order of training."
    crossings = dict(found.crossovers)
    for run in found.runs:
        if (own := run.crossover) is not None and run.name not in crossings:
            crossings[run.name] = own
    for name, crossing in crossings.items():
        words = crossing.reason or f"at n = {number(crossing.n)}"
        text += f" {name}: the free energies of the simple and the last solution cross {words}."
        if crossing.reason:
            text = text.replace(f"cross {words}", f"do not cross: {words}")
    flagged = sum(bool(record.flags) for run in found.runs for record in run.llc)
    total = sum(len(run.llc) for run in found.runs)
    return f"{text} {flagged} of {total} estimates carry a warning." if flagged else text


def _diversity(found: Development) -> str:
    threshold = found.diversity_threshold
    if threshold is None:
        return "No run ends nearer to dMMSE than to ridge. Rings are t_crit, stars are ends."
    return f"Runs up to M = {threshold} end nearer to dMMSE than to ridge. Rings are t_crit, stars are ends."


_SENTENCES: Mapping[Panel, Callable[[Development], str]] = {
    "loss": _loss,
    "distance": _distance,
    "signature": _signature,
    "trajectory": _trajectory,
    "complexity": _complexity,
    "diversity": _diversity,
}
