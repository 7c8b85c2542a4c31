"""Algorithms with weights set by hand, called like a model: f(xs, ys, points=[...])."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Callee = Callable[..., Tensor]


def by_point(answer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callee:
    """Turn answer(context xs, context ys, query) -> [batch] into a callable for all points."""

    def f(xs: Tensor, ys: Tensor, *, points: Sequence[int] | None = None) -> Tensor:
        asked = range(xs.shape[1]) if points is None else [k % xs.shape[1] for k in points]
        return torch.stack([answer(xs[:, :k], ys[:, :k], xs[:, k]) for k in asked], dim=1)

    return f


def descent(steps: int, step_size: float) -> Callee:
    """Gradient descent from zero, written as a loop."""

    def answer(xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
        weight = torch.zeros_like(query)
        for _ in range(steps):
            misses = ys - torch.einsum("bpd,bd->bp", xs, weight)
            weight = weight + step_size / max(1, xs.shape[1]) * torch.einsum("bp,bpd->bd", misses, xs)
        return (weight * query).sum(dim=1)

    return by_point(answer)


def linear_attention(layers: int, step_size: float, *, hidden: list[Tensor] | None = None) -> Callee:
    """Stacked linear self-attention on tokens (x, y), query (x, 0), with the weights of von Oswald et al.

    W_KQ = diag(1 .. 1, 0) and P W_V = step_size / k diag(0 .. 0, -1): each layer moves labels by one step, and the
    query's label becomes minus the prediction. `hidden` collects the query's token after each layer.
    """

    def answer(xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
        n_pairs, d = xs.shape[1:]
        key_query, value = torch.eye(d + 1).to(xs), torch.zeros(d + 1, d + 1).to(xs)
        key_query[d, d], value[d, d] = 0.0, -step_size / max(1, n_pairs)
        tokens = torch.cat([xs, query[:, None]], dim=1)
        tokens = torch.cat([tokens, torch.cat([ys, torch.zeros_like(query[:, :1])], dim=1)[..., None]], dim=2)
        for _ in range(layers):
            context = tokens[:, :n_pairs]
            moments = context.mT @ context  # sum_i e_i e_i^T over pairs alone
            tokens = tokens + tokens @ key_query.T @ moments @ value.T
            if hidden is not None:
                hidden.append(tokens[:, -1])
        return -tokens[:, -1, d]

    return by_point(answer)


def transformer_block(start: Tensor, preconditioner: Tensor) -> Callee:
    """Linear attention and a linear MLP with the weights that make GD from a learned start.

    W_KQ = diag(G, 0) reads x, the value row (-b, 1) takes y_i - <b, x_i>, and the MLP's row (b, 1) adds <b, x>.
    """

    def answer(xs: Tensor, ys: Tensor, query: Tensor) -> Tensor:
        n_pairs, d = xs.shape[1:]
        key_query, value = torch.zeros(d + 1, d + 1).to(xs), torch.zeros(d + 1, d + 1).to(xs)
        key_query[:d, :d] = preconditioner.T
        value[d, :d], value[d, d] = -start, 1.0
        mlp = torch.cat([start, torch.ones(1).to(xs)])
        pairs = torch.cat([xs, ys[..., None]], dim=2)
        token = torch.cat([query, torch.zeros_like(query[:, :1])], dim=1)
        moments = pairs.mT @ pairs / max(1, n_pairs)
        attended = token + torch.einsum("ij,bjk,kl,bl->bi", value, moments, key_query, token)
        return attended @ mlp

    return by_point(answer)


def draw_prompts(
    n_prompts: int = 64, n_points: int = 9, n_dims: int = 3, *, seed: int = 0, noise: float = 0.3
) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, labels and fresh queries of linear regression, in float64."""
    generator = torch.Generator().manual_seed(seed)
    xs = torch.randn(n_prompts, n_points, n_dims, generator=generator, dtype=torch.float64)
    ws = torch.randn(n_prompts, n_dims, 1, generator=generator, dtype=torch.float64)
    errors = torch.randn(n_prompts, n_points, generator=generator, dtype=torch.float64)
    queries = torch.randn(n_prompts, 4 * n_dims, n_dims, generator=generator, dtype=torch.float64)
    return xs, (xs @ ws)[..., 0] + noise * errors, queries
