"""Which step size or preconditioner makes one gradient step react to its labels as a predictor does?

One step from w = 0 predicts x_k^T G (1/k) sum_i x_i y_i with G = eta I, so d f_k / d y_i = x_k^T G x_i / k.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.callees import Callee, ask, check_prompts, context_point
from probes._core.errors import InputError
from probes._core.ranks import count_chunks
from probes._core.results import in_dtype
from probes.bootstrap import Estimate, percentile_interval
from probes.sensitivity import label_gradients

__all__ = ["EffectivePreconditioner", "EffectiveStep", "Normalise", "effective_preconditioner", "effective_step"]

Normalise = Literal["mean", "sum"]


@dataclass(frozen=True, repr=False)
class EffectiveStep:
    """The gradient step whose reaction to labels is nearest to a predictor's."""

    step_size: Estimate
    """Step size eta, in inverse squared input units; not blind to scale."""
    r2: float
    """Share of the squared label gradients that this step explains, at most 1; 1 means one plain step."""
    linearity: float
    """Share of f - f(y = 0) that is linear in the labels, at most 1; NaN if f does not react to labels."""
    normalise: Normalise
    """Whether the gradient is divided by the number of examples."""
    point: int
    """The entry that was asked, which is also the number of examples before it."""

    def __repr__(self) -> str:
        return f"EffectiveStep(step_size={self.step_size}, r2={self.r2:.3f}, point={self.point})"


@dataclass(frozen=True, eq=False, repr=False)
class EffectivePreconditioner:
    """The preconditioned gradient step whose reaction to labels is nearest to a predictor's."""

    matrix: Float[Tensor, "dim dim"]
    """Preconditioner G, in inverse squared input units; it need not be symmetric."""
    r2: float
    """Share of the squared label gradients that it explains in prompts it was not fitted on, at most 1."""
    normalise: Normalise
    """Whether the gradient is divided by the number of examples."""
    point: int
    """The entry that was asked."""

    def __repr__(self) -> str:
        return f"EffectivePreconditioner(r2={self.r2:.3f}, n_dims={len(self.matrix)}, point={self.point})"


@takes_arrays
def effective_step(
    f: Callee,
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    *,
    point: int = -1,
    normalise: Normalise = "mean",
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> EffectiveStep:
    """Measure the step size of the gradient step that is nearest to a predictor.

    Formula: eta = argmin E sum_i (d f_k / d y_i - eta x_i^T x_k / c)^2 with c = k ("mean") or 1 ("sum"); R² is
    one minus the least value over E sum_i (d f_k / d y_i)^2. Several steps, or another algorithm, show as an R²
    below 1; then eta is only the nearest number.

    Args:
        f: A model or a predictor, called f(xs, ys, points=[k]).
        xs: Inputs.
        ys: Labels; they matter only if f is not linear in them.
        point: The entry k, with at least one example before it.
        normalise: What the summed gradient is divided by.
        seed: Seed of the bootstrap.
        n_bootstrap: Number of bootstrap resamples of prompts.
        confidence: The share of replicates inside the interval.

    Returns:
        The step size with its interval, and what it explains; computed in float64.

    Raises:
        InputError: As in `label_gradients`, or if all inputs are zero.

    Source:
        von Oswald et al. (2023), arXiv 2212.07677, section 2, for the step; the fit is our choice.

    Example:
        >>> def step(xs, ys, *, points=None):
        ...     return torch.stack([(ys[:, :k, None] * xs[:, :k]).mean(1).mul(xs[:, k]).sum(1) for k in points], 1)
        >>> found = effective_step(step, torch.randn(8, 5, 2), torch.randn(8, 5))
        >>> torch.testing.assert_close((found.step_size.value, found.r2), (1.0, 1.0))
    """
    who = "effective_step"
    checks.option(who, "normalise", normalise, get_args(Normalise))
    checks.bootstrap(who, seed, n_bootstrap, confidence)
    k, slopes, alignment = _slopes_and_alignment(who, f, xs, ys, point, normalise)
    inner, own = (slopes * alignment).sum(dim=1), alignment.square().sum(dim=1)
    if not float(own.sum()) > 0:
        raise InputError(f"{who} needs inputs before entry {k} that are not orthogonal to it, got none; see xs.")
    chunks = [c.double() for c in count_chunks((len(xs),), seed=seed, n_bootstrap=n_bootstrap)]
    replicates = torch.cat([(counts @ inner) / (counts @ own) for counts in chunks])
    eta = float(inner.sum() / own.sum())
    return EffectiveStep(
        step_size=Estimate(eta, *percentile_interval(replicates, confidence)),
        r2=_share((slopes - eta * alignment), slopes),
        linearity=_linearity(f, xs, ys, slopes, k),
        normalise=normalise,
        point=k,
    )


@takes_arrays
def effective_preconditioner(
    f: Callee,
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    *,
    point: int = -1,
    normalise: Normalise = "mean",
) -> EffectivePreconditioner:
    """Measure the preconditioner of the gradient step that is nearest to a predictor.

    Formula: G = argmin E sum_i (d f_k / d y_i - x_k^T G x_i / c)^2 over all d x d matrices. Prompts of even and
    of odd index are fitted apart, each scored on the other; the matrix returned is fitted on all.

    Args:
        f: A model or a predictor, called f(xs, ys, points=[k]).
        xs: Inputs of at least 2 d prompts.
        ys: Labels; they matter only if f is not linear in them.
        point: The entry k, with at least one example before it.
        normalise: What the summed gradient is divided by.

    Returns:
        The matrix, solved in float64, in the dtype of xs, and its held-out R².

    Raises:
        InputError: As in `label_gradients`, or if half of the prompts do not determine the matrix.

    Source:
        Ahn et al. (2023), arXiv 2306.00297, for preconditioned steps; the fit is our choice.

    Example:
        >>> def step(xs, ys, *, points=None):
        ...     matrix = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
        ...     return torch.stack(
        ...         [(ys[:, :k, None] * xs[:, :k]).mean(1).matmul(matrix.T).mul(xs[:, k]).sum(1) for k in points], 1)
        >>> found = effective_preconditioner(step, torch.randn(20, 5, 2), torch.randn(20, 5))
        >>> torch.testing.assert_close(found.matrix, torch.tensor([[2.0, 0.0], [1.0, 1.0]]))
    """
    who = "effective_preconditioner"
    checks.option(who, "normalise", normalise, get_args(Normalise))
    n_prompts, _, n_dims = xs.shape
    k, slopes, _ = _slopes_and_alignment(who, f, xs, ys, point, normalise)
    checks.count(who, f"a number of prompts (2 d for d = {n_dims})", n_prompts, 2 * n_dims)
    checks.count(who, f"a number of pairs in half of the prompts (d^2 for d = {n_dims})", n_prompts // 2 * k, n_dims**2)
    pairs = xs[:, :k].double() / (k if normalise == "mean" else 1)
    query = xs[:, k].double()
    even = torch.arange(n_prompts, device=xs.device) % 2 == 0
    residuals = torch.empty_like(slopes)
    for train, test in ((even, ~even), (~even, even)):
        matrix = _solve(pairs[train], query[train], slopes[train])
        residuals[test] = slopes[test] - torch.einsum("bj,ji,bpi->bp", query[test], matrix, pairs[test])
    matrix = _solve(pairs, query, slopes)
    return EffectivePreconditioner(in_dtype(matrix, xs.dtype), _share(residuals, slopes), normalise, k)


# d f_k / d y_i, and x_i^T x_k / c beside it.
def _slopes_and_alignment(
    who: str, f: Callee, xs: Tensor, ys: Tensor, point: int, normalise: Normalise
) -> tuple[int, Float64[Tensor, "batch pair"], Float64[Tensor, "batch pair"]]:
    check_prompts(who, xs, ys)
    k = context_point(who, point, xs.shape[1])
    slopes = label_gradients(f, xs, ys, point=k).double()
    alignment = torch.einsum("bpd,bd->bp", xs[:, :k].double(), xs[:, k].double())
    return k, slopes, alignment / (k if normalise == "mean" else 1)


# The normal equations of vec(G^T): sum_b (X_b^T X_b) kron (x_b x_b^T), without a row for each example. They hold fourth
# powers of the inputs, so each coordinate is measured in its own unit, lest a small one count as rounding.
def _solve(
    pairs: Float64[Tensor, "batch pair dim"], query: Float64[Tensor, "batch dim"], slopes: Float64[Tensor, "batch pair"]
) -> Float64[Tensor, "dim dim"]:
    n_dims = query.shape[1]
    units = pairs.square().mean(dim=(0, 1)).sqrt(), query.square().mean(dim=0).sqrt()
    given, asked = (torch.where(unit > 0, unit, 1.0) for unit in units)
    pairs, query = pairs / given, query / asked
    second, outer = pairs.mT @ pairs, query[:, :, None] * query[:, None]
    system = (second.flatten(1).T @ outer.flatten(1)).reshape(n_dims, n_dims, n_dims, n_dims)
    system = system.permute(0, 2, 1, 3).reshape(n_dims**2, n_dims**2)  # [i k j l] -> [(i j) (k l)]
    right = torch.einsum("bpi,bp,bj->ij", pairs, slopes, query).flatten()
    found = (torch.linalg.pinv(system, hermitian=True) @ right).reshape(n_dims, n_dims).T
    return found / given / asked[:, None]


def _linearity(f: Callee, xs: Tensor, ys: Tensor, slopes: Float64[Tensor, "batch pair"], k: int) -> float:
    with torch.no_grad():
        said, offset = (ask("effective_step", f, xs, labels, [k])[:, 0].double() for labels in (ys, 0 * ys))
    reaction = said - offset
    return _share(reaction - (slopes * ys[:, :k].double()).sum(dim=1), reaction)


def _share(residuals: Float64[Tensor, "*batch"], values: Float64[Tensor, "*batch"]) -> float:
    total = float(values.square().sum())
    return 1.0 - float(residuals.square().sum()) / total if total > 0 else float("nan")
