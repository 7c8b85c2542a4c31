"""One tensor or an iterator of batches, read alike; and a fixed-size random sample of a stream."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from probes._checks import _check_activations, _check_count, _check_same_length
from probes._errors import InputError, InputTypeError


def _batches(who: str, name: str, given: object, axes: str) -> Iterator[Tensor]:
    """Yield checked batches; a tensor is one batch.

    Args:
        who: The public function, for the message.
        name: The argument, for the message.
        given: A tensor with the named axes, or batches of it along the first axis.
        axes: Names separated by spaces.

    Yields:
        Finite floating-point tensors that agree in their last axis.

    Raises:
        InputTypeError: If `given` is neither a tensor nor an iterable of tensors.
        InputError: If there is no batch, or one does not fit the others.
    """
    if not isinstance(given, Iterable):
        raise InputTypeError(
            f"{who} needs a tensor or an iterable of tensors as {name}, got {type(given).__name__}; "
            "pass one tensor, or batches along its first axis."
        )
    width: int | None = None
    for batch in [given] if isinstance(given, Tensor) else given:
        _check_activations(who, name, batch, axes)
        width = batch.shape[-1] if width is None else width
        _check_same_length(who, (f"columns of {name}", "in earlier batches"), batch.shape[-1], width)
        yield batch
    if width is None:
        raise InputError(
            f"{who} needs at least one batch of {name}, got none; an iterator that was already read is empty."
        )


class _Reservoir:
    """A uniform random sample of at most `capacity` rows of a stream, the same for any batch size.

    Each row gets a random priority and the largest ones stay; rows keep the order in which they came.
    """

    def __init__(self, who: str, capacity: int, seed: int) -> None:
        _check_count(who, "a capacity", capacity, 1)
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


def _reservoir_of(
    who: str, features: Tensor | Iterable[Tensor], capacity: int, seed: int, axes: str = "sample dim"
) -> _Reservoir:
    reservoir = _Reservoir(who, capacity, seed)
    for batch in _batches(who, "features", features, axes):
        reservoir.update(batch)
    return reservoir
