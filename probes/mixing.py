"""Have the chains mixed? Split R-hat and effective sample size of traces."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from probes._checks import _check_activations, _check_count, _is_constant

__all__ = ["effective_sample_size", "split_rhat"]


def split_rhat(traces: Float[Tensor, "chain draw"]) -> float:
    """Measure whether the halves of all chains agree with one another.

    Formula: sqrt(((n - 1) / n W + B / n) / W), with each chain split into two of n draws, W the mean variance within
    and B / n the variance of the means. One chain has two halves too. White noise in a trace, such as that of
    minibatches, hides slow mixing.

    Args:
        traces: One row a chain, at least four draws each.

    Returns:
        1 for chains that agree, more otherwise; infinity for constant halves that differ, 1 for a constant trace.

    Raises:
        InputTypeError: If the traces are no floating-point tensor.
        InputError: If there are fewer than four draws, or one is not finite.

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


def effective_sample_size(traces: Float[Tensor, "chain draw"]) -> float:
    """Measure how many independent draws say as much about the mean as these correlated ones.

    Formula: N / (1 + 2 sum_t rho_t), rho_t = 1 - (W - mean autocovariance_t) / V over all split chains, summed in pairs
    while a pair is positive and not larger than the one before. White noise in a trace makes it look better mixed.

    Args:
        traces: One row a chain, at least four draws each.

    Returns:
        A number of draws, at most N log10 N for N draws in all; N for a constant trace.

    Raises:
        InputTypeError: If the traces are no floating-point tensor.
        InputError: If there are fewer than four draws, or one is not finite.

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
    _check_activations(who, "traces", traces, "chain draw")
    _check_count(who, "a number of draws", traces.shape[1], 4)
    n = traces.shape[1] // 2
    return torch.cat([traces[:, :n], traces[:, -n:]]).double()


# The mean variance within and the variance of the means; exactly 0 where that is all rounding.
def _variances(halves: Tensor) -> tuple[float, float]:
    constant = _is_constant(halves, dim=1)
    means = torch.where(constant, halves[:, 0], halves.mean(dim=1))
    within = torch.where(constant, 0.0, halves.var(dim=1)).mean()
    return float(within), 0.0 if bool(_is_constant(means)) else float(means.var())


def _autocovariances(chains: Tensor) -> Tensor:
    n = chains.shape[1]
    centred = chains - chains.mean(dim=1, keepdim=True)
    spectrum = torch.fft.rfft(centred, n=2 * n)
    return torch.fft.irfft(spectrum.abs().square(), n=2 * n)[:, :n] / n
