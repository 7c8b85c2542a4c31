"""Erase what is linearly decodable, so that no linear probe finds the target and as little as possible changes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import in_dtype
from probes._core.streams import MomentAccumulator

__all__ = ["Eraser", "ErasureFitter", "fit_eraser"]

_CORRELATED = math.sqrt(torch.finfo(torch.float64).eps)
"""Canonical correlations below it are rounding of the sums (our choice)."""
_ROUNDED = 8.0
"""Units in the last place of the features within which a direction counts as one without variance (our choice)."""


@dataclass(frozen=True, eq=False, repr=False)
class Eraser:
    """An affine map that erases a target; call it with features."""

    mean: Float64[Tensor, " dim"]
    """Mean of the fitted features, in their units, which the map keeps."""
    directions: Float64[Tensor, "dim rank"]
    """Orthonormal columns that span what is removed."""
    read: Float64[Tensor, "rank dim"]
    """Rows that read, from a deviation from the mean, how much to remove along each direction."""
    correlations: Float64[Tensor, " rank"]
    """Canonical correlations between features and target that are erased, largest first, in (0, 1]."""
    n_samples: int
    """Number of fitted samples."""

    @property
    def rank(self) -> int:
        """Number of removed directions; 0 if features and target are uncorrelated."""
        return self.directions.shape[1]

    @takes_arrays
    def __call__(self, features: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Erase.

        Formula: x - D R (x - mean), with the directions D and the readers R.

        Args:
            features: Features of the fitted width, any leading axes.

        Returns:
            Features of the same shape and dtype, computed in float64.
        """
        checks.activations("Eraser", "features", features, "*batch dim")
        checks.same_length("Eraser", ("dimensions", "in the fitted features"), features.shape[-1], len(self.mean))
        exact, mean, directions, read = (t.to(features.device) for t in (features.double(), *self._maps()))
        return in_dtype(exact - (exact - mean) @ read.mT @ directions.mT, features.dtype)

    def _maps(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.mean, self.directions, self.read

    def along_random_directions(self, *, seed: int) -> "Eraser":
        """Remove as much from every sample along random directions: the control of an intervention.

        Formula: x - U R (x - mean), with U uniform among orthonormal columns, so that rank and length of what is taken
        away are equal, sample by sample. It erases nothing.

        Args:
            seed: Seed of U.

        Returns:
            A map of the same readers.
        """
        drawn = torch.randn(self.directions.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return replace(self, directions=torch.linalg.qr(drawn).Q)

    def __repr__(self) -> str:
        return f"Eraser(dim={len(self.mean)}, rank={self.rank}, n_samples={self.n_samples})"


class ErasureFitter:
    """Fit an eraser from batches; it keeps sums only, so memory does not grow with the samples."""

    def __init__(self) -> None:
        self._moments = MomentAccumulator()
        self._n_features = 0
        self._eps = 0.0

    @takes_arrays
    def update(
        self, features: Float[Tensor, "sample dim"], targets: Float[Tensor, "sample target"] | Float[Tensor, " sample"]
    ) -> None:
        """Add samples.

        Args:
            features: Activations, any unit.
            targets: What shall be erased, any unit: numbers, vectors, or classes as one-hot rows.

        Raises:
            InputError: If the widths differ from those before.
        """
        who = "ErasureFitter.update"
        checks.activations(who, "features", features, "sample dim")
        checks.activations(who, "targets", targets, "sample" if targets.ndim == 1 else "sample target")
        checks.same_length(who, ("features", "targets"), len(features), len(targets))
        width = features.shape[1]
        checks.same_length(who, ("dimensions", "in earlier batches"), width, self._n_features or width)
        self._n_features, self._eps = width, max(self._eps, torch.finfo(features.dtype).eps)
        columns = targets if targets.ndim == 2 else targets[:, None]
        self._moments.update(torch.cat([features.double(), columns.to(features.device).double()], dim=1))

    def fit(self, columns: Sequence[int] | None = None) -> Eraser:
        """Give the eraser of all samples so far.

        Args:
            columns: Columns of the targets that shall be erased, counted from 0; None takes all.

        Returns:
            The eraser; more samples may follow.

        Raises:
            InputError: If there are fewer than two samples, or a column does not exist.
        """
        n, d = self._moments.n_samples, self._n_features
        checks.count("ErasureFitter.fit", "a number of samples", n, 2)
        joint, mean = self._moments.covariance(), self._moments.mean()
        known = range(len(joint) - d)
        chosen = [d + column for column in (known if columns is None else columns)]
        if not chosen or not all(place - d in known for place in chosen):
            raise InputError(f"ErasureFitter.fit needs columns from 0 to {known[-1]}, got {list(columns or ())}.")
        whiten, colour = _roots(joint[:d, :d], self._eps)
        whiten_targets, _ = _roots(joint[chosen][:, chosen], torch.finfo(torch.float64).eps)
        left, correlations, _ = torch.linalg.svd(whiten @ joint[:d, chosen] @ whiten_targets, full_matrices=False)
        kept = left[:, correlations > _CORRELATED]
        directions, triangle = torch.linalg.qr(colour @ kept)
        return Eraser(mean[:d], directions, triangle @ kept.mT @ whiten, correlations[: kept.shape[1]].clamp(max=1), n)


def _roots(covariance: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Find S^(-1/2) and S^(1/2), both 0 along directions whose variance is rounding."""
    values, vectors = torch.linalg.eigh(covariance)
    largest = values[-1].clamp_min(0)
    floor = largest * max((_ROUNDED * eps) ** 2, len(values) * torch.finfo(torch.float64).eps)
    varies = values > floor  # not >=, or a zero matrix would pass
    scales = torch.where(varies, values, 1.0).sqrt()
    return (vectors * (varies / scales)) @ vectors.mT, (vectors * (varies * scales)) @ vectors.mT


@takes_arrays
def fit_eraser(
    features: Float[Tensor, "sample dim"], targets: Float[Tensor, "sample target"] | Float[Tensor, " sample"]
) -> Eraser:
    """Find the smallest change of features after which no linear probe can read the targets.

    Formula (LEACE): r(x) = x - S^(1/2) P S^(-1/2) (x - mean), with S the features' covariance, its pseudo-root where it
    is singular, and P the orthogonal projection on the columns of S^(-1/2) Cov(x, z). Then Cov(r(x), z) = 0 on the
    fitted samples, so that least squares reads the targets no better than their mean does; and of all affine maps that
    achieve this r has the least mean squared change, in the Euclidean and in any other norm. The guarantee is linear:
    a nonlinear probe may still find the target. It holds for the distribution of the fitted samples: with few samples
    per dimension a trace is left in others.

    Args:
        features: Activations, any unit.
        targets: What shall be erased, any unit: numbers, vectors, or classes as one-hot rows.

    Returns:
        The eraser, fitted in float64.

    Raises:
        InputError: If there are fewer than two samples.

    Source:
        Belrose et al. (2023), arXiv 2306.03819, theorems 4.2 and 4.3.

    Example:
        >>> features = torch.randn(100, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> target = features[:, 0] + features[:, 1]
        >>> erased = fit_eraser(features, target)(features)
        >>> left = (erased - erased.mean(0)).T @ (target - target.mean()) / 100
        >>> torch.testing.assert_close(left, torch.zeros(3, dtype=torch.float64))
    """
    fitter = ErasureFitter()
    fitter.update(features, targets)
    return fitter.fit()
