"""Where the batches of the chains come from: a fixed data set or a stream, each chain its own or all the same.

Every draw is a pure function of (seed, purpose, chain, block), never of what was drawn before, so that the chains
see the same numbers however many of them run at once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from probes._core.errors import InputError, InputTypeError

Batch: TypeAlias = Any
"""A tensor, or a tuple or dict of tensors, each with the samples along its first axis."""


@runtime_checkable
class BatchStream(Protocol):
    """Fresh data for ever: a pure function of its arguments, such as a task's `sample`."""

    def __call__(self, n_samples: int, *, seed: int) -> Batch:
        """Draw a batch."""


class Purpose(IntEnum):
    """What random numbers are for; each purpose has streams of its own."""

    NOISE = 0
    BATCHES = 1
    INITIAL_LOSS = 2
    EVALUATION = 3
    HESSIAN = 4


def derived_seed(seed: int, purpose: Purpose, chain: int, block: int) -> int:
    """Derive a seed that no other purpose, chain or block shares."""
    return int(np.random.SeedSequence([seed, int(purpose), chain, block]).generate_state(1)[0])


def generator_for(device: torch.device, seed: int, purpose: Purpose, chain: int, block: int) -> torch.Generator:
    """Open the random stream of one block of one chain."""
    return torch.Generator(device).manual_seed(derived_seed(seed, purpose, chain, block))


def map_batch(function: Callable[..., Any], *batches: Batch) -> Batch:
    """Apply a function to the tensors of batches of one structure."""
    first = batches[0]
    if isinstance(first, dict):
        return {key: map_batch(function, *(batch[key] for batch in batches)) for key in first}
    if isinstance(first, tuple | list):
        return tuple(map_batch(function, *parts) for parts in zip(*batches, strict=True))
    return function(*batches)


def batch_tensors(who: str, batch: Batch) -> list[Tensor]:
    """List the tensors of a batch."""
    if isinstance(batch, Tensor):
        return [batch]
    parts = list(batch.values()) if isinstance(batch, dict) else batch
    if not isinstance(parts, tuple | list) or not parts:
        raise InputTypeError(
            f"{who} needs data as a tensor, a tuple or dict of tensors, or a function (n_samples, *, seed) that "
            f"returns one, got {type(batch).__name__}; pass for example (prompts.xs, prompts.ys)."
        )
    return [tensor for part in parts for tensor in batch_tensors(who, part)]


@dataclass(frozen=True, eq=False)
class Batches:
    """A source of batches for chains."""

    data: Batch | BatchStream
    n_samples: int | None
    """Size of the data set; None for a stream."""
    batch_size: int | None
    """None: the whole data set each time."""
    shared: bool
    seed: int
    purpose: Purpose = Purpose.BATCHES

    @property
    def common(self) -> bool:
        """Whether a batch has no chain axis."""
        return self.shared or self.batch_size is None

    def block(self, block: int, n_steps: int, chains: Sequence[int]) -> Iterator[Batch]:
        """Draw the batches of a few steps in a row."""
        if self.batch_size is None:
            yield from (self.data for _ in range(n_steps))
        elif self.n_samples is None:
            yield from self._streamed(block, (n_steps, self.batch_size), chains)
        else:
            yield from self._picked(block, (n_steps, self.batch_size), self.n_samples, chains)

    def _picked(self, block: int, size: tuple[int, int], total: int, chains: Sequence[int]) -> Iterator[Batch]:
        # With replacement, so that every batch mean is an unbiased estimate of the data set's mean.
        cpu = torch.device("cpu")
        picks = [
            torch.randint(total, size, generator=generator_for(cpu, self.seed, self.purpose, chain, block))
            for chain in self._streams(chains)
        ]
        rows = torch.stack(picks, dim=1)  # [step, chain, sample]
        lead = rows.shape[2:] if self.shared else rows.shape[1:]
        for chosen in rows.flatten(1):
            yield map_batch(lambda t, i=chosen: t.index_select(0, i.to(t.device)).view(*lead, *t.shape[1:]), self.data)

    def _streamed(self, block: int, size: tuple[int, int], chains: Sequence[int]) -> Iterator[Batch]:
        drawn = [
            self.data(size[0] * size[1], seed=derived_seed(self.seed, self.purpose, chain, block))
            for chain in self._streams(chains)
        ]
        split = [map_batch(lambda t: t.unflatten(0, size), batch) for batch in drawn]
        for step in range(size[0]):
            parts = [map_batch(lambda t, i=step: t[i], batch) for batch in split]
            yield parts[0] if self.shared else map_batch(lambda *ts: torch.stack(ts), *parts)

    def _streams(self, chains: Sequence[int]) -> Sequence[int]:
        return [0] if self.shared else [chain + 1 for chain in chains]


def open_batches(
    who: str,
    data: Batch | BatchStream,
    *,
    batch_size: int | None,
    shared: bool,
    seed: int,
    purpose: Purpose = Purpose.BATCHES,
) -> Batches:
    """Check data and make a source of batches of them."""
    if batch_size is not None and batch_size < 1:
        raise InputError(f"{who} needs a batch_size of at least 1, got {batch_size}; pass None for all samples.")
    if callable(data):
        if batch_size is None:
            raise InputError(f"{who} needs a batch_size for streaming data, got None; give a number of samples.")
        lengths = {len(tensor) for tensor in batch_tensors(who, data(2, seed=0))}
        if lengths != {2}:
            raise InputError(
                f"{who} needs a stream that returns as many samples as asked, got {sorted(lengths)} for 2; "
                "put the samples along the first axis."
            )
        return Batches(data, None, batch_size, shared, seed, purpose)
    tensors = batch_tensors(who, data)
    lengths = {len(tensor) if tensor.ndim else 0 for tensor in tensors}
    if len(lengths) > 1 or 0 in lengths:
        raise InputError(
            f"{who} needs data with the same number of samples, at least one, along each first axis, got "
            f"{sorted(lengths)}; align the tensors."
        )
    return Batches(data, lengths.pop(), batch_size, shared, seed, purpose)
