"""Held-out errors of ridge regressions, and what resampling groups of samples does to their R²."""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from probes._ridge import _fit_ridge, _moments, _Ridge, _without
from probes.bootstrap import _count_chunks


# Squared held-out errors of the probe [0] and of the training mean [1], and the fit on everything.
def _cross_validate(
    features: Float64[Tensor, "sample feature"],
    targets: Float64[Tensor, "sample target"],
    folds: Int64[Tensor, " sample"],
    grid: Float64[Tensor, " penalty"] | None,
) -> tuple[Float64[Tensor, "2 sample target"], _Ridge]:
    predictions, refit = _cross_predict(features, targets, folds, grid)
    return (targets - predictions).square(), refit


# Held-out predictions of the probe [0] and of the training mean [1], and the fit on everything.
def _cross_predict(
    features: Float64[Tensor, "sample feature"],
    targets: Float64[Tensor, "sample target"],
    folds: Int64[Tensor, " sample"],
    grid: Float64[Tensor, " penalty"] | None,
) -> tuple[Float64[Tensor, "2 sample target"], _Ridge]:
    # Centred first, so that a training fold's moments are the whole's minus the test fold's without a loss.
    feature_mean, target_mean = features.mean(dim=0), targets.mean(dim=0)
    features, targets = features - feature_mean, targets - target_mean
    whole = _moments(features, targets)
    predictions = torch.zeros(2, *targets.shape, dtype=torch.float64, device=targets.device)
    for fold in range(int(folds.max()) + 1):
        test = folds == fold
        train = _without(whole, _moments(features[test], targets[test]))
        ridge = _fit_ridge(features[~test], targets[~test], train, grid)
        predictions[0, test] = features[test] @ ridge.weight + ridge.bias
        predictions[1, test] = ridge.target_mean
    refit = _fit_ridge(features, targets, whole, grid)
    bias = refit.bias + target_mean - feature_mean @ refit.weight
    return predictions + target_mean, refit._replace(bias=bias)


# R² on each resample of groups; the fits are not repeated, and a resample without spread is undefined.
def _r2_replicates(
    squares: Float64[Tensor, "2 sample target"], groups: Int64[Tensor, " sample"], *, seed: int, n_bootstrap: int
) -> Float64[Tensor, "bootstrap target"]:
    n_groups = int(groups.max()) + 1
    totals = squares.new_zeros(2, n_groups, squares.shape[2]).index_add_(1, groups, squares).cpu()
    replicates = []
    for counts in _count_chunks((n_groups,), seed=seed, n_bootstrap=n_bootstrap):
        errors, spread = counts.double() @ totals
        replicates.append(torch.where(spread > 0, 1.0 - errors / spread, torch.nan))
    return torch.cat(replicates)
