"""Distance to the k-th nearest in-distribution sample."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.results import in_dtype
from probes._core.streams import reservoir_of

_CHUNK = 1024
# Scored lengths whose median is off the fitted one by this factor are a change of scale; a few samples are not.
_SCALE_SHIFT = 1.5
_ENOUGH_TO_TELL = 20


@dataclass(frozen=True, eq=False, repr=False)
class NearestNeighbors:
    """Remembered samples, and which neighbour counts."""

    samples: Float64[Tensor, "kept dim"]
    """A random sample of the fitted features; of length one each, where `normalize`."""
    k: int
    """Which neighbour's distance is the score; 1 is the nearest."""
    normalize: bool
    """Whether lengths are divided out first."""
    median_length: float
    """Median ||x|| of the kept samples before any normalising, in feature units."""
    n_samples: int
    """Number of fitted samples; more than `kept` where the capacity was reached."""

    @takes_arrays
    def score(self, features: Float[Tensor, "sample dim"]) -> Float[Tensor, " sample"]:
        """Measure how far out samples are.

        Formula: ||x - x_(k)||, the distance to the k-th nearest kept sample. A fitted sample finds itself at
        distance 0, so score samples that were not fitted.

        Args:
            features: Features of the fitted width.

        Returns:
            Distances >= 0 in feature units, or in [0, 2] where normalised, computed in float64, dtype of the
            input; larger is further out.

        Raises:
            InputError: If a vector is zero where lengths are divided out.

        Warns:
            UserWarning: If lengths are divided out and the median length of 20 or more samples is off the fitted
                one by a factor of 1.5, since the score is blind to scale.
        """
        who = "NearestNeighbors.score"
        checks.activations(who, "features", features, "sample dim")
        checks.same_length(who, ("dimensions", "in the fitted features"), features.shape[1], self.samples.shape[1])
        exact = features.double()
        if self.normalize:
            self._warn_if_rescaled(exact)
            exact = _normalised(who, exact)
        nearest = [
            torch.cdist(chunk, self.samples, compute_mode="donot_use_mm_for_euclid_dist").kthvalue(self.k, dim=1).values
            for chunk in torch.split(exact, _CHUNK)
        ]
        return in_dtype(torch.cat(nearest), features.dtype)

    def _warn_if_rescaled(self, exact: Tensor) -> None:
        ratio = _median_length(exact) / self.median_length
        if len(exact) >= _ENOUGH_TO_TELL and not 1 / _SCALE_SHIFT <= ratio <= _SCALE_SHIFT:
            warnings.warn(
                f"normalised nearest neighbours are blind to scale, and the median length of these features is "
                f"{ratio:.2g} times that of the fitted ones; report normalize=False beside them.",
                UserWarning,
                stacklevel=3,
            )

    def __repr__(self) -> str:
        kept = f"kept={len(self.samples)} of {self.n_samples}"
        return f"NearestNeighbors(k={self.k}, normalize={self.normalize}, {kept})"


@takes_arrays
def fit_nearest_neighbors(
    features: Float[Tensor, "sample dim"] | Iterable[Tensor],
    *,
    k: int = 10,
    normalize: bool = False,
    capacity: int = 5000,
    seed: int = 0,
) -> NearestNeighbors:
    """Remember in-distribution features.

    Formula: score(x) = ||x - x_(k)||, the k-th smallest distance to a kept sample; with `normalize`, of x / ||x||.
    Normalised features hide a pure change of scale, a standard shift here: report both.

    Args:
        features: Any unit; one tensor, or batches of it, which give the same result.
        k: Which neighbour; larger is smoother.
        normalize: Divide out each vector's length.
        capacity: Largest number of samples to keep; of more, a uniform random choice is kept.
        seed: Seed of that random sample.

    Returns:
        A detector; distances, larger is further out.

    Raises:
        InputError: If there are fewer than k samples, or a vector is zero where lengths are divided out.

    Source:
        Sun et al. (2022), "Out-of-distribution detection with deep nearest neighbors", ICML, which normalises; k
        and the capacity are our choices.

    Example:
        >>> inside = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> detector = fit_nearest_neighbors(inside)
        >>> assert detector.score(10 * inside).mean() > 3 * detector.score(inside).mean()
    """
    who = "fit_nearest_neighbors"
    checks.count(who, "a k", k, 1)
    reservoir = reservoir_of(who, features, capacity, seed)
    samples = reservoir.sample().double()
    checks.count(who, f"a number of kept samples for k={k}", len(samples), k)
    return NearestNeighbors(
        samples=_normalised(who, samples) if normalize else samples,
        k=k,
        normalize=normalize,
        median_length=_median_length(samples),
        n_samples=reservoir.n_seen,
    )


def _normalised(who: str, exact: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(exact, dim=1, keepdim=True)
    checks.nonzero(who, "features", lengths)
    return exact / lengths


def _median_length(exact: Tensor) -> float:
    return float(torch.linalg.vector_norm(exact, dim=1).median())
