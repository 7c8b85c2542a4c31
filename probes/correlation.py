"""Does a score predict the error, within and across families of prompts?

Pooling families that differ in both makes a correlation trivially high, so the correlation within each family stands
beside the pooled one, the one of the family means, and a partial one given covariates such as input norms.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.ranks import (
    by_sample,
    count_chunks,
    partial_correlation,
    pearson,
    resampled_ranks,
    resampled_spearman,
    spearman_over_means,
    weighted_covariance,
)
from probes.bootstrap import Estimate, percentile_interval

__all__ = ["CorrelationReport", "score_error_correlation"]


@dataclass(frozen=True, eq=False, repr=False)
class CorrelationReport:
    """Correlations of a score with an error; all in [-1, 1], undefined ones NaN with a reason."""

    within: dict[str | int, Estimate]
    """Spearman inside each group, in order of first appearance."""
    within_mean: Estimate
    """Mean over the groups in which it is defined; differences between groups play no part."""
    pooled: Estimate
    """Spearman over all samples."""
    pooled_pearson: Estimate
    """Pearson over all samples."""
    between: Estimate
    """Spearman over the groups' means, with few units and so a wide interval."""
    partial: Estimate
    """Spearman over all samples given the covariates."""
    within_mean_replicates: Float64[Tensor, " bootstrap"]
    """`within_mean` on each resample; another score on the same samples, clusters and seed pairs up with it."""
    pooled_replicates: Float64[Tensor, " bootstrap"]
    """`pooled` on each resample, paired in the same way."""

    def __repr__(self) -> str:
        n_groups = len(self.within)
        return f"CorrelationReport(within_mean={self.within_mean}, pooled={self.pooled}, n_groups={n_groups})"


@takes_arrays
def score_error_correlation(
    score: Float[Tensor, " sample"],
    log_error: Float[Tensor, " sample"],
    *,
    groups: Sequence[str | int],
    covariates: Float[Tensor, "sample covariate"] | None = None,
    clusters: Int[Tensor, " sample"] | Sequence[int] | None = None,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
    resample: Literal["all", "within"] = "all",
) -> CorrelationReport:
    """Measure whether a score predicts the error, inside each group and across them.

    Formula: Spearman = Pearson of midranks; partial = Pearson of the residuals of score and error ranks after a linear
    regression on the covariates' ranks. Undefined (NaN with a reason) in a group whose score or error is constant,
    between fewer than three groups, and given covariates that are absent or explain everything.

    Intervals take samples to be independent unless `clusters` says which of them are not. Where all groups
    were built from the same random numbers, every group strays in the same direction: independent resamples
    then make the intervals of within_mean and pooled too narrow. Meaningless for a handful of clusters.

    Args:
        score: One number per sample, larger = further out.
        log_error: Logarithm of the sample's error.
        groups: Which family (shift) each sample belongs to.
        covariates: Quantities that a trivial rival knows, such as log norms of the inputs.
        clusters: Which random numbers each sample was built from, as a number, usually 0..n-1 in every group.
            Samples with equal numbers are resampled together, in whatever group: the j-th smallest of m
            numbers occurs as often as `bootstrap_counts(m, seed=seed)[:, j]` says, for all statistics alike.
            A group is undefined in a resample that holds none of it. None: all samples are independent.
        seed: Seed of the bootstrap. Without clusters it is stratified: the resamples of the i-th group depend on
            i, its size and this seed alone; with clusters they depend on m and this seed alone.
        n_bootstrap: Number of bootstrap resamples.
        confidence: The share of replicates inside each interval.
        resample: "within" leaves out the intervals and replicates across groups (NaN), which cost most of the time.

    Returns:
        Correlations with intervals, computed in float64.

    Raises:
        InputTypeError: If clusters are no integers.

    Source:
        Hill, Eyre and Creager (2025), arXiv 2507.09440, claim a high correlation with low loss; the kind of
        correlation and its units are not stated in what we could read, so several are given. Davison and
        Hinkley (1997), "Bootstrap Methods and their Application", section 3.8, for resampling whole clusters.

    Example:
        >>> score = torch.tensor([0.0, 1.0, 2.0, 10.0, 11.0, 12.0])
        >>> error = torch.tensor([2.0, 1.0, 0.0, 12.0, 11.0, 10.0])
        >>> report = score_error_correlation(score, error, groups=["near"] * 3 + ["far"] * 3)
        >>> torch.testing.assert_close(report.within_mean.value, -1.0)
        >>> assert report.pooled.value > 0.5  # the two families alone make it so
    """
    n = _check_arguments(score, log_error, groups, covariates, n_bootstrap, seed, confidence)
    ids = _cluster_ids(clusters, n)
    names, order, sizes = _sorted_by_group(groups)
    columns = [score, log_error, *(covariates.T if covariates is not None else [])]
    values = torch.stack([column.detach().double().cpu() for column in columns])[:, order]
    once = _statistics(values, sizes, torch.ones(1, n, dtype=torch.int64))[0]
    chunks = _resamples(sizes, None if ids is None else ids[order], seed=seed, n_bootstrap=n_bootstrap)
    statistics = _statistics if resample == "all" else _inside_groups
    replicates = torch.cat([statistics(values, sizes, counts) for counts in chunks])
    dtypes = score.dtype, log_error.dtype
    reasons = _reasons_within(values, sizes, dtypes) + _reasons_overall(values, len(names), covariates, dtypes)
    estimates = [
        _estimate(value, replicates[:, i], reason, confidence)
        for i, (value, reason) in enumerate(zip(once, reasons, strict=True))
    ]
    keep = [i for i in range(len(names)) if not reasons[i]]
    within_mean_replicates = replicates[:, keep].nanmean(dim=1)
    reason = "" if keep else "no group has a defined correlation"
    pooled, pooled_pearson, between, partial = estimates[len(names) :]
    return CorrelationReport(
        within=dict(zip(names, estimates[: len(names)], strict=True)),
        within_mean=_estimate(once[keep].mean(), within_mean_replicates, reason, confidence),
        pooled=pooled,
        pooled_pearson=pooled_pearson,
        between=between,
        partial=partial,
        within_mean_replicates=within_mean_replicates,
        pooled_replicates=replicates[:, len(names)],
    )


# One row per resample: Spearman in each group, then pooled, Pearson, between and partial.
# Rows of values: score, error, covariates.
def _statistics(
    values: Float64[Tensor, "row sample"], sizes: list[int], counts: Int64[Tensor, "bootstrap sample"]
) -> Float64[Tensor, "bootstrap statistic"]:
    weights = counts.double()
    ranks = weighted_covariance(resampled_ranks(values, weights), weights)
    raw = weighted_covariance(values[None, :2].expand(len(weights), -1, -1), weights)
    between = spearman_over_means(values[:2], weights, sizes)
    across = torch.stack([pearson(ranks), pearson(raw), between, partial_correlation(ranks)], dim=1)
    return torch.cat([_within(values, sizes, weights), across], dim=1)


# The same with NaN for what goes across groups.
def _inside_groups(
    values: Float64[Tensor, "row sample"], sizes: list[int], counts: Int64[Tensor, "bootstrap sample"]
) -> Float64[Tensor, "bootstrap statistic"]:
    within = _within(values, sizes, counts.double())
    return torch.cat([within, within.new_full((len(within), 4), torch.nan)], dim=1)


def _within(
    values: Float64[Tensor, "row sample"], sizes: list[int], weights: Float64[Tensor, "bootstrap sample"]
) -> Float64[Tensor, "bootstrap group"]:
    parts = zip(torch.split(values[:2], sizes, dim=1), torch.split(weights, sizes, dim=1), strict=True)
    found = [resampled_spearman(part[0].numpy(), part[1].numpy(), by_sample(weight)) for part, weight in parts]
    return torch.from_numpy(np.stack(found, axis=1))


# Places of the samples' clusters among the distinct ones, from 0.
def _cluster_ids(clusters: Tensor | Sequence[int] | None, n: int) -> Int64[Tensor, " sample"] | None:
    if clusters is None:
        return None
    ids = clusters.detach().cpu() if isinstance(clusters, Tensor) else torch.tensor(list(clusters))
    checks.ids("score_error_correlation", "clusters", ids, n)
    return torch.unique(ids, return_inverse=True)[1]


# How often each sample occurs in each resample: by group, or by cluster if there are any.
def _resamples(
    sizes: list[int], ids: Int64[Tensor, " sample"] | None, *, seed: int, n_bootstrap: int
) -> Iterator[Int64[Tensor, "bootstrap sample"]]:
    if ids is None:
        yield from count_chunks(tuple(sizes), seed=seed, n_bootstrap=n_bootstrap)
        return
    n_ids = int(ids.max()) + 1
    for counts in count_chunks((n_ids,), seed=seed, n_bootstrap=n_bootstrap, width=len(ids)):
        yield counts[:, ids]


def _estimate(value: Tensor, replicates: Tensor, reason: str, confidence: float) -> Estimate:
    if not reason and bool(value.isnan()):
        reason = "score or error does not vary once ranked and regressed"
    if reason:
        return Estimate(float("nan"), float("nan"), float("nan"), reason)
    interval = percentile_interval(replicates, confidence)
    return Estimate(float(value), interval.low, interval.high)


# Names by first appearance, the samples' order with each group side by side, and the groups' sizes.
def _sorted_by_group(groups: Sequence[str | int]) -> tuple[list[str | int], Int64[Tensor, " sample"], list[int]]:
    names = list(dict.fromkeys(groups))
    place = {name: i for i, name in enumerate(names)}
    codes = torch.tensor([place[group] for group in groups])
    return names, codes.argsort(stable=True), torch.bincount(codes).tolist()


def _reasons_within(
    values: Float64[Tensor, "row sample"], sizes: list[int], dtypes: tuple[torch.dtype, torch.dtype]
) -> list[str]:
    found = [_constant(part, dtypes) for part in torch.split(values[:2], sizes, dim=1)]
    return [f"constant {names} in this group" if names else "" for names in found]


def _reasons_overall(
    values: Float64[Tensor, "row sample"],
    n_groups: int,
    covariates: Tensor | None,
    dtypes: tuple[torch.dtype, torch.dtype],
) -> list[str]:
    constant = _constant(values[:2], dtypes)
    pooled = f"constant {constant}" if constant else ""
    few = "" if n_groups > 2 else f"needs at least three groups, got {n_groups}"
    absent = "" if covariates is not None else "no covariates were given"
    return [pooled, pooled, pooled or few, pooled or absent]


def _constant(values: Float64[Tensor, "row sample"], dtypes: tuple[torch.dtype, torch.dtype]) -> str:
    named = zip(("score", "error"), values, dtypes, strict=True)
    return " and ".join(name for name, row, dtype in named if bool(checks.is_constant(row, dtype=dtype)))


def _check_arguments(
    score: Tensor,
    log_error: Tensor,
    groups: Sequence[str | int],
    covariates: Tensor | None,
    n_bootstrap: int,
    seed: int,
    confidence: float,
) -> int:
    who, n = "score_error_correlation", len(groups)
    checks.activations(who, "score", score, "sample")
    checks.activations(who, "log_error", log_error, "sample")
    checks.same_length(who, ("scores", "log errors"), len(score), len(log_error))
    checks.same_length(who, ("scores", "groups"), len(score), n)
    if covariates is not None:
        checks.activations(who, "covariates", covariates, "sample covariate")
        checks.same_length(who, ("scores", "covariates"), len(score), len(covariates))
    checks.bootstrap(who, seed, n_bootstrap, confidence)
    return n
