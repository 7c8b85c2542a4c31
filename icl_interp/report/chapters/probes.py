"""Where can it be read? What linear probes find of known algorithms in the residual stream."""

from dataclasses import replace

from icl_interp.measure.study.result import Study
from icl_interp.measure.verdicts import Excess
from icl_interp.report.model import Chapter, FigureGrid, FigureView, Section, Verdict
from icl_interp.report.sentences import answer, card, listing, number
from icl_interp.report.tables import TableView

_CONTROLS = {
    "shuffled targets": "targets shuffled between prompts",
    "control task": "its control task",
    "the embedding layer": "at the embedding layer",
    "an untrained network": "the best of the untrained networks at the same site",
}
"""What a read-out can fail to beat, in words."""


_ELSE = {
    "inconclusive": "Not shown for",
    "negligible": "Nothing that matters for",
    "opposite": "The opposite for",
    "not applicable": "No verdict for",
}
"""What is said of targets without evidence, beside one with it."""


def chapter(study: Study) -> Chapter:
    title = "Where can it be read?"
    if study.probes is None:
        return Chapter(Section("probes", title, study.absent["probes"]))
    report, excesses = study.probes, _excesses(study)
    best = max(report.targets, key=lambda target: excesses[target].value)
    sentence = f"{_readout_words(study, best, excesses[best])} Best at {report.best_site(best)}."
    where = "the query token" if study.config.query_only else "x tokens"
    lead = (
        f"One ridge probe per site reads the residual stream at {where}, at all points with at least one example before "
        f"them; whole prompts are held out ({report.n_prompts} prompts, 5 folds). Targets are predictions of the "
        "references, their differences, and what they rest on; of vectors, the mean R² over coordinates. Predictions "
        "are nearly collinear, so a high R² for one is expected where another is high; partial R² is what is left "
        "beyond all others. Decodable is not used: a probe says where a prediction could be read, not that the model "
        "reads it."
    )
    overview = FigureView(
        id="probe-map",
        title="Held-out R² beyond untrained networks, all targets" if report.untrained else "Held-out R², all targets",
        figure=report.plot_all(),
        sentence=f"{sentence} {_beyond(study)}",
        aria_label=f"Heat map of R squared by target and site. {sentence}",
        data=_by_site(study),
        height=120 + 34 * len(report.targets),
    )
    section = Section("probes", title, lead, figures=(overview,), tables=(_summary(study),))
    return Chapter(section, (_card(study, best, excesses),))


def _excesses(study: Study) -> dict[str, Excess]:
    claims = study.verdicts
    return {target: claims[f"probe: {target}"] for target in study.probes.targets}


def _card(study: Study, best: str, excesses: dict[str, Excess]) -> Verdict:
    said = _readout_words(study, best, excesses[best])
    made = card("Are quantities of known algorithms decodable?", excesses[best], said, anchor="probes")
    found = {word: [target for target, e in excesses.items() if e.verdict == word] for word in _ELSE}
    rest = "".join(f" {_ELSE[word]} {listing(targets)}." for word, targets in found.items() if targets)
    if not rest or excesses[best].verdict != "evidence":
        return made
    return replace(made, sentence=f"{said}{rest}", tone="mixed")


def each_target(study: Study) -> Chapter | None:
    if study.probes is None:
        return None
    report, excesses = study.probes, _excesses(study)
    cells = tuple(_cell(study, i, target, excesses[target]) for i, target in enumerate(report.targets))
    found = [target for target, excess in excesses.items() if excess.verdict == "evidence"]
    sentence = (
        f"{len(found)} of {len(excesses)} targets can be read out better than in untrained networks and than their "
        f"nearest control ({listing(found)})."
    )
    grid = FigureGrid(id="probe-targets", title="Held-out R² along the network", sentence=sentence, figures=cells)
    title = "Each read-out along the network"
    return Chapter(Section("part-probes", title, sentence, figures=(grid,), tables=(_by_site(study),)))


def _readout_words(study: Study, target: str, excess: Excess) -> str:
    """Say what a read-out's excess allows to say, and where it fails by its own control, which one."""
    said = answer(
        excess,
        here=f"a linear probe finds {target} with a held-out R² of {number(excess.value)}",
        there=f"in untrained networks with {number(excess.control)}",
    )
    if excess.verdict != "inconclusive" or excess.low <= 0 or excess.chance <= 0:
        return said
    control, beyond = study.probes.selectivity(target)
    return (
        f"Not shown. A linear probe finds {target} with a held-out R² of {number(excess.value)}, in untrained networks "
        f"with {number(excess.control)}; {_CONTROLS[control]} reaches {number(excess.value - beyond.value)}."
    )


def _by_site(study: Study) -> TableView:
    return TableView(
        columns=("site", "target", "R²", "low", "high", "shuffled targets", "untrained networks"),
        rows=tuple(tuple(row) for row in study.probes.to_frame().itertuples(index=False, name=None)),
        caption="Held-out R² of linear probes, by site and target",
        notes="; ".join(study.probes.left_out.values()) or None,
    )


def _beyond(study: Study) -> str:
    report = study.probes
    alone = [name for name, found in report.partial.items() if found.low > 0]
    if not report.partial:
        return "There are no two references whose partial R² could be compared."
    best = max(report.partial, key=lambda name: _or_less(report.partial[name].value))
    if not alone:
        return "Nothing of a reference is shown beyond what all others say: no partial R² has its interval above 0."
    return (
        f"Beyond what all other references say, {listing(alone)} can be read ({best} best: partial R² "
        f"{number(report.partial[best].value)})."
    )


def _or_less(value: float) -> float:
    return value if value == value else float("-inf")


def _summary(study: Study) -> TableView:
    frame = study.probes.summary()
    columns = ("target", "best site", "R²", "low", "high", "selectivity", "low", "high", "over", "partial R²", "low",
               "high")  # fmt: skip
    return TableView(
        columns=columns,
        rows=tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
        caption="Each target at its best site, beyond its controls and beyond collinear targets",
        notes="Selectivity: R² beyond the control that comes nearest, of shuffled targets, a control task (a random "
        "target for each orthant of the query), the embedding layer and untrained networks. Partial R²: share of what "
        "all other references' predictions leave over, n/a for differences and vectors. Intervals are paired over "
        "prompts, each for itself.",
    )


def _cell(study: Study, index: int, target: str, excess: Excess) -> FigureView:
    where = study.probes.best_site(target)
    sentence = f"{_readout_words(study, target, excess)} Best at {where}."
    return FigureView(
        id=f"probe-{index}",
        title=target,
        figure=study.probes.plot(target),
        sentence=sentence,
        aria_label=f"Line chart of R squared along the network for {target}. {sentence}",
        height=260,
    )
