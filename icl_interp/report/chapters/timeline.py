"""The chapter on training: how the model came to be what it is, from the checkpoints of one run or several."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from icl_interp.measure.development.checkpoint import DEAD_SCALE
from icl_interp.measure.development.one_run import RunDevelopment
from icl_interp.measure.development.plots import best_probes, needs, relative_weights
from icl_interp.measure.development.result import Development, Panel
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.report.chapters.timeline_sentences import SENTENCES, lead_text
from icl_interp.report.model import FigureGrid, FigureView, Section
from icl_interp.report.sentences import number
from icl_interp.report.tables import Cell, TableView

__all__ = ["timeline_chapter"]


def _runs_table(found: Development) -> TableView:
    """Lay the runs out, one a row."""
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
        notes="t_crit: step of the smallest loss on standard normal weights; transience: that loss at the end minus "
        "its smallest value, squared units of y. Distances in distribution at the last checkpoint, in E[y²]. Kinds: A "
        "where the curve rises, B where it falls.",
        align=("left", "right", "right", "right", "right", "right", "right", "right", "left", "left"),
    )  # fmt: skip


def _llc_table(found: Development) -> TableView:
    """Lay the learning coefficients out."""
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
        notes=f"{settings}. Of the loss as it is, so values compare with one another and not with log-likelihood ones. "
        "The JSON says what stands behind each warning, and what to do.",
        align=("left", "right", "right", "right", "right", "right", "left"),
    )


def _checkpoints_table(found: Development) -> TableView:
    """Lay the checkpoints out, one a row."""
    frame = found.to_frame()
    rows = tuple(tuple(_cell(value) for value in row) for row in frame.itertuples(index=False))
    return TableView(
        columns=tuple(str(column) for column in frame.columns),
        rows=rows,
        caption="Checkpoints",
        notes=f"Losses are mean squared errors; distances are {IN_DISTRIBUTION}, squared units of y; r2 is that of the "
        "reference that is read best at the site.",
    )


def _cell(value: object) -> Cell:
    if isinstance(value, str):
        return value
    if value is None or not isinstance(value, int | float):
        return None
    return None if isinstance(value, float) and math.isnan(value) else value


_INSIDE_TITLES: Mapping[Panel, str] = {
    "probes": "Linear probes over training",
    "attention": "Attention entropy over training",
    "weights": "Norms and ranks of the weights over training",
}


def _inside_part(found: Development) -> Section:
    """Write the part."""
    figures = tuple(_item(found, panel) for panel in _INSIDE_TITLES if needs(found, panel) is None)
    lead = (
        f"Probes and attention on {found.settings.n_probe_prompts} prompts in distribution. These curves have no "
        "controls of their own."
    )
    title = "Inside the network over training, and all numbers"
    return Section("timeline-inside", title, lead, figures=figures, tables=(_checkpoints_table(found),), folded=True)


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
    sentence = _SENTENCES[panel](found.runs[0])
    if len(found.runs) == 1 and title == _INSIDE_TITLES[panel]:
        sentence = f"{_ABOUT[panel]} {sentence}"
    label = f"Line chart over training steps: {_INSIDE_TITLES[panel].lower()}, {found.runs[0].name}. {sentence}"
    return FigureView(anchor, title, found.plot(panel), sentence, aria_label=label, height=360)


_ABOUT: Mapping[Panel, str] = {
    "probes": "Held-out R² of the linear probe that does best at each place, out of one for each reference predictor.",
    "attention": "Entropy of each head's pattern divided by that of uniform attention, mean over the tokens that "
    "answer: 1 looks everywhere alike, 0 at one token.",
    "weights": "Norms, normalisation scales and ranks, each divided by its value at the first checkpoint.",
}


def _probes(run: RunDevelopment) -> str:
    ends = {site: curve[-1] for site, curve in best_probes(run).items() if math.isfinite(curve[-1])}
    if not ends:
        return "No probe could be fitted at the end."
    best = max(ends, key=lambda site: ends[site])
    target = max(run.records[-1].probe_r2[best].items(), key=lambda item: item[1])[0]
    return f"At the end it is highest at “{best}”: {number(ends[best])} for {target}."


def _attention(run: RunDevelopment) -> str:
    first, last = run.records[0].attention_entropy, run.records[-1].attention_entropy
    changes = {(i, j): (before, last[i][j]) for i, heads in enumerate(first) for j, before in enumerate(heads)}
    layer, head = max(changes, key=lambda place: abs(changes[place][1] - changes[place][0]))
    before, after = changes[layer, head]
    return f"Head {layer}.{head} changes most from start to end, from {number(before)} to {number(after)}."


def _weights(run: RunDevelopment) -> str:
    ends = {name: curve[-1] for name, curve in relative_weights(run).items()}
    low = min(ends, key=lambda name: ends[name])
    text = f"Lowest at the end is “{low}”, at {number(ends[low])} times its first value"
    dead = {n.removesuffix(" dead scales"): v for n, v in run.records[-1].weights.items() if n.endswith("dead scales")}
    if not dead:
        return f"{text}."
    worst = max(dead, key=lambda name: dead[name])
    if dead[worst] == 0:
        return f"{text}; no normalisation scale is below {DEAD_SCALE} in size."
    return f"{text}; of the scales of {worst}, {dead[worst]:.0%} are below {DEAD_SCALE} in size."


_SENTENCES: Mapping[Panel, Callable[[RunDevelopment], str]] = {
    "probes": _probes,
    "attention": _attention,
    "weights": _weights,
}


_TITLES: Mapping[Panel, str] = {
    "loss": "Loss over training",
    "distance": "Distance from the reference predictors over training",
    "icl": "How much examples help over training",
    "signature": "The spectral signature over training",
    "trajectory": "Joint trajectory of the predictions",
    "complexity": "Loss against complexity",
    "diversity": "Distance from dMMSE against distance from ridge",
}


def timeline_chapter(found: Development) -> Section:
    """Write the chapter."""
    figures = tuple(_view(found, panel) for panel in _TITLES if needs(found, panel) is None)
    tables = [_runs_table(found)]
    if any(run.llc for run in found.runs):
        tables.append(_llc_table(found))
    return Section(
        id="timeline",
        title="How it developed",
        lead=lead_text(found),
        figures=figures,
        tables=tuple(tables),
        parts=(_inside_part(found),),
    )


def _view(found: Development, panel: Panel) -> FigureView:
    title = _TITLES[panel]
    sentence = SENTENCES[panel](found)
    tall = panel in {"trajectory", "complexity", "diversity"}
    return FigureView(
        id=f"timeline-{panel}",
        title=title,
        figure=found.plot(panel),
        sentence=sentence,
        aria_label=f"{'Paths in a plane' if tall else 'Line chart over training steps'}: {title.lower()}. {sentence}",
        height=520 if tall else 400,
    )
