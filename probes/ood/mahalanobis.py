"""Distance from a Gaussian that was fitted to features, plain and relative to groups."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import in_dtype
from probes._core.streams import checked_batches
from probes.covariance import Covariance, MomentAccumulator, fit_covariance, shrunk_covariance


@dataclass(frozen=True, eq=False, repr=False)
class Mahalanobis:
    """Squared distance from the mean, in units of the fitted spread."""

    covariance: Covariance
    """Mean and spread of the fitted features."""

    @takes_arrays
    def score(self, features: Float[Tensor, "sample dim"]) -> Float[Tensor, " sample"]:
        """Measure how far out samples are.

        Args:
            features: Features of the fitted width.

        Returns:
            Squared Mahalanobis distances >= 0, dimensionless, dtype of the input; larger is further out.
        """
        return self.covariance.squared_distance(features)

    def __repr__(self) -> str:
        return f"Mahalanobis({self.covariance!r})"


@dataclass(frozen=True, eq=False, repr=False)
class RelativeMahalanobis:
    """Distance from the nearest group's mean, less the distance from the mean of all."""

    group_means: Float[Tensor, "group dim"]
    """One mean per group, in feature units."""
    within: Covariance
    """Spread around the groups' own means, shared by the groups; its mean is that of all samples."""
    background: Covariance
    """Spread of all samples around their mean."""

    @takes_arrays
    def score(self, features: Float[Tensor, "sample dim"]) -> Float[Tensor, " sample"]:
        """Measure how far out samples are.

        Formula: min_g d_within(x, mean_g)^2 - d_background(x, mean)^2.

        Args:
            features: Features of the fitted width.

        Returns:
            Differences of squared distances, any sign, dimensionless, dtype of the input; larger is further out.
        """
        who = "RelativeMahalanobis.score"
        checks.activations(who, "features", features, "sample dim")
        dims = self.group_means.shape[1]
        checks.same_length(who, ("dimensions", "in the fitted features"), features.shape[1], dims)
        exact = features.double()
        shift = self.within.mean - self.group_means
        nearest = torch.stack([self.within.squared_distance(exact + moved) for moved in shift]).amin(dim=0)
        return in_dtype(nearest - self.background.squared_distance(exact), features.dtype)

    def __repr__(self) -> str:
        return f"RelativeMahalanobis(groups={len(self.group_means)}, {self.background!r})"


@takes_arrays
def fit_mahalanobis(
    features: Float[Tensor, "sample dim"] | Iterable[Tensor], *, shrinkage: bool | float = True
) -> Mahalanobis:
    """Fit a Gaussian to in-distribution features.

    Formula: score(x) = (x - mean)^T C^{-1} (x - mean), C shrunk towards a multiple of the identity.

    Args:
        features: Any unit; one tensor, or batches of it, which give the same result.
        shrinkage: True for the share of Ledoit and Wolf, False for none, or the share itself.

    Returns:
        A detector; squared distances, larger is further out.

    Raises:
        InputError: If nothing varies, there are too few samples to go without shrinkage, or the covariance is singular
            all the same (constant features; two samples, of which Ledoit and Wolf shrink nothing).

    Source:
        Lee et al. (2018), "A simple unified framework for detecting out-of-distribution samples", with one group;
        the shrinkage of Ledoit and Wolf (2004) is our choice.

    Example:
        >>> inside = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> detector = fit_mahalanobis(inside)
        >>> assert detector.score(inside + 3).min() > detector.score(inside).median()
    """
    covariance = fit_covariance(features, shrinkage=shrinkage)
    covariance.require_invertible("fit_mahalanobis")
    return Mahalanobis(covariance)


@takes_arrays
def fit_relative_mahalanobis(
    features: Float[Tensor, "sample dim"] | Iterable[Tensor],
    groups: Int[Tensor, " sample"] | Iterable[Tensor],
    *,
    shrinkage: bool | float = True,
) -> RelativeMahalanobis:
    """Fit one Gaussian per group, with a shared spread, against one background Gaussian for all.

    Formula: score(x) = min_g d_within(x, mean_g)^2 - d_background(x, mean)^2. With one group both terms are the
    same and the score is 0 everywhere, so that is refused.

    Args:
        features: Any unit; one tensor, or batches of it, which give the same result.
        groups: One integer per sample: its task, shift or length, whatever divides the in-distribution samples; in
            batches where the features are.
        shrinkage: As in `fit_mahalanobis`, for both covariances.

    Returns:
        A detector; larger is further out.

    Raises:
        InputTypeError: If the groups are no integers.
        InputError: If there are fewer than two groups, groups and features differ in length or in their number of
            batches, or as `fit_mahalanobis`.

    Source:
        Ren et al. (2021), "A simple fix to Mahalanobis distance for improving near-OOD detection", arXiv 2106.09022.

    Example:
        >>> inside = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
        >>> inside[:100, 0] += 8
        >>> detector = fit_relative_mahalanobis(inside, torch.arange(200) // 100)
        >>> between = inside[:100] - torch.tensor([4.0, 0, 0, 0])  # near the mean of all, far from both groups
        >>> assert detector.score(between).mean() > detector.score(inside).mean() + 5
    """
    who = "fit_relative_mahalanobis"
    total, parts = _grouped_moments(who, features, groups)
    if len(parts) < 2:
        raise InputError(
            f"{who} needs at least two groups, got one; with one group the score is 0 everywhere: use "
            "fit_mahalanobis, or pass groups."
        )
    weights = total.mean().new_tensor([part.n_samples / total.n_samples for part in parts])
    within = shrunk_covariance(
        who,
        mean=total.mean(),
        covariance=_weighted(weights, [part.covariance() for part in parts]),
        fourth=_weighted(weights, [part.mean_fourth_power() for part in parts]),
        n_samples=total.n_samples,
        shrinkage=shrinkage,
    )
    within.require_invertible(who)
    return RelativeMahalanobis(
        group_means=torch.stack([part.mean() for part in parts]),
        within=within,
        background=shrunk_covariance(
            who,
            mean=total.mean(),
            covariance=total.covariance(),
            fourth=total.mean_fourth_power(),
            n_samples=total.n_samples,
            shrinkage=shrinkage,
        ),
    )


def _grouped_moments(
    who: str, features: Tensor | Iterable[Tensor], groups: Tensor | Iterable[Tensor]
) -> tuple[MomentAccumulator, list[MomentAccumulator]]:
    total, parts = MomentAccumulator(), dict[int, MomentAccumulator]()
    ids = [groups] if isinstance(groups, Tensor) else groups
    pairs = zip_longest(checked_batches(who, "features", features, "sample dim"), ids)
    for n_before, (batch, members) in enumerate(pairs):
        if batch is None or members is None:
            ended = "features" if batch is None else "groups"
            raise InputError(
                f"{who} needs as many batches of groups as of features, got no more {ended} after batch {n_before}; "
                "cut both alike, or pass two tensors."
            )
        checks.ids(who, "groups", members, len(batch))
        total.update(batch)
        for name in members.unique().tolist():
            parts.setdefault(name, MomentAccumulator()).update(batch[members == name])
    return total, [parts[name] for name in sorted(parts)]


def _weighted(weights: Tensor, values: list[Tensor]) -> Tensor:
    return torch.tensordot(weights, torch.stack(values), dims=1)
