"""How did the model come to be what it is? From the checkpoints of one run or several."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from icl_interp.measure.development.checkpoint import DEAD_SCALE
from icl_interp.measure.development.one_run import LEAST_LLC, RunDevelopment
from icl_interp.measure.development.result import Development, Panel, best_probes, needs, relative_weights
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.report.chapters import TRAINING
from icl_interp.report.model import Chapter, FigureGrid, FigureView, Section
from icl_interp.report.sentences import listing, number
from icl_interp.report.tables import Cell, TableView
from icl_interp.tasks.task_pool import TaskPool

_TITLES: Mapping[Panel, str] = {
    "loss": "Loss over training",
    "distance": "Distance from the reference predictors over training",
    "icl": "In-context-learning score over training",
    "signature": "The spectral signature over training",
    "trajectory": "Joint trajectory of the predictions",
    "complexity": "Loss against complexity",
    "diversity": "Distance from dMMSE against distance from ridge",
}
_MOST = 6
"""Runs that a sentence names; more are in the table."""
_RISE = 0.1
"""Rise of the loss on fresh tasks, as a share of its smallest value, from which the chapter's lead names it."""
_INSIDE_TITLES: Mapping[Panel, str] = {
    "probes": "Linear probes over training",
    "attention": "Attention entropy over training",
    "weights": "Norms and ranks of the weights over training",
}
_ABOUT: Mapping[Panel, str] = {
    "probes": "Held-out R² of the best linear probe at each site, out of one for each reference predictor.",
    "attention": "Entropy of each head's pattern divided by that of uniform attention, mean over the tokens at which "
    "the model predicts. A head with 1 looks everywhere alike, a head with 0 at one token.",
    "weights": "Norms, normalisation scales and ranks, each divided by its value at the first checkpoint.",
}


def chapter(found: Development) -> Chapter:
    """Write the chapter, which opens the question: curves over training, their runs and learning coefficients."""
    figures = tuple(_view(found, panel) for panel in _TITLES if needs(found, panel) is None)
    tables = [_runs_table(found)]
    if any(run.llc for run in found.runs):
        tables.append(_llc_table(found))
    return Chapter(replace(TRAINING, lead=_lead(found), figures=figures, tables=tuple(tables)))


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
    n = sum(len(run.records) for run in runs)
    several = f"{len(runs)} runs, " if len(runs) > 1 else ""
    text = (
        f"{several}{n} checkpoint{'' if n == 1 else 's'}, each on the same {found.settings.n_prompts} prompts per "
        "family. The axis shows step + 1; the buttons switch between logarithmic and linear steps."
    )
    if len(runs) == 1 and runs[0].stages is not None:
        text += f" {_stages_sentence(runs[0])}"
    if len(runs) == 1:
        text += _rise(runs[0])
    if found.llc_settings is not None:
        text += f" Learning coefficients: {found.llc_settings.describe()}."
    return " ".join((text, *found.notes))


def _rise(run: RunDevelopment) -> str:
    if run.transience is None or run.fresh_family in (None, IN_DISTRIBUTION):
        return ""
    least = float(run.losses(run.fresh_family).min())
    if not run.transience > _RISE * least:
        return ""
    return f" From step {run.t_crit:,} to the end the loss on fresh tasks rises by {number(run.transience)}."


def _stages_sentence(run: RunDevelopment) -> str:
    if run.stages is None:
        return ""
    curve = "learning coefficient" if run.stages_from != "loss" else "loss in distribution"
    n = len(run.stages.stages)
    if n == 1:
        text = f"There are no separate stages: the smoothed {curve} has no plateau between first and last checkpoint."
    else:
        text = (
            f"Training has {n} stages, and every second one is shaded. They meet at plateaus of the smoothed {curve}."
        )
    if run.stages_from == "loss":
        known = sum(record.estimate is not None for record in run.llc)
        text += (
            f" With at least {LEAST_LLC} learning coefficients, stages would be read from these; here "
            f"{known or 'no'} checkpoint{'s have' if known != 1 else ' has'} one."
        )
    return text


def _loss(found: Development) -> str:
    if len(found.runs) > 1:
        text = f"Solid lines: in distribution. Dotted lines: out of distribution ({_ood_families(found)})."
        if not (risen := _transience(found)):
            return text
        return (
            f"{text} Rings mark t_crit, where the loss on fresh weights is lowest. From there to the end it rises by "
            f"{risen}. A rise within the scatter between checkpoints is no rise."
        )
    run = found.runs[0]
    first, last = float(run.losses()[0]), float(run.losses()[-1])
    curve = run.losses(run.ood_family)
    low = int(curve.argmin())
    return (
        f"The loss in distribution goes from {number(first)} to {number(last)}. Under {run.ood_family} it is lowest at "
        f"step {run.steps[low]}, with {number(float(curve[low]))}, and ends at {number(float(curve[-1]))}."
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
        return (
            "Solid lines: distance from the run's own dMMSE. Dotted lines: distance from ridge. Both in distribution."
        )
    run = found.runs[0]
    names = run.records[0].distances[IN_DISTRIBUTION]
    ends = {name: run.distances(name, unit="per_label") for name in names}
    start = min(ends, key=lambda name: float(ends[name][0]))
    end = min(ends, key=lambda name: float(ends[name][-1]))
    return (
        f"At the first checkpoint the model is nearest to {start}, at the last one to {end} "
        f"({number(float(ends[end][-1]))} of E[y²] away)."
    )


def _signature(found: Development) -> str:
    parts = []
    for run in found.runs:
        within = run.emergence.within.tolist()
        whose = "" if len(found.runs) == 1 else f"for {run.name} "
        parts.append(f"{whose}from {number(within[0])} to {number(within[-1])}")
    overlaps = found.runs[0].untrained_overlaps
    control = "; there are no untrained networks" if not overlaps else ""
    if overlaps:
        control = f"; untrained networks have {number(math.fsum(overlaps) / len(overlaps))}"
    return (
        "Overlap of the leading subspaces of two prompts in distribution. If a signature forms, it grows. Here it goes "
        f"{listing(parts, most=_MOST)}{control}."
    )


def _trajectory(found: Development) -> str:
    pca = found.trajectory
    explained = null = ""
    if pca is not None:
        explained, null = (f"{float(share.sum()):.0%}" for share in (pca.explained, pca.null.explained))
    return (
        f"Two components explain {explained} of the variance of the predictions, on prompts of "
        f"{found.trajectory_task}. Random walks with the same step lengths give {null}, so a smooth curve alone is no "
        "finding. References are projected, not fitted. Stars mark the last checkpoint."
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
        whose = "The" if len(found.runs) == 1 else f"{listing(names, most=_MOST)}: the"
        text += f" {whose} free energies of the simple and the last solution {words}."
    flagged = sum(bool(record.flags) for run in found.runs for record in run.llc)
    total = sum(len(run.llc) for run in found.runs)
    if not flagged:
        return text
    estimates, carry = "estimate" if total == 1 else "estimates", "carries" if flagged == 1 else "carry"
    return f"{text} {flagged} of {total} {estimates} {carry} a warning."


def _icl(found: Development) -> str:
    text = (
        "The loss without examples minus that after all but the last example, in distribution. It rises as the model "
        "learns to use examples; only its change counts. From the first to the last checkpoint it goes"
    )
    shown = [
        f"{'' if len(found.runs) == 1 else f'for {run.name} '}from {number(float(score[0]))} to "
        f"{number(float(score[-1]))}"
        for run, score in ((run, run.icl_scores()) for run in found.runs)
    ]
    return f"{text} {listing(shown, most=_MOST)}."


def _diversity(found: Development) -> str:
    text = (
        "dMMSE predicts best for a pool's own tasks, ridge for fresh ones. Above the dotted line a network is nearer "
        "to dMMSE, below it to ridge. Rings mark t_crit, stars the last checkpoint."
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
        text += f" Task-diversity threshold (the largest M whose runs all end nearer to dMMSE): {largest}."
    risen = _transience(found)
    return f"{text} Transience (the rise of the loss on fresh weights after t_crit): {risen}." if risen else text


_SENTENCES: Mapping[Panel, Callable[[Development], str]] = {
    "loss": _loss,
    "distance": _distance,
    "icl": _icl,
    "signature": _signature,
    "trajectory": _trajectory,
    "complexity": _complexity,
    "diversity": _diversity,
}
"""By panel."""


def _runs_table(found: Development) -> TableView:
    rows: list[tuple[Cell, ...]] = []
    for run in found.runs:
        own, ridge = (None if d is None else float(d[-1]) for d in found.endpoints(run, unit="per_label"))
        stages = "" if run.stages is None else ", ".join(f"{float(step):.0f}" for step in run.stages.boundaries)
        kinds = "" if run.stages is None else "".join(stage.kind for stage in run.stages.stages)
        rows.append((
            run.name, len(run.records), run.steps[-1], float(run.losses()[-1]), run.t_crit, run.transience, own, ridge,
            stages or "none", kinds,
        ))  # fmt: skip
    return TableView(
        columns=(
            "run", "checkpoints", "last step", "loss", "t_crit", "transience", "to dMMSE", "to ridge",
            "stages meet at", "kinds",
        ),
        rows=tuple(rows),
        caption="Runs",
        notes="t_crit: step of the smallest loss on standard normal weights. Transience: that loss at the end minus "
        "its smallest value, in squared units of y. To dMMSE, to ridge: distances in distribution at the last "
        "checkpoint, in units of E[y²]. Kinds of stages: A where the curve rises, B where it falls.",
        align=("left", "right", "right", "right", "right", "right", "right", "right", "left", "left"),
    )  # fmt: skip


def _llc_table(found: Development) -> TableView:
    rows = [
        (
            run.name,
            r.step,
            r.loss,
            r.estimate,
            r.standard_error,
            r.top_eigenvalue,
            ", ".join(name.replace("_", " ") for name in r.flags) or "none",
        )
        for run in found.runs
        for r in run.llc
    ]
    settings = "" if found.llc_settings is None else found.llc_settings.describe()
    return TableView(
        columns=("run", "step", "loss", "learning coefficient", "error", "top eigenvalue", "warnings"),
        rows=tuple(rows),
        caption="Local learning coefficients",
        notes=f"{settings}. Computed from the mean squared error itself, so values compare with one another and not "
        "with those of a log-likelihood. The JSON file explains each warning and says what to do.",
        align=("left", "right", "right", "right", "right", "right", "left"),
    )


def _checkpoints_table(found: Development) -> TableView:
    frame = found.to_frame()
    rows = tuple(tuple(_cell(value) for value in row) for row in frame.itertuples(index=False))
    return TableView(
        columns=tuple(str(column) for column in frame.columns),
        rows=rows,
        caption="Checkpoints",
        notes=f"Losses are mean squared errors. Distances are {IN_DISTRIBUTION}, in squared units of y. r2 is that of "
        "the reference that is decoded best at the site.",
    )


def _cell(value: object) -> Cell:
    if isinstance(value, str):
        return value
    if value is None or not isinstance(value, int | float):
        return None
    return None if isinstance(value, float) and math.isnan(value) else value


def inside(found: Development) -> Chapter:
    figures = tuple(_item(found, panel) for panel in _INSIDE_TITLES if needs(found, panel) is None)
    lead = (
        f"Probes and attention on {found.settings.n_probe_prompts} prompts in distribution. These curves have no "
        "untrained controls."
    )
    title = "Inside the network over training, and every checkpoint's numbers"
    return Chapter(Section("timeline-inside", title, lead, figures=figures, tables=(_checkpoints_table(found),)))


def _item(found: Development, panel: Panel) -> FigureView | FigureGrid:
    if len(found.runs) == 1:
        return _inside_view(found, panel, f"timeline-{panel}", _INSIDE_TITLES[panel])
    cells = []
    for i, run in enumerate(found.runs):
        alone = replace(found, runs=(run,))
        if needs(alone, panel) is None:
            cells.append(_inside_view(alone, panel, f"timeline-{panel}-{i}", run.name))
    return FigureGrid(f"timeline-{panel}", _INSIDE_TITLES[panel], _ABOUT[panel], tuple(cells))


def _inside_view(found: Development, panel: Panel, anchor: str, title: str) -> FigureView:
    sentence = _INSIDE_SENTENCES[panel](found.runs[0])
    if len(found.runs) == 1 and title == _INSIDE_TITLES[panel]:
        sentence = f"{_ABOUT[panel]} {sentence}"
    label = f"Line chart over training steps: {_INSIDE_TITLES[panel].lower()}, {found.runs[0].name}. {sentence}"
    return FigureView(anchor, title, found.plot(panel), sentence, aria_label=label, height=360)


def _probes(run: RunDevelopment) -> str:
    ends = {site: curve[-1] for site, curve in best_probes(run).items() if math.isfinite(curve[-1])}
    if not ends:
        return "No probe could be fitted at the end."
    best = max(ends, key=lambda site: ends[site])
    target = max(run.records[-1].probe_r2[best].items(), key=lambda item: item[1])[0]
    return f"At the last checkpoint it is highest at “{best}”: {number(ends[best])} for {target}."


def _attention(run: RunDevelopment) -> str:
    first, last = run.records[0].attention_entropy, run.records[-1].attention_entropy
    changes = {(i, j): (before, last[i][j]) for i, heads in enumerate(first) for j, before in enumerate(heads)}
    layer, head = max(changes, key=lambda place: abs(changes[place][1] - changes[place][0]))
    before, after = changes[layer, head]
    return f"Head {layer}.{head} changes most over training, from {number(before)} to {number(after)}."


def _weights(run: RunDevelopment) -> str:
    ends = {name: curve[-1] for name, curve in relative_weights(run).items()}
    low = min(ends, key=lambda name: ends[name])
    text = f"“{low}” shrinks most, to {number(ends[low])} times its first value"
    dead = {n.removesuffix(" dead scales"): v for n, v in run.records[-1].weights.items() if n.endswith("dead scales")}
    if not dead:
        return f"{text}."
    worst = max(dead, key=lambda name: dead[name])
    if dead[worst] == 0:
        return f"{text}; no normalisation scale is below {DEAD_SCALE} in size."
    return f"{text}; of the scales of {worst}, {dead[worst]:.0%} are below {DEAD_SCALE} in size."


_INSIDE_SENTENCES: Mapping[Panel, Callable[[RunDevelopment], str]] = {
    "probes": _probes,
    "attention": _attention,
    "weights": _weights,
}
