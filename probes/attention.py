"""Where does each query look: how broadly, at which tokens, and does that depend on the prompt?

Patterns are [batch head query key], rows that sum to 1. Roles of tokens are masks that the caller gives; patterns
of linear attention, which are no distributions, are refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.ranks import count_chunks
from probes._core.results import cast_like, in_dtype
from probes.bootstrap import percentile_interval
from probes.curves import Curve, curve_over_prompts

__all__ = [
    "AttentionReport", "attention_mass", "attention_report", "attention_to", "normalised_entropy",
    "pattern_variability", "role_masks",
]  # fmt: skip


@takes_arrays
def role_masks(x_tokens: Bool[Tensor, " pos"], y_tokens: Bool[Tensor, " pos"]) -> dict[str, Bool[Tensor, "query key"]]:
    """Name the tokens that a query may look at.

    Formula: "self" key = query; "previous" key = query - 1; "x" and "y" the keys with that role, the query itself
    among them. Roles overlap, so their masses need not sum to 1.

    Args:
        x_tokens: Which positions hold inputs.
        y_tokens: Which positions hold labels.

    Returns:
        Masks by role.

    Source:
        Our choice of roles; copying by the previous token follows von Oswald et al. (2023), arXiv 2212.07677.

    Example:
        >>> masks = role_masks(torch.tensor([True, False]), torch.tensor([False, True]))
        >>> assert masks["x"].tolist() == [[True, False], [True, False]]
        >>> assert masks["previous"].tolist() == [[False, False], [True, False]]
    """
    checks.axes("role_masks", "x_tokens", x_tokens, "pos")
    checks.same_length("role_masks", ("x_tokens", "y_tokens"), len(x_tokens), len(y_tokens))
    n_pos = len(x_tokens)
    place = torch.arange(n_pos, device=x_tokens.device)
    lag = place[:, None] - place
    return {
        "self": lag == 0,
        "previous": lag == 1,
        "x": x_tokens.expand(n_pos, n_pos),
        "y": y_tokens.expand(n_pos, n_pos),
    }


@takes_arrays
def normalised_entropy(
    pattern: Float[Tensor, "batch head query key"], *, causal: bool = True
) -> Float[Tensor, "batch head query"]:
    """Measure how broadly each query looks.

    Formula: -sum_j a_j log a_j / log k over its k visible keys. Undefined (NaN) for a query that sees one key.

    Args:
        pattern: Attention after the softmax.
        causal: Whether query i sees the keys up to i only; otherwise it sees all.

    Returns:
        In [0, 1], 1 for uniform attention, dimensionless; computed in float64, dtype of the pattern.

    Raises:
        InputError: If the pattern has other axes, rows that are no distributions, or weight on invisible keys.

    Source:
        Shannon (1948); divided by its largest value, our choice.

    Example:
        >>> pattern = torch.tensor([[1.0, 0.0], [0.5, 0.5]])[None, None]
        >>> torch.testing.assert_close(normalised_entropy(pattern)[0, 0, 1], torch.tensor(1.0))
    """
    visible = _check_pattern("normalised_entropy", pattern, causal=causal)
    return in_dtype(_entropy(pattern.double(), visible), pattern.dtype)


@takes_arrays
def attention_mass(
    pattern: Float[Tensor, "batch head query key"], roles: Mapping[str, Bool[Tensor, "query key"]]
) -> dict[str, Float[Tensor, "batch head query"]]:
    """Measure how much attention each query pays to the keys of a role.

    Formula: sum of a_ij over the keys j that the role's mask allows for query i.

    Args:
        pattern: Attention after the softmax.
        roles: Masks by name, as from `role_masks`.

    Returns:
        Shares in [0, 1] by name, computed in float64, dtype of the pattern.

    Raises:
        InputError: If the pattern has other axes or rows that are no distributions, or a mask another shape.

    Example:
        >>> pattern = torch.tensor([[1.0, 0.0], [0.25, 0.75]])[None, None]
        >>> mass = attention_mass(pattern, {"self": torch.eye(2).bool()})
        >>> torch.testing.assert_close(mass["self"], torch.tensor([[[1.0, 0.75]]]))
    """
    _check_pattern("attention_mass", pattern, causal=False)
    _check_roles("attention_mass", pattern, roles)
    exact = pattern.double()
    return {name: in_dtype((exact * mask).sum(dim=3), pattern.dtype) for name, mask in roles.items()}


@takes_arrays
def attention_to(
    pattern: Float[Tensor, "batch head query key"], keys: Int64[Tensor, "batch query"]
) -> Float[Tensor, "batch head query"]:
    """Measure how much attention each query pays to one key, which may differ from prompt to prompt.

    Formula: a_ij with j = keys_i. Undefined (NaN) where no key is named.

    Args:
        pattern: Attention after the softmax.
        keys: The key of each query in each prompt; -1 names none.

    Returns:
        Shares in [0, 1], dtype of the pattern.

    Raises:
        InputError: If the pattern has other axes or rows that are no distributions, or the keys do not fit it.

    Source:
        Olsson et al. (2022), arXiv 2209.11895: a prefix-matching score is the attention to the token after an earlier
        copy of the query's token. Which token that is in a prompt of numbers is for the caller to say.

    Example:
        >>> pattern = torch.tensor([[1.0, 0.0], [0.25, 0.75]])[None, None]
        >>> attention_to(pattern, torch.tensor([[-1, 0]]))[0, 0]
        tensor([  nan, 0.2500])
    """
    _check_pattern("attention_to", pattern, causal=False)
    if (
        keys.shape != (len(pattern), pattern.shape[2])
        or not -1 <= int(keys.min()) <= int(keys.max()) < pattern.shape[3]
    ):
        raise InputError(
            f"attention_to needs one key per prompt and query, [{len(pattern)} {pattern.shape[2]}], each from -1 to "
            f"{pattern.shape[3] - 1}, got shape {tuple(keys.shape)} with {int(keys.min())} to {int(keys.max())}."
        )
    chosen = keys.clamp_min(0)[:, None, :, None].expand(-1, pattern.shape[1], -1, 1)
    return torch.where(keys[:, None] >= 0, pattern.gather(3, chosen)[..., 0], torch.nan)


@takes_arrays
def pattern_variability(pattern: Float[Tensor, "batch head query key"]) -> Float[Tensor, "batch head query"]:
    """Measure how far each prompt's pattern is from the mean pattern.

    Formula: (1/2) sum_j |a_ij - mean_b a_bij|, the total variation distance. 0 for a head that looks at the same
    positions in every prompt. Meaningless for one prompt.

    Args:
        pattern: Attention after the softmax.

    Returns:
        In [0, 1), dimensionless; computed in float64, dtype of the pattern.

    Raises:
        InputError: If the pattern has other axes or rows that are no distributions.

    Example:
        >>> pattern = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
        >>> torch.testing.assert_close(pattern_variability(pattern), torch.full((2, 1, 1), 0.5))
    """
    _check_pattern("pattern_variability", pattern, causal=False)
    exact = pattern.double()
    return in_dtype((exact - exact.mean(dim=0)).abs().sum(dim=3) / 2, pattern.dtype)


def _entropy(
    pattern: Float64[Tensor, "batch head query key"], visible: Bool[Tensor, "query key"]
) -> Float64[Tensor, "batch head query"]:
    limit = visible.sum(dim=1).double().log()
    entropy = torch.special.entr(pattern).sum(dim=3) / limit
    return torch.where(limit > 0, entropy.clamp(0.0, 1.0), torch.nan)


def _check_pattern(who: str, pattern: Tensor, *, causal: bool) -> Bool[Tensor, "query key"]:
    checks.activations(who, "pattern", pattern, "batch head query key")
    # A softmax in float16 sums to 1 up to a few of its units in the last place.
    slack = 16 * torch.finfo(pattern.dtype).eps
    worst = float((pattern.double().sum(dim=3) - 1.0).abs().max())
    if float(pattern.min()) < 0 or worst > slack:
        raise InputError(
            f"{who} needs rows that are distributions, got a least weight of {float(pattern.min()):.3g} and sums off 1 "
            f"by {worst:.1e}; linear attention has no such pattern, and scores need their softmax."
        )
    n_queries, n_keys = pattern.shape[2:]
    visible = torch.ones(n_queries, n_keys, dtype=torch.bool, device=pattern.device)
    if causal:
        visible = visible.tril(diagonal=n_keys - n_queries)
        hidden = float(pattern.amax(dim=(0, 1))[~visible].sum())
        if hidden > 0:
            raise InputError(f"{who} needs no weight on later keys, got some ({hidden:.3g}); pass causal=False.")
    return visible


def _check_roles(who: str, pattern: Tensor, roles: Mapping[str, Tensor]) -> None:
    for name, mask in roles.items():
        if mask.shape != pattern.shape[2:]:
            raise InputError(
                f"{who} needs masks [query key] = {tuple(pattern.shape[2:])}, got {tuple(mask.shape)} for role "
                f"{name!r}; use role_masks."
            )


@dataclass(frozen=True, eq=False, repr=False)
class AttentionReport:
    """What the heads of one layer look at, means over prompts and queries, one entry per head."""

    entropy: Curve
    """Entropy over log of the number of visible keys, in [0, 1]; 1 means uniform attention."""
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


@takes_arrays
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
        One entry per head, with intervals over prompts.

    Raises:
        InputError: As in the functions named above, or if no query is asked for.

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
    masks = (
        torch.stack([mask[keep].flatten() for mask in roles.values()]) if roles else exact.new_empty(0, seen.numel())
    )
    shares = (exact.flatten(2) @ masks.double().T / len(seen)).unbind(dim=2)  # of all roles at once
    mass = {
        name: curve_over_prompts(in_dtype(share, pattern.dtype), **bootstrap)
        for name, share in zip(roles, shares, strict=True)
    }
    distance = (exact - exact.mean(dim=0)).abs().sum(dim=3).mean(dim=2) / 2
    return AttentionReport(
        entropy=curve_over_prompts(in_dtype(_entropy(exact, visible[keep]).nanmean(dim=2), pattern.dtype), **bootstrap),
        mass=mass,
        chance={name: float((uniform * mask[keep]).sum(dim=1).mean()) for name, mask in roles.items()},
        variability=in_dtype(distance.mean(dim=0), pattern.dtype),
        variability_interval=cast_like(_distance_interval(distance, **bootstrap), pattern),
    )


def _distance_interval(
    distance: Float64[Tensor, "batch head"], *, seed: int = 0, n_bootstrap: int = 1000, confidence: float = 0.95
) -> Float64[Tensor, "head 2"]:
    checks.bootstrap("attention_report", seed, n_bootstrap, confidence)
    chunks = count_chunks((len(distance),), seed=seed, n_bootstrap=n_bootstrap)
    replicates = torch.cat([counts.double() @ distance.cpu() for counts in chunks]) / len(distance)
    return torch.tensor([list(percentile_interval(column, confidence)) for column in replicates.T]).double()


def _check_queries(who: str, queries: Tensor, n_queries: int) -> None:
    if queries.shape != (n_queries,) or not bool(queries.any()):
        raise InputError(
            f"{who} needs a mask over {n_queries} queries with at least one asked for, got shape "
            f"{tuple(queries.shape)} with {int(queries.sum())}; choose some."
        )
