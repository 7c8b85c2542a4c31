"""The page of a reproduced paper: every claim with what was found, then the figures."""

import math
import re
from collections.abc import Mapping, Sequence

from icl_interp.experiments.claims import Check, Claim
from icl_interp.experiments.claims import Verdict as ClaimVerdict
from icl_interp.experiments.outcome import Outcome, Panel
from icl_interp.report.model import Fact, FigureView, Page, Section, Tone, Verdict
from icl_interp.report.sentences import interval, number
from icl_interp.report.tables import TableView

__all__ = ["claims_page"]

_TONES: Mapping[ClaimVerdict, Tone] = {
    "reproduced": "evidence",
    "partly": "mixed",
    "not reproduced": "none",
    "unknown in the paper": "unknown",
    "not judged": "unknown",
}
_WORDS: Mapping[ClaimVerdict, str] = {
    "reproduced": "agrees",
    "not reproduced": "contradicts",
    "partly": "undecided",
    "not judged": "too few seeds",
    "unknown in the paper": "nothing expected",
}
"""What a check does to its claim."""
_SHOWN = 3
"""Checks whose numbers stand on a claim's card, contradicting ones first; the tables have all."""


def claims_page(outcome: Outcome, provenance: Mapping[str, str | int | float]) -> Page:
    """Lay an experiment out as a report.

    Args:
        outcome: Claims and figures.
        provenance: What it was made with, for the footer.

    Returns:
        The page.
    """
    return Page(
        title=f"{outcome.paper.title}: what we found",
        subtitle=f"{outcome.paper.citation}, reproduced at the size “{outcome.preset}”. {_count(outcome)}",
        facts=(
            *(Fact("Setting", sentence) for sentence in outcome.setting),
            Fact("Seeds", ", ".join(str(seed) for seed in outcome.seeds)),
            Fact("Verdicts", SHORT_RULE),
        ),
        warnings=_warnings(outcome),
        verdicts=tuple(_card(claim) for claim in outcome.claims),
        sections=(
            Section("figures", "The figures", figures=tuple(_figure(panel) for panel in outcome.panels)),
            Section("claims", "Every number", RULE, parts=tuple(_part(claim) for claim in outcome.claims)),
            Section("unknowns", "What the paper leaves open", tables=(_unknowns(outcome),)),
        ),
        provenance=tuple(Fact(name.replace("_", " "), str(value)) for name, value in provenance.items()),
    )


SHORT_RULE = (
    "Reproduced: every check agrees. Not reproduced: none agrees, one contradicts. Partly: anything between. Checks "
    "are 95 % intervals over seeds."
)
RULE = (
    "A check is reproduced if the 95 % interval of its mean over seeds (Student's t) lies inside the expected range, "
    "not reproduced if it lies outside, partly if it crosses an end; a claim is reproduced if all of "
    "its checks are, not reproduced if some are not and none is, partly otherwise. "
    "Fewer than three seeds are not judged. For shares, counts and rank correlations, which have bounds, such "
    "intervals are rough."
)


def _count(outcome: Outcome) -> str:
    verdicts = [claim.verdict for claim in outcome.claims]
    found = [f"{verdicts.count(verdict)} {verdict}" for verdict in _TONES if verdict in verdicts]
    return f"Of {len(verdicts)} claims: {', '.join(found)}."


def _warnings(outcome: Outcome) -> tuple[str, ...]:
    if "not judged" not in [claim.verdict for claim in outcome.claims]:
        return ()
    return ("Too few seeds: nothing here is judged. The numbers show only that everything runs.",)


def _card(claim: Claim) -> Verdict:
    about = _about(claim)
    rest = len(claim.checks) - _SHOWN
    shown = "; ".join(_words(check, claim) for check in sorted(claim.checks, key=_urgency)[:_SHOWN])
    more = f"; and {rest} more below" if rest > 0 else ""
    in_full = "" if f"{about}." == claim.statement else f"{claim.statement} "
    return Verdict(
        title=f"{claim.verdict[0].upper()}{claim.verdict[1:]}: {about}",
        sentence=_why(claim),
        tone=_TONES[claim.verdict],
        detail=f"{in_full}{claim.source}. {claim.measure} {shown}{more}.",
        anchor=_anchor(claim),
    )


def _about(claim: Claim) -> str:
    # What comes after a colon or semicolon explains; the card says it in smaller type.
    return re.split(r"[:;] ", claim.statement, maxsplit=1)[0].rstrip(".")


def _why(claim: Claim) -> str:
    groups: dict[str, list[str]] = {}
    for check in claim.checks:
        groups.setdefault(check.verdict, []).append(check.label)
    if groups.keys() == {"unknown in the paper"}:
        return f"The paper states nothing that {_checks(groups.popitem()[1])} could be compared with."
    said = [f"{word.capitalize()}: {_checks(groups[v], first=True)}." for v, word in _WORDS.items() if v in groups]
    return " ".join(said)


def _checks(labels: Sequence[str], *, first: bool = False) -> str:
    counted = f"{len(labels)} check{'' if len(labels) == 1 else 's'}"
    if not first:
        return counted
    return f"{counted} ({'first ' if len(labels) > 1 else ''}“{labels[0]}”)"


def _urgency(check: Check) -> int:
    return ("not reproduced", "partly", "reproduced", "not judged", "unknown in the paper").index(check.verdict)


def _anchor(claim: Claim) -> str:
    return f"claim-{claim.key}"


def _part(claim: Claim) -> Section:
    name = claim.key.replace("-", " ").capitalize()
    return Section(_anchor(claim), f"{name} ({claim.source}): {claim.verdict}", tables=(_table(claim),))


def _words(check: Check, claim: Claim) -> str:
    found = check.interval
    expected = "" if check.low is None and check.high is None else f" (expected {check.expected()})"
    # The title says it where all is alike; what contradicts is always marked.
    alike = check.verdict == claim.verdict and check.verdict not in ("partly", "not reproduced")
    word = "" if alike else f"{_WORDS[check.verdict]}: "
    return f"{word}{check.label}: {number(found.value)} {interval(found.low, found.high)}{expected}"


def _table(claim: Claim) -> TableView:
    rows = tuple(
        (
            check.label,
            check.interval.value,
            check.interval.low,
            check.interval.high,
            check.low,
            check.high,
            check.verdict,
            check.reason,
        )
        for check in claim.checks
    )
    return TableView(
        columns=("check", "mean over seeds", "low", "high", "expected from", "to", "verdict", "expectation"),
        rows=rows,
        caption=claim.statement,
        notes=f"{claim.measure} {claim.n_seeds} seeds.",
        align=("left", "right", "right", "right", "right", "right", "left", "left"),
    )


def _figure(panel: Panel) -> FigureView:
    return FigureView(
        id=panel.id,
        title=panel.title,
        figure=panel.figure,
        sentence=panel.sentence,
        aria_label=f"{panel.title}. {panel.sentence}",
        data=TableView(columns=panel.columns, rows=tuple(_finite(row) for row in panel.rows), caption=panel.title),
        height=panel.height,
    )


def _finite(row: tuple[str | float | int | None, ...]) -> tuple[str | float | int | None, ...]:
    return tuple(None if isinstance(cell, float) and not math.isfinite(cell) else cell for cell in row)


def _unknowns(outcome: Outcome) -> TableView:
    return TableView(
        columns=("what is not said, and what we took",),
        rows=tuple((sentence,) for sentence in outcome.unknowns),
        caption="Not stated in the paper",
    )
