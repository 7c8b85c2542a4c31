"""Claims of a paper as data, and verdicts as functions of numbers."""

import math
from dataclasses import dataclass
from typing import Literal

from scipy import stats

from icl_interp.errors import InputError

__all__ = ["LEAST_SEEDS", "Check", "Claim", "Interval", "Verdict", "judge"]

Verdict = Literal["reproduced", "partly", "not reproduced", "unknown in the paper", "not judged"]

_VERDICTS: tuple[Verdict, ...] = ("reproduced", "partly", "not reproduced", "unknown in the paper", "not judged")
"""All verdicts; "not judged" stands where there were too few seeds."""
LEAST_SEEDS = 3
"""Models that a verdict needs, each from its own seed."""
_LEVEL = 0.95
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds, and how far it is known."""

    value: float
    """Mean."""
    low: float
    """Lower end of Student's 95 % interval for the mean; the value itself where there is one seed."""
    high: float
    """Upper end."""


@dataclass(frozen=True, slots=True)
class Check:
    """One number that a claim says something about."""

    label: str
    """What is measured, with its unit or what it is divided by."""
    values: tuple[float, ...]
    """One a seed, in their order."""
    low: float | None = None
    """Least expected value, tolerance included; None leaves this side open."""
    high: float | None = None
    """Largest expected value, tolerance included; with both ends open nothing is expected."""
    reason: str = ""
    """Where the expectation and its tolerance come from."""

    def __post_init__(self) -> None:
        if not self.values or not all(math.isfinite(value) for value in self.values):
            raise InputError(f"Check {self.label!r} needs one finite value a seed, got {list(self.values)}.")
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise InputError(f"Check {self.label!r} needs low <= high, got {self.low:g} and {self.high:g}.")

    @property
    def interval(self) -> Interval:
        """Mean over seeds with Student's 95 % interval."""
        n = len(self.values)
        mean = sum(self.values) / n
        if n == 1:
            return Interval(mean, mean, mean)
        spread = math.sqrt(sum((value - mean) ** 2 for value in self.values) / (n - 1))
        half = float(stats.t.ppf((1 + _LEVEL) / 2, n - 1)) * spread / math.sqrt(n)
        return Interval(mean, mean - half, mean + half)

    @property
    def verdict(self) -> Verdict:
        """What the numbers say, see `judge`; too few seeds are not judged."""
        if self.low is None and self.high is None:
            return "unknown in the paper"
        return judge(self.interval, self.low, self.high) if len(self.values) >= LEAST_SEEDS else "not judged"

    def expected(self) -> str:
        """Write the expected range."""
        if self.low is not None and self.high is not None:
            return f"from {self.low:.4g} to {self.high:.4g}"
        if self.low is not None:
            return f"at least {self.low:.4g}"
        return "nothing stated" if self.high is None else f"at most {self.high:.4g}"

    def __repr__(self) -> str:
        found = self.interval
        return (
            f"Check({self.label}: {found.value:.4g} [{found.low:.4g}, {found.high:.4g}], expected {self.expected()}, "
            f"{self.verdict})"
        )


def judge(found: Interval, low: float | None, high: float | None) -> Verdict:
    """Compare an interval with an expected range.

    Formula: reproduced if [found.low, found.high] lies inside [low, high], not reproduced if the two are disjoint,
    partly otherwise; ends that differ by no more than the rounding of a mean are equal.
    """
    size = max(abs(end) for end in (found.low, found.high, low or 0.0, high or 0.0)) * _ROUNDING
    least, most = (-math.inf if low is None else low - size), (math.inf if high is None else high + size)
    if least <= found.low and found.high <= most:
        return "reproduced"
    return "not reproduced" if found.high < least or most < found.low else "partly"


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim of a paper, with what we found."""

    key: str
    """A short name for links: lower case, hyphens."""
    statement: str
    """What the paper says, in one sentence."""
    source: str
    """Where it says so: section, theorem, figure."""
    measure: str
    """What we measured, and on what."""
    checks: tuple[Check, ...]
    """The numbers, with what is expected of each."""

    def __post_init__(self) -> None:
        empty = [name for name in ("key", "statement", "source", "measure", "checks") if not getattr(self, name)]
        if empty:
            raise InputError(f"Claim {self.key!r} needs {', '.join(empty)}; none may be empty.")

    @property
    def verdict(self) -> Verdict:
        """Reproduced if all checks that expect something are; not if some are not and none is; partly otherwise."""
        said = {check.verdict for check in self.checks} - {"unknown in the paper"}
        if not said:
            return "unknown in the paper"
        if "not judged" in said:
            return "not judged"
        if "reproduced" in said:
            return "reproduced" if len(said) == 1 else "partly"
        return "not reproduced" if "not reproduced" in said else "partly"

    @property
    def n_seeds(self) -> int:
        """Seeds of the check that has fewest."""
        return min(len(check.values) for check in self.checks)

    def __repr__(self) -> str:
        return f"Claim({self.key}, {len(self.checks)} checks, {self.n_seeds} seeds, {self.verdict})"
