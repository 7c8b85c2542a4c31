"""Untrained networks, and bootstrap resamples of the prompts that all networks read."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import derive_seed
from probes.bootstrap import Estimate, bootstrap_counts, percentile_interval

N_UNTRAINED = 10
"""Number of untrained networks per study, by default."""


def untrained_networks(of: HookedModel | ModelConfig, n: int = N_UNTRAINED, *, seed: int = 0) -> Sequence[HookedModel]:
    """Build networks of one architecture and initialisation that never saw data; none where nobody knows how."""
    return [make() for make in untrained_makers(of, n, seed=seed)]


def untrained_makers(
    of: HookedModel | ModelConfig, n: int = N_UNTRAINED, *, seed: int = 0
) -> Sequence[Callable[[], HookedModel]]:
    """Say how each of them is made, so that a network of ours need not exist before its turn."""
    seeds = [derive_seed(seed, f"untrained network {i}") for i in range(n)]
    if not isinstance(of, ModelConfig) and of.cfg.is_wrapped:
        return [partial(_made, network) for network in of.untrained(seeds)]
    config = of if isinstance(of, ModelConfig) else of.cfg
    return [partial(build_model, config, seed=each) for each in seeds]


def _made(network: HookedModel) -> HookedModel:
    return network


_N_RESAMPLES = 1000
"""Bootstrap resamples of the prompts; equal counts and seeds resample alike, so differences are paired."""


def resampled_means(
    values: Float[Tensor, " sample"] | Float[Tensor, "sample point"], *, seed: int = 0
) -> Float64[Tensor, " resample"] | Float64[Tensor, "resample point"]:
    """Average over prompts, for each bootstrap resample of them."""
    return torch.tensordot(_counts(len(values), seed), values.double(), dims=1) / len(values)


# Many numbers of the same prompts ask for the same resamples; nobody may change them in place.
@lru_cache(maxsize=4)
def _counts(n: int, seed: int) -> Float64[Tensor, "resample sample"]:
    return bootstrap_counts(n, seed=seed, n_bootstrap=_N_RESAMPLES).double()


def estimate_mean(values: Float[Tensor, " sample"], *, seed: int = 0) -> Estimate:
    """Average over prompts, with a 95 % percentile interval."""
    low, high = percentile_interval(resampled_means(values, seed=seed))
    return Estimate(float(values.double().mean()), low, high)


def mean_band(
    values: Float[Tensor, "sample point"], *, seed: int = 0
) -> tuple[Float64[Tensor, " point"], Float64[Tensor, " point"], Float64[Tensor, " point"]]:
    """Average over prompts at each point, with 95 % percentile bands."""
    replicates = resampled_means(values, seed=seed)
    low, high = torch.from_numpy(np.quantile(replicates.numpy(), [0.025, 0.975], axis=0))
    return values.double().mean(0), low, high
