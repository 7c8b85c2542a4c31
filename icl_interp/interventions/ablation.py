"""Ablate heads and MLPs, to zero or to their mean."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.activations import stream
from icl_interp.door import ModelLike, PromptsLike, as_model, as_prompts
from icl_interp.errors import InputError
from icl_interp.interventions.record import Edit, Intervention, Positions
from probes._core.arrays import takes_arrays


@takes_arrays
def ablate_heads(
    heads: Iterable[tuple[int, int]],
    *,
    means: Mapping[str, Float[Tensor, "pos head d_head"]] | None = None,
    positions: Positions = "all",
) -> Intervention:
    """Ablate attention heads.

    Formula: z_h <- 0 (masked, as Chen et al. do), or z_h <- its mean over reference prompts at each position.

    Args:
        heads: Pairs (layer, head), layers from 0.
        means: Means from `mean_activations` at each `blocks.{layer}.attn.hook_z`; None sets the heads to zero.
        positions: Positions to change; with means, those of prompts as long as the reference's.

    Returns:
        The intervention.

    Raises:
        InputError: If no head is named, or a layer's mean is missing.

    Source:
        Chen, Zhao and Zou (2024), arXiv 2408.04532, for masking.

    Example:
        >>> ablate_heads([(0, 1)]).edits[0].change(torch.ones(1, 1, 2, 1), [0]).flatten()
        tensor([1., 0.])
    """
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)
    if not by_layer:
        raise InputError("ablate_heads needs at least one (layer, head), got none.")
    names = {layer: f"blocks.{layer}.attn.hook_z" for layer in by_layer}
    _check_means("ablate_heads", names.values(), means)
    edits = [
        Edit(names[layer], partial(_silence_heads, chosen, None if means is None else means[names[layer]]), positions)
        for layer, chosen in by_layer.items()
    ]
    listed = ", ".join(f"{layer}.{head}" for layer, chosen in by_layer.items() for head in chosen)
    return Intervention(tuple(edits), f"{'mask' if means is None else 'mean-ablate'} heads {listed}")


@takes_arrays
def ablate_mlps(
    layers: Sequence[int],
    *,
    means: Mapping[str, Float[Tensor, "pos d_model"]] | None = None,
    positions: Positions = "all",
) -> Intervention:
    """Ablate MLPs.

    Formula: what the MLP adds becomes 0, or its mean over reference prompts at each position.

    Args:
        layers: Layers, from 0.
        means: Means from `mean_activations` at each `blocks.{layer}.hook_mlp_out`; None sets the MLPs to zero.
        positions: Positions to change; with means, those of prompts as long as the reference's.

    Returns:
        The intervention.

    Raises:
        InputError: If no layer is named, or a layer's mean is missing.
    """
    if not layers:
        raise InputError("ablate_mlps needs at least one layer, got none.")
    names = [f"blocks.{layer}.hook_mlp_out" for layer in layers]
    _check_means("ablate_mlps", names, means)
    edits = [Edit(name, partial(_silence, None if means is None else means[name]), positions) for name in names]
    listed = ", ".join(map(str, layers))
    return Intervention(tuple(edits), f"{'mask' if means is None else 'mean-ablate'} MLPs {listed}")


def mean_activations(
    model: ModelLike, prompts: PromptsLike, names: Sequence[str], *, batch_size: int = 256
) -> dict[str, Float[Tensor, "pos ..."]]:
    """Average activations over prompts, position by position.

    Args:
        model: The network.
        prompts: Reference prompts, usually in distribution.
        names: Hook names.
        batch_size: Number of prompts per forward pass.

    Returns:
        Means by name, on the CPU, accumulated in float64.

    Raises:
        InputError: If a name is unknown.
    """
    model, prompts = as_model("mean_activations", model), as_prompts("mean_activations", prompts)
    sums: dict[str, Tensor] = {}
    wide: dict[str, torch.dtype] = {}
    for batch in stream(model, prompts, names, batch_size=batch_size):
        for name in names:
            wide[name] = torch.promote_types(batch.activations[name].dtype, torch.float32)
            part = batch.activations[name].cpu().double().sum(0)
            sums[name] = sums[name] + part if name in sums else part
    return {name: (total / len(prompts)).to(wide[name]) for name, total in sums.items()}


def _silence_heads(heads: list[int], mean: Tensor | None, z: Tensor, positions: list[int]) -> Tensor:
    wrong = [head for head in heads if not 0 <= head < z.shape[2]]
    if wrong:
        raise InputError(f"ablate_heads needs heads from 0 to {z.shape[2] - 1}, got {wrong[0]}.")
    silenced = z.clone()
    silenced[:, :, heads] = 0.0 if mean is None else _at(mean, positions).to(z)[:, heads]
    return silenced


def _silence(mean: Tensor | None, added: Tensor, positions: list[int]) -> Tensor:
    return torch.zeros_like(added) if mean is None else _at(mean, positions).to(added).expand_as(added)


def _at(mean: Tensor, positions: list[int]) -> Tensor:
    if len(mean) <= max(positions):
        raise InputError(
            f"mean ablation needs a mean at position {max(positions)}, got {len(mean)} positions; compute the means on "
            "prompts that are as long."
        )
    return mean[positions]


def _check_means(who: str, names: Iterable[str], means: Mapping[str, Tensor] | None) -> None:
    missing = [] if means is None else [name for name in names if name not in means]
    if missing:
        raise InputError(f"{who} needs a mean at {missing[0]}, got none; pass mean_activations(model, prompts, names).")
