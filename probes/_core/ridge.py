"""Ridge regression for many targets and penalties from one eigendecomposition, and its held-out errors.

With centred features X = U S V^T and Gram eigenvalues l = s^2 the weights are V (V^T X^T y / (l + a)) for each penalty
a, and the leave-one-out residual of sample i is its residual divided by 1 - 1/n - sum_j (X / V)_ij^2 / (l_j + a).
"""

import operator
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float64, Int64
from torch import Tensor

from probes._core import checks
from probes._core.ranks import count_chunks

# As many float64 numbers stay in a core's cache; whole columns would go through main memory several times.
_CACHED_ENTRIES = 2**16


class Moments(NamedTuple):
    """Sums from which a centred ridge regression follows; a fold's may be subtracted from the whole's."""

    n: int
    feature_sum: Float64[Tensor, " feature"]
    target_sum: Float64[Tensor, " target"]
    gram: Float64[Tensor, "feature feature"]
    cross: Float64[Tensor, "feature target"]


class Ridge(NamedTuple):
    """A fitted regression with one penalty for each target."""

    weight: Float64[Tensor, "feature target"]
    bias: Float64[Tensor, " target"]
    target_mean: Float64[Tensor, " target"]
    penalty: Float64[Tensor, " target"]


def moments_of(features: Float64[Tensor, "sample feature"], targets: Float64[Tensor, "sample target"]) -> Moments:
    return Moments(len(features), features.sum(dim=0), targets.sum(dim=0), features.T @ features, features.T @ targets)


def minus(whole: Moments, part: Moments) -> Moments:
    return Moments._make(map(operator.sub, whole, part))


def plus(whole: Moments, part: Moments) -> Moments:
    return Moments._make(map(operator.add, whole, part))


def fit_ridge(
    features: Float64[Tensor, "sample feature"],
    targets: Float64[Tensor, "sample target"],
    moments: Moments,
    penalties: Float64[Tensor, " penalty"] | None,
) -> Ridge:
    feature_mean, target_mean = moments.feature_sum / moments.n, moments.target_sum / moments.n
    eigenvalues, vectors, rotated, usual = principal_axes(moments)
    grid = usual if penalties is None else penalties
    projected = (features - feature_mean) @ vectors
    errors = _leave_one_out_errors(projected, targets - target_mean, eigenvalues, rotated, grid)
    penalty = grid[errors.argmin(dim=0)]
    weight = vectors @ (rotated / (eigenvalues[:, None] + penalty))
    return Ridge(weight, target_mean - feature_mean @ weight, target_mean, penalty)


# Mean squared leave-one-out residual of one target at the best penalty.
def leave_one_out_error(
    features: Float64[Tensor, "sample feature"],
    target: Float64[Tensor, "sample 1"],
    grid: Float64[Tensor, " penalty"] | None,
) -> Float64[Tensor, ""]:
    features, target = features - features.mean(dim=0), target - target.mean(dim=0)
    eigenvalues, vectors, rotated, usual = principal_axes(moments_of(features, target))
    penalties = usual if grid is None else grid
    return _leave_one_out_errors(features @ vectors, target, eigenvalues, rotated, penalties).min() / len(target)


# Eigenvalues and eigenvectors of the centred Gram matrix, the cross moments along them, and penalties that suit them.
# Directions that are only rounding go: a small penalty would divide one rounding by another.
def principal_axes(
    moments: Moments,
) -> tuple[
    Float64[Tensor, " axis"],
    Float64[Tensor, "feature axis"],
    Float64[Tensor, "axis target"],
    Float64[Tensor, " penalty"],
]:
    feature_mean, target_mean = moments.feature_sum / moments.n, moments.target_sum / moments.n
    gram = moments.gram - moments.n * torch.outer(feature_mean, feature_mean)
    cross = moments.cross - moments.n * torch.outer(feature_mean, target_mean)
    eigenvalues, vectors = torch.linalg.eigh(gram)
    eigenvalues = eigenvalues.clamp_min(0.0)
    subtracted = moments.n * feature_mean.square().amax()
    rounding = torch.finfo(gram.dtype).eps * len(gram) * (eigenvalues[-1] + subtracted)
    kept = eigenvalues > rounding
    vectors = vectors[:, kept]
    return eigenvalues[kept], vectors, vectors.T @ cross, _default_penalties(eigenvalues)


# Sum of squared leave-one-out residuals of each target at each penalty.
def _leave_one_out_errors(
    projected: Float64[Tensor, "sample feature"],
    centred: Float64[Tensor, "sample target"],
    eigenvalues: Float64[Tensor, " feature"],
    rotated: Float64[Tensor, "feature target"],
    penalties: Float64[Tensor, " penalty"],
) -> Float64[Tensor, "penalty target"]:
    n = len(projected)
    shrinkage = 1.0 / (eigenvalues[:, None] + penalties)
    room = 1.0 - 1.0 / n - projected.square() @ shrinkage
    room = room.clamp_min(torch.finfo(torch.float64).eps)  # a sample that the fit passes through exactly
    coefficients = rotated[:, None] * shrinkage[:, :, None]
    shape, total = coefficients.shape[1:], 0.0
    size = max(1, _CACHED_ENTRIES // max(1, shape.numel()))
    for some, aims, rooms in zip(*(torch.split(of, size) for of in (projected, centred, room)), strict=True):
        left_out = (some @ coefficients.flatten(1)).reshape(len(some), *shape)
        left_out = left_out.sub_(aims[:, None]).div_(rooms[:, :, None])
        total = total + left_out.square_().sum(dim=0)
    return torch.as_tensor(total)


# Fourteen decades around the mean eigenvalue, n times the mean squared (centred) feature: from hardly
# any shrinkage to predicting the mean. Constant features have no scale, and any penalty does.
def _default_penalties(eigenvalues: Float64[Tensor, " feature"]) -> Float64[Tensor, " penalty"]:
    mean = eigenvalues.mean()
    scale = torch.where(mean > 0, mean, torch.ones_like(mean))
    return scale * torch.logspace(-10, 4, 15, dtype=torch.float64, device=eigenvalues.device)


def target_columns(features: Tensor, targets: Tensor) -> Tensor:
    who = "fit_linear_probe"
    checks.activations(who, "features", features, "sample feature")
    columns = targets[:, None] if targets.ndim == 1 else targets
    checks.activations(who, "targets", columns, "sample target")
    checks.same_length(who, ("features", "targets"), len(features), len(columns))
    checks.varies(who, "target", columns)
    return columns


# Groups numbered 0, 1, 2 ... without gaps.
def group_codes(groups: Tensor | None, n_samples: int, like: Tensor) -> Int64[Tensor, " sample"]:
    if groups is None:
        return torch.arange(n_samples, device=like.device)
    checks.axes("fit_linear_probe", "groups", groups, "sample")
    checks.same_length("fit_linear_probe", ("features", "groups"), n_samples, len(groups))
    return torch.unique(groups, return_inverse=True)[1]


# Each group goes to one fold, at random; fold sizes differ by one group at most.
def assign_folds(groups: Int64[Tensor, " sample"], n_folds: int, seed: int) -> Int64[Tensor, " sample"]:
    n_groups = int(groups.max()) + 1
    order = torch.randperm(n_groups, generator=torch.Generator().manual_seed(seed))
    folds = torch.empty_like(order)
    folds[order] = torch.arange(n_groups) % n_folds
    return folds.to(groups.device)[groups]


# The samples whose targets each sample gets: the next group's on a random circle, position for position,
# so no group keeps its own. Unequal groups have no such positions; there samples are shuffled one by one.
def shuffled_rows(groups: Int64[Tensor, " sample"], seed: int) -> Int64[Tensor, " sample"]:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.bincount(groups)
    if bool((sizes != sizes[0]).any()):
        groups = torch.arange(len(groups), device=groups.device)
        sizes = torch.ones_like(groups)
    members = rearrange(groups.argsort(stable=True), "(group pos) -> group pos", group=len(sizes))
    circle = torch.randperm(len(sizes), generator=generator).to(groups.device)
    source = torch.empty_like(groups)
    source[members[circle]] = members[circle.roll(-1)]
    return source


# Squared held-out errors of the probe [0] and of the training mean [1], and the fit on everything.
def cross_validate(
    features: Float64[Tensor, "sample feature"],
    targets: Float64[Tensor, "sample target"],
    folds: Int64[Tensor, " sample"],
    grid: Float64[Tensor, " penalty"] | None,
) -> tuple[Float64[Tensor, "2 sample target"], Ridge]:
    predictions, refit = cross_predict(features, targets, folds, grid)
    return (targets - predictions).square(), refit


# Held-out predictions of the probe [0] and of the training mean [1], and the fit on everything.
def cross_predict(
    features: Float64[Tensor, "sample feature"],
    targets: Float64[Tensor, "sample target"],
    folds: Int64[Tensor, " sample"],
    grid: Float64[Tensor, " penalty"] | None,
) -> tuple[Float64[Tensor, "2 sample target"], Ridge]:
    # Centred first, so that a training fold's moments are the whole's minus the test fold's without a loss.
    feature_mean, target_mean = features.mean(dim=0), targets.mean(dim=0)
    features, targets = features - feature_mean, targets - target_mean
    whole = moments_of(features, targets)
    predictions = torch.zeros(2, *targets.shape, dtype=torch.float64, device=targets.device)
    for fold in range(int(folds.max()) + 1):
        test = folds == fold
        train = minus(whole, moments_of(features[test], targets[test]))
        ridge = fit_ridge(features[~test], targets[~test], train, grid)
        predictions[0, test] = features[test] @ ridge.weight + ridge.bias
        predictions[1, test] = ridge.target_mean
    refit = fit_ridge(features, targets, whole, grid)
    bias = refit.bias + target_mean - feature_mean @ refit.weight
    return predictions + target_mean, refit._replace(bias=bias)


# R² on each resample of groups; the fits are not repeated, and a resample without spread is undefined.
def resampled_r2(
    squares: Float64[Tensor, "2 sample target"], groups: Int64[Tensor, " sample"], *, seed: int, n_bootstrap: int
) -> Float64[Tensor, "bootstrap target"]:
    n_groups = int(groups.max()) + 1
    totals = squares.new_zeros(2, n_groups, squares.shape[2]).index_add_(1, groups, squares).cpu()
    replicates = []
    for counts in count_chunks((n_groups,), seed=seed, n_bootstrap=n_bootstrap):
        errors, spread = counts.double() @ totals
        replicates.append(torch.where(spread > 0, 1.0 - errors / spread, torch.nan))
    return torch.cat(replicates)
