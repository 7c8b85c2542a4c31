"""What a model shows in excess of its controls: untrained networks, intervals, and one p-value per claim."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.optimize
import scipy.stats
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import derive_seed
from probes.bootstrap import Estimate, bootstrap_counts, percentile_interval
from probes.permutation import holm

N_UNTRAINED = 5
"""Untrained networks a study, unless told otherwise."""


def untrained_networks(of: HookedModel | ModelConfig, n: int = N_UNTRAINED, *, seed: int = 0) -> Sequence[HookedModel]:
    """Build networks of one architecture and initialisation that never saw data; none where nobody knows how."""
    seeds = [derive_seed(seed, f"untrained network {i}") for i in range(n)]
    return [build_model(of, seed=each) for each in seeds] if isinstance(of, ModelConfig) else of.untrained(seeds)


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
    """Compare a model with untrained networks on the same prompts, by `excess_over_controls`."""
    value, replicates = own
    return excess_over_controls(
        value,
        [control for control, _ in controls],
        sampling_variance=paired_variance(replicates, [theirs for _, theirs in controls]),
        n_verdicts=n_verdicts,
        chance=chance,
        value_variance=_variance_over(replicates),
    )


def _variance_over(replicates: Float[Tensor, " resample"]) -> float:
    """Give the variance over bootstrap resamples."""
    finite = replicates[replicates.isfinite()]
    return float(finite.var()) if len(finite) > 1 else math.nan


def paired_variance(
    replicates: Float[Tensor, " resample"], control_replicates: Sequence[Float[Tensor, " resample"]]
) -> float:
    """Give the variance over prompts of the excess, value - mean(controls)."""
    if not control_replicates:
        return 0.0
    return _variance_over(replicates - torch.stack(list(control_replicates)).mean(0))


_ROUNDING = 1e-15  # of means of equal numbers, relative to them


def _claim_p_value(excess: Excess) -> float:
    """Find the least error probability at which a claim would still be called evidence.

    Formula: the larger of two one-sided p-values, since both halves of the claim must hold. That the excess is above
    0: the p at which excess = sqrt(t^2 s^2 (1 + 1/n) + z^2 v), t and z the quantiles at 1 - p, s^2 the variance over
    the n untrained networks and v the sampling variance that `excess_over_controls` was given. That the value is
    above chance: the normal p of (value - chance) / its standard error.
    """
    if not math.isfinite(excess.low):
        return math.nan
    n = len(excess.controls)
    spread = float(np.var(excess.controls, ddof=1)) * (1 + 1 / n)
    t, z = _quantiles(excess.confidence, n)
    half = excess.excess - excess.low
    rounding = _ROUNDING * max(map(abs, (excess.value, *excess.controls)))
    sampling = max(0.0, half**2 - t**2 * spread) / z**2
    beyond = _tail(excess.excess, spread, sampling, n, rounding)
    if not math.isfinite(excess.chance) or not math.isfinite(excess.value_low):
        return beyond
    error = (excess.value - excess.value_low) / z
    return max(beyond, _tail(excess.value - excess.chance, 0.0, error**2, n, rounding))


def holm_p_values(claims: Mapping[str, Excess]) -> dict[str, float]:
    """Adjust the claims' p-values for their number."""
    found = {name: _claim_p_value(excess) for name, excess in claims.items()}
    defined = [name for name, p_value in found.items() if not math.isnan(p_value)]
    if not defined:
        return found
    adjusted = holm(torch.tensor([found[name] for name in defined], dtype=torch.float64))
    return found | dict(zip(defined, adjusted.tolist(), strict=True))


def _quantiles(confidence: float, n: int) -> tuple[float, float]:
    return float(scipy.stats.t.ppf(confidence, df=n - 1)), float(scipy.stats.norm.ppf(confidence))


def _tail(distance: float, spread: float, sampling: float, n: int, rounding: float) -> float:
    # One-sided and symmetric: p(-x) = 1 - p(x).
    if spread <= rounding**2 and sampling <= rounding**2:
        return 0.5 if abs(distance) <= rounding else float(distance < 0)

    def gap(log_p: float) -> float:
        t, z = (
            float(scipy.stats.t.isf(math.exp(log_p), df=n - 1)),
            float(scipy.stats.norm.isf(math.exp(log_p))),
        )
        return math.hypot(t * math.sqrt(spread), z * math.sqrt(sampling)) - abs(distance)  # t may be 1e260

    least = -600.0  # exp of it is the smallest p that is told from 0
    if gap(least) < 0:
        p_value = 0.0
    elif distance == 0.0:
        p_value = 0.5
    else:
        p_value = math.exp(float(scipy.optimize.brentq(gap, least, math.log(0.5))))
    return p_value if distance >= 0 else 1 - p_value


_N_RESAMPLES = 1000
"""Bootstrap resamples of the prompts; equal counts and seeds resample alike, so differences are paired."""


def resampled_means(
    values: Float[Tensor, " sample"] | Float[Tensor, "sample point"], *, seed: int = 0
) -> Float64[Tensor, " resample"] | Float64[Tensor, "resample point"]:
    """Average over prompts, for each bootstrap resample of them."""
    counts = bootstrap_counts(len(values), seed=seed, n_bootstrap=_N_RESAMPLES).double()
    return torch.tensordot(counts, values.double(), dims=1) / len(values)


def estimate_mean(values: Float[Tensor, " sample"], *, seed: int = 0) -> Estimate:
    """Average over prompts, with a 95 % percentile interval."""
    low, high = percentile_interval(resampled_means(values, seed=seed))
    return Estimate(float(values.double().mean()), low, high)


def mean_band(
    values: Float[Tensor, "sample point"], *, seed: int = 0
) -> tuple[Float64[Tensor, " point"], Float64[Tensor, " point"], Float64[Tensor, " point"]]:
    """Average over prompts at each point, with 95 % percentile bands."""
    replicates = resampled_means(values, seed=seed)
    low, high = torch.quantile(replicates, torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return values.double().mean(0), low, high
