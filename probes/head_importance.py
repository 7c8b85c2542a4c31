"""Which heads matter? The losses of a network in which each head was masked in turn.

The caller masks the heads; this file compares losses of the same prompts with and without them. A masked head takes the
network off its distribution, so part of an increase may come from that alone. The increase depends on the way of
masking: with the mean output in place of zero it may be larger or smaller.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.ranks import count_chunks
from probes._core.results import cast_like
from probes.bootstrap import Estimate, percentile_interval
from probes.curves import Curve, curve_over_prompts, estimate_mean

__all__ = ["HeadImportance", "PruningCurve", "head_importance", "pruning_curve", "pruning_masks"]


@dataclass(frozen=True, eq=False, repr=False)
class HeadImportance:
    """How much the loss rises without each head, and its share of the rises in its layer."""

    increase: Float[Tensor, "layer head"]
    """Mean masked loss minus mean loss, in loss units; negative where the network is better off without."""
    increase_low: Float[Tensor, "layer head"]
    """Lower ends of paired bootstrap intervals over prompts."""
    increase_high: Float[Tensor, "layer head"]
    """Upper ends."""
    importance: Float[Tensor, "layer head"]
    """Positive part of `increase` over its sum in the layer: shares that sum to 1; NaN in a layer without increases."""
    importance_low: Float[Tensor, "layer head"]
    """Lower ends of bootstrap intervals."""
    importance_high: Float[Tensor, "layer head"]
    """Upper ends."""
    entropy: Float[Tensor, " layer"]
    """Entropy of the shares over log n_heads, in [0, 1]: 0 for one dominant head; NaN for one head."""
    top_share: Float[Tensor, " layer"]
    """The largest share in each layer."""

    def __repr__(self) -> str:
        shares = ", ".join(f"{share:.2f}" for share in self.top_share.tolist())
        return f"HeadImportance(top_share=[{shares}], n_heads={self.increase.shape[1]})"


@dataclass(frozen=True, eq=False, repr=False)
class PruningCurve:
    """The loss with the most important heads kept, by how many."""

    losses: Curve
    """Mean loss at each number of kept heads."""
    n_kept: tuple[int, ...]
    """Number of kept heads."""
    n_needed: int | None
    """Least number from which the mean loss stays within `tolerance` of the whole network's; None if never."""
    full: Estimate
    """The whole network's loss."""
    tolerance: float
    """Largest allowed excess of the loss, relative to `full`."""

    def __repr__(self) -> str:
        return f"PruningCurve(n_needed={self.n_needed} of {self.n_kept[-1]}, full={self.full})"


@takes_arrays
def head_importance(
    masked_losses: Float[Tensor, "layer head batch"],
    losses: Float[Tensor, " batch"],
    *,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> HeadImportance:
    """Measure how much of a layer's work each head does.

    Formula: importance_lh = max(0, R_lh - R) / sum_h max(0, R_lh - R), with R the mean loss and R_lh the mean loss
    with the head's output masked. Blind to heads that stand in for each other.

    Args:
        masked_losses: Loss of each prompt without each head, on the same prompts.
        losses: Loss of each prompt by the whole network.
        seed: Seed of the bootstrap.
        n_bootstrap: Number of bootstrap resamples of prompts.
        confidence: The share of replicates inside each interval.

    Returns:
        Increases and shares with paired intervals, computed in float64, in the losses' dtype.

    Source:
        Chen, Zhao and Zou (2024), arXiv 2408.04532, figure 1(c); the normalisation within a layer is our reading.

    Example:
        >>> found = head_importance(torch.tensor([[[4.0, 4.0], [1.0, 1.0]]]), torch.ones(2))
        >>> torch.testing.assert_close(found.importance, torch.tensor([[1.0, 0.0]]))
    """
    _check_losses("head_importance", masked_losses, losses)
    checks.bootstrap("head_importance", seed, n_bootstrap, confidence)
    differences = (masked_losses.double() - losses.double()).cpu()
    increase = differences.mean(dim=2)
    # A rise below the rounding of the losses is none.
    floor = 8 * torch.finfo(losses.dtype).eps * float(losses.double().abs().mean())
    flat = differences.flatten(0, 1).T
    chunks = count_chunks((len(losses),), seed=seed, n_bootstrap=n_bootstrap)
    replicates = torch.cat([counts.double() @ flat for counts in chunks]) / len(losses)
    replicates = replicates.reshape(-1, *increase.shape)
    shares = _shares(increase, floor)
    entropy = torch.special.entr(shares).sum(dim=1) / torch.tensor(float(shares.shape[1])).double().log()
    increase_low, increase_high = _intervals(replicates, confidence)
    share_low, share_high = _intervals(_shares(replicates, floor), confidence)
    entropy = torch.where(entropy.isfinite(), entropy, torch.nan)
    tensors = (increase, increase_low, increase_high, shares, share_low, share_high, entropy, shares.amax(dim=1))
    return HeadImportance(*(cast_like(tensor, losses) for tensor in tensors))


@takes_arrays
def pruning_masks(importance: Float[Tensor, "layer head"]) -> Bool[Tensor, "kept layer head"]:
    """Say which heads to keep when only the n most important ones may stay.

    Formula: row n keeps the n largest entries, over all layers; equal ones in order of layer and head. Undefined
    shares (NaN) count as zero. Shares of different layers are hardly comparable; increases of the loss are.

    Args:
        importance: Importance of each head; larger ones are kept longer. `HeadImportance.increase`, or shares.

    Returns:
        n_layers * n_heads + 1 masks, from none to all.

    Source:
        Chen, Zhao and Zou (2024), arXiv 2408.04532, figure 1(d) (pruning); the order over layers is our choice.

    Example:
        >>> masks = pruning_masks(torch.tensor([[0.1, 3.0]]))
        >>> assert masks.tolist() == [[[False, False]], [[False, True]], [[True, True]]]
    """
    _check_axes_floating("pruning_masks", importance)
    order = importance.double().nan_to_num(0.0).flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    kept = torch.arange(len(order) + 1, device=order.device)
    return (rank < kept[:, None]).reshape(-1, *importance.shape)


@takes_arrays
def pruning_curve(
    losses_by_kept: Float[Tensor, "kept batch"],
    losses: Float[Tensor, " batch"],
    *,
    n_kept: tuple[int, ...] | None = None,
    tolerance: float = 0.05,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> PruningCurve:
    """Measure the number of heads that a network needs.

    Formula: L(n) is the mean loss with the n most important heads kept; n_needed is the least n such that
    L(m) <= (1 + tolerance) L for every m >= n that was measured. Importance and losses should come from different
    prompts, or the order has seen the answer.

    Args:
        losses_by_kept: Loss of each prompt, with one row per row of `pruning_masks` that was run.
        losses: Of each prompt by the whole network.
        n_kept: Number of heads that each row keeps, rising; None counts from 0.
        tolerance: How much larger the mean loss may be, relative to the whole network's.
        seed: Seed of the bootstrap.
        n_bootstrap: Number of bootstrap resamples of prompts.
        confidence: The share of replicates inside each interval.

    Returns:
        The curve in loss units and the number of heads needed.

    Raises:
        InputError: If n_kept does not rise.

    Source:
        Chen, Zhao and Zou (2024), arXiv 2408.04532, figure 1(d); the tolerance is our choice.

    Example:
        >>> losses_by_kept = torch.tensor([[9.0, 9.0], [1.0, 1.0], [1.0, 1.0]])
        >>> assert pruning_curve(losses_by_kept, torch.ones(2)).n_needed == 1
    """
    who = "pruning_curve"
    checks.activations(who, "losses_by_kept", losses_by_kept, "kept batch")
    checks.activations(who, "losses", losses, "batch")
    checks.same_length(who, ("prompts of losses_by_kept", "losses"), losses_by_kept.shape[1], len(losses))
    counts = tuple(range(len(losses_by_kept))) if n_kept is None else tuple(n_kept)
    checks.same_length(who, ("rows", "n_kept"), len(losses_by_kept), len(counts))
    if list(counts) != sorted(set(counts)):
        raise InputError(f"{who} needs rising n_kept, got {counts}; sort the rows.")
    if not tolerance >= 0:
        raise InputError(f"{who} needs a tolerance of at least 0, got {tolerance}; 0.05 is the default.")
    options = {"seed": seed, "n_bootstrap": n_bootstrap}
    full = estimate_mean(losses, **options, confidence=confidence)
    curve = curve_over_prompts(losses_by_kept.T, **options, confidence=confidence)
    means = losses_by_kept.double().mean(dim=1)
    rounding = 8 * torch.finfo(losses.dtype).eps
    fine = (means <= (1.0 + tolerance + rounding) * float(losses.double().mean())).long()
    stays = fine.flip(0).cumprod(dim=0).flip(0)  # fine from here to the end
    needed = counts[len(counts) - int(stays.sum())] if bool(stays.any()) else None
    return PruningCurve(curve, counts, needed, full, tolerance)


def _shares(
    increase: Float64[Tensor, "*bootstrap layer head"], floor: float
) -> Float64[Tensor, "*bootstrap layer head"]:
    positive = torch.where(increase > floor, increase, 0.0)
    total = positive.sum(dim=-1, keepdim=True)
    return torch.where(total > 0, positive / total, torch.nan)


def _intervals(
    replicates: Float64[Tensor, "bootstrap layer head"], confidence: float
) -> tuple[Float64[Tensor, "layer head"], Float64[Tensor, "layer head"]]:
    columns = replicates.flatten(1).T
    ends = torch.tensor([list(percentile_interval(column, confidence)) for column in columns]).double()
    low, high = ends.T.reshape(2, *replicates.shape[1:])
    return low, high


def _check_losses(who: str, masked_losses: Tensor, losses: Tensor) -> None:
    checks.activations(who, "masked_losses", masked_losses, "layer head batch")
    checks.activations(who, "losses", losses, "batch")
    checks.same_length(who, ("prompts of masked_losses", "losses"), masked_losses.shape[2], len(losses))


def _check_axes_floating(who: str, importance: Tensor) -> None:
    checks.activations(
        who, "importance", importance.nan_to_num(0.0) if importance.is_floating_point() else importance, "layer head"
    )
