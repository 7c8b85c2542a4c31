"""The folded part of the timeline: what changes inside the network, and all checkpoints in numbers."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

from icl_interp.measure.development_inside import best_probes, relative_weights
from icl_interp.measure.development_plots import needs
from icl_interp.measure.development_result import Development, Panel
from icl_interp.measure.development_run import RunDevelopment
from icl_interp.measure.development_weights import DEAD_SCALE
from icl_interp.report.chapters.timeline_tables import checkpoints_table
from icl_interp.report.model import FigureGrid, FigureView, Section
from icl_interp.report.sentences import number

__all__ = ["inside_part"]

_TITLES: Mapping[Panel, str] = {
    "probes": "Linear probes over training",
    "attention": "Attention entropy over training",
    "weights": "Norms and ranks of the weights over training",
}


def inside_part(found: Development) -> Section:
    """Write the part.

    Args:
        found: One run or several.

    Returns:
        Probes by layer, attention by head and the weights' norms, a cell a run, and the table of checkpoints.
    """
    figures = tuple(_item(found, panel) for panel in _TITLES if needs(found, panel) is None)
    lead = (
        f"Probes and attention on {found.settings.n_probe_prompts} prompts in distribution. These curves have no "
        "controls of their own."
    )
    title = "Inside the network over training, and all numbers"
    return Section("timeline-inside", title, lead, figures=figures, tables=(checkpoints_table(found),), folded=True)


def _item(found: Development, panel: Panel) -> FigureView | FigureGrid:
    if len(found.runs) == 1:
        return _view(found, panel, f"timeline-{panel}", _TITLES[panel])
    cells = []
    for i, run in enumerate(found.runs):
        alone = replace(found, runs=(run,))
        if needs(alone, panel) is None:
            cells.append(_view(alone, panel, f"timeline-{panel}-{i}", run.name))
    return FigureGrid(f"timeline-{panel}", _TITLES[panel], _ABOUT[panel], tuple(cells))


def _view(found: Development, panel: Panel, anchor: str, title: str) -> FigureView:
    sentence = _SENTENCES[panel](found.runs[0])
    if len(found.runs) == 1 and title == _TITLES[panel]:
        sentence = f"{_ABOUT[panel]} {sentence}"
    label = f"Line chart over training steps: {_TITLES[panel].lower()}, {found.runs[0].name}. {sentence}"
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
