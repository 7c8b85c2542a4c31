"""Answers of a linear network from moments of its context: no sequence is run, whatever the number of points.

A linear layer sees its context only through G = sum_i e_i e_i^T / c, and maps every token by one matrix T(G). So G
after a layer is T^T G T, and a network of K layers costs K products of small matrices a point, from moments that
one cumulative sum gives for all points at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.models.config import ModelConfig
from icl_interp.models.linear_components import LinearBlock, context_divisor

__all__ = ["BlockMaps", "answer_points"]

_MOST_FLOATS = 2**24
"""Second moments at a time; larger batches are split."""


@dataclass(frozen=True, eq=False)
class BlockMaps:
    """A block's factorised weights, multiplied out: a token e becomes e T with T = (skip + sum_h A_h G B_h) C."""

    block: LinearBlock
    """Whose weights these are."""

    @cached_property
    def keys(self) -> Float[Tensor, "head d_model d_model"]:
        """A_h = W_Q W_K^T."""
        return self.block.attn.W_Q @ self.block.attn.W_K.mT

    @cached_property
    def values(self) -> Float[Tensor, "head d_model d_model"]:
        """B_h = W_V W_O."""
        return self.block.attn.W_V @ self.block.attn.W_O

    @cached_property
    def read(self) -> Float[Tensor, " d_model"]:
        """The label's column of C = W_in W_out, or of the identity where there is no MLP."""
        if hasattr(self.block, "mlp"):
            return self.block.mlp.W_in @ self.block.mlp.W_out[:, -1]
        width = self.block.attn.W_Q.shape[1]
        return torch.eye(width, dtype=self.keys.dtype, device=self.keys.device)[-1]

    @cached_property
    def value_read(self) -> Float[Tensor, "head d_model"]:
        """B_h times `read`, without the product B_h."""
        return (self.block.attn.W_V @ (self.block.attn.W_O @ self.read)[..., None])[..., 0]

    def transition(
        self, moments: Float[Tensor, "batch asked d_model d_model"]
    ) -> Float[Tensor, "batch asked d_model d_model"]:
        """Give the matrix T that every token is multiplied by.

        Args:
            moments: G.

        Returns:
            T, for row vectors.
        """
        # One head is the rule; a sum over heads in place keeps the memory at one matrix a point.
        written = sum(a @ moments @ b for a, b in zip(self.keys, self.values, strict=True))
        if self.block.skip:
            written = written + torch.eye(moments.shape[-1], dtype=moments.dtype, device=moments.device)
        return written @ self.block.mlp.W_in @ self.block.mlp.W_out if hasattr(self.block, "mlp") else written


def answer_points(
    blocks: Sequence[LinearBlock],
    config: ModelConfig,
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    asked: Sequence[int],
) -> Float[Tensor, "batch asked"]:
    """Give the label entry of the query token after the last block, as one sequence for each point would.

    Args:
        blocks: Of the network, none of them hooked.
        config: Of the network.
        xs: Inputs.
        ys: Labels.
        asked: Points, counting from 0 or from the end.

    Returns:
        Answers before the output sign.
    """
    points = [k % xs.shape[1] for k in asked]
    width, n_layers = config.d_model, len(blocks)
    # Autograd keeps all parts, but they are no more than one sequence a point would keep.
    size = len(xs) if n_layers == 1 else max(1, _MOST_FLOATS // (max(len(points), 1) * width * width))
    parts = zip(xs.split(max(size, 1)), ys.split(max(size, 1)), strict=True)
    maps = [BlockMaps(block) for block in blocks]
    return torch.cat([_answer(maps, config, x, y, points) for x, y in parts])


def _answer(maps: Sequence[BlockMaps], config: ModelConfig, xs: Tensor, ys: Tensor, points: list[int]) -> Tensor:
    *inner, last = maps
    context = torch.cat([xs, ys[..., None]], dim=2)
    query = torch.cat([xs[:, points], torch.zeros_like(xs[:, points, :1])], dim=2)
    scale = xs.new_tensor([1 / context_divisor(config, k) for k in points])[:, None, None]
    if inner:
        moments = _second_moments(context, points) * scale
        for layer in inner:
            moved = layer.transition(moments)
            moments = moved.mT @ moments @ moved
            query = (query[:, :, None] @ moved)[:, :, 0]
        weighted = (moments[:, :, None] @ last.value_read[..., None])[..., 0]
    else:
        weighted = _weighted_sums(context, context @ last.value_read.mT, points) * scale
    reads = torch.einsum("bpi,hij,bphj->bp", query, last.keys, weighted)
    return reads + query @ last.read if last.block.skip else reads


def _second_moments(context: Tensor, points: list[int]) -> Tensor:
    # [batch asked d_model d_model], over the pairs before each point.
    if len(points) == 1:
        before = context[:, : points[0]]
        return (before.mT @ before)[:, None]
    return _before(context[..., None] * context[..., None, :], points)


def _weighted_sums(context: Tensor, weights: Tensor, points: list[int]) -> Tensor:
    # [batch asked head d_model]: sums of e_i times its weights, over the pairs before each point.
    if len(points) == 1:
        return (weights[:, : points[0]].mT @ context[:, : points[0]])[:, None]
    return _before(weights[..., None] * context[:, :, None], points)


def _before(terms: Tensor, points: list[int]) -> Tensor:
    sums = terms[:, :-1].cumsum(1)
    return torch.cat([torch.zeros_like(terms[:, :1]), sums], dim=1)[:, points]
