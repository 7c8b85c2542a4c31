"""Claims of Hill et al. (2025) on errors: does a model fail under shifts that others handle?"""

import math
from collections.abc import Callable

from icl_interp.experiments.claims import Check, Claim
from icl_interp.experiments.hill2025.reader import Reader, failure_rate, handled_shifts, shifts_in
from icl_interp.experiments.hill2025.record import Measured
from icl_interp.experiments.hill2025.setting import KINDS, NAMES, Kind
from icl_interp.measure.errors import MODEL, TOLERATED
from icl_interp.measure.families import IN_DISTRIBUTION

__all__ = ["not_only_bayes", "ood_failure"]

_OFTEN = 0.25
"""Share of shifts on which a model must fail for "it fails out of distribution" (ours)."""
_GRADIENT_DESCENT = "10-step GD"
"""The paper's other rival; its step is tuned to the training law."""
_FAILED = "the model's failures where its Bayes predictor does not fail"


def ood_failure(read: Reader) -> Claim:
    """Judge whether models fail where least squares does not."""
    learned = [
        Check(
            f"{NAMES[kind]}: error in distribution beyond least squares, in units of E[y²]",
            read.each(kind, _learned), None, TOLERATED, "that it learned at all; ours",
        )
        for kind in KINDS
    ]  # fmt: skip
    squares, no_squares = _shares(read, "least squares", low=_OFTEN)
    descent, no_descent = _shares(read, _GRADIENT_DESCENT)
    return Claim(
        "ood-failure",
        "Transformers trained on least-squares regression fail on shifted prompts where least squares does not.",
        "Abstract",
        f"A model fails on a shift if its error after d examples is clearly more than {TOLERATED:g} E[y²] above the "
        "best reference and clearly further from least squares than in distribution (95 % intervals over prompts). "
        f"{_GRADIENT_DESCENT} has not converged in distribution either, so it handles a shift also where its error is "
        f"at most {TOLERATED:g} E[y²] above its own in distribution." + no_squares + no_descent,
        (*squares, *learned, *descent, *_counts(read, "least squares"), *_counts(read, _GRADIENT_DESCENT)),
    )


def not_only_bayes(read: Reader) -> Claim:
    """Judge whether models fail where the Bayes predictor of their training law does not."""
    shares, no_shares = _shares(read, "Bayes", low=_OFTEN)
    beyond, no_beyond = _defined(read, f"share of {_FAILED}", _beyond_bayes)
    return Claim(
        "not-only-bayes",
        "The failures are more than those of an ideal learner of the training law: Bayes does not share all of them.",
        "Ours: what the paper's test of least squares leaves open",
        "As above, with the Bayes predictor of each model's own training law for least squares; the two differ only "
        "where weights are confined." + no_shares + no_beyond,
        (*shares, *beyond, *_counts(read, "Bayes"), *(_failures(read, kind) for kind in KINDS)),
    )


def _shares(read: Reader, rival: str, *, low: float | None = None) -> tuple[list[Check], str]:
    label = f"share of shifts that {_named(rival)} handles and the model does not"
    return _defined(read, label, lambda found: failure_rate(found, rival), low)


def _named(rival: str) -> str:
    return "its Bayes predictor" if rival == "Bayes" else rival


def _defined(
    read: Reader, label: str, value: Callable[[Measured], float], low: float | None = None
) -> tuple[list[Check], str]:
    # One check a training law, and a sentence on the laws where a model has a share of nothing.
    values = {NAMES[kind]: read.each(kind, value) for kind in KINDS}
    undefined = [name for name, shares in values.items() if not all(math.isfinite(share) for share in shares)]
    reason = "" if low is None else "threshold ours"
    checks = [
        Check(f"{name}: {label}", shares, low, None, reason) for name, shares in values.items() if name not in undefined
    ]
    return checks, f" Left out, being a share of nothing: {label} ({', '.join(undefined)})." if undefined else ""


def _counts(read: Reader, rival: str) -> list[Check]:
    return [
        Check(
            f"{NAMES[kind]}: shifts out of {len(shifts_in(read.first(kind)))} that {_named(rival)} handles",
            read.each(kind, lambda found: len(handled_shifts(found, rival))),
        )
        for kind in KINDS
    ]


def _failures(read: Reader, kind: Kind) -> Check:
    label = f"{NAMES[kind]}: shifts out of {len(shifts_in(read.first(kind)))} on which the model fails"
    return Check(label, read.each(kind, lambda found: len(_failed(found))))


def _learned(found: Measured) -> float:
    late = found.families[IN_DISTRIBUTION].late
    return late[MODEL] - late["least squares"]


def _failed(found: Measured) -> list[str]:
    return [label for label, family in shifts_in(found).items() if family.fails[MODEL]]


def _beyond_bayes(found: Measured) -> float:
    failed = _failed(found)
    return sum(not found.families[label].fails["Bayes"] for label in failed) / len(failed) if failed else math.nan
