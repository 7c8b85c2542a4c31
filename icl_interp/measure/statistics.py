"""Means over prompts with their bootstrap intervals."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes.bootstrap import Estimate, bootstrap_counts, percentile_interval

__all__ = ["N_RESAMPLES", "estimate_mean", "mean_band", "resampled_means"]

N_RESAMPLES = 1000
"""Bootstrap resamples of the prompts; equal counts and seeds resample alike, so differences are paired."""


def resampled_means(
    values: Float[Tensor, " sample"] | Float[Tensor, "sample point"], *, seed: int = 0
) -> Float64[Tensor, " resample"] | Float64[Tensor, "resample point"]:
    """Average over prompts, for each bootstrap resample of them.

    Args:
        values: One entry, or one row, a prompt.
        seed: Equal seeds and numbers of prompts resample alike.

    Returns:
        float64, in the unit of the values.
    """
    counts = bootstrap_counts(len(values), seed=seed, n_bootstrap=N_RESAMPLES).double()
    return torch.tensordot(counts, values.double(), dims=1) / len(values)


def estimate_mean(values: Float[Tensor, " sample"], *, seed: int = 0) -> Estimate:
    """Average over prompts, with a 95 % percentile interval.

    Args:
        values: One a prompt.
        seed: Of the bootstrap.

    Returns:
        In the unit of the values.
    """
    low, high = percentile_interval(resampled_means(values, seed=seed))
    return Estimate(float(values.double().mean()), low, high)


def mean_band(
    values: Float[Tensor, "sample point"], *, seed: int = 0
) -> tuple[Float64[Tensor, " point"], Float64[Tensor, " point"], Float64[Tensor, " point"]]:
    """Average over prompts at each point, with 95 % percentile bands.

    Args:
        values: One row a prompt.
        seed: Of the bootstrap.

    Returns:
        Mean, lower and upper band, in the unit of the values.
    """
    replicates = resampled_means(values, seed=seed)
    low, high = torch.quantile(replicates, torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return values.double().mean(0), low, high
