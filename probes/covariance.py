"""Mean, covariance, shrinkage and whitening of features, from one tensor or a stream of batches."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import in_dtype
from probes._core.streams import MomentAccumulator, checked_batches

__all__ = ["Covariance", "MomentAccumulator", "fit_covariance", "ledoit_wolf_shrinkage"]


@dataclass(frozen=True, eq=False, repr=False)
class Covariance:
    """Where features lie and how they spread, ready for distances and whitening."""

    mean: Float64[Tensor, " dim"]
    """Mean feature vector, in feature units."""
    matrix: Float64[Tensor, "dim dim"]
    """Covariance with divisor n, after shrinkage, in squared feature units."""
    eigenvalues: Float64[Tensor, " dim"]
    """Eigenvalues of `matrix`, largest first, at least 0."""
    eigenvectors: Float64[Tensor, "dim dim"]
    """Orthonormal rows, in the same order."""
    shrinkage: float
    """Share of the scaled identity in `matrix`, in [0, 1]."""
    n_samples: int
    """Number of fitted samples."""

    @takes_arrays
    def whiten(self, features: Float[Tensor, "sample dim"]) -> Float[Tensor, "sample dim"]:
        """Express features in the eigenvectors' coordinates, each with variance one.

        Formula: z_i = <e_i, x - mean> / sqrt(lambda_i). Refused where an eigenvalue is zero up to rounding.

        Args:
            features: Features of the fitted width.

        Returns:
            Coordinates by falling variance, dimensionless, computed in float64, dtype of the input.

        Raises:
            InputError: If the covariance is singular.
        """
        return in_dtype(self._whitened("whiten", features), features.dtype)

    @takes_arrays
    def squared_distance(self, features: Float[Tensor, "sample dim"]) -> Float[Tensor, " sample"]:
        """Measure the squared Mahalanobis distance from the mean.

        Formula: (x - mean)^T matrix^{-1} (x - mean); `dim` on average for the fitted samples without shrinkage.

        Args:
            features: Features of the fitted width.

        Returns:
            Numbers >= 0, dimensionless, computed in float64, dtype of the input.

        Raises:
            InputError: If the covariance is singular.
        """
        return in_dtype(self._whitened("squared_distance", features).square().sum(dim=1), features.dtype)

    def _whitened(self, who: str, features: Tensor) -> Tensor:
        checks.activations(who, "features", features, "sample dim")
        checks.same_length(who, ("dimensions", "in the fitted features"), features.shape[1], len(self.mean))
        self.require_invertible(who)
        return (features.double() - self.mean) @ self.eigenvectors.mT / self.eigenvalues.sqrt()

    def require_invertible(self, who: str) -> None:
        """Refuse a covariance whose inverse would be rounding noise."""
        floor = len(self.mean) * torch.finfo(torch.float64).eps * self.eigenvalues[0]
        singular = int((self.eigenvalues <= floor).sum())
        if singular:
            raise InputError(
                f"{who} needs a covariance of full rank, got {singular} of {len(self.mean)} directions without "
                "variance; pass a shrinkage such as 0.1, drop constant or repeated features, or collect more."
            )

    def __repr__(self) -> str:
        return f"Covariance(dim={len(self.mean)}, n_samples={self.n_samples}, shrinkage={self.shrinkage:.3g})"


@takes_arrays
def ledoit_wolf_shrinkage(
    covariance: Float64[Tensor, "dim dim"], mean_fourth_power: Float64[Tensor, ""], n_samples: int
) -> float:
    """Find the share of the scaled identity that minimises the expected squared error of a covariance.

    Formula: min(b, d) / d with d = ||S - mu I||_F^2, b = (E||x - mean||^4 - ||S||_F^2) / n, mu = tr(S) / dim. It
    tends to 0 with growing n, and is 1 where S is already a multiple of the identity.

    Args:
        covariance: S with divisor n.
        mean_fourth_power: E||x - mean||^4 over the same samples.
        n_samples: n.

    Returns:
        A number in [0, 1], dimensionless.

    Source:
        Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", J.
        Multivariate Analysis 88, lemmas 3.2-3.4.

    Example:
        >>> moments = MomentAccumulator()
        >>> moments.update(torch.randn(50, 4, generator=torch.Generator().manual_seed(0)))
        >>> share = ledoit_wolf_shrinkage(moments.covariance(), moments.mean_fourth_power(), 50)
        >>> assert 0.3 < share <= 1  # the true covariance is the identity
    """
    energy = covariance.square().sum()
    spread = float(energy - covariance.trace().square() / len(covariance))
    error = float(mean_fourth_power - energy) / n_samples
    # Both are differences; below rounding of their terms there is nothing left to shrink.
    if spread <= len(covariance) * torch.finfo(torch.float64).eps * float(energy):
        return 1.0
    return min(1.0, max(0.0, error / spread))


@takes_arrays
def fit_covariance(
    features: Float[Tensor, "sample dim"] | Iterable[Tensor], *, shrinkage: bool | float = True
) -> Covariance:
    """Estimate where features lie and how they spread.

    Formula: (1 - a) S + a tr(S)/dim I, with S = (1/n) sum (x - mean)(x - mean)^T and the share a of Ledoit and
    Wolf. Without shrinkage S is singular where n <= dim, which is refused.

    Args:
        features: Any unit; one tensor, or batches of it, which give the same result.
        shrinkage: True for Ledoit-Wolf, False for none, or the share itself.

    Returns:
        The covariance, always float64.

    Raises:
        InputError: If nothing varies, or there are too few samples to go without shrinkage.

    Source:
        Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices".

    Example:
        >>> features = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([9.0, 3, 1])
        >>> distances = fit_covariance(features, shrinkage=False).squared_distance(features)
        >>> torch.testing.assert_close(distances.mean(), torch.tensor(3.0))
    """
    moments = MomentAccumulator()
    for batch in checked_batches("fit_covariance", "features", features, "sample dim"):
        moments.update(batch)
    return shrunk_covariance(
        "fit_covariance",
        mean=moments.mean(),
        covariance=moments.covariance(),
        fourth=moments.mean_fourth_power(),
        n_samples=moments.n_samples,
        shrinkage=shrinkage,
    )


@takes_arrays
def shrunk_covariance(
    who: str, *, mean: Tensor, covariance: Tensor, fourth: Tensor, n_samples: int, shrinkage: bool | float
) -> Covariance:
    """Shrink a covariance that was gathered elsewhere."""
    share = _share(who, covariance, fourth, n_samples, shrinkage=shrinkage)
    dims = len(mean)
    identity = torch.eye(dims, dtype=covariance.dtype, device=covariance.device)
    matrix = (1.0 - share) * covariance + share * covariance.trace() / dims * identity
    eigenvalues, vectors = torch.linalg.eigh(matrix)
    return Covariance(
        mean=mean,
        matrix=matrix,
        eigenvalues=eigenvalues.flip(0).clamp_min(0.0),
        eigenvectors=vectors.flip(1).mT.contiguous(),
        shrinkage=share,
        n_samples=n_samples,
    )


def _share(who: str, covariance: Tensor, fourth: Tensor, n_samples: int, *, shrinkage: bool | float) -> float:
    """Decide how much to shrink."""
    dims = len(covariance)
    if not float(covariance.trace()) > 0.0:
        raise InputError(
            f"{who} needs features that vary, got {n_samples} equal samples; collect more or check the selection."
        )
    if shrinkage is True:
        return ledoit_wolf_shrinkage(covariance, fourth, n_samples)
    share = float(shrinkage)
    if not 0.0 <= share <= 1.0:
        raise InputError(f"{who} needs shrinkage in [0, 1], got {share:g}; pass True for Ledoit-Wolf.")
    if share == 0.0 and n_samples <= dims:
        raise InputError(
            f"{who} needs more samples than dimensions when shrinkage is off, got {n_samples} samples of {dims} "
            "dimensions; pass shrinkage=True or collect more."
        )
    return share
