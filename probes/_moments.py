"""Sums over a stream of features: mean, covariance and the fourth moment that shrinkage needs.

They run in float64 around the first sample, so that neither a large mean nor the batch size matters.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._checks import _check_activations, _check_count, _check_same_length


class MomentAccumulator:
    """Gather mean, covariance and the fourth moment that shrinkage needs, batch by batch.

    Example:
        >>> features = 1e6 + torch.randn(30, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> moments = MomentAccumulator()
        >>> for batch in features.split(7):
        ...     moments.update(batch)
        >>> torch.testing.assert_close(moments.covariance(), torch.cov(features.T, correction=0))
    """

    def __init__(self) -> None:
        self.n_samples = 0
        self._origin: Tensor | None = None

    def update(self, features: Float[Tensor, "sample dim"]) -> None:
        """Add samples.

        Args:
            features: Any unit, the same as before.

        Raises:
            InputTypeError: If the features are no floating-point tensor.
            InputError: If an axis is missing or empty, entries are not finite, or the width differs.
        """
        who = "MomentAccumulator"
        _check_activations(who, "features", features, "sample dim")
        exact = features.double()
        if self._origin is None:
            self._origin = exact[0].clone()
            self._sum = torch.zeros_like(self._origin)
            self._products = self._sum[:, None] * self._sum
            self._cubes = torch.zeros_like(self._origin)
            self._fourth = self._sum.sum()
        _check_same_length(who, ("dimensions", "in earlier batches"), exact.shape[1], len(self._origin))
        centred = exact - self._origin
        lengths = centred.square().sum(dim=1)
        self._sum = self._sum + centred.sum(dim=0)
        self._products = self._products + centred.mT @ centred
        self._cubes = self._cubes + lengths @ centred
        self._fourth = self._fourth + lengths.square().sum()
        self.n_samples += len(features)

    def mean(self) -> Float64[Tensor, " dim"]:
        """Return the mean of all samples so far, in feature units.

        Raises:
            InputError: If there were no samples.
        """
        return self._known_origin() + self._sum / self.n_samples

    def covariance(self) -> Float64[Tensor, "dim dim"]:
        """Return the covariance with divisor n, in squared feature units.

        Raises:
            InputError: If there were no samples.
        """
        self._known_origin()
        offset = self._sum / self.n_samples
        return self._products / self.n_samples - offset[:, None] * offset

    def mean_fourth_power(self) -> Float64[Tensor, ""]:
        """Return the mean of ||x - mean||^4, in feature units to the fourth power.

        Raises:
            InputError: If there were no samples.
        """
        self._known_origin()
        n, offset = self.n_samples, self._sum / self.n_samples
        length = offset @ offset
        # ||z - m||^4 = (q - 2 <m, z> + ||m||^2)^2 with q = ||z||^2, summed term by term.
        total = self._fourth + 4 * offset @ self._products @ offset + n * length**2
        total = total - 4 * offset @ self._cubes + 2 * length * self._products.trace() - 4 * n * length**2
        return (total / n).clamp_min(0.0)

    def _known_origin(self) -> Tensor:
        _check_count("MomentAccumulator", "a number of samples", self.n_samples, 1)
        return torch.as_tensor(self._origin)
