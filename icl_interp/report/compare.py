"""A page with several models side by side: the answers in one table, the main figures with one colour per model."""

import math
from collections.abc import Mapping

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.measure.comparison import Comparison, Difference
from icl_interp.measure.errors import TOLERATED
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.report.chapters import DOING, FAMILIAR, WHERE, WORTH
from icl_interp.report.contents import CONTENTS
from icl_interp.report.glossary import GLOSSARY
from icl_interp.report.model import Fact, FigureGrid, FigureView, Page, Section, Tone, Verdict, lay_out
from icl_interp.report.sentences import interval, listing, number, percent
from icl_interp.report.tables import Cell, TableView

_SOME = 3
"""Shifts that are named in a sentence."""


def build_comparison_page(
    comparison: Comparison, checkpoints: Mapping[str, Checkpoint], provenance: Mapping[str, str | int]
) -> Page:
    """Lay several studies out side by side."""
    names, first = comparison.names, comparison.first
    sections = (
        Section("answers", "What each report says", _LEAD, tables=(_answers(comparison),)),
        _doing(comparison),
        *_where(comparison),
        *_familiar(comparison),
        Section(WORTH.id, "The numbers behind the answers", tables=(_claims(comparison),)),
    )
    return Page(
        title=f"{listing(names)} side by side",
        subtitle=f"{_opened(first.task.describe())}.",
        assumptions=tuple(f"{name}: {text}" for name in names for text in checkpoints[name].assumptions),
        facts=_facts(comparison, checkpoints),
        verdicts=tuple(card for name in names[1:] for card in _cards(comparison, name)),
        sections=sections,
        provenance=(
            *(Fact(f"SHA-256 of {name}", checkpoints[name].sha256) for name in names),
            Fact("Seed", str(first.seed)),
            *(Fact(key.replace("_", " "), str(value)) for key, value in provenance.items()),
        ),
        glossary=GLOSSARY,
    )


def _opened(text: str) -> str:
    return text[:1].upper() + text[1:]


_LEAD = (
    "One row per question, one column per model, in the words of each model's own report. Each model has untrained "
    "networks of its own."
)


def _facts(comparison: Comparison, checkpoints: Mapping[str, Checkpoint]) -> tuple[Fact, ...]:
    facts = []
    for name, study in comparison.studies.items():
        found = checkpoints[name]
        step = "" if found.step is None else f", {found.step:,} training steps"
        facts.append(Fact(name, f"{study.config.describe()}, {found.model.n_params:,} parameters{step}"))
    families = comparison.first.families
    return (*facts, Fact("Prompts", f"{len(families.fit)} per family, {families.fit.n_points} examples each"))


def _late(comparison: Comparison, name: str) -> dict[str, Difference]:
    return {d.family: d for d in comparison.differences if d.model == name and d.quantity == "late error"}


def _cards(comparison: Comparison, name: str) -> tuple[Verdict, ...]:
    first, late = comparison.names[0], _late(comparison, name)
    apart = _apart(comparison, name)
    sentence = (
        f"{_judged(late[IN_DISTRIBUTION], first)} Their predictions differ by {_share(apart)} of E[y²] in distribution."
    )
    cards = [
        Verdict(
            f"Do {first} and {name} differ in distribution?", sentence, _tone(late[IN_DISTRIBUTION]), None, "errors"
        )
    ]
    shifted = {label: d for label, d in late.items() if label != IN_DISTRIBUTION}
    if not shifted:
        return tuple(cards)
    worse = [label for label, d in shifted.items() if d.difference.low > 0]
    better = [label for label, d in shifted.items() if d.difference.high < 0]
    largest = max(shifted.values(), key=lambda d: abs(d.difference.value))
    sentence = f"Not shown under any of {len(shifted)} shifts."
    if worse or better:
        sentence = (
            f"Yes, under {len(worse) + len(better)} of {len(shifted)} shifts. {name} has the larger late error under "
            f"{_some(worse)} and the smaller one under {_some(better)}."
        )
    sentence += (
        f" The largest difference is under {largest.family}: {number(largest.value)} for {name}, "
        f"{number(largest.first)} for {first}."
    )
    tone: Tone = "evidence" if worse or better else "inconclusive"
    return (*cards, Verdict(f"Do {first} and {name} differ under shifts?", sentence, tone, None, "differences"))


def _some(labels: list[str]) -> str:
    return listing(labels, most=_SOME) if labels else "none"


def _judged(late: Difference, first: str) -> str:
    d = late.difference
    text = (
        f"The late error of {late.model} is {number(late.value)}, that of {first} {number(late.first)} (difference "
        f"{number(d.value)} {interval(d.low, d.high)})."
    )
    match _tone(late):
        case "evidence":
            return f"Yes. {text}"
        case "none":
            return f"No, by nothing that matters. {text}"
    return f"Not shown. {text}"


def _tone(late: Difference) -> Tone:
    d = late.difference
    if max(-d.low, d.high) <= TOLERATED:
        return "none"
    return "evidence" if d.low > 0 or d.high < 0 else "inconclusive"


def _apart(comparison: Comparison, name: str) -> float:
    found = (d for d in comparison.differences if d.model == name and d.quantity == "distance of predictions")
    return next(d.value for d in found if d.family == IN_DISTRIBUTION)


def _share(value: float) -> str:
    said = percent(value)
    return "less than 0.1 %" if said == "none" else said


def _answers(comparison: Comparison) -> TableView:
    said: dict[str, dict[str, str]] = {}
    for name, study in comparison.studies.items():
        for card in lay_out(CONTENTS, study)[1]:
            said.setdefault(card.title, {})[name] = card.sentence
    names = comparison.names
    rows: list[tuple[Cell, ...]] = [(title, *(by.get(name) for name in names)) for title, by in said.items()]
    return TableView(("question", *names), tuple(rows), caption="Answers side by side")


def _doing(comparison: Comparison) -> Section:
    first = comparison.names[0]
    names = comparison.names[1:]
    said = " ".join(
        f"{name} ends at {number(_late(comparison, name)[IN_DISTRIBUTION].value)}, {first} at "
        f"{number(_late(comparison, name)[IN_DISTRIBUTION].first)}."
        for name in names
    )
    sentence = (
        "Error after each number of examples, one colour per model, beside the reference predictors. Models that learn "
        f"in context come down to the best reference. In late error, {said}"
    )
    errors = FigureView(
        id="errors",
        title="Error against in-context examples, in distribution",
        figure=comparison.plot(),
        sentence=sentence,
        aria_label=f"Line chart of squared error over in-context examples. {sentence}",
        height=440,
    )
    figures = [errors]
    found = {name: study.agreement for name, study in comparison.studies.items() if study.agreement is not None}
    if found:
        nearest = "; ".join(f"{name} to {report.nearest()[0]}" for name, report in found.items())
        sentence = (
            "Mean squared difference of each model's predictions from each reference's. A model that acts like a "
            f"reference is far to the left in its row. The nearest: {nearest}."
        )
        figures.append(
            FigureView(
                id="agreement-of-models",
                title="Difference from each reference predictor",
                figure=comparison.plot_agreement(),
                sentence=sentence,
                aria_label=f"Dot plot, one row per reference, one colour per model. {sentence}",
                height=150 + 30 * len(next(iter(found.values())).references),
            )
        )
    rows = tuple(
        (d.family, d.model, d.value, d.first, d.difference.value, d.difference.low, d.difference.high)
        for d in comparison.differences
        if d.quantity == "late error"
    )
    columns = ("family", "model", "late error", f"late error of {first}", "difference", "low", "high")
    table = TableView(
        columns,
        rows,
        caption="Late errors, prompt by prompt",
        notes="Models read the same prompts, so the 95 % interval of a difference is mostly narrower than that of "
        "either error. Families whose prompts have queries of their own, or more examples, are left out.",
    )
    apart = tuple(
        (d.family, d.model, d.difference.value, d.difference.low, d.difference.high)
        for d in comparison.differences
        if d.quantity == "distance of predictions"
    )
    distances = TableView(
        ("family", "model", "squared difference / E[y²]", "low", "high"),
        apart,
        caption=f"How far predictions are from those of {first}",
    )
    part = Section("differences", "Differences under each shift", tables=(table, distances))
    return Section(DOING.id, "What do the models do?", figures=tuple(figures), parts=(part,))


def _where(comparison: Comparison) -> tuple[Section, ...]:
    reports = {name: study.readouts for name, study in comparison.studies.items()}
    shown = {name: report for name, report in reports.items() if report is not None}
    left_out = [f"{name}: {comparison.studies[name].absent['readouts']}" for name in reports if name not in shown]
    if not shown:
        return (Section(WHERE.id, "Where in the networks does it happen?", " ".join(left_out)),)
    least = "; ".join(f"{name} {number(report.errors[report.blocks[-1]].value)}" for name, report in shown.items())
    sentence = (
        "Error of a linear read-out at each site over the depth of its network. Where blocks build up the answer, the "
        f"error falls from left to right. After the last block it is: {least}."
    )
    figure = FigureView(
        id="layers-of-models",
        title="Error of linear read-outs along each network",
        figure=comparison.plot_layers(),
        sentence=sentence,
        aria_label=f"Line chart of read-out errors over depth, one colour per model. {sentence}",
        height=380,
    )
    return (Section(WHERE.id, "Where in the networks does it happen?", " ".join(left_out), figures=(figure,)),)


def _familiar(comparison: Comparison) -> tuple[Section, ...]:
    cells = tuple(
        FigureView(
            id=f"atlas-{place}",
            title=name,
            figure=study.atlas.plot(),
            sentence=study.atlas.describe(),
            aria_label=f"Heat map of shifts by sites, {name}. {study.atlas.describe()}",
            height=190 + 22 * len(study.atlas.rows()),
            data=_cells(comparison, name),
        )
        for place, (name, study) in enumerate(comparison.studies.items(), start=1)
        if study.atlas is not None
    )
    if not cells:
        return ()
    grid = FigureGrid(
        "atlases",
        "The atlas of each model: sites by shifts",
        "AUROC of each cell beyond untrained networks of the same model. Where training does not change the signature, "
        "cells are pale; framed cells differ from untrained networks.",
        cells,
    )
    return (Section(FAMILIAR.id, FAMILIAR.title, figures=(grid,)),)


def _cells(comparison: Comparison, name: str) -> TableView:
    rows = tuple((c.site, c.shift, c.value, c.control, c.verdict) for c in comparison.studies[name].atlas.cells)
    return TableView(("site", "shift", "AUROC", "untrained", "verdict"), rows, caption=f"Atlas of {name}")


def _claims(comparison: Comparison) -> TableView:
    names = comparison.names
    claims = dict.fromkeys(claim for study in comparison.studies.values() for claim in study.verdicts)
    rows: list[tuple[Cell, ...]] = []
    for claim in claims:
        found = [study.verdicts.get(claim) for study in comparison.studies.values()]
        values = [None if excess is None else excess.value for excess in found]
        excesses = [None if excess is None or math.isnan(excess.excess) else excess.excess for excess in found]
        rows.append((claim, *values, *excesses))
    return TableView(
        columns=("claim", *names, *(f"{name}, beyond untrained" for name in names)),
        rows=tuple(rows),
        caption="The number of each claim",
        notes="Beyond untrained: the number minus its mean over untrained networks of the same model.",
    )
