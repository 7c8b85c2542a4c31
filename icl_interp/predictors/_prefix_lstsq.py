"""Minimum-norm least squares and the Gaussian posterior at all prefixes, from one factorisation of the prompt."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Prefixes handled in one decomposition by the fallback: bounds its memory, and what is padded to one length.
_FALLBACK_CHUNK = 256
# How much error the fast path may make, relative to the labels, before the exact fallback steps in.
_ROUNDING_LIMIT = 1e-8
# A direction dropped as rounding noise moves the prediction by the square of this ratio, noise to signal.
_NOISE_LIMIT = 1e-3
# Residuals up to this many tolerances are set aside as redundant; above one tolerance the fallback decides.
_DOUBTFUL = 8.0


def prefix_posterior(
    features: Float[Tensor, "batch point dim"],
    targets: Float[Tensor, "batch point"],
    *,
    noise: float,
    used: Bool[Tensor, "batch point"] | None = None,
) -> Float[Tensor, "batch point"]:
    """Predict each target from the examples before it under w ~ N(0, I) and noise variance ``noise``.

    With K = F F^T + noise I = L L^T, the rows of L before the diagonal are the whitened covariances of point k with the
    points before it and L^-1 t the whitened targets, so that the prediction at k is sum_{j<k} L[k, j] (L^-1 t)[j]: one
    Cholesky factor serves all prefixes. Prompts that are long against their dimension go through in blocks, each
    starting from the posterior of the one before. Accurate while eps * |F|^2 / noise is small; the caller checks that.
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

    Formula: yhat = x_k^T V f(s) U^T y with X = U diag(s) V^T the examples before k.
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


def min_norm_predictions(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], eps: float
) -> Float[Tensor, "batch point"]:
    """Predict every point by the minimum-norm least-squares fit to the points before it.

    Each point is written as a combination b of the independent points before it. The labels of the independent points
    alone give the prediction b.y; the redundant ones then act like observations of a standard normal deviation from
    those labels, so that all prefixes follow from one Cholesky factor of I + B B^T (this reduction is our own; it is
    exact). Prefixes whose rank or accuracy is in doubt are solved by a singular value decomposition each.
    """
    tolerance = _Tolerance.of(xs, eps)
    coordinates = xs @ torch.linalg.qr(xs[:, : min(xs.shape[1:])].mT).Q
    ranks = _leading_ranks(coordinates, tolerance)
    predictions, sure = torch.empty_like(ys), torch.empty_like(ys, dtype=torch.bool)
    for rank in sorted(set(ranks.tolist())):
        if bool((ranks == rank).all()):
            predictions, sure = _solve(xs, coordinates, ys, tolerance, rank)
        else:
            chosen = ranks == rank
            part = _solve(xs[chosen], coordinates[chosen], ys[chosen], tolerance.select(chosen), rank)
            predictions[chosen], sure[chosen] = part
    if bool(sure.all()):
        return predictions
    exact = exact_predictions(xs, ys, ~sure, lambda values, n: _pseudo_inverse_filter(values, n, xs.shape[2], eps))
    return predictions.index_put((~sure).nonzero(as_tuple=True), exact)


def _pseudo_inverse_filter(
    values: Float[Tensor, "pair rank"], n_pairs: Int[Tensor, " pair"], n_dims: int, eps: float
) -> Float[Tensor, "pair rank"]:
    """Invert the singular values above the rank tolerance and drop the others."""
    kept = above_rounding(values, n_pairs, n_dims, eps)
    return torch.where(kept, 1 / torch.where(kept, values, 1.0), 0.0)


def above_rounding(
    values: Float[Tensor, "pair rank"], n_pairs: Int[Tensor, " pair"], n_dims: int, eps: float
) -> Bool[Tensor, "pair rank"]:
    # s > eps * max(n, d) * s_max, where s_max is the first one.
    return values > eps * n_pairs.clamp(min=n_dims)[:, None] * values[:, :1]


@dataclass(frozen=True, eq=False)
class _Tolerance:
    """Bounds on the rank tolerance at every prefix, from norms alone.

    The largest singular value of a prefix lies between its largest row norm (also its Frobenius norm
    over the root of its rank) and its Frobenius norm.
    """

    frobenius: Float[Tensor, "batch point"]
    """Frobenius norm of the inputs before each point."""
    least: Float[Tensor, "batch point"]
    """Smallest that the tolerance before each point can be."""
    most: Float[Tensor, "batch point"]
    """Largest that it can be."""
    after: Float[Tensor, "batch point"]
    """Smallest that it can be with the point itself."""

    @classmethod
    def of(cls, xs: Float[Tensor, "batch point dim"], eps: float) -> "_Tolerance":
        n_points, n_dims = xs.shape[1:]
        squares = torch.nn.functional.pad(xs.square().sum(dim=2), (1, 0))
        counts = torch.arange(n_points + 1, device=xs.device)
        sums = squares.cumsum(dim=1)
        largest = torch.maximum(squares.cummax(dim=1).values, sums / counts.clamp(min=1, max=n_dims)).sqrt()
        scale = eps * counts.clamp(min=n_dims)
        frobenius, least = sums.sqrt(), scale * largest
        return cls(frobenius[:, :-1], least[:, :-1], (scale * frobenius)[:, :-1], least[:, 1:])

    def select(self, chosen: Bool[Tensor, " batch"]) -> "_Tolerance":
        return replace(
            self,
            frobenius=self.frobenius[chosen],
            least=self.least[chosen],
            most=self.most[chosen],
            after=self.after[chosen],
        )

    def sure(
        self,
        inverse_rows: Float[Tensor, "batch point"],
        dropped: Float[Tensor, "batch point"],
        independent: Bool[Tensor, "batch point"],
    ) -> Bool[Tensor, "batch point"]:
        # Where rank and accuracy are beyond doubt, from squared norms of rows of the inverse factor and of
        # the residuals dropped.
        inverse = exclusive_cumsum(inverse_rows).sqrt()  # at least 1 / smallest kept singular value
        noise = exclusive_cumsum(dropped).sqrt()  # at least the largest dropped singular value
        # What was dropped before a new direction appeared may lie along it: that counts to first order, for the
        # point that brings the direction as well, since the fit tilts towards it.
        hidden = torch.where(independent, noise, 0.0).cummax(dim=1).values
        unit = torch.finfo(torch.float64).eps
        return (
            (inverse * self.most < 1)
            & (noise <= self.least)
            & (noise * inverse <= _NOISE_LIMIT)
            & ((hidden + unit * self.frobenius) * inverse <= _ROUNDING_LIMIT)
        )


def _leading_ranks(coordinates: Float[Tensor, "batch point basis"], tolerance: _Tolerance) -> Int[Tensor, " batch"]:
    # r where the first r points are independent and all later ones lie in their span, as generic inputs do,
    # of full rank or in a subspace; -1 for any other pattern. The basis that the coordinates belong to spans
    # the first r points by its first r columns, so that no later point has a say in it.
    n_basis = coordinates.shape[2]
    new = coordinates[:, :n_basis].diagonal(dim1=1, dim2=2).abs() > tolerance.after[:, :n_basis]
    ranks = new.long().cumprod(dim=1).sum(dim=1)
    outside = coordinates.square().flip(2).cumsum(dim=2).flip(2)  # entry r: what r columns leave of a point
    left = outside.gather(2, ranks.clamp(max=n_basis - 1)[:, None, None].expand(-1, outside.shape[1], 1))[..., 0]
    later = torch.arange(coordinates.shape[1], device=coordinates.device) >= ranks[:, None]
    redundant = (left <= (_DOUBTFUL * tolerance.after).square()) | ~later
    return torch.where((ranks == n_basis) | ((ranks > 0) & redundant.all(dim=1)), ranks, -1)


def _solve(
    xs: Float[Tensor, "batch point dim"],
    coordinates: Float[Tensor, "batch point basis"],
    ys: Float[Tensor, "batch point"],
    tolerance: _Tolerance,
    rank: int,
) -> tuple[Float[Tensor, "batch point"], Bool[Tensor, "batch point"]]:
    if rank < 0:
        return _any_rank(xs, ys, tolerance)
    dropped = coordinates[..., rank:].square().sum(dim=2)
    dropped[:, :rank] = 0.0
    return _leading(coordinates[..., :rank], ys, tolerance, dropped)


def _leading(
    coordinates: Float[Tensor, "batch point basis"],
    ys: Float[Tensor, "batch point"],
    tolerance: _Tolerance,
    dropped: Float[Tensor, "batch point"],
) -> tuple[Float[Tensor, "batch point"], Bool[Tensor, "batch point"]]:
    # For prompts whose first points are independent and span all later ones, which are redundant.
    n_basis, n_points = coordinates.shape[2], coordinates.shape[1]
    lower = coordinates[:, :n_basis]  # triangular up to rounding; the solver reads no more of it
    before = torch.cat([lower.tril(-1), coordinates[:, n_basis:]], dim=1)
    weights = torch.linalg.solve_triangular(lower, before, upper=False, left=False)
    predictions = (weights @ ys[:, :n_basis, None])[..., 0]
    inverse = torch.linalg.solve_triangular(lower, torch.eye(n_basis).to(lower), upper=False)
    inverse_rows = torch.nn.functional.pad(inverse.square().sum(dim=2), (0, n_points - n_basis))
    sure = tolerance.sure(inverse_rows, dropped, torch.zeros_like(ys, dtype=torch.bool))
    if n_points > n_basis:
        later, accurate = _accurate_rows(weights[:, n_basis:])
        rest = prefix_posterior(later, ys[:, n_basis:] - predictions[:, n_basis:], noise=1.0)
        predictions = predictions + torch.nn.functional.pad(rest, (n_basis, 0))
        sure = sure & torch.nn.functional.pad(accurate, (n_basis, 0), value=True)
    return predictions, sure


def _any_rank(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], tolerance: _Tolerance
) -> tuple[Float[Tensor, "batch point"], Bool[Tensor, "batch point"]]:
    # For prompts in which a point may lie in the span of those before it.
    basis, independent, dropped = _independent_points(xs, tolerance.after)
    n_basis = basis.shape[1]
    coordinates = xs @ basis.mT
    chosen = independent[:, :n_basis]
    identity = torch.eye(n_basis).to(xs)
    lower = torch.where(chosen[..., None], coordinates[:, :n_basis].tril(), identity)
    weights = torch.linalg.solve_triangular(lower, coordinates.tril(-1), upper=False, left=False)
    predictions = (weights @ torch.where(chosen, ys[:, :n_basis], 0.0)[..., None])[..., 0]
    inverse = torch.linalg.solve_triangular(lower, identity, upper=False)
    inverse_rows = torch.where(chosen, inverse.square().sum(dim=2), 0.0)
    inverse_rows = torch.nn.functional.pad(inverse_rows, (0, xs.shape[1] - n_basis))
    rows, accurate = _accurate_rows(weights)
    predictions = predictions + prefix_posterior(rows, ys - predictions, noise=1.0, used=~independent)
    return predictions, tolerance.sure(inverse_rows, dropped, independent) & accurate


def _accurate_rows(
    weights: Float[Tensor, "batch point basis"],
) -> tuple[Float[Tensor, "batch point basis"], Bool[Tensor, "batch point"]]:
    # Rows up to where the factor of I + B B^T would lose accuracy; the others are blanked, lest it fail.
    growth = 1 + weights.square().sum(dim=2).cumsum(dim=1)
    accurate = torch.finfo(torch.float64).eps * growth <= _ROUNDING_LIMIT
    return torch.where(accurate[..., None], weights, 0.0), accurate


def _independent_points(
    xs: Float[Tensor, "batch point dim"], tolerance: Float[Tensor, "batch point"]
) -> tuple[Float[Tensor, "batch basis dim"], Bool[Tensor, "batch point"], Float[Tensor, "batch point"]]:
    # Gram-Schmidt with one repetition. Gives an orthonormal row for each point that leaves the span of
    # those before it (a zero row for a redundant one; rows stop where no later point leaves the span),
    # which points these are, and the squared residual of those that count as redundant.
    n_points = xs.shape[1]
    limit = (_DOUBTFUL * tolerance).square()
    basis: list[Tensor] = []
    independent, dropped = [], []
    for point in range(n_points):
        square, residual = _residual(xs[:, point : point + 1], basis)
        new = square > limit[:, point : point + 1]
        scale = torch.where(new, square, 1.0).rsqrt()
        basis.append(torch.where(new, scale, 0.0)[..., None] * residual)
        independent.append(new)
        dropped.append(torch.where(new, 0.0, square))
        if not bool(new.any()) or len(basis) == xs.shape[2]:
            later, _ = _residual(xs[:, point + 1 :], basis)
            if bool((later <= limit[:, point + 1 :]).all()):
                independent.append(torch.zeros_like(later, dtype=torch.bool))
                dropped.append(later)
                break
    return torch.cat(basis, dim=1), torch.cat(independent, dim=1), torch.cat(dropped, dim=1)


def _residual(
    points: Float[Tensor, "batch some dim"], basis: list[Tensor]
) -> tuple[Float[Tensor, "batch some"], Float[Tensor, "batch some dim"]]:
    if basis:
        known = torch.cat(basis, dim=1)
        for _ in range(2):  # twice is enough for orthogonality to rounding (Giraud et al., 2005)
            points = points - (points @ known.mT) @ known
    return points.square().sum(dim=2), points
