"""The numbers of Hill et al.'s models by training law, one a seed."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from icl_interp.errors import InputError
from icl_interp.experiments.claims import Check, Interval
from icl_interp.experiments.hill2025.record import FamilyFound, Measured
from icl_interp.experiments.hill2025.setting import KINDS, Kind, Run
from icl_interp.measure.errors import MODEL, TOLERATED
from icl_interp.measure.families import IN_DISTRIBUTION

__all__ = ["Reader", "default_sites", "failure_rate", "handled_shifts", "over_seeds", "shifts_in"]

_LEAST = 1e-4


def over_seeds(values: tuple[float, ...]) -> Interval | None:
    """Average over seeds."""
    return Check("mean", values).interval if all(math.isfinite(value) for value in values) else None


def shifts_in(found: Measured) -> dict[str, FamilyFound]:
    """Leave out the family in distribution."""
    return {label: family for label, family in found.families.items() if label != IN_DISTRIBUTION}


def handled_shifts(found: Measured, by: str) -> list[str]:
    """List the shifts that a reference handles: what a shift adds to its error is tolerable.

    A reference handles a shift if it does not fail there, or if its error after d examples is at most `TOLERATED`
    E[y^2] above its own in distribution: what it has there already is not blamed on the shift (ours).
    """
    usual = found.families[IN_DISTRIBUTION].late[by]
    return [
        label
        for label, family in shifts_in(found).items()
        if not family.fails[by] or family.late[by] <= usual + TOLERATED
    ]


def failure_rate(found: Measured, where_works: str) -> float:
    """Say on how many of the shifts that a reference can handle the model fails."""
    handled = handled_shifts(found, where_works)
    return sum(found.families[label].fails[MODEL] for label in handled) / len(handled) if handled else math.nan


def default_sites(found: Measured) -> tuple[str, str]:
    """Name the two default sites."""
    return found.layers[-2].site, found.layers[-1].site


class Reader:
    """Looks numbers up, one a seed."""

    def __init__(self, found: Mapping[Run, Measured], seeds: tuple[int, ...]) -> None:
        self.found, self.seeds = found, seeds

    def first(self, kind: Kind = "isotropic") -> Measured:
        """Give the model of the first seed."""
        return self.found[Run(kind, self.seeds[0])]

    def each(self, kind: Kind, value: Callable[[Measured], float]) -> tuple[float, ...]:
        """Read one number of every model of a law."""
        return tuple(float(value(self.found[Run(kind, seed)])) for seed in self.seeds)

    def mean(self, kind: Kind, value: Callable[[Measured], float]) -> float:
        """Average one number over the models of a law."""
        return sum(self.each(kind, value)) / len(self.seeds)

    def recognised(self) -> tuple[float, ...]:
        """Say how often a model's training law is told from its errors on prompts that are the same for all laws.

        Formula: log errors by family, floored at 1e-4; the law whose mean pattern over the other seeds is nearest.
        """
        if len(self.seeds) < 2:
            raise InputError("Reader.recognised needs models of two seeds or more, got one; run more seeds.")
        return tuple(float(np.mean([self._nearest(kind, s) == kind for kind in KINDS])) for s in self.seeds)

    def _nearest(self, kind: Kind, seed: int) -> str:
        own = self._pattern(kind, seed)
        others = [s for s in self.seeds if s != seed]
        centres = {law: np.mean([self._pattern(law, s) for s in others], axis=0) for law in KINDS}
        return min(centres, key=lambda law: float(np.linalg.norm(own - centres[law])))

    def _pattern(self, kind: Kind, seed: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.float64]]":
        return np.log(np.maximum(list(self.found[Run(kind, seed)].common.values()), _LEAST))
