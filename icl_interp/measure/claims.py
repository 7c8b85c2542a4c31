"""How sure is each claim of a report? One p-value a claim, from the same interval that decides its verdict."""

import math
from collections.abc import Mapping

import numpy as np
import scipy.optimize
import scipy.stats
import torch

from icl_interp.measure.controls import Excess
from probes.multiple_tests import holm

__all__ = ["claim_p_value", "holm_p_values"]

_ROUNDING = 1e-15  # of means of equal numbers, relative to them


def claim_p_value(excess: Excess) -> float:
    """Find the least error probability at which a claim would still be called evidence.

    Formula: the larger of two one-sided p-values, since both halves of the claim must hold. That the excess is above
    0: the p at which excess = sqrt(t^2 s^2 (1 + 1/n) + z^2 v), t and z the quantiles at 1 - p, s^2 the variance over
    the n untrained networks and v the sampling variance that `excess_over_controls` was given. That the value is
    above chance: the normal p of (value - chance) / its standard error.

    Args:
        excess: With finite bounds.

    Returns:
        In [0, 1]; NaN where the excess has no interval. At most 1 - `excess.confidence` exactly where the verdict is
        evidence.

    Source:
        The interval is ours, and so is its p-value; the maximum is the intersection-union test of Berger (1982).

    Example:
        >>> from icl_interp.measure.controls import excess_over_controls
        >>> controls = [0.1, 0.12, 0.08, 0.1, 0.1]
        >>> assert claim_p_value(excess_over_controls(0.9, controls)) < 0.001
        >>> assert claim_p_value(excess_over_controls(0.1, controls)) > 0.4
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
    """Adjust the claims' p-values for their number.

    Args:
        claims: By name.

    Returns:
        By name; NaN where a claim has none, which then does not count.
    """
    found = {name: claim_p_value(excess) for name, excess in claims.items()}
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
