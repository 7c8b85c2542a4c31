"""How uncertain is a number, and how far is it above its control?

The bootstrap draws samples (prompts) with replacement. Which ones depends on the number of samples and the
seed alone: two score sets on the same prompts, say of a model and of its untrained control, are resampled
identically under one seed, so that differences of their replicates are paired. Sets whose i-th samples were
built from the same random numbers are not independent: give them the same stream, or one id per sample.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.ranks import count_chunks

__all__ = ["Estimate", "Interval", "bootstrap_counts", "estimate_difference", "percentile_interval"]


class Interval(NamedTuple):
    """A percentile bootstrap interval; NaN where no replicate was defined."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap interval."""

    value: float
    """The estimate on all samples; NaN where it is undefined."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    reason: str = ""
    """Why the value is NaN; empty otherwise."""

    def __repr__(self) -> str:
        if self.reason:
            return f"Estimate(nan, {self.reason})"
        return f"Estimate({self.value:.3f}, [{self.low:.3f}, {self.high:.3f}])"


def bootstrap_counts(
    n: int, *, seed: int = 0, n_bootstrap: int = 2000, stream: int = 0
) -> Int64[Tensor, "bootstrap n"]:
    """Draw how often each of n samples occurs in each bootstrap resample.

    Formula: row b counts n independent draws from 0..n-1. Meaningless as a measure of uncertainty when n is a handful.

    Args:
        n: Number of samples.
        seed: Equal n, seed and stream give equal rows, and fewer resamples are the first rows of more.
        n_bootstrap: Number of bootstrap resamples.
        stream: A number for each of several sets (or groups) that are resampled independently; sets whose
            i-th samples share their random numbers take the same one.

    Returns:
        Counts that sum to n in each row.

    Source:
        Efron and Tibshirani (1993), "An Introduction to the Bootstrap", chapter 6.

    Example:
        >>> counts = bootstrap_counts(4, seed=1, n_bootstrap=3)
        >>> torch.testing.assert_close(counts.sum(dim=1), torch.tensor([4, 4, 4]))
        >>> torch.testing.assert_close(bootstrap_counts(4, seed=1, n_bootstrap=2), counts[:2])
    """
    checks.count("bootstrap_counts", "a number of samples n", n, 1)
    checks.count("bootstrap_counts", "an n_bootstrap", n_bootstrap, 1)
    checks.count("bootstrap_counts", "a seed", seed, 0)
    checks.count("bootstrap_counts", "a stream", stream, 0)
    chunks = list(count_chunks((n,), seed=seed, n_bootstrap=n_bootstrap, first_stream=stream))
    return torch.cat(chunks)


@takes_arrays
def percentile_interval(replicates: Float[Tensor, " bootstrap"], confidence: float = 0.95) -> Interval:
    """Read an interval off bootstrap replicates.

    Formula: the (1 - c)/2 and (1 + c)/2 quantiles of the replicates that are defined. Too narrow for a
    handful of samples, and for statistics that are biased under resampling.

    Args:
        replicates: The statistic on each resample; NaN where it was undefined.
        confidence: The share c of replicates inside.

    Returns:
        Lower and upper end in the statistic's unit; NaN when no replicate is defined.

    Source:
        Efron and Tibshirani (1993), chapter 13.

    Example:
        >>> interval = percentile_interval(torch.arange(101.0), confidence=0.9)
        >>> torch.testing.assert_close(tuple(interval), (5.0, 95.0))
    """
    checks.floating("percentile_interval", "replicates", replicates)
    checks.axes("percentile_interval", "replicates", replicates, "bootstrap")
    checks.confidence("percentile_interval", confidence)
    defined = replicates.double()[~replicates.isnan()]
    if len(defined) == 0:
        return Interval(float("nan"), float("nan"))
    # numpy, because torch.quantile refuses more than 16 million entries.
    low, high = np.quantile(defined.cpu().numpy(), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


@takes_arrays
def estimate_difference(
    value: float,
    control: float,
    replicates: Float[Tensor, " bootstrap"],
    control_replicates: Float[Tensor, " bootstrap"],
    *,
    confidence: float = 0.95,
) -> Estimate:
    """Measure how far a number exceeds its control.

    Formula: value - control, with the percentile interval of the replicates' differences. The interval is a paired one
    if both came from the same prompts and seed; it is too wide, not wrong, if the two were resampled independently.

    Args:
        value: The statistic of the model, on all samples.
        control: The statistic of the control, in the same unit.
        replicates: The model's bootstrap replicates.
        control_replicates: The control's, in the same order.
        confidence: The share of replicates inside the interval.

    Returns:
        The excess with its interval, in the statistic's unit.

    Source:
        Efron and Tibshirani (1993), chapter 8 (one resample for both).

    Example:
        >>> noisy = torch.randn(500, generator=torch.Generator().manual_seed(0))
        >>> excess = estimate_difference(0.9, 0.6, 0.9 + noisy, 0.6 + noisy)
        >>> torch.testing.assert_close(excess.low, 0.3, rtol=0, atol=1e-6)  # the shared noise cancels
    """
    checks.same_length(
        "estimate_difference", ("replicates", "control replicates"), len(replicates), len(control_replicates)
    )
    interval = percentile_interval(replicates - control_replicates, confidence)
    difference = value - control
    reason = "the value or its control is undefined" if np.isnan(difference) else ""
    return Estimate(difference, interval.low, interval.high, reason)
