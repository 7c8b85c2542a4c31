"""The page of a reproduced paper: its figures, every claim with what was found, and what the paper leaves open."""

import math
from collections.abc import Mapping
from dataclasses import replace

from icl_interp.experiments.claims import LEAST_SEEDS, Check, Claim
from icl_interp.experiments.claims import Verdict as ClaimVerdict
from icl_interp.experiments.experiment import Outcome, Panel
from icl_interp.files import finite
from icl_interp.report.glossary import PAPER_GLOSSARY
from icl_interp.report.model import Chapter, Fact, FigureView, Line, Page, Section, Tone, Verdict, lay_out
from icl_interp.report.sentences import interval, number
from icl_interp.report.tables import TableView

_TONES: Mapping[ClaimVerdict, Tone] = {
    "reproduced": "evidence",
    "partly reproduced": "mixed",
    "mixed": "mixed",
    "contradicted": "opposite",
    "inconclusive": "inconclusive",
    "no target": "unknown",
}
_NAMES = {"ood": "OOD", "mlp": "MLP", "bayes": "Bayes", "gpt2": "GPT-2"}
_SHOWN = 3
"""Checks whose numbers stand on a claim's card, contradicting ones first; the tables have all."""
_FEW = "Too few seeds: no check is decided. This run only shows that everything works."
_SHORT_RULE = (
    "Reproduced: every check agrees. Inconclusive: fewer than half of the checks are decided. Otherwise: partly "
    "reproduced if none contradicts, contradicted if none agrees, else mixed."
)
_RULE = (
    "A check agrees if the 95 % interval of its mean over seeds (Student's t) is inside the expected range. It "
    "contradicts if a wider interval, at 5 % divided by the number of checks of its claim, is outside. Otherwise it is "
    f"undecided, and always with fewer than {LEAST_SEEDS} seeds. {_SHORT_RULE} Checks without an expected range do not "
    "count. Where all seeds give the same count or share, the interval is half a step of it on both sides. Intervals "
    "of shares, counts and rank correlations are rough, since these have bounds."
)
_FIGURES = Section("figures", "The figures")
_CLAIMS = Section("claims", "Every claim and its checks")
_UNKNOWNS = Section("unknowns", "What the paper leaves open")


def claims_page(outcome: Outcome, provenance: Mapping[str, str | int | float]) -> Page:
    sections, cards = lay_out(_CONTENTS, outcome)
    return Page(
        title=f"{outcome.paper.title}: what we found",
        subtitle=f"{outcome.paper.citation}, reproduced at the size “{outcome.preset}”. {_count(outcome)}",
        facts=(
            *(Fact("Setting", sentence) for sentence in outcome.setting),
            Fact("Seeds", ", ".join(str(seed) for seed in outcome.seeds)),
            Fact("Verdicts", _SHORT_RULE),
            *_next(outcome),
        ),
        warnings=_warnings(outcome),
        verdicts=cards,
        sections=sections,
        provenance=tuple(Fact(name.replace("_", " "), str(value)) for name, value in provenance.items()),
        glossary=PAPER_GLOSSARY,
    )


def _count(outcome: Outcome) -> str:
    verdicts = [claim.verdict for claim in outcome.claims]
    found = [f"{verdicts.count(verdict)} {verdict}" for verdict in _TONES if verdict in verdicts]
    return f"Of {len(verdicts)} claims: {', '.join(found)}."


def _next(outcome: Outcome) -> tuple[Fact, ...]:
    if not any(check.verdict == "undecided" for claim in outcome.claims for check in claim.checks):
        return ()
    return (Fact("What next", "Undecided checks need more seeds (`--seed`) or longer training."),)


def _warnings(outcome: Outcome) -> tuple[str, ...]:
    few = any(claim.lacks_seeds for claim in outcome.claims)
    return (*filter(None, (outcome.paper.caveat,)), *((_FEW,) if few else ()))


def _card(claim: Claim) -> Verdict:
    rest = len(claim.checks) - _SHOWN
    more = f" {_counted(rest, 'more check')} below." if rest > 0 else ""
    return Verdict(
        title=claim.statement,
        sentence=_why(claim),
        tone=_TONES[claim.verdict],
        detail=f"{claim.source}. {claim.measure}{more}",
        anchor=_anchor(claim),
        word=_badge(claim),
        points=tuple(_words(check) for check in sorted(claim.checks, key=_urgency)[:_SHOWN]),
    )


def _badge(claim: Claim) -> str:
    return "Too few seeds" if claim.lacks_seeds else claim.verdict.capitalize()


def _why(claim: Claim) -> str:
    n_open = sum(not check.expects for check in claim.checks)
    if claim.verdict == "no target":
        return f"The paper gives no number to compare with; we report {_counted(n_open, 'number')}."
    has = "has" if n_open == 1 else "have"
    rest = f" {_counted(n_open, 'further number')} {has} no target in the paper." if n_open else ""
    return f"Of {_counted(sum(claim.counts), 'check')}, {claim.counted}.{rest}"


def _counted(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _urgency(check: Check) -> int:
    return ("contradicts", "undecided", "agrees", "no target").index(check.verdict)


def _anchor(claim: Claim) -> str:
    return f"claim-{claim.key}"


def _part(claim: Claim) -> Section:
    words = [_NAMES.get(word, word) for word in claim.key.split("-")]
    name = " ".join([words[0][0].upper() + words[0][1:], *words[1:]])
    return Section(_anchor(claim), f"{name} ({claim.source}), {claim.said}", tables=(_table(claim),))


def _words(check: Check) -> str:
    found, expected = check.interval, f" (expected {check.expected()})" if check.expects else ""
    said = f"{number(found.value)} {interval(found.low, found.high)}" if math.isfinite(found.value) else check.note
    note = f"; {check.note}" if check.note not in ("", said) else ""
    return f"{check.verdict}: {check.label}: {said}{expected}{note}"


def _table(claim: Claim) -> TableView:
    rows = tuple(
        (
            check.label,
            *finite(list(check.interval)),
            check.low,
            check.high,
            check.verdict,
            "; ".join(filter(None, (check.reason, check.note))),
        )
        for check in claim.checks
    )
    return TableView(
        columns=(
            "check",
            "mean over seeds",
            "low",
            "high",
            "expected from",
            "to",
            "verdict",
            "why expected, and notes",
        ),
        rows=rows,
        caption=claim.statement,
        notes=claim.measure,
        align=("left", "right", "right", "right", "right", "right", "left", "left"),
    )


def _figure(panel: Panel) -> FigureView:
    return FigureView(
        id=panel.id,
        title=panel.title,
        figure=panel.figure,
        sentence=panel.sentence,
        aria_label=f"{panel.title}. {panel.sentence}",
        data=TableView(
            columns=panel.columns, rows=tuple(tuple(finite(row)) for row in panel.rows), caption=panel.title
        ),
        height=panel.height,
    )


def _figures_chapter(outcome: Outcome) -> Chapter:
    return Chapter(replace(_FIGURES, figures=tuple(_figure(panel) for panel in outcome.panels)))


def _claims_chapter(outcome: Outcome) -> Chapter:
    parts = tuple(_part(claim) for claim in outcome.claims)
    return Chapter(replace(_CLAIMS, lead=_RULE, parts=parts), tuple(_card(claim) for claim in outcome.claims))


def _unknowns_chapter(outcome: Outcome) -> Chapter:
    table = TableView(
        columns=("open in the paper, and our choice",),
        rows=tuple((sentence,) for sentence in outcome.unknowns),
        caption="What the paper does not state, and what we chose",
    )
    return Chapter(replace(_UNKNOWNS, tables=(table,)))


_CONTENTS: tuple[Line[Outcome], ...] = (
    Line(_figures_chapter, _FIGURES),
    Line(_claims_chapter, _CLAIMS),
    Line(_unknowns_chapter, _UNKNOWNS),
)
