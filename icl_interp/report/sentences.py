"""The sentences under figures and on cards: functions of the numbers, and of nothing else."""

import math
from collections.abc import Mapping, Sequence

from icl_interp.measure.controls import Excess
from icl_interp.measure.study.result import Surveyed
from icl_interp.report.model import Tone, Verdict

_TONES: Mapping[str, Tone] = {"evidence": "evidence", "none": "none"}

_FLAT = 0.1
"""A curve that ends within this share of its starting value counts as flat."""


def number(value: float) -> str:
    """Write a number with three significant digits, or say that there is none."""
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "infinite"
    if value != 0 and (abs(value) >= 1e4 or abs(value) < 1e-4):
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    text = f"{value:.3g}"
    return f"{float(text):.0f}" if "e+" in text else text  # 1230, where .3g writes 1.23e+03


def interval(low: float, high: float) -> str:
    return f"[{number(low)}, {number(high)}]"


def trend(what: str, values: Sequence[float], *, start: str, end: str) -> str:
    """Say how a curve runs from its first to its last value."""
    missing = sum(not math.isfinite(value) for value in values)
    if missing:
        return f"{what} cannot be followed: {missing} of {len(values)} values are not numbers."
    first, last = values[0], values[-1]
    if abs(last - first) <= _FLAT * max(abs(first), abs(last)):
        return f"{what} stays flat: {number(first)} {start}, {number(last)} {end}."
    verb = "rises" if last > first else "falls"
    return f"{what} {verb} from {number(first)} {start} to {number(last)} {end}."


def verdict_words(
    excess: Excess, *, finding: str, absence: str, uncontrolled: str = "the controls were switched off"
) -> str:
    """Say what an excess over untrained networks allows to say."""
    numbers = f"{number(excess.value)} here, {number(excess.control)} in untrained networks"
    if excess.verdict == "evidence":
        return f"{finding} ({numbers})."
    if excess.verdict == "none" and excess.low > 0:
        return f"No evidence {absence}: more than in untrained networks, but not above chance ({numbers})."
    if excess.verdict == "none" and excess.high < 0:
        return f"No evidence beyond an untrained network {absence}; it is less than there ({numbers})."
    if excess.verdict == "none":
        return f"No evidence beyond an untrained network {absence} ({numbers})."
    if not excess.controls:
        return f"No verdict {absence} ({number(excess.value)} here): {uncontrolled}."
    if len(excess.controls) == 1:
        return f"No verdict {absence}: one untrained network shows no spread ({numbers})."
    return f"No verdict {absence}: the numbers are not finite ({numbers})."


def claim_words(study: Surveyed, claim: str, *, finding: str, absence: str) -> str:
    """Say what a claim's number allows to say."""
    return verdict_words(study.measured[claim], finding=finding, absence=absence, uncontrolled=study.uncontrolled)


def card(title: str, excess: Excess, sentence: str, *, anchor: str) -> Verdict:
    """Answer a question by a claim: its tone and its bounds follow from the excess."""
    tone, detail = _TONES.get(excess.verdict, "unknown"), None
    if excess.controls and tone != "unknown":
        detail = (
            f"Excess {number(excess.excess)}, bounds {interval(excess.low, excess.high)} (one-sided, together 95 %)."
        )
    return Verdict(title, sentence, tone, detail, anchor)


def listing(names: Sequence[str], *, most: int = 4) -> str:
    if not names:
        return "none"
    shown = list(names[:most])
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def extremes(values: Mapping[str, float]) -> tuple[str, str]:
    finite = {name: value for name, value in values.items() if math.isfinite(value)} or dict(values)
    return min(finite, key=finite.__getitem__), max(finite, key=finite.__getitem__)
