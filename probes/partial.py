"""Does a read-out of one target say more than its collinear rivals already do?"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from probes._checks import _check_activations, _check_count, _check_same_length, _is_constant
from probes._cross_validation import _r2_replicates
from probes._errors import InputError
from probes._ridge import _assign_folds, _fit_ridge, _moments
from probes.bootstrap import Estimate, percentile_interval
from probes.curves import _check_bootstrap
from probes.linear import _as_columns, _group_codes

__all__ = ["PartialR2", "partial_r2"]


@dataclass(frozen=True, repr=False)
class PartialR2:
    """What features know about targets beyond other targets that are given."""

    partial: tuple[Estimate, ...]
    """Share of the variance left by the given targets that features explain, one a target, at most 1; NaN with a
    reason where nothing is left."""
    r2_given: tuple[float, ...]
    """Held-out R² of the given targets alone."""
    n_groups: int
    """How many groups (prompts) the samples came from."""

    def __repr__(self) -> str:
        return f"PartialR2(partial={list(self.partial)}, n_groups={self.n_groups})"


def partial_r2(
    features: Float[Tensor, "sample feature"],
    targets: Float[Tensor, "sample target"] | Float[Tensor, " sample"],
    given: Float[Tensor, "sample rival"],
    *,
    groups: Int[Tensor, " sample"] | None = None,
    n_folds: int = 5,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> PartialR2:
    """Measure how well targets can be read out of features once other targets are known.

    Formula: partial R² = 1 - SSE(t | given, features) / SSE(t | given) on held-out groups: features and targets are
    first regressed on the given ones in the training folds, then a ridge probe reads the rest of t out of the rest
    of the features. Undefined where the given targets determine t.

    Args:
        features: Activations, any unit.
        targets: What to read out; one column or several.
        given: Rivals that may be collinear with the targets, such as another algorithm's predictions.
        groups: Which prompt each sample belongs to; without it each sample is its own group.
        n_folds: How many folds share out the groups.
        seed: Of folds and bootstrap.
        n_bootstrap: How many resamples of groups.
        confidence: The share of replicates inside each interval.

    Returns:
        Shares with intervals, computed in float64.

    Raises:
        InputTypeError: If an argument is no floating-point tensor.
        InputError: If shapes do not fit, entries are not finite, a target does not vary, a training fold has no
            more samples than given targets, or a number is out of range.

    Source:
        Frisch and Waugh (1933) and Lovell (1963) for the regression of residuals; holding out is our choice.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> a, b = torch.randn(2, 300, 1, generator=generator)
        >>> target = a + 0.1 * b
        >>> assert partial_r2(a, target, a).partial[0].value < 0.05  # a predicts it well, and nothing beyond a
        >>> assert partial_r2(b, target, a).partial[0].value > 0.99
    """
    who = "partial_r2"
    columns = _as_columns(features, targets)
    _check_activations(who, "given", given, "sample rival")
    _check_same_length(who, ("samples", "rows of given"), len(features), len(given))
    codes = _group_codes(groups, len(features), features)
    _check_count(who, "an n_folds", n_folds, 2)
    _check_count(who, "a number of groups", int(codes.max()) + 1, n_folds)
    _check_bootstrap(who, seed, n_bootstrap, confidence)
    exact, wanted, rivals = features.double(), columns.double(), given.double()
    squares = _partial_squares(exact, wanted, rivals, _assign_folds(codes, n_folds, seed))
    errors, left, spread = squares.sum(dim=1)
    replicates = _r2_replicates(squares[:2], codes, seed=seed, n_bootstrap=n_bootstrap)
    least = ((8 if columns.dtype.itemsize == 2 else 1e3) * torch.finfo(columns.dtype).eps) ** 2
    r2_given = tuple((1.0 - left / spread).tolist())
    estimates = []
    for i, share in enumerate((1.0 - errors / left).tolist()):
        # Below this share of the variance, what is left is the rounding of the regression on the rivals.
        if 1.0 - r2_given[i] <= least:
            nan = float("nan")
            estimates.append(Estimate(nan, nan, nan, "the given targets determine it"))
        else:
            estimates.append(Estimate(share, *percentile_interval(replicates[:, i], confidence)))
    return PartialR2(tuple(estimates), r2_given, int(codes.max()) + 1)


# Squared held-out errors given both [0], given the rivals [1] and given the training mean [2].
def _partial_squares(
    features: Float64[Tensor, "sample feature"],
    targets: Float64[Tensor, "sample target"],
    given: Float64[Tensor, "sample rival"],
    folds: Tensor,
) -> Float64[Tensor, "3 sample target"]:
    n_features = features.shape[1]
    both = torch.cat([features, targets], dim=1)
    squares = torch.zeros(3, *targets.shape, dtype=torch.float64, device=targets.device)
    for fold in range(int(folds.max()) + 1):
        test, train = folds == fold, folds != fold
        n_train = int(train.sum())
        n_unknowns = given.shape[1] + 1
        if n_train <= n_unknowns:
            raise InputError(
                f"partial_r2 needs more training samples than given targets and intercept, got {n_train} for "
                f"{n_unknowns}; give fewer rivals or more samples."
            )
        # Centred and to unit deviation, so that no unit decides which column counts as rounding.
        centre, level = given[train].mean(dim=0), both[train].mean(dim=0)
        width = given[train].std(dim=0)
        constant = _is_constant(given[train])
        rivals = torch.where(constant, 0.0, (given - centre) / torch.where(constant, 1.0, width))
        rest = both - level - rivals @ (torch.linalg.pinv(rivals[train]) @ (both[train] - level))
        x, y = rest[:, :n_features], rest[:, n_features:]
        ridge = _fit_ridge(x[train], y[train], _moments(x[train], y[train]), None)
        squares[0, test] = (y[test] - x[test] @ ridge.weight - ridge.bias).square()
        squares[1, test] = y[test].square()
        squares[2, test] = (targets[test] - targets[train].mean(dim=0)).square()
    return squares
