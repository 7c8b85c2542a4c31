"""Density of in-distribution features on their principal components, by scikit-learn."""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import cast_like
from probes._core.streams import Reservoir, reservoir_of
from probes.covariance import Covariance, fit_covariance

_COMPONENTS = 8


@dataclass(frozen=True, eq=False, repr=False)
class Density:
    """A fitted density on whitened principal components."""

    kind: Literal["kde", "gmm"]
    """Kernel density or Gaussian mixture."""
    covariance: Covariance
    """Covariance of the kept samples; its leading eigenvectors are the components."""
    n_components: int
    """Number of principal components in use; changes outside them are not seen."""
    estimator: Any
    """The fitted scikit-learn object."""
    n_kept: int
    """Number of samples the density was fitted to."""
    n_samples: int
    """Number of samples offered; more than `n_kept` where the capacity was reached."""

    @takes_arrays
    def score(self, features: Float[Tensor, "sample dim"]) -> Float[Tensor, " sample"]:
        """Measure how far out samples are.

        Formula: -log p(z), z the whitened leading components of x.

        Args:
            features: Features of the fitted width.

        Returns:
            Negative log densities in nats, any sign, computed in float64, dtype and device of the input; larger is
            further out.
        """
        checks.activations("Density.score", "features", features, "sample dim")
        whitened = _whitened(self.covariance, features, self.n_components)
        scores = torch.as_tensor(-self.estimator.score_samples(whitened))
        return cast_like(scores, features)

    def __repr__(self) -> str:
        return f"Density({self.kind!r}, n_components={self.n_components}, kept={self.n_kept} of {self.n_samples})"


@takes_arrays
def fit_kde(
    features: Float[Tensor, "sample dim"] | Iterable[Tensor],
    *,
    n_components: int | None = None,
    bandwidth: float | Literal["scott", "silverman"] = "scott",
    capacity: int = 5000,
    seed: int = 0,
) -> Density:
    """Fit a kernel density to the principal components of in-distribution features.

    Formula: score(x) = -log((1/n) sum_i N(z; z_i, h^2 I)), z whitened components. Useless in many dimensions, hence
    the components.

    Args:
        features: Any unit; one tensor, or batches of it, which give the same result.
        n_components: Leading principal components to look at; the first 8, or all that vary, unless given.
        bandwidth: h in units of a component's standard deviation, or a rule's name.
        capacity: Largest number of samples to keep; of more, a uniform random choice is kept.
        seed: Seed of that random sample.

    Returns:
        A detector; nats, larger is further out.

    Raises:
        InputError: If there are fewer components with variance than wanted.

    Source:
        Scott (1992), "Multivariate density estimation", for the default bandwidth; components and capacity are our
        choices.

    Example:
        >>> inside = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> detector = fit_kde(inside, n_components=2)
        >>> assert detector.score(inside + 5).min() > detector.score(inside).max()
    """
    reservoir = reservoir_of("fit_kde", features, capacity, seed)
    kernel = importlib.import_module("sklearn.neighbors").KernelDensity(bandwidth=bandwidth)
    return _density("fit_kde", "kde", reservoir, n_components, kernel)


@takes_arrays
def fit_gmm(
    features: Float[Tensor, "sample dim"] | Iterable[Tensor],
    *,
    n_components: int | None = None,
    n_mixtures: int = 3,
    capacity: int = 5000,
    seed: int = 0,
) -> Density:
    """Fit a mixture of Gaussians to the principal components of in-distribution features.

    Formula: score(x) = -log sum_m pi_m N(z; mu_m, C_m), z whitened components.

    Args:
        features: Any unit; one tensor, or batches of it, which give the same result.
        n_components: Leading principal components to look at; the first 8, or all that vary, unless given.
        n_mixtures: Gaussians in the mixture; no more than samples.
        capacity: Largest number of samples to keep; of more, a uniform random choice is kept.
        seed: Seed of that random sample and of the mixture's start.

    Returns:
        A detector; nats, larger is further out.

    Raises:
        InputError: If there are fewer components with variance than wanted, or fewer samples than mixtures.

    Source:
        Dempster, Laird and Rubin (1977) for the fit, by scikit-learn; all sizes are our choices.

    Example:
        >>> inside = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> detector = fit_gmm(inside, n_components=2)
        >>> assert detector.score(inside + 5).min() > detector.score(inside).max()
    """
    checks.count("fit_gmm", "n_mixtures", n_mixtures, 1)
    reservoir = reservoir_of("fit_gmm", features, capacity, seed)
    checks.count(
        "fit_gmm", f"a number of kept samples for n_mixtures={n_mixtures}", len(reservoir.sample()), n_mixtures
    )
    mixture = importlib.import_module("sklearn.mixture").GaussianMixture(n_components=n_mixtures, random_state=seed)
    return _density("fit_gmm", "gmm", reservoir, n_components, mixture)


def _density(
    who: str, kind: Literal["kde", "gmm"], reservoir: Reservoir, n_components: int | None, estimator: Any
) -> Density:
    """Whiten the kept samples and fit the estimator to them."""
    samples = reservoir.sample()
    covariance = fit_covariance(samples, shrinkage=1e-12)  # leaves the leading components alone
    values = covariance.eigenvalues
    # The share above moves a zero eigenvalue up to 1e-12 of the mean one.
    rank = int((values > 1e-10 * values[0]).sum())
    wanted = min(_COMPONENTS, rank) if n_components is None else n_components
    checks.count(who, "n_components", wanted, 1)
    if rank < wanted:
        raise InputError(
            f"{who} needs n_components of at most {rank}, the directions in which the {len(samples)} kept samples "
            f"vary, got {wanted}; lower it or collect more."
        )
    estimator.fit(_whitened(covariance, samples, wanted))
    return Density(kind, covariance, wanted, estimator, len(samples), reservoir.n_seen)


def _whitened(covariance: Covariance, features: Tensor, n_components: int) -> Any:
    return covariance.whiten(features.double())[:, :n_components].cpu().numpy()
