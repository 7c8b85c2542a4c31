"""A run of fewer seeds beside a committed summary: does it say the same?"""

from dataclasses import dataclass

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

    def __str__(self) -> str:
        return f"{self.claim}: {self.check} is {self.value:.4g}, and the summary says {self.committed}."


def differences(outcome: Outcome | Summary, summary: Summary) -> list[Difference]:
    """Find the checks that a run of a few seeds answers differently from a summary of more.

    One seed has no interval, so its mean alone is compared: it differs where the summary's whole interval agrees with
    what is expected and the mean does not, or the other way round. A check that the summary calls "partly" straddles
    the expectation, so either side agrees with it (ours). Checks that need several seeds are left out with one.

    Args:
        outcome: Of this run, or its summary; of any number of seeds.
        summary: Of the same paper and preset.

    Returns:
        In the order of the claims; empty where everything agrees.

    Raises:
        ValueError: If paper or preset differ, or this run has checks that the summary lacks: then one of the two is of
            another version.
    """
    if (outcome.paper.name, outcome.preset) != (summary.paper.name, summary.preset):
        raise ValueError(
            f"--against needs a summary of {outcome.paper.name} at size {outcome.preset}, got one of "
            f"{summary.paper.name} at size {summary.preset}."
        )
    committed = {(claim.key, check.label): check for claim in summary.claims for check in claim.checks}
    own = {(claim.key, check.label): check for claim in outcome.claims for check in claim.checks}
    if not own.keys() <= committed.keys():
        raise ValueError(
            "--against needs a summary that has all claims and checks of this run, got one of another version; write "
            "it again by icl-reproduce."
        )
    return [
        Difference(key, label, check.interval.value, committed[key, label].verdict)
        for (key, label), check in own.items()
        if _turns_round(check, committed[key, label])
    ]


def _turns_round(check: Check, committed: Check) -> bool:
    mean = check.interval.value
    alone = judge(Interval(mean, mean, mean), committed.low, committed.high)
    return alone == _OPPOSITE.get(committed.verdict)
