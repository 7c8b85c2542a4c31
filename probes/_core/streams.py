"""One tensor or an iterator of batches, read alike: a fixed-size random sample, and sums over a stream.

Sums run in float64 around the first sample, so that neither a large mean nor the batch size matters.
"""

from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import tensors_in
from probes._core.errors import InputError, InputTypeError


def checked_batches(who: str, name: str, given: object, axes: str) -> Iterator[Tensor]:
    """Yield checked batches; a tensor is one batch."""
    if not isinstance(given, Iterable):
        raise InputTypeError(
            f"{who} needs a tensor or an iterable of tensors as {name}, got {type(given).__name__}; "
            "pass one tensor, or batches along its first axis."
        )
    width: int | None = None
    for batch in [given] if isinstance(given, Tensor) else map(tensors_in, given):
        checks.activations(who, name, batch, axes)
        width = batch.shape[-1] if width is None else width
        checks.same_length(who, (f"columns of {name}", "in earlier batches"), batch.shape[-1], width)
        yield batch
    if width is None:
        raise InputError(
            f"{who} needs at least one batch of {name}, got none; an iterator that was already read is empty."
        )


class Reservoir:
    """A uniform random sample of at most `capacity` rows of a stream, the same for any batch size.

    Each row gets a random priority and the largest ones stay; rows keep the order in which they came.
    """

    def __init__(self, who: str, capacity: int, seed: int) -> None:
        checks.count(who, "a capacity", capacity, 1)
        self.capacity = capacity
        self.n_seen = 0
        self._generator = torch.Generator().manual_seed(seed)
        self._rows: Tensor | None = None
        self._priorities = torch.empty(0, dtype=torch.float64)

    def update(self, batch: Tensor) -> None:
        """Offer rows."""
        drawn = torch.rand(len(batch), generator=self._generator, dtype=torch.float64)
        priorities = torch.cat([self._priorities, drawn])
        rows = batch.clone() if self._rows is None else torch.cat([self._rows, batch])
        if len(rows) > self.capacity:
            kept = priorities.topk(self.capacity).indices.sort().values
            priorities, rows = priorities[kept], rows[kept.to(rows.device)]
        self._priorities, self._rows = priorities, rows
        self.n_seen += len(batch)

    def sample(self) -> Tensor:
        """Return the kept rows."""
        return torch.as_tensor(self._rows)


def reservoir_of(
    who: str, features: Tensor | Iterable[Tensor], capacity: int, seed: int, axes: str = "sample dim"
) -> Reservoir:
    reservoir = Reservoir(who, capacity, seed)
    for batch in checked_batches(who, "features", features, axes):
        reservoir.update(batch)
    return reservoir


class MomentAccumulator:
    """Gather mean, covariance and the fourth moment that shrinkage needs, batch by batch."""

    def __init__(self) -> None:
        self.n_samples = 0
        self._origin: Tensor | None = None

    def update(self, features: Float[Tensor, "sample dim"]) -> None:
        """Add samples."""
        who = "MomentAccumulator"
        checks.activations(who, "features", features, "sample dim")
        exact = features.double()
        if self._origin is None:
            self._origin = exact[0].clone()
            self._sum = torch.zeros_like(self._origin)
            self._products = self._sum[:, None] * self._sum
            self._cubes = torch.zeros_like(self._origin)
            self._fourth = self._sum.sum()
        checks.same_length(who, ("dimensions", "in earlier batches"), exact.shape[1], len(self._origin))
        centred = exact - self._origin
        lengths = centred.square().sum(dim=1)
        self._sum = self._sum + centred.sum(dim=0)
        self._products = self._products + centred.mT @ centred
        self._cubes = self._cubes + lengths @ centred
        self._fourth = self._fourth + lengths.square().sum()
        self.n_samples += len(features)

    def mean(self) -> Float64[Tensor, " dim"]:
        """Return the mean of all samples so far, in feature units."""
        return self._known_origin() + self._sum / self.n_samples

    def covariance(self) -> Float64[Tensor, "dim dim"]:
        """Return the covariance with divisor n, in squared feature units."""
        self._known_origin()
        offset = self._sum / self.n_samples
        return self._products / self.n_samples - offset[:, None] * offset

    def mean_fourth_power(self) -> Float64[Tensor, ""]:
        """Return the mean of ||x - mean||^4, in feature units to the fourth power."""
        self._known_origin()
        n, offset = self.n_samples, self._sum / self.n_samples
        length = offset @ offset
        # ||z - m||^4 = (q - 2 <m, z> + ||m||^2)^2 with q = ||z||^2, summed term by term.
        total = self._fourth + 4 * offset @ self._products @ offset + n * length**2
        total = total - 4 * offset @ self._cubes + 2 * length * self._products.trace() - 4 * n * length**2
        return (total / n).clamp_min(0.0)

    def _known_origin(self) -> Tensor:
        checks.count("MomentAccumulator", "a number of samples", self.n_samples, 1)
        return torch.as_tensor(self._origin)
