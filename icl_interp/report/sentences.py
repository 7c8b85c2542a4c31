"""The sentences under figures and on cards: functions of the numbers, and of nothing else."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from icl_interp.measure.verdicts import Excess, VerdictWord
from icl_interp.report.model import Tone, Verdict

TONES: Mapping[VerdictWord, Tone] = {
    "evidence": "evidence",
    "opposite": "opposite",
    "negligible": "none",
    "inconclusive": "inconclusive",
    "not applicable": "unknown",
}
_NONE = 5e-4
"""Shares below this are written as none."""

_MANY = 1e4
"""Shares from here on are written with a power of ten."""
_LEAST_P = 1e-3
"""Smaller p-values are not written out."""
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


def percent(share: float) -> str:
    """Write a share of 1 as people say it: "99.7 %", "5.4 %", "none"."""
    if not math.isfinite(share):
        return number(share)
    if abs(share) < _NONE:
        return "none"
    if abs(share) >= _MANY:
        return f"{number(100 * share)} %"
    rounded = float(f"{100 * share:.3g}" if abs(share) >= 0.1 else f"{100 * share:.2g}")
    return f"{rounded:,.0f} %" if abs(share) >= 10 else f"{rounded:g} %"


def answer(
    excess: Excess,
    *,
    here: str,
    there: str,
    written: Callable[[float], str] = number,
    chance: str = "chance",
    uncontrolled: str | None = None,
) -> str:
    """Answer a question: yes, the opposite, nothing that matters, not shown, or not asked; then model and control.

    `here` says what the model shows and `there` what untrained networks show, each a clause with its number; `chance`
    is what evidence has to exceed as well, and `uncontrolled` says why there are no untrained networks.
    """
    said = here[0].upper() + here[1:]
    match excess.verdict:
        case "evidence" if excess.matters:
            return f"Yes. {said}; {there}."
        case "evidence":
            return f"Yes, but too little to matter. {said}; {there}."
        case "opposite":
            return f"The opposite. {said}; {there}."
        case "negligible":
            return f"No, nothing that matters. {said}; {there}."
        case "inconclusive":
            beyond = excess.low > 0
            doubt = f" This is more than in untrained networks, but not more than {chance}." if beyond else ""
            return f"Not shown. {said}; {there}.{doubt} {detectable(excess, written)}"
    if (lacking := replace(excess, gate=None).reason) is not None:
        return f"No verdict, since {lacking if excess.controls else uncontrolled or lacking}. {said}."
    return f"Not asked, since {excess.gate} is not shown. {said}; {there}."


def detectable(excess: Excess, written: Callable[[float], str] = number) -> str:
    """Say which effect a study would have found."""
    return f"The smallest detectable effect is {written(excess.detectable)} (80 % power)."


def card(title: str, excess: Excess, sentence: str, *, anchor: str) -> Verdict:
    """Answer a question by a claim: its tone and its bounds follow from the excess."""
    tone, detail = TONES[excess.verdict], None
    if tone != "unknown":
        low, high = excess.interval
        detail = (
            f"Excess over control {number(excess.excess)} {interval(low, high)}, {_p(excess.p_value)} (corrected for "
            "all claims of the report)."
        )
    return Verdict(title, sentence, tone, detail, anchor)


def _p(value: float) -> str:
    return f"p < {_LEAST_P:g}" if value < _LEAST_P else f"p = {number(value)}"


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
