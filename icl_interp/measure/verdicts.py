"""A number of a model beside the same number of untrained networks: interval and verdict."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy.optimize
import scipy.special
import torch
from jaxtyping import Float
from torch import Tensor

VerdictWord = Literal["evidence", "opposite", "negligible", "inconclusive", "not applicable"]
Scale = Literal["identity", "logit", "log"]
"""Where a number is nearest to normal: "logit" for AUROCs, overlaps and shares, "log" for positive ratios."""

LEVEL = 0.05
"""Chance that any claim of a study is called evidence or opposite where nothing is learned."""
POWER = 0.8
"""Chance with which the smallest detectable effect is found."""
OF_SHARES, OF_CORRELATIONS = 0.05, 0.1
"""Smallest effects of interest: of an overlap, an AUROC or a share of error, and of a correlation. Our choice."""


@dataclass(frozen=True, slots=True, repr=False)
class Excess:
    """One number of a model beside the same number of untrained networks."""

    value: float
    """Number of the model; larger is more."""
    controls: tuple[float, ...]
    """Number of each untrained network; empty if there are none."""
    low: float
    """Lower end of the two-sided interval of the excess over control."""
    high: float
    """Upper end of the two-sided interval of the excess over control."""
    level: float
    """Level of this interval: 0.05 / m with m claims in a report."""
    p_value: float = math.nan
    """Two-sided p-value times m, at most 1: below 0.05 exactly where the verdict is "evidence" or "opposite"; NaN where
    no verdict applies."""
    detectable: float = math.nan
    """Smallest detectable effect: the excess that would have been found with 80 % power."""
    smallest: float = OF_SHARES
    """Smallest effect of interest, in units of the value."""
    chance: float = -math.inf
    """Bound that the value itself must exceed to be evidence: 0 for a correlation, 0.5 for an AUROC."""
    value_low: float = math.inf
    """Lower end of the interval of the value over prompts."""
    scale: Scale = "identity"
    """Scale on which the interval was formed."""
    sampling_variance: float = math.nan
    """Variance of the excess over prompts, on that scale."""
    gate: str | None = None
    """Claim that this one presupposes and that is not evidence; None if there is none."""

    @property
    def control(self) -> float:
        """Mean over the untrained networks; NaN without any."""
        return math.fsum(self.controls) / len(self.controls) if self.controls else math.nan

    @property
    def excess(self) -> float:
        """The model's value minus its control."""
        return self.value - self.control

    @property
    def interval(self) -> tuple[float, float]:
        """Of the excess."""
        return self.low, self.high

    @property
    def above_chance(self) -> bool:
        """Whether the value exceeds chance over its whole interval."""
        return self.value_low > self.chance

    @property
    def reason(self) -> str | None:
        """Reason why no verdict applies; None if one does."""
        if math.isnan(self.value):
            return "the model gives no such number"
        if not self.controls:
            return "there are no untrained networks to compare with"
        if len(self.controls) == 1:
            return "one untrained network shows no spread"
        if not math.isfinite(self.low):
            return "the numbers are not finite"
        return None if self.gate is None else f"it presupposes {self.gate}, which is not shown"

    @property
    def verdict(self) -> VerdictWord:
        """Evidence if the excess lies above 0 and the value above chance, opposite if the excess lies below 0."""
        if self.reason is not None:
            return "not applicable"
        if self.low > 0 and self.above_chance:
            return "evidence"
        if self.high < 0:
            return "opposite"
        return "negligible" if -self.smallest <= self.low and self.high <= self.smallest else "inconclusive"

    @property
    def matters(self) -> bool:
        """Whether the excess reaches the smallest effect of interest."""
        return abs(self.excess) >= self.smallest

    def __repr__(self) -> str:
        return (
            f"Excess({self.verdict}: {self.value:.3g} vs {self.control:.3g} in untrained networks, "
            f"difference {self.excess:.3g} [{self.low:.3g}, {self.high:.3g}])"
        )


def excess_over_controls(
    value: float,
    controls: Sequence[float],
    *,
    sampling_variance: float = 0.0,
    n_verdicts: int = 1,
    chance: float = -math.inf,
    value_variance: float = 0.0,
    smallest: float = OF_SHARES,
) -> Excess:
    """Compare a model with untrained networks, on the scale of the numbers themselves.

    Formula: excess = value - mean(controls), with the interval excess +- sqrt(t^2 s^2 (1 + 1/n) + z^2 v): s^2 is the
    variance over the n untrained networks, so that the model is asked to lie outside of what one more untrained
    network would show; v is the sampling variance of the excess over prompts; t and z are the quantiles of Student's
    distribution with n - 1 degrees of freedom and of the normal one at 1 - 0.025 / m, so that the two-sided intervals
    of all m claims of a report hold together at 95 % (Bonferroni). p = m times the two-sided level at which the
    interval would end at 0. Smallest detectable effect = (t at this level + t at 80 %) * sqrt(s^2 (1 + 1/n) + v), or
    what brings the value's own interval above chance as often, where that is more. All of it is ours; it needs at
    least two controls. Which prompts the signature was fitted on is held fixed and in no
    interval.
    """
    v = sampling_variance
    return _compare(value, controls, v, v, n_verdicts, chance, value_variance, smallest, "identity", 0)


def excess_of_replicates(
    own: tuple[float, Float[Tensor, " resample"]],
    controls: Sequence[tuple[float, Float[Tensor, " resample"]]],
    *,
    n_verdicts: int = 1,
    chance: float = -math.inf,
    smallest: float = OF_SHARES,
    scale: Scale = "identity",
    n_prompts: int = 0,
) -> Excess:
    """Compare a model with untrained networks on the same prompts, by `excess_over_controls` on a scale of its own.

    Whether the model lies outside of what one more untrained network would show is decided where the number is nearest
    to normal. The ends of the interval are those of untrained networks, mapped back, joined with the variance of the
    excess over prompts on the number's own scale as the two parts of a difference are (Zou and Donner 2008): far from
    the controls the choice of prompts moves the value, and a logit near 0 would hide that. On the logit scale half a
    prompt is added on both sides: p -> (p n + 1/2) / (n + 1).
    """
    value, replicates = own
    to, _ = scale_maps(scale, n_prompts)
    return _compare(
        value,
        [control for control, _ in controls],
        paired_variance(to(replicates), [to(theirs) for _, theirs in controls]),
        paired_variance(replicates, [theirs for _, theirs in controls]),
        n_verdicts,
        chance,
        variance_over(replicates),
        smallest,
        scale,
        n_prompts,
    )


_MOST_LOG = 700.0
"""Exponents beyond it overflow."""


def scale_maps(scale: Scale, n_prompts: int) -> tuple[Callable[[Tensor], Tensor], Callable[[float], float]]:
    """Give the way to a scale and the way back."""
    if scale == "log":
        return torch.log, lambda x: math.exp(min(x, _MOST_LOG))
    if scale == "identity":
        return lambda x: x, lambda x: x
    n = max(n_prompts, 1)

    def to(share: Tensor) -> Tensor:
        return torch.logit((share.double().clamp(0, 1) * n + 0.5) / (n + 1))

    def back(x: float) -> float:
        return min(1.0, max(0.0, (float(scipy.special.expit(x)) * (n + 1) - 0.5) / n))

    return to, back


def _compare(
    value: float,
    controls: Sequence[float],
    sampling: float,
    sampling_unscaled: float,
    n_verdicts: int,
    chance: float,
    value_variance: float,
    smallest: float,
    scale: Scale,
    n_prompts: int,
) -> Excess:
    held, level, nan = tuple(float(control) for control in controls), LEVEL / n_verdicts, math.nan
    to, back = scale_maps(scale, n_prompts)
    own, *others = to(torch.tensor([value, *held], dtype=torch.float64)).tolist()
    if len(held) < 2 or not np.isfinite([own, sampling, *others]).all():
        return Excess(value, held, nan, nan, level, nan, nan, smallest, chance, scale=scale, sampling_variance=sampling)
    n, center = len(held), math.fsum(others) / len(others)
    rounding = _ROUNDING * max(map(abs, (own, *others)))
    spread = float(np.var(others, ddof=1)) * (1 + 1 / n)
    spread, sampling = (0.0 if variance <= rounding**2 else variance for variance in (spread, sampling))
    distance = 0.0 if abs(own - center) <= rounding else own - center
    t, z = -float(scipy.special.stdtrit(n - 1, level / 2)), -float(scipy.special.ndtri(level / 2))
    half = math.sqrt(t**2 * spread + z**2 * sampling)
    power = float(scipy.special.stdtrit(n - 1, POWER))
    detectable = back(center + (t + power) * math.sqrt(spread + sampling)) - back(center)
    p_value = 2 * _tail(abs(distance), spread, sampling, n)
    value_low = math.inf
    if chance > -math.inf:
        value_low = value - z * math.sqrt(value_variance) if chance < math.inf else -math.inf
        needed = chance + (z + float(scipy.special.ndtri(POWER))) * math.sqrt(value_variance)
        if math.isfinite(needed):
            detectable = max(detectable, needed - math.fsum(held) / n)
        if distance >= 0:
            p_value = max(p_value, 2 * _tail(value - chance, 0.0, value_variance, n))
    above, below = (abs(back(center + sign * t * math.sqrt(spread)) - back(center)) for sign in (1, -1))
    over_prompts = z * math.sqrt(sampling_unscaled)
    low = value - back(center) - math.hypot(above, over_prompts)
    high = value - back(center) + math.hypot(below, over_prompts)
    if scale == "logit":
        low, high = max(low, -1.0), min(high, 1.0)
    tiny = math.ulp(0.0)  # the way back rounds; signs are those of the scale where the interval was formed
    return Excess(
        value,
        held,
        low=max(low, tiny) if distance > half else min(low, 0.0),
        high=min(high, -tiny) if -distance > half else max(high, 0.0),
        level=level,
        p_value=min(1.0, p_value * n_verdicts),
        detectable=detectable,
        smallest=smallest,
        chance=chance,
        value_low=value_low,
        scale=scale,
        sampling_variance=sampling,
    )


def beyond_both(excess: Excess, other: Excess) -> Excess:
    """Join two comparisons of one number with two kinds of controls: a verdict needs both of them.

    Formula: the interval goes from the smaller lower end to the larger upper end, so that evidence lies above both
    kinds of controls and the opposite below both; p is the larger of the two, 1 where they disagree about the sign. As
    both are needed, each keeps the level of its claim (an intersection-union test). The controls named are those of the
    first; chance is the mean of the other ones.
    """
    if excess.reason is not None:
        return excess
    agree = excess.excess * other.excess > 0
    return replace(
        excess,
        low=min(other.low, excess.low),  # NaN of the other stays NaN
        high=max(other.high, excess.high),
        p_value=max(other.p_value, excess.p_value) if agree else 1.0,
        detectable=max(other.detectable, excess.detectable),
        chance=other.control,
        value_low=other.control + other.low,
    )


def variance_over(replicates: Float[Tensor, " resample"]) -> float:
    """Give the variance over bootstrap resamples."""
    finite = replicates[replicates.isfinite()]
    return float(finite.var()) if len(finite) > 1 else math.nan


def paired_variance(
    replicates: Float[Tensor, " resample"], control_replicates: Sequence[Float[Tensor, " resample"]]
) -> float:
    """Give the variance over prompts of the excess, value - mean(controls)."""
    if not control_replicates:
        return 0.0
    return variance_over(replicates - torch.stack(list(control_replicates)).mean(0))


_ROUNDING = 1e-15
"""Of means of equal numbers, relative to them."""


def _tail(distance: float, spread: float, sampling: float, n: int) -> float:
    """Find the one-sided p at which distance = sqrt(t^2 spread + z^2 sampling), t and z the quantiles at 1 - p."""
    if math.isnan(sampling) or distance == -math.inf:
        return 1.0
    if distance < 0:
        return 1 - _tail(-distance, spread, sampling, n)
    if spread == sampling == 0.0:
        return 0.5 if distance == 0 else 0.0
    if spread == 0.0:
        return float(scipy.special.ndtr(-distance / math.sqrt(sampling)))
    if sampling == 0.0:
        return float(scipy.special.stdtr(n - 1, -distance / math.sqrt(spread)))

    def gap(log_p: float) -> float:
        p = math.exp(log_p)
        t, z = float(scipy.special.stdtrit(n - 1, p)), float(scipy.special.ndtri(p))
        return math.hypot(t * math.sqrt(spread), z * math.sqrt(sampling)) - distance  # t may be -1e260

    least = -600.0  # exp of it is the smallest p that is told from 0
    if distance == 0.0:
        return 0.5
    return 0.0 if gap(least) < 0 else math.exp(float(scipy.optimize.brentq(gap, least, math.log(0.5))))


def gated(claims: Mapping[str, Excess], gates: Mapping[str, str | None]) -> dict[str, Excess]:
    """Take the verdict from claims that presuppose another one where that is not evidence."""
    return {
        name: excess
        if (gate := gates.get(name)) is None or claims[gate].verdict == "evidence"
        else replace(excess, gate=gate, p_value=math.nan)
        for name, excess in claims.items()
    }
