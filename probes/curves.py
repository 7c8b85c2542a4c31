"""What is the mean of a quantity over prompts, and how uncertain is it?

Prompts are the unit of resampling: entries of one prompt are not independent.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.ranks import count_chunks
from probes._core.results import cast_like
from probes.bootstrap import Estimate, percentile_interval

__all__ = ["Curve", "curve_over_prompts", "estimate_mean"]


@dataclass(frozen=True, eq=False, repr=False)
class Curve:
    """A mean over prompts at each entry, with bootstrap intervals over prompts."""

    values: Float[Tensor, " point"]
    """Mean over the prompts in which the entry is defined; NaN if there are none."""
    low: Float[Tensor, " point"]
    """Lower ends, each for its entry alone."""
    high: Float[Tensor, " point"]
    """Upper ends."""
    mean: Estimate
    """Mean over the entries that are defined."""
    mean_replicates: Float64[Tensor, " bootstrap"]
    """`mean` on each resample; equal numbers of prompts and seeds give equal resamples, so two curves pair up."""
    n_prompts: int
    """Number of prompts."""

    def __repr__(self) -> str:
        return f"Curve(mean={self.mean}, n_points={len(self.values)}, n_prompts={self.n_prompts})"


@takes_arrays
def curve_over_prompts(
    values: Float[Tensor, "batch point"], *, seed: int = 0, n_bootstrap: int = 1000, confidence: float = 0.95
) -> Curve:
    """Average a quantity over prompts, entry by entry.

    Formula: at entry k the mean over prompts b of v_bk; NaN entries are left out. Meaningless for a handful
    of prompts, whose interval is too narrow; one prompt has an interval of width zero.

    Args:
        values: One number per prompt and entry, any unit; NaN where it is undefined.
        seed: Seed of the bootstrap.
        n_bootstrap: Number of bootstrap resamples of prompts.
        confidence: The share of replicates inside each interval.

    Returns:
        Means in the unit of the values and their dtype, computed in float64.

    Source:
        Efron and Tibshirani (1993), chapters 6 and 13.

    Example:
        >>> curve = curve_over_prompts(torch.tensor([[1.0, 5.0], [3.0, float("nan")]]))
        >>> torch.testing.assert_close(curve.values, torch.tensor([2.0, 5.0]))
        >>> torch.testing.assert_close(curve.mean.value, 3.5)
    """
    checks.floating("curve_over_prompts", "values", values)
    checks.axes("curve_over_prompts", "values", values, "batch point")
    checks.bootstrap("curve_over_prompts", seed, n_bootstrap, confidence)
    exact = values.detach().double().cpu()
    means = _weighted_means(exact, torch.ones(1, len(exact), dtype=torch.float64))[0]
    replicates = _replicates(exact, seed, n_bootstrap)
    ends = torch.tensor([list(percentile_interval(column, confidence)) for column in replicates.T])
    mean_replicates = replicates.nanmean(dim=1)
    return Curve(
        values=cast_like(means, values),
        low=cast_like(ends[:, 0], values),
        high=cast_like(ends[:, 1], values),
        mean=_estimate(float(means.nanmean()), mean_replicates, confidence),
        mean_replicates=mean_replicates,
        n_prompts=len(values),
    )


@takes_arrays
def estimate_mean(
    values: Float[Tensor, " batch"], *, seed: int = 0, n_bootstrap: int = 1000, confidence: float = 0.95
) -> Estimate:
    """Average a quantity over prompts.

    Formula: the mean over the prompts in which it is defined (not NaN), with a percentile interval.

    Args:
        values: One number per prompt, any unit; NaN where it is undefined.
        seed: Seed of the bootstrap.
        n_bootstrap: Number of bootstrap resamples of prompts.
        confidence: The share of replicates inside the interval.

    Returns:
        The mean with its interval, in the unit of the values; NaN with a reason if no prompt defines it.

    Source:
        Efron and Tibshirani (1993), chapters 6 and 13.

    Example:
        >>> torch.testing.assert_close(estimate_mean(torch.tensor([1.0, 3.0])).value, 2.0)
    """
    checks.floating("estimate_mean", "values", values)
    checks.axes("estimate_mean", "values", values, "batch")
    return curve_over_prompts(values[:, None], seed=seed, n_bootstrap=n_bootstrap, confidence=confidence).mean


def _estimate(value: float, replicates: Float64[Tensor, " bootstrap"], confidence: float) -> Estimate:
    interval = percentile_interval(replicates, confidence)
    reason = "it is undefined in every prompt" if value != value else ""
    return Estimate(value, interval.low, interval.high, reason)


def _replicates(
    values: Float64[Tensor, "batch point"], seed: int, n_bootstrap: int
) -> Float64[Tensor, "bootstrap point"]:
    chunks = count_chunks((len(values),), seed=seed, n_bootstrap=n_bootstrap)
    return torch.cat([_weighted_means(values, counts.double()) for counts in chunks])


# Means over the defined entries; NaN where a resample holds none.
def _weighted_means(
    values: Float64[Tensor, "batch point"], counts: Float64[Tensor, "bootstrap batch"]
) -> Float64[Tensor, "bootstrap point"]:
    defined = ~values.isnan()
    totals = counts @ torch.where(defined, values, 0.0)
    return totals / (counts @ defined.double())
