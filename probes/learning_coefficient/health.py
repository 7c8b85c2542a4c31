"""Can this estimate of a learning coefficient be trusted? Flags with a number and a limit; have the chains mixed?"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.results import short_repr

__all__ = ["FLAG_LIMITS", "HealthFlag", "LlcEvidence", "effective_sample_size", "health_flags", "split_rhat"]

# Limits are ours unless the flag's sentence names a source.
FLAG_LIMITS = {
    "diverged": 0.0,
    "negative": 0.0,
    "not_plateaued": 3.0,
    "rhat": 1.05,
    "few_effective_draws": 100.0,
    "low_acceptance": 0.5,
    "wandering": 3.0,
    "unstable_step": 2.0,
    "noisy_init_loss": 0.1,
}
"""What each flag's value is held against. Below the limit is bad for the draws and the acceptance, above it for the
others; `not_plateaued` and `wandering` also need a drift of more than 5 %."""
_SMALL_DRIFT = 0.05
_SENTENCES = {
    "diverged": "{value:.0f} of {n_chains} chains diverged and are left out",
    "negative": "the estimate is {value:.3g}",
    "not_plateaued": "the loss drifts between the halves of the draws by {value:.1f} standard errors (limit {limit:g})",
    "rhat": "split R-hat of the loss is {value:.3f} (limit {limit:g})",
    "few_effective_draws": "the loss has {value:.0f} effective draws (limit {limit:g})",
    "low_acceptance": "the matching MALA step accepts {value:.2f} (limit {limit:g})",
    "wandering": "|w - w*| drifts between the halves of the draws by {value:.1f} standard errors (limit {limit:g})",
    "unstable_step": "lr * (nbeta * h_max + localization) is {value:.3g} (limit {limit:g}, divergence at 4)",
    "noisy_init_loss": "the loss at w* is uncertain by {value:.1%} of the estimate (limit {limit:.0%})",
}
_ADVICE = {
    "diverged": "lower lr or nbeta, or raise localization",
    "negative": "w* is no minimum of this loss or the chains do not move; lower lr, or raise localization",
    "not_plateaued": "give more num_burnin_steps",
    "rhat": "give more num_draws and num_burnin_steps",
    "few_effective_draws": "give more num_draws or num_chains",
    "low_acceptance": "lower lr",
    "wandering": "give more num_burnin_steps or raise localization",
    "unstable_step": "lower lr",
    "noisy_init_loss": "give more num_init_loss_batches",
}


@takes_arrays
def split_rhat(traces: Float[Tensor, "chain draw"]) -> float:
    """Measure whether the halves of all chains agree with one another.

    Formula: sqrt(((n - 1) / n W + B / n) / W), with each chain split into two of n draws, W the mean variance within
    and B / n the variance of the means. One chain has two halves too. White noise in a trace, such as that of
    minibatches, hides slow mixing.

    Args:
        traces: One row per chain, at least four draws each.

    Returns:
        1 for chains that agree, more otherwise; infinity for constant halves that differ, 1 for a constant trace.

    Raises:
        InputError: If there are fewer than four draws.

    Source:
        Gelman et al. (2013), "Bayesian Data Analysis", 3rd edition, section 11.4.

    Example:
        >>> noise = torch.randn(4, 400, generator=torch.Generator().manual_seed(0))
        >>> apart = noise + 3 * torch.arange(4)[:, None]
        >>> split_rhat(noise) < 1.02 < 2 < split_rhat(apart)
        True
    """
    halves = _halves("split_rhat", traces)
    within, between = _variances(halves)
    if within == 0:
        return 1.0 if between == 0 else math.inf
    n = halves.shape[1]
    return math.sqrt((n - 1) / n + between / within)


@takes_arrays
def effective_sample_size(traces: Float[Tensor, "chain draw"]) -> float:
    """Measure how many independent draws would determine the mean as well as these correlated ones.

    Formula: N / (1 + 2 sum_t rho_t), rho_t = 1 - (W - mean autocovariance_t) / V over all split chains, summed in pairs
    while a pair is positive and not larger than the one before. White noise in a trace makes it look better mixed.

    Args:
        traces: One row per chain, at least four draws each.

    Returns:
        A number of draws, at most N log10 N for N draws in all; N for a constant trace.

    Raises:
        InputError: If there are fewer than four draws.

    Source:
        Geyer (1992), "Practical Markov chain Monte Carlo", section 3.3; Vehtari et al. (2021), "Rank-normalization,
        folding, and localization", equations 10 to 14 (without the ranks).

    Example:
        >>> noise = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
        >>> slow = noise.cumsum(dim=1)
        >>> effective_sample_size(slow) < 50 < 3000 < effective_sample_size(noise)
        True
    """
    halves = _halves("effective_sample_size", traces)
    total, n = halves.numel(), halves.shape[1]
    covariances = _autocovariances(halves).mean(dim=0)
    within, between = _variances(halves)
    pooled = (n - 1) / n * within + between
    if pooled == 0:
        return float(total)
    # The autocovariances divide by n; n / (n - 1) makes lag 0 agree with the variance within.
    rho = 1 - (within - covariances * n / (n - 1)) / pooled
    rho[0] = 1.0
    pairs = rho[: n // 2 * 2].reshape(n // 2, 2).sum(dim=1)
    positive = (pairs > 0).long().cumprod(dim=0)  # up to the first pair that is not
    kept = pairs.cummin(dim=0).values * positive
    length = max(2 * float(kept.sum()) - 1, 1 / math.log10(max(total, 10)))
    return total / length


def _halves(who: str, traces: Tensor) -> Tensor:
    checks.activations(who, "traces", traces, "chain draw")
    checks.count(who, "a number of draws", traces.shape[1], 4)
    n = traces.shape[1] // 2
    return torch.cat([traces[:, :n], traces[:, -n:]]).double()


# The mean variance within and the variance of the means; exactly 0 where that is all rounding.
def _variances(halves: Tensor) -> tuple[float, float]:
    constant = checks.is_constant(halves, dim=1)
    means = torch.where(constant, halves[:, 0], halves.mean(dim=1))
    within = torch.where(constant, 0.0, halves.var(dim=1)).mean()
    return float(within), 0.0 if bool(checks.is_constant(means)) else float(means.var())


def _autocovariances(chains: Tensor) -> Tensor:
    n = chains.shape[1]
    centred = chains - chains.mean(dim=1, keepdim=True)
    spectrum = torch.fft.rfft(centred, n=2 * n)
    return torch.fft.irfft(spectrum.abs().square(), n=2 * n)[:, :n] / n


@dataclass(frozen=True)
class HealthFlag:
    """One thing that can be wrong with an estimate."""

    name: str
    """A key of `FLAG_LIMITS`."""
    raised: bool
    """Whether something is wrong."""
    value: float
    """The number behind it; NaN where it could not be computed, which raises the flag."""
    limit: float
    """Limit that the number is compared with."""
    message: str
    """What was measured and, if raised, what to do."""

    def __repr__(self) -> str:
        return f"HealthFlag({self.name}{': RAISED' if self.raised else ''}, {self.message})"


@dataclass(frozen=True, eq=False)
class LlcEvidence:
    """The numbers behind the flags; traces hold the healthy chains only."""

    estimate: float
    """The learning coefficient."""
    nbeta: float
    """Factor that turns losses into units of the learning coefficient."""
    losses: Float64[Tensor, "chain draw"]
    """Losses at the draws."""
    distances: Float64[Tensor, "chain draw"]
    """|w - w*| at the draws."""
    acceptance: float
    """Mean acceptance of the matching MALA step; NaN if unchecked."""
    step_ratio: float
    """lr (nbeta h_max + localization), preconditioned where the sampler is; NaN if unknown."""
    init_loss_error: float
    """Standard error of the loss at w*."""
    n_diverged: int
    """Chains left out."""
    n_chains: int
    """All chains."""

    __repr__ = short_repr


def health_flags(evidence: LlcEvidence) -> tuple[HealthFlag, ...]:
    """Judge an estimate.

    Formula: see each flag. A drift is the difference between the means of the second and the first half of the draws;
    its standard error comes from the effective sample sizes of the halves. Limits are rules of thumb, not theorems: in
    a model with many parameters a MALA acceptance below 0.5 is common though every single direction is accurate.

    Args:
        evidence: What was measured.

    Returns:
        One flag for each key of `FLAG_LIMITS`, in that order. Without a healthy chain all flags on chains are raised.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> losses = 1 + torch.randn(4, 500, generator=generator).double() / 100
        >>> evidence = LlcEvidence(5.0, 10.0, losses, losses, 0.9, 0.2, 0.0, 0, 4)
        >>> [flag.name for flag in health_flags(evidence) if flag.raised]
        []
    """
    values = {
        "diverged": float(evidence.n_diverged),
        "negative": evidence.estimate,
        "not_plateaued": _drift(evidence.losses, evidence.estimate / evidence.nbeta),
        "rhat": _or_nan(split_rhat, evidence.losses),
        "few_effective_draws": _or_nan(effective_sample_size, evidence.losses),
        "low_acceptance": evidence.acceptance,
        "wandering": _drift(evidence.distances, None),
        "unstable_step": evidence.step_ratio,
        "noisy_init_loss": evidence.nbeta * evidence.init_loss_error / max(abs(evidence.estimate), 1e-300),
    }
    return tuple(_flag(name, value, evidence) for name, value in values.items())


def find_flag(flags: Sequence[HealthFlag], name: str) -> HealthFlag:
    """Pick a flag by name."""
    checks.option("flag", "name", name, FLAG_LIMITS)
    return next(flag for flag in flags if flag.name == name)


def _flag(name: str, value: float, evidence: LlcEvidence) -> HealthFlag:
    limit = FLAG_LIMITS[name]
    low_is_bad = name in {"negative", "few_effective_draws", "low_acceptance"}
    fine = value >= limit if low_is_bad else value <= limit
    message = _SENTENCES[name].format(value=value, limit=limit, n_chains=evidence.n_chains)
    return HealthFlag(name, not fine, value, limit, message if fine else f"{message}; {_ADVICE[name]}")


def _or_nan(measure: Callable[[Tensor], float], traces: Tensor) -> float:
    if traces.shape[0] == 0 or traces.shape[1] < 4:
        return math.nan
    return measure(traces)


def _drift(traces: Tensor, scale: float | None) -> float:
    # In standard errors; 0 where it is small against the scale (the mean itself, if None).
    n = traces.shape[1] // 2
    if traces.shape[0] == 0 or n < 4:
        return math.nan
    halves = traces[:, :n], traces[:, -n:]
    difference = float(halves[1].mean() - halves[0].mean())
    reference = abs(float(traces.mean()) if scale is None else scale)
    # Halves that are equal up to rounding have not drifted, even where the reference is 0.
    rounding = 8 * torch.finfo(traces.dtype).eps * float(traces.abs().max())
    if abs(difference) <= max(_SMALL_DRIFT * reference, rounding):
        return 0.0
    variance = sum(_variances(half)[0] / effective_sample_size(half) for half in halves)
    return abs(difference) / math.sqrt(variance) if variance > 0 else math.inf
