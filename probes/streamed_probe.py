"""Linear probes of features that do not fit into memory: one pass over batches, which keeps sums only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import tensors_in
from probes._core.errors import InputError
from probes._core.results import cast_like
from probes._core.ridge import Moments, minus, moments_of, plus, principal_axes

__all__ = ["StreamedProbe", "fit_streamed_probe"]

# Features, targets and prompts. The underscores keep sizes free: batches differ in theirs.
Batch = tuple[Float[Tensor, "_sample _feature"], Float[Tensor, "_sample _target"], Int[Tensor, " _sample"]]


@dataclass(frozen=True, eq=False, repr=False)
class StreamedProbe:
    """A linear read-out with its held-out score."""

    r2: Float[Tensor, " target"]
    """Held-out R², at most 1; 0 is what the training folds' mean achieves. NaN for a constant target."""
    r2_folds: Float[Tensor, "fold target"]
    """R² of each fold; their spread shows how certain `r2` is. NaN for a fold without samples."""
    weight: Float[Tensor, "feature target"]
    """Refitted on all samples; target units per feature unit."""
    bias: Float[Tensor, " target"]
    """Refitted on all samples; target units."""
    penalty: Float[Tensor, " target"]
    """The refit's a in ||y - X w - b||^2 + a ||w||^2; squared feature units."""
    n_samples: int
    """Number of samples in the stream."""

    def __repr__(self) -> str:
        scores = ", ".join(f"{value:.3f}" for value in self.r2.tolist())
        return f"StreamedProbe(r2=[{scores}], n_features={len(self.weight)}, n_samples={self.n_samples})"


def fit_streamed_probe(
    batches: Iterable[Batch], *, penalties: Sequence[float] | None = None, n_folds: int = 5, seed: int = 0
) -> StreamedProbe:
    """Measure how well targets can be read linearly out of features, one batch at a time.

    Formula: as `fit_linear_probe`, with held-out errors from the folds' moments, and the penalty by generalised
    cross-validation, n RSS / (n - tr H)^2: leave-one-out proper would need a second pass. Results do not depend on
    how samples are cut into batches, up to rounding. Controls come as further columns of targets, or as another
    stream of features.

    Args:
        batches: Features, targets and the number of the prompt that each sample belongs to; once through.
        penalties: Candidates, as in `fit_linear_probe`.
        n_folds: Number of folds; a prompt's number and the seed decide which one it goes to, so that folds are equal
            only on average.
        seed: Seed of the folds.

    Returns:
        Scores and the refitted read-out, accumulated in float64, in the features' dtype.

    Raises:
        InputTypeError: If prompts are no integers.
        InputError: If there is no batch, all samples fall into one fold, or a penalty is not positive.

    Source:
        Golub, Heath and Wahba (1979) for generalised cross-validation; Chan, Golub and LeVeque (1983) for sums
        around a shift (the first sample, our choice).

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> features, prompts = torch.randn(200, 4, generator=generator), torch.arange(200)
        >>> parts = zip(features.split(64), features[:, :1].split(64), prompts.split(64))
        >>> probe = fit_streamed_probe(parts)
        >>> torch.testing.assert_close(probe.r2, torch.ones(1))
    """
    checks.count("fit_streamed_probe", "an n_folds", n_folds, 2)
    checks.count("fit_streamed_probe", "a seed", seed, 0)
    checks.penalties("fit_streamed_probe", penalties)
    folds, shifts = _accumulate(batches, n_folds, seed)
    squares, whole = [sums.squares for sums in folds], folds[0].moments
    for sums in folds[1:]:
        whole = plus(whole, sums.moments)
    total = torch.stack(squares).sum(dim=0)
    errors, spread = [], []
    for sums in folds:
        train = minus(whole, sums.moments)
        if train.n == 0:
            raise InputError(
                f"fit_streamed_probe needs prompts in at least two folds, got {whole.n} samples in one; give more "
                "prompts or another seed."
            )
        weight, bias, _ = _fit(train, total - sums.squares, penalties)
        errors.append(_squared_errors(sums, weight, bias))
        mean = train.target_sum / train.n
        spread.append(_squared_errors(sums, torch.zeros_like(weight), mean))
    weight, bias, penalty = _fit(whole, total, penalties)
    like, (feature_shift, target_shift) = shifts[0], (shift.double() for shift in shifts)
    error, width = torch.stack(errors), torch.stack(spread)
    # A spread below the rounding of the sums is a constant target.
    varies = width.sum(dim=0) > 1e-12 * whole.n * target_shift.square()
    r2 = torch.where(varies, 1.0 - error.sum(dim=0) / width.sum(dim=0), torch.nan)
    return StreamedProbe(
        r2=cast_like(r2, like),
        r2_folds=cast_like(torch.where(varies, 1.0 - error / width, torch.nan), like),
        weight=cast_like(weight, like),
        bias=cast_like(bias + target_shift - feature_shift @ weight, like),
        penalty=cast_like(penalty, like),
        n_samples=whole.n,
    )


@dataclass
class _Sums:
    moments: Moments
    squares: Float64[Tensor, " target"]


def _accumulate(batches: Iterable[Batch], n_folds: int, seed: int) -> tuple[list[_Sums], tuple[Tensor, Tensor]]:
    who, folds, shifts = "fit_streamed_probe", list[_Sums](), None
    for features, targets, groups in map(tensors_in, batches):
        checks.activations(who, "features", features, "sample feature")
        checks.activations(who, "targets", targets, "sample target")
        checks.same_length(who, ("features", "targets"), len(features), len(targets))
        checks.ids(who, "prompts", groups, len(features))
        if shifts is None:  # the first sample is the same however the batches are cut
            shifts = features[0], targets[0]
            empty = _Sums(
                moments_of(features[:0].double(), targets[:0].double()), torch.zeros_like(targets[0]).double()
            )
            folds = [empty] * n_folds
        checks.same_length(who, ("features a batch", "features of the first"), features.shape[1], len(shifts[0]))
        checks.same_length(who, ("targets a batch", "targets of the first"), targets.shape[1], len(shifts[1]))
        x, y = features.double() - shifts[0].double(), targets.double() - shifts[1].double()
        place = _fold_of(groups, n_folds, seed).to(features.device)
        for fold in range(n_folds):
            part = moments_of(x[place == fold], y[place == fold])
            squares = folds[fold].squares + y[place == fold].square().sum(dim=0)
            folds[fold] = _Sums(plus(folds[fold].moments, part), squares)
    if shifts is None:
        raise InputError(f"{who} needs at least one batch, got none; an iterator is used up after one pass.")
    return folds, shifts


# A fixed scrambling of the prompt's number (splitmix64), so that no list of prompts need be kept.
def _fold_of(groups: Int[Tensor, " sample"], n_folds: int, seed: int) -> Int64[Tensor, " sample"]:
    mask = (1 << 64) - 1
    places = {}
    for group in set(groups.tolist()):
        z = (group * 0x9E3779B97F4A7C15 + seed * 0xD1B54A32D192ED03 + 0x9E3779B97F4A7C15) & mask
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        places[group] = (z ^ (z >> 31)) % n_folds
    return torch.tensor([places[group] for group in groups.tolist()])


def _fit(
    moments: Moments, squares: Float64[Tensor, " target"], penalties: Sequence[float] | None
) -> tuple[Float64[Tensor, "feature target"], Float64[Tensor, " target"], Float64[Tensor, " target"]]:
    n = moments.n
    feature_mean, target_mean = moments.feature_sum / n, moments.target_sum / n
    values, vectors, rotated, usual = principal_axes(moments)
    grid = usual if penalties is None else values.new_tensor(list(penalties))
    spread = squares - n * target_mean.square()
    shrunk = values[:, None] + grid
    explained = rotated.square().T @ ((values[:, None] + 2 * grid) / shrunk.square())
    room = (n - 1 - (values[:, None] / shrunk).sum(dim=0)).clamp_min(torch.finfo(torch.float64).eps)
    scores = (spread[:, None] - explained).clamp_min(0.0) / room.square()
    penalty = grid[scores.argmin(dim=1)]
    weight = vectors @ (rotated / (values[:, None] + penalty))
    return weight, target_mean - feature_mean @ weight, penalty


# sum_i (y_i - b - w^T x_i)^2 from sums.
def _squared_errors(
    sums: _Sums, weight: Float64[Tensor, "feature target"], bias: Float64[Tensor, " target"]
) -> Float64[Tensor, " target"]:
    m = sums.moments
    linear = bias * m.target_sum + (weight * m.cross).sum(dim=0) - bias * (m.feature_sum @ weight)
    quadratic = (weight * (m.gram @ weight)).sum(dim=0) + m.n * bias.square()
    return sums.squares - 2 * linear + quadratic
