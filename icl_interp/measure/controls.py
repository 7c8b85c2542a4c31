"""Controls that cannot be ignored: untrained networks, and what a model shows in excess of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import derive_seed

__all__ = [
    "Excess",
    "excess_of_replicates",
    "excess_over_controls",
    "paired_variance",
    "untrained_networks",
    "variance_over",
]

N_UNTRAINED = 5
"""Untrained networks a study, unless told otherwise."""


def untrained_networks(config: ModelConfig, n: int = N_UNTRAINED, *, seed: int = 0) -> list[HookedModel]:
    """Build networks of one config and initialisation that never saw data.

    Args:
        config: Of the model under study; its `init` is the file's own initialisation.
        n: How many.
        seed: Their weights come from streams of this seed that no training run uses.

    Returns:
        Networks that differ in their seeds only.
    """
    return [build_model(config, seed=derive_seed(seed, f"untrained network {i}")) for i in range(n)]


@dataclass(frozen=True, slots=True, repr=False)
class Excess:
    """One number of a model beside the same number of untrained networks."""

    value: float
    """Of the model; larger is more."""
    controls: tuple[float, ...]
    """Of each untrained network; empty where controls were switched off."""
    low: float
    """Lower end of the interval of the excess, value - mean(controls)."""
    high: float
    """Its upper end."""
    confidence: float
    """One-sided, of every interval here: 1 - 0.05 / m with m verdicts in a report."""
    chance: float = -math.inf
    """What the value itself must exceed for the claim to hold: 0 for a correlation, 0.5 for an AUROC."""
    value_low: float = math.inf
    """Lower end of the interval of the value over prompts."""

    @property
    def control(self) -> float:
        """Mean over the untrained networks; NaN without any."""
        return math.fsum(self.controls) / len(self.controls) if self.controls else math.nan

    @property
    def excess(self) -> float:
        """The model's value beyond its control."""
        return self.value - self.control

    @property
    def verdict(self) -> str:
        """Evidence if the excess lies above 0 and the value above chance, unknown without intervals, else none."""
        if not math.isfinite(self.low):
            return "unknown"
        return "evidence" if self.low > 0 and self.value_low > self.chance else "none"

    def __repr__(self) -> str:
        return (
            f"Excess({self.verdict}: {self.value:.3g} here, {self.control:.3g} untrained, "
            f"excess {self.excess:.3g} [{self.low:.3g}, {self.high:.3g}])"
        )


def excess_over_controls(
    value: float,
    controls: Sequence[float],
    *,
    sampling_variance: float = 0.0,
    n_verdicts: int = 1,
    chance: float = -math.inf,
    value_variance: float = 0.0,
) -> Excess:
    """Compare a model with untrained networks.

    Formula: excess = value - mean(controls), with the interval excess +- sqrt(t^2 s^2 (1 + 1/n) + z^2 v): s^2 is the
    variance over the n untrained networks, so that the model is asked to lie outside of what one more untrained
    network would show; v is the sampling variance of the excess over prompts; t and z are the quantiles of Student's
    distribution with n - 1 degrees of freedom and of the normal one at 1 - 0.05 / n_verdicts, so that all one-sided
    claims of a report hold together at 95 % (Bonferroni). The interval is ours; it is meaningless with fewer than two
    controls, and then it is NaN. Which prompts the signature was fitted on is held fixed and in no interval.

    Args:
        value: Of the model; larger must mean more.
        controls: The same number of untrained networks.
        sampling_variance: v, from `paired_variance` where there are bootstrap replicates.
        n_verdicts: How many claims the report makes.
        chance: What the value itself must exceed for the claim to hold, by a normal interval at the same confidence.
        value_variance: Sampling variance of the value alone over prompts.

    Returns:
        The excess with its interval.

    Example:
        >>> excess_over_controls(0.9, [0.1, 0.12, 0.08, 0.1, 0.1]).verdict
        'evidence'
        >>> excess_over_controls(0.1, [0.1, 0.12, 0.08, 0.1, 0.1]).verdict
        'none'
        >>> excess_over_controls(-0.1, [-0.3, -0.31, -0.29, -0.3, -0.3], chance=0.0).verdict
        'none'
    """
    confidence = 1 - 0.05 / n_verdicts
    held = tuple(float(control) for control in controls)
    if len(held) < 2 or not np.isfinite([value, sampling_variance, *held]).all():
        return Excess(value, held, math.nan, math.nan, confidence, chance)
    spread = float(np.var(held, ddof=1)) * (1 + 1 / len(held))
    t, z = float(scipy.stats.t.ppf(confidence, df=len(held) - 1)), float(scipy.stats.norm.ppf(confidence))
    half = math.sqrt(t**2 * spread + z**2 * sampling_variance)
    excess = value - math.fsum(held) / len(held)
    value_low = value - z * math.sqrt(value_variance)
    return Excess(value, held, excess - half, excess + half, confidence, chance, value_low)


def excess_of_replicates(
    own: tuple[float, Float[Tensor, " resample"]],
    controls: Sequence[tuple[float, Float[Tensor, " resample"]]],
    *,
    n_verdicts: int = 1,
    chance: float = -math.inf,
) -> Excess:
    """Compare a model with untrained networks on the same prompts, by `excess_over_controls`.

    Args:
        own: Of the model: the value, larger being more, and the value on bootstrap resamples of the prompts.
        controls: Of each untrained network, on the same resamples.
        n_verdicts: How many claims the report makes.
        chance: What the value itself must exceed for the claim to hold.

    Returns:
        The excess, with both variances over prompts in its intervals.

    Example:
        >>> around = torch.tensor([-0.01, 0.0, 0.01])  # resamples differ by that much
        >>> controls = [(value, value + around) for value in (0.1, 0.12, 0.08)]
        >>> excess_of_replicates((0.9, 0.9 + around), controls, chance=0.5).verdict
        'evidence'
        >>> excess_of_replicates((0.9, 0.9 + around), controls, chance=0.95).verdict
        'none'
    """
    value, replicates = own
    return excess_over_controls(
        value,
        [control for control, _ in controls],
        sampling_variance=paired_variance(replicates, [theirs for _, theirs in controls]),
        n_verdicts=n_verdicts,
        chance=chance,
        value_variance=variance_over(replicates),
    )


def variance_over(replicates: Float[Tensor, " resample"]) -> float:
    """Give the variance over bootstrap resamples.

    Args:
        replicates: Those that are not finite are left out.

    Returns:
        In squared units of the replicates; NaN if fewer than two are finite.
    """
    finite = replicates[replicates.isfinite()]
    return float(finite.var()) if len(finite) > 1 else math.nan


def paired_variance(
    replicates: Float[Tensor, " resample"], control_replicates: Sequence[Float[Tensor, " resample"]]
) -> float:
    """Give the variance over prompts of the excess, value - mean(controls).

    Args:
        replicates: Of the model's value, over bootstrap resamples of the prompts.
        control_replicates: Of each control, over the same resamples.

    Returns:
        In squared units of the value; 0 without controls.
    """
    if not control_replicates:
        return 0.0
    return variance_over(replicates - torch.stack(list(control_replicates)).mean(0))
