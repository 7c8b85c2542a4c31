"""The sentences under the timeline's figures: functions of the numbers alone."""

import math
from collections.abc import Callable, Mapping

from icl_interp.measure.development.one_run import LEAST_LLC, RunDevelopment
from icl_interp.measure.development.result import Development, Panel
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.report.sentences import listing, number
from icl_interp.tasks.task_pool import TaskPool

__all__ = [
    "SENTENCES",
    "lead_text",
]

_MOST = 6
"""Runs that a sentence names; more are in the table."""


def lead_text(found: Development) -> str:
    """Say what was measured, on what, and what was left out."""
    runs = found.runs
    n = sum(len(run.records) for run in runs)
    several = f"{len(runs)} runs, " if len(runs) > 1 else ""
    text = (
        f"{several}{n} checkpoint{'' if n == 1 else 's'}, each on the same {found.settings.n_prompts} prompts a "
        "family. The axis shows step + 1; the buttons switch between logarithmic and linear steps."
    )
    if len(runs) == 1 and runs[0].stages is not None:
        text += f" {_stages_sentence(runs[0])}"
    if found.llc_settings is not None:
        text += f" Learning coefficients: {found.llc_settings.describe()}."
    return " ".join((text, *found.notes))


def _stages_sentence(run: RunDevelopment) -> str:
    """Say what the shading is."""
    if run.stages is None:
        return ""
    curve = "learning coefficient" if run.stages_from != "loss" else "loss in distribution"
    n = len(run.stages.stages)
    if n == 1:
        text = f"No stages are told apart: the smoothed {curve} never rests between first and last checkpoint."
    else:
        text = f"Every second of {n} stages is shaded; stages meet where the smoothed {curve} rests before it moves on."
    if run.stages_from == "loss":
        known = sum(record.estimate is not None for record in run.llc)
        text += (
            f" Stages are read from the learning coefficient where at least {LEAST_LLC} checkpoints have one; here "
            f"{known or 'none'} {'has' if known == 1 else 'have'}."
        )
    return text


def _loss(found: Development) -> str:
    if len(found.runs) > 1:
        text = f"Solid: in distribution; dotted: out of distribution ({_ood_families(found)})."
        if not (risen := _transience(found)):
            return text
        return (
            f"{text} Rings are t_crit, where the loss on fresh weights is lowest. From there to the end it rises by "
            f"{risen}; a rise within the scatter from checkpoint to checkpoint is none."
        )
    run = found.runs[0]
    first, last = float(run.losses()[0]), float(run.losses()[-1])
    curve = run.losses(run.ood_family)
    low = int(curve.argmin())
    return (
        f"In distribution the loss goes from {number(first)} to {number(last)}; under {run.ood_family} it is lowest, "
        f"{number(float(curve[low]))}, at step {run.steps[low]}, and {number(float(curve[-1]))} at the end."
    )


def _ood_families(found: Development) -> str:
    return listing(sorted({run.ood_family for run in found.runs}))


def _transience(found: Development) -> str:
    risen = [run for run in found.runs if run.transience is not None and run.fresh_family != IN_DISTRIBUTION]
    shown = [
        f"{number(run.transience or 0.0)} for {run.name} (t_crit {run.t_crit}"
        f"{', the end' if run.t_crit == run.steps[-1] else ''})"
        for run in risen
    ]
    return listing(shown, most=_MOST) if shown else ""


def _distance(found: Development) -> str:
    if len(found.runs) > 1:
        return "Solid: distance from the run's own dMMSE; dotted: from ridge; both in distribution."
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
        whose = "" if len(found.runs) == 1 else f"for {run.name} "
        parts.append(f"{whose}from {number(within[0])} to {number(within[-1])}")
    overlaps = found.runs[0].untrained_overlaps
    control = "; untrained networks were switched off" if not overlaps else ""
    if overlaps:
        control = f"; untrained networks have {number(math.fsum(overlaps) / len(overlaps))}"
    return f"Two prompts share their leading subspaces with an overlap that goes {listing(parts, most=_MOST)}{control}."


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
    alike: dict[str, list[str]] = {}
    for name, crossing in crossings.items():
        words = (
            f"do not cross: {crossing.reason}"
            if crossing.reason
            else f"cross at n = {number(crossing.n)}, an analogue of training time"
        )
        alike.setdefault(words, []).append(name)
    for words, names in alike.items():
        whose = "" if len(found.runs) == 1 else f"{listing(names, most=_MOST)}: "
        text += f" {whose}the free energies of the simple and the last solution {words}."
    flagged = sum(bool(record.flags) for run in found.runs for record in run.llc)
    total = sum(len(run.llc) for run in found.runs)
    if not flagged:
        return text
    estimates, carry = "estimate" if total == 1 else "estimates", "carries" if flagged == 1 else "carry"
    return f"{text} {flagged} of {total} {estimates} {carry} a warning."


def _icl(found: Development) -> str:
    text = (
        "The loss without examples minus that at the last point, in distribution: it rises as examples come to help. "
        "The labels of the prompts shift a whole curve alike, so its change counts. From first to last checkpoint it "
        "goes"
    )
    shown = [
        f"{'' if len(found.runs) == 1 else f'for {run.name} '}from {number(float(score[0]))} to "
        f"{number(float(score[-1]))}"
        for run, score in ((run, run.icl_scores()) for run in found.runs)
    ]
    return f"{text} {listing(shown, most=_MOST)}."


def _diversity(found: Development) -> str:
    text = (
        "dMMSE is the best prediction for a pool's own tasks, ridge that for fresh ones; above the dotted line a "
        "network is nearer to dMMSE, below it to ridge. Rings are t_crit, stars are ends."
    )
    ends = [(run, *found.endpoints(run)) for run in found.runs if None not in found.endpoints(run)]
    near = [run.name for run, own, ridge in ends if own is not None and ridge is not None and own[-1] < ridge[-1]]
    far = [run.name for run, _, _ in ends if run.name not in near]
    words = [
        f"{listing(names, most=_MOST)} {'ends' if len(names) == 1 else 'end'} nearer to {where}"
        for names, where in ((near, "dMMSE"), (far, "ridge"))
        if names
    ]
    text += f" {', '.join(words)}."
    if len({run.task.n_tasks for run in found.runs if isinstance(run.task, TaskPool)}) > 1:
        threshold = found.diversity_threshold
        largest = "there is none" if threshold is None else f"M = {threshold}"
        text += f" Task-diversity threshold, the largest M whose runs all end nearer to dMMSE: {largest}."
    risen = _transience(found)
    return f"{text} Transience score, the rise of the loss on fresh weights after t_crit: {risen}." if risen else text


SENTENCES: Mapping[Panel, Callable[[Development], str]] = {
    "loss": _loss,
    "distance": _distance,
    "icl": _icl,
    "signature": _signature,
    "trajectory": _trajectory,
    "complexity": _complexity,
    "diversity": _diversity,
}
"""By panel."""
