"""What is decodable, and where? Linear probes of the residual stream for quantities of known algorithms."""

from dataclasses import replace

from icl_interp.measure.study.result import Study
from icl_interp.measure.verdicts import Excess
from icl_interp.report.model import Chapter, FigureGrid, FigureView, Section, Verdict
from icl_interp.report.sentences import answer, card, listing, number
from icl_interp.report.tables import TableView

_CONTROLS = {
    "shuffled targets": "targets shuffled between prompts",
    "control task": "its control task",
    "the embedding layer": "the embedding layer",
    "an untrained network": "the best untrained network at the same site",
}
"""What a probe can fail to beat, in words."""


_ELSE = {
    "inconclusive": "Not shown for",
    "negligible": "Nothing that matters for",
    "opposite": "The opposite for",
    "not applicable": "No verdict for",
}
"""What is said of targets without evidence, beside one with it."""


def chapter(study: Study) -> Chapter:
    title = "What is decodable, and where?"
    if study.probes is None:
        return Chapter(Section("probes", title, study.absent["probes"]))
    report, excesses = study.probes, _excesses(study)
    best = max(report.targets, key=lambda target: excesses[target].value)
    sentence = (
        "R² of each target at each site. A target that the model computes is decodable from some site on, and not in "
        f"untrained networks. Here {best} is decoded best (R² {number(excesses[best].value)} at "
        f"{report.best_site(best)})."
    )
    where = "the query token" if study.config.query_only else "x tokens"
    lead = (
        f"One ridge probe per site reads the residual stream at {where}, for all predictions with at least one example "
        f"before them; whole prompts are held out ({report.n_prompts} prompts, 5 folds). Targets are predictions of "
        "the references, their differences, and the quantities that they are computed from; for vectors, R² is the "
        "mean over coordinates. Predictions of references are nearly collinear, so where one has a high R² others have "
        "too; partial R² is what one explains beyond all others. Decodable does not mean used."
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
    n = len(found["evidence"]) if "evidence" in found else sum(e.verdict == "evidence" for e in excesses.values())
    said = said.replace("Yes.", f"Partly, {n} of {len(excesses)} quantities.", 1)
    return replace(made, sentence=f"{said}{rest}", tone="mixed")


def each_target(study: Study) -> Chapter | None:
    if study.probes is None:
        return None
    report, excesses = study.probes, _excesses(study)
    cells = tuple(_cell(study, i, target, excesses[target]) for i, target in enumerate(report.targets))
    found = [target for target, excess in excesses.items() if excess.verdict == "evidence"]
    sentence = (
        f"{len(found)} of {len(excesses)} targets are decoded better than in untrained networks and than every other "
        f"control{f' ({listing(found)})' if found else ''}."
    )
    grid = FigureGrid(id="probe-targets", title="Held-out R² along the network", sentence=sentence, figures=cells)
    title = "Each probe along the network"
    lead = "The probes of the map above, one plot per target, beside shuffled targets and untrained networks."
    return Chapter(Section("part-probes", title, lead, figures=(grid,), tables=(_by_site(study),)))


def _readout_words(study: Study, target: str, excess: Excess) -> str:
    """Say what a probe's excess allows to say, and which control does as well where one does."""
    said = answer(
        excess,
        here=f"a linear probe decodes {target} with a held-out R² of {number(excess.value)}",
        there=f"untrained networks give {number(excess.control)}",
    )
    control = _as_well(study, target, excess)
    if not control:
        return said
    return (
        f"Not shown. A linear probe decodes {target} with a held-out R² of {number(excess.value)}. This is more than "
        f"in untrained networks ({number(excess.control)}), but not shown to be more than for {control}."
    )


def _as_well(study: Study, target: str, excess: Excess) -> str:
    """Name the control that does as well, with its R², where only that keeps a target from being evidence."""
    if excess.verdict != "inconclusive" or excess.low <= 0 or excess.chance <= 0:
        return ""
    control, beyond = study.probes.selectivity(target)
    return f"{_CONTROLS[control]} ({number(excess.value - beyond.value)})"


def _by_site(study: Study) -> TableView:
    return TableView(
        columns=("site", "target", "R²", "low", "high", "shuffled targets", "untrained networks"),
        rows=tuple(tuple(row) for row in study.probes.to_frame().itertuples(index=False, name=None)),
        caption="Held-out R² of linear probes, by site and target",
        notes="; ".join(study.probes.left_out.values()) or None,
    )


def _beyond(study: Study) -> str:
    report = study.probes
    beyond = [name for name, found in report.partial.items() if found.low > 0]
    claims = _excesses(study)
    alone = [name for name in beyond if claims[name].verdict == "evidence"]
    if not report.partial:
        return "No two references are left whose partial R² could be compared."
    if not beyond:
        return "No reference is decodable beyond all others: no partial R² has its interval above 0."
    if not alone:
        return "No reference is shown to be decodable beyond untrained networks and beyond all others."
    best = max(alone, key=lambda name: report.partial[name].value)
    return (
        f"Decodable beyond all other references: {listing(alone)} ({best} best, with a partial R² of "
        f"{number(report.partial[best].value)})."
    )


def _summary(study: Study) -> TableView:
    frame = study.probes.summary()
    columns = ("target", "best site", "R²", "low", "high", "selectivity", "low", "high", "best control",
               "partial R²", "low", "high")  # fmt: skip
    return TableView(
        columns=columns,
        rows=tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
        caption="Each target at its best site: R², selectivity, and R² beyond all other references",
        notes="Selectivity: R² minus that of the best control, which is named: shuffled targets, a control task (a "
        "random target for each orthant of the query), the embedding layer or an untrained network. Partial R²: share "
        "of what all other references leave unexplained that this one explains; n/a for differences and vectors. Each "
        "interval is a 95 % interval over prompts, not corrected for the number of rows.",
    )


def _cell(study: Study, index: int, target: str, excess: Excess) -> FigureView:
    where = study.probes.best_site(target)
    beside = f", in untrained networks {number(excess.control)}" if excess.controls else ""
    control = _as_well(study, target, excess)
    beside += f", not shown to be more than for {control}" if control else ""
    sentence = f"R² is largest at {where}: {number(excess.value)}{beside}. Verdict: {excess.verdict}."
    return FigureView(
        id=f"probe-{index}",
        title=target,
        figure=study.probes.plot(target),
        sentence=sentence,
        aria_label=f"Line chart of R squared along the network for {target}. {sentence}",
        height=260,
    )
