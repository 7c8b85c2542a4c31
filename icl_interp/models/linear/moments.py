"""Answers of a linear network from moments of its context: no sequence is run, whatever the number of points.

A linear layer sees its keys only through G = sum_i e_i e_i^T / c, and maps every token e to e T(G). So G after a
layer is T^T G T, and a network of K layers costs K products of small matrices per point, from moments that
one cumulative sum gives for all points at once.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.models.config import ModelConfig
from icl_interp.models.layout import with_positions
from icl_interp.models.linear.components import LinearBlock, context_divisor

_MOST_FLOATS = 2**24
"""Second moments at a time; larger batches are split."""


def read_of(block: LinearBlock) -> Float[Tensor, " d_model"]:
    """Give what a block reads its answer from, after attention."""
    if hasattr(block, "mlp"):
        return block.mlp.W_in @ block.mlp.W_out[:, -1]
    weight = block.attn.W_Q
    return torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)[block.attn.config.answer_coordinate]


def value_read_of(block: LinearBlock) -> Float[Tensor, "head d_model"]:
    """Give what each head's values are weighted by in the answer."""
    return (block.attn.W_V @ (block.attn.W_O @ read_of(block))[..., None])[..., 0]


def answer_points(
    blocks: Sequence[LinearBlock],
    config: ModelConfig,
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    asked: Sequence[int],
) -> Float[Tensor, "batch asked"]:
    """Give the answer entry of the query token after the last block, as one sequence for each point would."""
    points = [k % xs.shape[1] for k in asked]
    width, n_layers = config.d_model, len(blocks)
    # Autograd keeps all parts, but they are no more than one sequence per point would keep.
    size = len(xs) if n_layers == 1 else max(1, _MOST_FLOATS // (max(len(points), 1) * width * width))
    parts = zip(xs.split(max(size, 1)), ys.split(max(size, 1)), strict=True)
    return torch.cat([_answer(blocks, config, x, y, points) for x, y in parts])


def _answer(blocks: Sequence[LinearBlock], config: ModelConfig, xs: Tensor, ys: Tensor, points: list[int]) -> Tensor:
    *inner, last = blocks
    context = with_positions(torch.cat([xs, ys[..., None]], dim=2), config.d_position)
    query = torch.cat([xs[:, points], torch.zeros_like(xs[:, points, :1])], dim=2)
    query = as_key = with_positions(query, config.d_position, places=points)
    scale = xs.new_tensor([1 / context_divisor(config, k) for k in points])[:, None, None]
    if inner:
        moments = _second_moments(context, points)
        if not config.mask_query:
            moments = moments + as_key[..., None] * as_key[..., None, :]
        moments = moments * scale
        for block in inner:
            moved = _transition(block, moments)
            moments = moved.mT @ moments @ moved
            query = (query[:, :, None] @ moved)[:, :, 0]
        weighted = (moments[:, :, None] @ value_read_of(last)[..., None])[..., 0]
    else:
        value_read = value_read_of(last).mT
        weighted = _weighted_sums(context, context @ value_read, points)
        if not config.mask_query:
            weighted = weighted + (as_key @ value_read)[..., None] * as_key[:, :, None]
        weighted = weighted * scale
    reads = torch.einsum("bpi,hij,bphj->bp", query, last.attn.query_key, weighted)
    return reads + query @ read_of(last) if last.skip else reads


def _transition(block: LinearBlock, moments: Tensor) -> Tensor:
    # T, which every token is multiplied by.
    moved = block.attn.update(moments)
    if block.skip:
        moved = moved + torch.eye(moments.shape[-1], dtype=moments.dtype, device=moments.device)
    return moved @ (block.mlp.W_in @ block.mlp.W_out) if hasattr(block, "mlp") else moved


def _second_moments(context: Tensor, points: list[int]) -> Tensor:
    # [batch asked d_model d_model], over the examples before each point.
    if len(points) == 1:
        before = context[:, : points[0]]
        return (before.mT @ before)[:, None]
    return _before(context[..., None] * context[..., None, :], points)


def _weighted_sums(context: Tensor, weights: Tensor, points: list[int]) -> Tensor:
    # [batch asked head d_model]: sums of e_i times its weights, over the examples before each point.
    if len(points) == 1:
        return (weights[:, : points[0]].mT @ context[:, : points[0]])[:, None]
    return _before(weights[..., None] * context[:, :, None], points)


def _before(terms: Tensor, points: list[int]) -> Tensor:
    sums = terms[:, :-1].cumsum(1)
    return torch.cat([torch.zeros_like(terms[:, :1]), sums], dim=1)[:, points]
