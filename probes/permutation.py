"""Could chance alone have done this? Permutation tests, and adjustments for many tests at once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.ranks import levels_of

__all__ = [
    "Alternative", "PermutationTest", "holm", "permutation_p_value", "permutation_test_auroc",
    "permutation_test_correlation",
]  # fmt: skip

Alternative = Literal["greater", "less", "two-sided"]
# Permuted statistics of this many samples at a time.
_CHUNK_ENTRIES = 1_000_000


@dataclass(frozen=True, repr=False)
class PermutationTest:
    """A statistic and how rarely chance reaches it."""

    statistic: float
    """Statistic of the data."""
    p_value: float
    """Share of permutations, with the data's own order, that reach it; at least 1 / (n_permutations + 1)."""
    alternative: Alternative
    """Which values count as reaching it."""
    n_permutations: int
    """Number of random orders that were tried."""

    def __repr__(self) -> str:
        return f"PermutationTest(statistic={self.statistic:.3f}, p_value={self.p_value:.2g}, {self.alternative})"


@takes_arrays
def permutation_p_value(
    statistic: float, null: Float[Tensor, " permutation"], *, alternative: Alternative = "greater"
) -> float:
    """Measure how rarely chance reaches a statistic.

    Formula: p = (1 + #{null >= statistic}) / (1 + n), "less" the other way round, "two-sided" twice the
    smaller of both, at most 1. The 1 counts the data's own order, without which p could be zero.

    Args:
        statistic: Statistic of the data.
        null: Statistics of permuted data.
        alternative: What counts as reaching the statistic.

    Returns:
        A probability in [1 / (n + 1), 1].

    Raises:
        InputError: If the null holds NaN.

    Source:
        Phipson and Smyth (2010), "Permutation P-values should never be zero".

    Example:
        >>> torch.testing.assert_close(permutation_p_value(9.0, torch.arange(9.0)), 0.1)
    """
    checks.floating("permutation_p_value", "null", null)
    checks.axes("permutation_p_value", "null", null, "permutation")
    checks.no_nan("permutation_p_value", "null", null)
    checks.option("permutation_p_value", "alternative", alternative, get_args(Alternative))
    exact = null.detach().double()
    # The same value summed in another order differs by rounding, and counts as reached. Rounding is in the unit of what
    # was summed, which the null tells where the statistic is near 0.
    size = max(abs(statistic), float(exact.abs().median()))
    slack = 1e-12 * size if math.isfinite(size) else 0.0
    above = (1 + int((exact >= statistic - slack).sum())) / (1 + len(exact))
    below = (1 + int((exact <= statistic + slack).sum())) / (1 + len(exact))
    return {"greater": above, "less": below, "two-sided": min(1.0, 2 * min(above, below))}[alternative]


@takes_arrays
def permutation_test_correlation(
    score: Float[Tensor, " sample"],
    error: Float[Tensor, " sample"],
    *,
    groups: Sequence[str | int] | None = None,
    kind: Literal["spearman", "pearson"] = "spearman",
    alternative: Alternative = "greater",
    n_permutations: int = 2000,
    seed: int = 0,
) -> PermutationTest:
    """Test whether a score goes with an error, by exchanging errors between samples.

    Formula: the correlation of score and error (ranks for "spearman"), against the same with errors permuted;
    with groups inside each group only, so that differences between families are part of the null. Meaningless
    where samples are not exchangeable, such as several entries of one prompt.

    Args:
        score: One number per sample, larger = further out.
        error: The sample's error or excess loss.
        groups: Which family each sample belongs to; None: all samples may be exchanged.
        kind: Kind of correlation.
        alternative: "greater" asks whether larger scores go with larger errors.
        n_permutations: Number of random orders.
        seed: Seed of the permutations.

    Returns:
        The correlation in [-1, 1] and its p-value.

    Raises:
        InputError: If score or error is constant.

    Source:
        Pitman (1937), "Significance tests which may be applied to samples from any populations. II".

    Example:
        >>> score = torch.arange(12.0)
        >>> test = permutation_test_correlation(score, score.exp())
        >>> assert test.p_value < 0.001 and test.statistic > 0.999
    """
    who = "permutation_test_correlation"
    _check_pair(who, score, error, n_permutations, seed)
    checks.option(who, "kind", kind, ("spearman", "pearson"))
    if bool(checks.is_constant(score)) or bool(checks.is_constant(error)):
        raise InputError(f"{who} needs score and error to vary, got a constant one; report it as undefined.")
    columns = [column.detach().double().cpu() for column in (score, error)]
    a, b = (_standardise(_midranks(column) if kind == "spearman" else column) for column in columns)
    codes = torch.zeros(len(a), dtype=torch.int64)
    if groups is not None:
        checks.same_length(who, ("samples", "groups"), len(a), len(groups))
        place = {name: i for i, name in enumerate(dict.fromkeys(groups))}
        codes = torch.tensor([place[name] for name in groups])
    order = codes.argsort(stable=True)
    a, b, codes = a[order], b[order], codes[order]

    def permuted(draws: Float64[Tensor, "permutation sample"]) -> Float64[Tensor, " permutation"]:
        return b[(draws + codes).argsort(dim=1)] @ a  # draws are in [0, 1), so groups stay side by side

    return _test(float(a @ b), permuted, len(a), alternative, n_permutations, seed)


@takes_arrays
def permutation_test_auroc(
    scores_in: Float[Tensor, " inside"],
    scores_out: Float[Tensor, " outside"],
    *,
    paired: bool = False,
    alternative: Alternative = "greater",
    n_permutations: int = 2000,
    seed: int = 0,
) -> PermutationTest:
    """Test whether a score tells two sets apart, by exchanging samples between them.

    Formula: AUROC, against the same with the labels ID and OOD permuted; paired, within each pair only.

    Args:
        scores_in: Scores of ID samples, larger = further out; infinite ones are fine.
        scores_out: Scores of OOD samples.
        paired: Whether the i-th ID and the i-th OOD sample share their random numbers.
        alternative: "greater" asks whether OOD samples score higher.
        n_permutations: Number of random labellings.
        seed: Seed of the permutations.

    Returns:
        The AUROC in [0, 1] and its p-value.

    Raises:
        InputError: If a set holds NaN, or paired sets differ in size.

    Source:
        Mann and Whitney (1947) for the statistic; Pitman (1937) for the test.

    Example:
        >>> test = permutation_test_auroc(torch.zeros(8), torch.ones(8))
        >>> assert test.statistic == 1.0 and test.p_value < 0.01
    """
    who = "permutation_test_auroc"
    checks.score_sets(who, scores_in, scores_out, paired=paired)
    checks.count(who, "an n_permutations", n_permutations, 1)
    checks.count(who, "a seed", seed, 0)
    n_in, n_out = len(scores_in), len(scores_out)
    ranks = _midranks(torch.cat([scores_in.detach().double(), scores_out.detach().double()]).cpu())

    def auroc(rank_sums: Tensor) -> Tensor:
        return (rank_sums - n_out * (n_out + 1) / 2) / (n_in * n_out)

    def permuted(draws: Float64[Tensor, "permutation sample"]) -> Float64[Tensor, " permutation"]:
        if paired:
            swap = draws[:, :n_in] < 0.5
            return auroc(torch.where(swap, ranks[:n_in], ranks[n_in:]).sum(dim=1))
        return auroc(ranks[draws.argsort(dim=1)[:, :n_out]].sum(dim=1))

    observed = float(auroc(ranks[n_in:].sum()))
    return _test(observed, permuted, n_in + n_out, alternative, n_permutations, seed)


def _test(
    observed: float,
    permuted: Callable[[Tensor], Tensor],
    n: int,
    alternative: Alternative,
    n_permutations: int,
    seed: int,
) -> PermutationTest:
    generator = torch.Generator().manual_seed(seed)
    step = max(1, _CHUNK_ENTRIES // n)
    rows = [min(step, n_permutations - start) for start in range(0, n_permutations, step)]
    null = torch.cat([permuted(torch.rand(r, n, generator=generator, dtype=torch.float64)) for r in rows])
    p_value = permutation_p_value(observed, null, alternative=alternative)
    return PermutationTest(observed, p_value, alternative, n_permutations)


# The mean place, from 1, of each value among all: equal values share it.
def _midranks(values: Float64[Tensor, " sample"]) -> Float64[Tensor, " sample"]:
    levels = levels_of(values)
    counts = torch.bincount(levels).double()
    return (counts.cumsum(0) - (counts - 1) / 2)[levels]


def _standardise(values: Float64[Tensor, " sample"]) -> Float64[Tensor, " sample"]:
    centred = values - values.mean()
    return centred / centred.norm()


def _check_pair(who: str, score: Tensor, error: Tensor, n_permutations: int, seed: int) -> None:
    checks.activations(who, "score", score, "sample")
    checks.activations(who, "error", error, "sample")
    checks.same_length(who, ("scores", "errors"), len(score), len(error))
    checks.count(who, "an n_permutations", n_permutations, 1)
    checks.count(who, "a seed", seed, 0)


@takes_arrays
def holm(p_values: Float[Tensor, " test"]) -> Float[Tensor, " test"]:
    """Adjust p-values for the number of tests, whatever their dependence.

    Formula: with p_(1) <= ... <= p_(m), adjusted p_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)). Rejecting
    what is at most alpha keeps the chance of any false claim at alpha or below.

    Args:
        p_values: One per test, in [0, 1], any order.

    Returns:
        Adjusted p-values in the same order, in [p, 1], dtype of the input.

    Raises:
        InputError: If there is no p-value, or one lies outside [0, 1].

    Source:
        Holm (1979), "A simple sequentially rejective multiple test procedure".

    Example:
        >>> adjusted = holm(torch.tensor([0.01, 0.04, 0.03]))
        >>> torch.testing.assert_close(adjusted, torch.tensor([0.03, 0.06, 0.06]))
    """
    checks.floating("holm", "p_values", p_values)
    checks.axes("holm", "p_values", p_values, "test")
    outside = int((~((p_values >= 0) & (p_values <= 1))).sum())
    if outside:
        raise InputError(f"holm needs p-values in [0, 1], got {outside} outside; leave undefined tests out.")
    order = p_values.double().argsort()
    factors = torch.arange(len(p_values), 0, -1, device=p_values.device)
    adjusted = torch.empty_like(p_values, dtype=torch.float64)
    adjusted[order] = (p_values.double()[order] * factors).clamp_max(1.0).cummax(dim=0).values
    return adjusted.to(p_values.dtype)
