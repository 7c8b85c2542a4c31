"""Exact answers for a quadratic loss, with the sampler's discretisation error."""

import math
from dataclasses import dataclass

from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError

__all__ = ["free_energy_crossover", "quadratic_learning_coefficient"]


@takes_arrays
def quadratic_learning_coefficient(
    curvatures: Float[Tensor, " rank"], *, nbeta: float, lr: float = 0.0, localization: float = 0.0
) -> Float64[Tensor, ""]:
    """Give the estimate that SGLD converges to on a quadratic loss, step-size error included.

    Formula: sum_i nbeta (h_i / 2) / (P_i (1 - lr P_i / 4)) with P_i = nbeta h_i + localization, for the loss
    sum_i h_i d_i^2 / 2 and full-batch gradients. Without a step (lr = 0) it is the Gibbs posterior's value, and without
    localization as well it is rank / 2. Minibatches add gradient noise, which lifts the estimate further.

    Args:
        curvatures: Hessian eigenvalues h_i of the directions that may move, not negative.
        nbeta: As for the sampler.
        lr: As for the sampler; 0 for the posterior itself.
        localization: As for the sampler.

    Returns:
        Dimensionless, float64; flat directions count 0.

    Raises:
        InputError: If a curvature is negative or not finite, or a direction's step is unstable (lr P_i >= 4).

    Source:
        Ours, from the stationary variance lr / (1 - (1 - lr P / 2)^2) of one direction's autoregression.

    Example:
        >>> import torch
        >>> value = quadratic_learning_coefficient(torch.full((20,), 2.0), nbeta=100.0, lr=1e-3)
        >>> round(float(value), 2)
        10.53
    """
    who = "quadratic_learning_coefficient"
    checks.activations(who, "curvatures", curvatures, "rank")
    h = curvatures.double()
    if float(h.min()) < 0:
        raise InputError(f"{who} needs curvatures that are not negative, got {float(h.min()):.3g}; take a minimum.")
    pull = nbeta * h + localization
    worst = lr * float(pull.max())
    if worst >= 4:
        raise InputError(
            f"{who} needs a stable step, lr * (nbeta * h + localization) < 4, got {worst:.3g}; lower lr or nbeta."
        )
    terms = nbeta * h / 2 / (pull * (1 - lr * pull / 4))
    return terms.nan_to_num(0.0).sum()  # 0 / 0 of a flat direction without localization


@dataclass(frozen=True)
class Crossover:
    """Where the free energies of two solutions cross."""

    n: float
    """Number of samples above which the more complex, more accurate solution is preferred; NaN if there is none."""
    reason: str = ""
    """Why there is no crossover; empty otherwise."""

    def __repr__(self) -> str:
        return f"Crossover(none: {self.reason})" if self.reason else f"Crossover(n={self.n:.4g})"


def free_energy_crossover(loss_gap: float, llc_gap: float) -> Crossover:
    """Find the number of samples at which Bayesian selection moves from a simple solution to an accurate one.

    Formula: log n / n = loss_gap / llc_gap with n > e, where loss_gap = l(simple) - l(accurate) and llc_gap =
    lambda(accurate) - lambda(simple); from -log Z_n = n l + lambda log n, lower orders dropped. n is only an analogue
    of training time.

    Args:
        loss_gap: Loss of the simple solution minus that of the accurate one, in the units of the coefficients.
        llc_gap: Learning coefficient of the accurate solution minus that of the simple one.

    Returns:
        The crossover, or why there is none. Where both gaps are negative the two have changed places, and n is where
        selection moves from the second solution to the first.

    Source:
        Carroll et al. (2025), "Dynamics of transient structure in in-context linear regression transformers", eq 8.

    Example:
        >>> n = free_energy_crossover(0.01, 10.0).n
        >>> abs(math.log(n) / n - 0.001) < 1e-9
        True
    """
    if loss_gap < 0 and llc_gap < 0:
        # The two have changed places: the second is the simple one, and what is asked is the same.
        return free_energy_crossover(-loss_gap, -llc_gap)
    if loss_gap <= 0:
        return Crossover(math.nan, "the complex solution is not more accurate, so it is never preferred")
    if llc_gap <= 0:
        return Crossover(math.nan, "the accurate solution is not more complex, so it is always preferred")
    ratio = loss_gap / llc_gap
    if ratio > 1 / math.e:
        return Crossover(math.nan, "the loss gap outweighs the complexity gap at any n")
    # log n / n falls beyond e: bisect log n between there and where it must lie below the ratio.
    low, high = 1.0, 2.0
    while high * math.exp(-high) > ratio:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if middle * math.exp(-middle) > ratio else (low, middle)
    return Crossover(math.exp(low))
