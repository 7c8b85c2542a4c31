"""The one table of Hill et al.'s experiment: which conventions make the claims hold, for which training law."""

from collections.abc import Callable, Mapping

from icl_interp.experiments.claims import Interval
from icl_interp.experiments.hill2025.claims import HIGHLY
from icl_interp.experiments.hill2025.measures import NORMS
from icl_interp.experiments.hill2025.reader import Reader, over_seeds
from icl_interp.experiments.hill2025.record import Measured
from icl_interp.experiments.hill2025.setting import KINDS, NAMES

__all__ = ["COLUMNS", "convention_rows", "count_holding", "hold_everywhere", "holds"]

HOLDS = "✓"
"""Marks a cell whose interval says that the claim holds."""
_MEASURES = ("contrast beyond untrained", "Spearman inside", "Spearman pooled", "AUROC")
COLUMNS = (
    "site", "tokens", "centring", "side", "variant",
    *(f"{NAMES[kind]}: {measure}" for kind in KINDS for measure in _MEASURES),
)  # fmt: skip
"""Of the table."""

Values = Callable[[Measured], float]


def convention_rows(read: Reader) -> tuple[tuple[str, ...], ...]:
    """Lay all conventions out, one a row.

    Args:
        read: All numbers.

    Returns:
        Cells such as "0.31 [0.12, 0.50] ✓": mean over seeds, 95 % interval, and whether the claim holds there.
    """
    rows = []
    for number, reading in enumerate(read.first().readings):
        centring = "centred" if reading.centred else "uncentred"
        cells = [_cell(shown, held=held) for shown, held in _judged(read, number)]
        rows.append((reading.site, reading.tokens, centring, reading.side, reading.variant, *cells))
    return tuple(rows)


def count_holding(read: Reader) -> dict[str, tuple[int, int]]:
    """Count where the claims hold.

    Args:
        read: All numbers.

    Returns:
        By measure, cells that hold and all that are defined: conventions times training laws.
    """
    judged = [_judged(read, number) for number in range(len(read.first().readings))]
    cells = {
        name: [row[place][1] for row in judged for place in _places(name) if row[place][0] is not None]
        for name in _MEASURES
    }
    return {name: (sum(held), len(held)) for name, held in cells.items()}


def hold_everywhere(read: Reader) -> dict[tuple[str, ...], float]:
    """Find the conventions in which the contrast holds for every training law.

    Args:
        read: All numbers.

    Returns:
        By the first five columns of the table, the mean contrast beyond untrained networks over laws; largest first.
    """
    found = {}
    for number, row in enumerate(convention_rows(read)):
        contrasts = [_judged(read, number)[place] for place in _places(_MEASURES[0])]
        if all(held for _, held in contrasts):
            found[row[:5]] = sum(beyond.value for beyond, _ in contrasts if beyond) / len(contrasts)
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def holds(found: Interval | None, least: float = 0.0) -> bool:
    """Tell whether an interval lies above a bound.

    Args:
        found: Over seeds; None where undefined.
        least: The bound.

    Returns:
        Whether all of it does; never where there is no spread because there is one seed.

    Example:
        >>> holds(Interval(0.5, 0.1, 0.9)), holds(Interval(0.5, -0.1, 1.1)), holds(Interval(0.5, 0.5, 0.5))
        (True, False, False)
    """
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
    return f"{found.value:.2f}{ends}{' ' + HOLDS if held else ''}"
