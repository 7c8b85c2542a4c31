"""The Gaussian posterior at every prefix from one factorisation, and the exact per-prefix fallback."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Prefixes handled in one decomposition by the fallback: bounds its memory, and what is padded to one length.
_FALLBACK_CHUNK = 256


def prefix_posterior(
    features: Float[Tensor, "batch point dim"],
    targets: Float[Tensor, "batch point"],
    *,
    noise: float,
    used: Bool[Tensor, "batch point"] | None = None,
) -> Float[Tensor, "batch point"]:
    """Predict each target from the pairs before it under w ~ N(0, I) and noise variance ``noise``.

    With K = F F^T + noise I = L L^T, the rows of L before the diagonal are the whitened covariances of
    point k with the points before it and L^-1 t the whitened targets, so that the prediction at k is
    sum_{j<k} L[k, j] (L^-1 t)[j]: one Cholesky factor serves all prefixes. Prompts that are long
    against their dimension go through in blocks, each starting from the posterior of the one before.
    Accurate while eps * |F|^2 / noise is small; the caller checks that.
    """
    n_points, n_dims = features.shape[1:]
    block = n_points if n_points <= 3 * n_dims + 32 else max(n_dims, 32)
    mean: Tensor | None = None
    factor: Tensor | None = None
    predictions = []
    for start in range(0, n_points, block):
        rows = slice(start, start + block)
        mask = None if used is None else used[:, rows]
        base = torch.zeros_like(targets[:, rows]) if mean is None else _rows_times(features[:, rows], mean)
        inner = features[:, rows] if factor is None else features[:, rows] @ factor
        learned = inner if mask is None else torch.where(mask[..., None], inner, 0.0)
        rest = targets[:, rows] - base
        rest = rest if mask is None else torch.where(mask, rest, 0.0)
        predictions.append(base + _one_block(inner, learned, rest, noise, every_point=mask is None))
        if start + block < n_points:
            precision = learned.mT @ learned + noise * torch.eye(n_dims).to(learned)
            lower = torch.linalg.cholesky_ex(precision).L
            step = torch.cholesky_solve(learned.mT @ rest[..., None], lower)
            mean = step[..., 0] if mean is None or factor is None else mean + _rows_times(factor, step[..., 0])
            shrink = noise**0.5 * torch.linalg.solve_triangular(lower.mT, torch.eye(n_dims).to(lower), upper=True)
            factor = shrink if factor is None else factor @ shrink
    return torch.cat(predictions, dim=1)


def _rows_times(
    matrix: Float[Tensor, "batch point dim"], vector: Float[Tensor, "batch dim"]
) -> Float[Tensor, "batch point"]:
    return (matrix @ vector[..., None])[..., 0]


def _one_block(
    features: Float[Tensor, "batch point dim"],
    learned: Float[Tensor, "batch point dim"],
    targets: Float[Tensor, "batch point"],
    noise: float,
    *,
    every_point: bool,
) -> Float[Tensor, "batch point"]:
    gram = learned @ learned.mT
    lower = torch.linalg.cholesky_ex(gram + noise * torch.eye(gram.shape[-1]).to(gram)).L
    whitened = torch.linalg.solve_triangular(lower, targets[..., None], upper=False)
    if every_point:
        cross = lower
    else:  # a point that is only predicted has no row in the factor
        cross = torch.linalg.solve_triangular(lower.mT, (features @ learned.mT).tril(-1), upper=True, left=False)
    return (cross.tril(-1) @ whitened)[..., 0]


def exact_predictions(
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    where: Bool[Tensor, "batch point"],
    spectral_filter: Callable[[Float[Tensor, "pair rank"], Float[Tensor, " pair"]], Float[Tensor, "pair rank"]],
) -> Float[Tensor, " pair"]:
    """Predict the marked prefixes by a singular value decomposition each: slow, and right for any rank.

    Formula: yhat = x_k^T V f(s) U^T y with X = U diag(s) V^T the pairs before k.
    """
    prompts, ends = where.nonzero(as_tuple=True)
    before = torch.arange(xs.shape[1], device=xs.device)
    answers = torch.empty(len(ends)).to(xs)
    for pairs in torch.split(ends.argsort(), _FALLBACK_CHUNK):  # alike in length
        prompt, end = prompts[pairs], ends[pairs]
        n_rows = max(1, int(end.max()))
        inside = before[:n_rows] < end[:, None]
        context = torch.where(inside[..., None], xs[prompt, :n_rows], 0.0)
        labels = torch.where(inside, ys[prompt, :n_rows], 0.0)
        left, values, right = torch.linalg.svd(context, full_matrices=False)
        weights = spectral_filter(values, end) * (left.mT @ labels[..., None])[..., 0]
        answers = answers.index_put((pairs,), ((right @ xs[prompt, end][..., None])[..., 0] * weights).sum(dim=1))
    return answers


def exclusive_cumsum(values: Float[Tensor, "batch point *rest"]) -> Float[Tensor, "batch point *rest"]:
    """Sum the entries of the points before each one."""
    return torch.cat([torch.zeros_like(values[:, :1]), values[:, :-1].cumsum(dim=1)], dim=1)
