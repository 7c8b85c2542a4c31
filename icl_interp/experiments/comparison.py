"""A run of fewer seeds beside a committed summary: does it say the same?"""

import math
from dataclasses import dataclass

from icl_interp.errors import InputError
from icl_interp.experiments.claims import Check, Interval, judge
from icl_interp.experiments.outcome import Outcome
from icl_interp.experiments.summary import Summary

__all__ = ["Difference", "differences"]

_OPPOSITE = {"reproduced": "not reproduced", "not reproduced": "reproduced"}


@dataclass(frozen=True, slots=True)
class Difference:
    """A number that lies on the other side of what is expected than the summary's interval."""

    claim: str
    """Key of the claim."""
    check: str
    """Label of the check."""
    value: float
    """Mean over the seeds of this run."""
    committed: str
    """Verdict of the check in the summary."""
    scatter: tuple[float, float]
    """Where the mean of as many more seeds lies by the summary's own spread: Student's 95 % prediction interval."""

    @property
    def contradicts(self) -> bool:
        """Whether seeds alone do not explain it."""
        return not self.scatter[0] <= self.value <= self.scatter[1]

    def __str__(self) -> str:
        explained = "beyond" if self.contradicts else "within"
        return (
            f"{self.claim}: {self.check} is {self.value:.4g}, and the summary says {self.committed}; that is "
            f"{explained} what its seeds scatter by, [{self.scatter[0]:.4g}, {self.scatter[1]:.4g}]."
        )


def differences(outcome: Outcome | Summary, summary: Summary) -> list[Difference]:
    """Find the checks that a run of a few seeds answers differently from a summary of more.

    One seed has no interval, so its mean alone is compared: it differs where the summary's whole interval agrees with
    what is expected and the mean does not, or the other way round. A check that the summary calls "partly" straddles
    the expectation, so either side agrees with it (ours). Checks that need several seeds are left out with one, and so
    are those that expect nothing where the summary lacks them. An interval for a mean is narrower than what single
    seeds scatter by, so that a difference contradicts the summary only where it lies outside of
    mean ± t s sqrt(1/n + 1/m), for n seeds there and m here.
    """
    if (outcome.paper.name, outcome.preset) != (summary.paper.name, summary.preset):
        raise InputError(
            f"--against needs a summary of {outcome.paper.name} at size {outcome.preset}, got one of "
            f"{summary.paper.name} at size {summary.preset}."
        )
    committed = {(claim.key, check.label): check for claim in summary.claims for check in claim.checks}
    own = {(claim.key, check.label): check for claim in outcome.claims for check in claim.checks}
    missing = [name for name, check in own.items() if name not in committed and not _expects_nothing(check)]
    if missing:
        raise InputError(
            "--against needs a summary that has all claims and checks of this run, got one of another version; write "
            "it again by icl-reproduce."
        )
    return [
        Difference(
            key, label, check.interval.value, committed[key, label].verdict, _scatter(check, committed[key, label])
        )
        for (key, label), check in own.items()
        if (key, label) in committed and _turns_round(check, committed[key, label])
    ]


def _expects_nothing(check: Check) -> bool:
    return check.low is None and check.high is None


def _turns_round(check: Check, committed: Check) -> bool:
    mean = check.interval.value
    alone = judge(Interval(mean, mean, mean), committed.low, committed.high)
    return alone == _OPPOSITE.get(committed.verdict)


def _scatter(check: Check, committed: Check) -> tuple[float, float]:
    n, found = len(committed.values), committed.interval
    half = (found.high - found.low) / 2  # t s / sqrt(n)
    wider = half * math.sqrt(1 + n / len(check.values))
    return found.value - wider, found.value + wider
