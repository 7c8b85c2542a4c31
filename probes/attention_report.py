"""What do the heads of a layer look at, over many prompts?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from probes._dtypes import _like, _result
from probes._errors import InputError
from probes.attention import _check_pattern, _check_roles, _entropy
from probes.bootstrap import _count_chunks, percentile_interval
from probes.curves import Curve, _check_bootstrap, curve_over_prompts

__all__ = ["AttentionReport", "attention_report"]


@dataclass(frozen=True, eq=False, repr=False)
class AttentionReport:
    """What the heads of one layer look at, means over prompts and queries, one entry a head."""

    entropy: Curve
    """Entropy over log of the number of visible keys, in [0, 1]: 1 looks everywhere alike."""
    mass: Mapping[str, Curve]
    """Share of attention on the keys of each role, in [0, 1]."""
    chance: Mapping[str, float]
    """What uniform attention over visible keys would put on each role."""
    variability: Float[Tensor, " head"]
    """Mean total variation distance of a prompt's pattern from the mean pattern, in [0, 1)."""
    variability_interval: Float[Tensor, "head 2"]
    """Bootstrap interval of `variability` over prompts, around the mean pattern of all."""

    def __repr__(self) -> str:
        entropy = ", ".join(f"{value:.2f}" for value in self.entropy.values.tolist())
        return f"AttentionReport(entropy=[{entropy}], roles={list(self.mass)}, n_prompts={self.entropy.n_prompts})"


def attention_report(
    pattern: Float[Tensor, "batch head query key"],
    roles: Mapping[str, Bool[Tensor, "query key"]],
    *,
    queries: Bool[Tensor, " query"] | None = None,
    causal: bool = True,
    **bootstrap: Any,
) -> AttentionReport:
    """Summarise what the heads of a layer look at.

    Formula: means over prompts and asked queries of `normalised_entropy`, `attention_mass`, `pattern_variability`.

    Args:
        pattern: Attention after the softmax.
        roles: Masks by name, as from `role_masks`.
        queries: Which queries count, such as the x tokens; None takes all.
        causal: Whether query i sees the keys up to i only.
        **bootstrap: `seed`, `n_bootstrap` and `confidence`, as in `curve_over_prompts`.

    Returns:
        One entry a head, with intervals over prompts.

    Raises:
        InputTypeError: If the pattern is no floating-point tensor.
        InputError: As in the functions named above, or if no query is asked for.

    Source:
        Our choice of summary.

    Example:
        >>> pattern = torch.eye(4).expand(8, 2, 4, 4)
        >>> report = attention_report(pattern, {"self": torch.eye(4).bool()})
        >>> torch.testing.assert_close(report.mass["self"].values, torch.ones(2))
        >>> torch.testing.assert_close(report.entropy.values, torch.zeros(2))
    """
    who = "attention_report"
    visible = _check_pattern(who, pattern, causal=causal)
    _check_roles(who, pattern, roles)
    keep = torch.ones(pattern.shape[2], dtype=torch.bool, device=pattern.device) if queries is None else queries
    _check_queries(who, keep, pattern.shape[2])
    exact = pattern[:, :, keep].double()
    seen = visible[keep].double()
    uniform = seen / seen.sum(dim=1, keepdim=True)
    mass = {
        name: curve_over_prompts(_result((exact * mask[keep]).sum(dim=3).mean(dim=2), pattern.dtype), **bootstrap)
        for name, mask in roles.items()
    }
    distance = (exact - exact.mean(dim=0)).abs().sum(dim=3).mean(dim=2) / 2
    return AttentionReport(
        entropy=curve_over_prompts(_result(_entropy(exact, visible[keep]).nanmean(dim=2), pattern.dtype), **bootstrap),
        mass=mass,
        chance={name: float((uniform * mask[keep]).sum(dim=1).mean()) for name, mask in roles.items()},
        variability=_result(distance.mean(dim=0), pattern.dtype),
        variability_interval=_like(_distance_interval(distance, **bootstrap), pattern),
    )


def _distance_interval(
    distance: Float64[Tensor, "batch head"], *, seed: int = 0, n_bootstrap: int = 1000, confidence: float = 0.95
) -> Float64[Tensor, "head 2"]:
    _check_bootstrap("attention_report", seed, n_bootstrap, confidence)
    chunks = _count_chunks((len(distance),), seed=seed, n_bootstrap=n_bootstrap)
    replicates = torch.cat([counts.double() @ distance.cpu() for counts in chunks]) / len(distance)
    return torch.tensor([list(percentile_interval(column, confidence)) for column in replicates.T]).double()


def _check_queries(who: str, queries: Tensor, n_queries: int) -> None:
    """Refuse a choice of queries that fits no pattern.

    Raises:
        InputError: If its length differs or it is empty.
    """
    if queries.shape != (n_queries,) or not bool(queries.any()):
        raise InputError(
            f"{who} needs a mask over {n_queries} queries with at least one asked for, got shape "
            f"{tuple(queries.shape)} with {int(queries.sum())}; choose some."
        )
