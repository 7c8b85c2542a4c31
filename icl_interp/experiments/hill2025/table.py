"""The one table of Hill et al.'s experiment: which conventions make the claims hold, for which training law."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from icl_interp.experiments.claims import Interval
from icl_interp.experiments.hill2025.claims import HIGHLY
from icl_interp.experiments.hill2025.measures import NORMS
from icl_interp.experiments.hill2025.reader import Reader, over_seeds
from icl_interp.experiments.hill2025.record import Measured
from icl_interp.experiments.hill2025.setting import KINDS, NAMES

__all__ = ["COLUMNS", "Convention", "convention_rows", "conventions", "count_holding", "holds"]

_HOLDS = "✓"
"""Marks a cell whose interval says that the claim holds."""
_MEASURES = ("contrast beyond untrained", "Spearman inside", "Spearman pooled", "AUROC")
COLUMNS = (
    "site", "tokens", "centring", "side", "variant", "holds",
    *(f"{NAMES[kind]}: {measure}" for kind in KINDS for measure in _MEASURES),
)  # fmt: skip
"""Of the table."""

Values = Callable[[Measured], float]
_Holds = Literal["yes", "undecided", "no"]
_ORDER: tuple[_Holds, ...] = ("yes", "undecided", "no")


@dataclass(frozen=True, slots=True)
class Convention:
    """One convention, and whether its contrast goes beyond untrained networks."""

    name: tuple[str, str, str, str, str]
    """Site, tokens, centring, side and variant: the first columns of the table."""
    holds: _Holds
    """"yes" if the intervals of all training laws lie above 0, "no" if that of one lies below, else "undecided"."""
    beyond: float
    """Contrast beyond untrained networks, mean over training laws and seeds; NaN where undefined."""
    cells: tuple[str, ...]
    """The rest of its row."""

    def __str__(self) -> str:
        site, tokens, centring, side, variant = self.name
        return f"{self.beyond:.2f} ({site}, tokens: {tokens}, {centring}, {side} vectors, {variant}; {self.holds})"


def conventions(read: Reader) -> tuple[Convention, ...]:
    """Judge all conventions."""
    found = [_convention(read, number) for number in range(len(read.first().readings))]
    # What is undefined comes last.
    size = {one.name: one.beyond if math.isfinite(one.beyond) else -math.inf for one in found}
    return tuple(sorted(found, key=lambda one: (_ORDER.index(one.holds), -size[one.name])))


def _convention(read: Reader, number: int) -> Convention:
    reading, judged = read.first().readings[number], _judged(read, number)
    contrasts = [judged[place][0] for place in _places(_MEASURES[0])]
    mean = sum(math.nan if one is None else one.value for one in contrasts) / len(contrasts)
    below = any(one is not None and one.low < one.high < 0.0 for one in contrasts)
    centring = "centred" if reading.centred else "uncentred"
    return Convention(
        (reading.site, reading.tokens, centring, reading.side, reading.variant),
        "yes" if all(holds(one) for one in contrasts) else "no" if below else "undecided",
        mean,
        tuple(_cell(shown, held=held) for shown, held in judged),
    )


def convention_rows(found: tuple[Convention, ...]) -> tuple[tuple[str, ...], ...]:
    """Lay conventions out, one a row."""
    return tuple((*one.name, one.holds, *one.cells) for one in found)


def count_holding(read: Reader) -> dict[str, tuple[int, int]]:
    """Count where the claims hold."""
    judged = [_judged(read, number) for number in range(len(read.first().readings))]
    cells = {
        name: [row[place][1] for row in judged for place in _places(name) if row[place][0] is not None]
        for name in _MEASURES
    }
    return {name: (sum(held), len(held)) for name, held in cells.items()}


def holds(found: Interval | None, least: float = 0.0) -> bool:
    """Tell whether an interval lies above a bound."""
    return found is not None and found.low > least and found.high > found.low


def _places(name: str) -> list[int]:
    return [_MEASURES.index(name) + len(_MEASURES) * place for place in range(len(KINDS))]


def _judged(read: Reader, number: int) -> list[tuple[Interval | None, bool]]:
    cells: list[tuple[Interval | None, bool]] = []
    for kind in KINDS:
        found = {name: over_seeds(read.each(kind, value)) for name, value in _values(number).items()}
        beyond = found["contrast"]
        cells.append((beyond, holds(beyond)))
        cells.append((found["within"], holds(found["within"], HIGHLY) and holds(found["within beyond"])))
        cells.append((found["pooled"], holds(found["pooled"], HIGHLY) and holds(found["pooled beyond"])))
        cells.append((found["auroc"], holds(found["auroc beyond"])))
    return cells


def _values(number: int) -> Mapping[str, Values]:
    return {
        "contrast": lambda found: found.readings[number].beyond("contrast"),
        "within": lambda found: found.readings[number].within[0],
        "within beyond": lambda found: found.readings[number].beyond("within"),
        "pooled": lambda found: found.readings[number].pooled[0],
        "pooled beyond": lambda found: found.readings[number].beyond("pooled"),
        "auroc": lambda found: found.readings[number].auroc[0],
        "auroc beyond": lambda found: found.readings[number].beyond("auroc", max(0.5, found.detectors[NORMS].auroc)),
    }


def _cell(found: Interval | None, *, held: bool) -> str:
    if found is None:
        return "undefined"
    ends = "" if found.low == found.high else f" [{found.low:.2f}, {found.high:.2f}]"
    return f"{found.value:.2f}{ends}{' ' + _HOLDS if held else ''}"
