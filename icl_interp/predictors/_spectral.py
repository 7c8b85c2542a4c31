"""Prefix moments and their eigenvalues: what gradient methods do to a prompt, one scalar per direction."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.predictors._base import PrefixPredictor
from icl_interp.predictors._prefix_lstsq import exclusive_cumsum
from probes._core.results import short_repr

# Up to so many prefixes are summed one by one, more by a running sum over all points.
_FEW_POINTS = 3


class MomentPredictor(PrefixPredictor):
    """A predictor that keeps X^T X of every prefix."""

    def _floats_per_prompt(self, n_points: int, n_dims: int) -> int:
        return 5 * n_points * n_dims * n_dims


def prefix_moments(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int]
) -> tuple[Float[Tensor, "batch asked dim dim"], Float[Tensor, "batch asked dim"]]:
    """Sum x x^T and x y over the examples before each asked point."""
    if len(asked) <= _FEW_POINTS:
        moments = [(xs[:, :end].mT @ xs[:, :end], (ys[:, None, :end] @ xs[:, :end])[:, 0]) for end in asked]
        return torch.stack([second for second, _ in moments], 1), torch.stack([first for _, first in moments], 1)
    second = exclusive_cumsum(xs[..., None] * xs[..., None, :])
    first = exclusive_cumsum(xs * ys[..., None])
    if asked == list(range(xs.shape[1])):
        return second, first
    return second[:, asked], first[:, asked]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues of a symmetric matrix at each prefix, with a moment and a query seen along its axes."""

    values: Float[Tensor, "batch asked dim"]
    """Eigenvalues, smallest first; rounding noise is set to 0."""
    moments: Float[Tensor, "batch asked dim"]
    """The moment along each eigenvector, 0 where the eigenvalue is."""
    queries: Float[Tensor, "batch asked dim"]
    """The query along each eigenvector, 0 where the eigenvalue is."""

    __repr__ = short_repr

    @property
    def largest(self) -> Float[Tensor, "batch asked 1"]:
        """Largest eigenvalue, 1 where all are 0."""
        top = self.values[..., -1:]
        return torch.where(top > 0, top, 1.0)

    def apply(self, progress: Float[Tensor, "batch asked dim"]) -> Float[Tensor, "batch asked"]:
        """Predict from how far each direction has been learned."""
        return (self.moments * self.queries * progress / torch.where(self.values > 0, self.values, 1.0)).sum(dim=-1)


def spectrum(
    matrix: Float[Tensor, "batch asked dim dim"],
    moment: Float[Tensor, "batch asked dim"],
    query: Float[Tensor, "batch asked dim"],
    *,
    asked: list[int],
    eps: float,
) -> Spectrum:
    """Decompose the matrices of all prefixes.

    An eigenvalue of X^T X is the square of a singular value of X, so that the rank tolerance of `least_squares`
    is squared: (eps * max(k, d))^2 * largest. Where that is finer than the arithmetic, its noise is cut instead.
    """
    values, directions = torch.linalg.eigh(matrix)
    n_dims = values.shape[-1]
    rounding = torch.finfo(values.dtype).eps * n_dims
    share = torch.tensor([max(rounding, (eps * max(k, n_dims)) ** 2) for k in asked]).to(values)
    kept = values > (share[:, None] * values[..., -1:]).clamp(min=0)
    moments, queries = ((directions.mT @ vector[..., None])[..., 0] for vector in (moment, query))
    return Spectrum(*(torch.where(kept, part, 0.0) for part in (values, moments, queries)))


def descent_progress(rates: Float[Tensor, "*axes dim"], steps: float | int) -> Float[Tensor, "*axes dim"]:
    """Say how far gradient descent has come along directions of given rates: 1 - (1 - rate)^steps."""
    small = rates < 0.5
    slow = -torch.expm1(steps * torch.log1p(-torch.where(small, rates, 0.0)))
    return torch.where(small, slow, 1 - (1 - torch.where(small, 0.5, rates)).pow(steps))


def affine_power(
    change: Float[Tensor, "batch asked dim dim"], shift: Float[Tensor, "batch asked dim"], steps: int
) -> Float[Tensor, "batch asked dim"]:
    """Apply w <- w + change w + shift to w = 0 a number of times, long runs by repeated squaring."""
    largest = torch.finfo(shift.dtype).max ** 0.25
    if steps <= 2 * change.shape[-1]:
        weights = torch.zeros_like(shift)
        for _ in range(steps):
            weights = (weights + (change @ weights[..., None])[..., 0] + shift).clamp(-largest, largest)
        return weights
    # The map of 2m steps from that of m: A -> A A and b -> A b + b, along the bits of `steps`.
    step = torch.eye(change.shape[-1]).to(change) + change
    power, weights = step, shift
    for bit in f"{steps:b}"[1:]:
        weights = ((power @ weights[..., None])[..., 0] + weights).clamp(-largest, largest)
        power = (power @ power).clamp(-largest, largest)
        if bit == "1":
            weights = ((step @ weights[..., None])[..., 0] + shift).clamp(-largest, largest)
            power = (step @ power).clamp(-largest, largest)
    return weights
