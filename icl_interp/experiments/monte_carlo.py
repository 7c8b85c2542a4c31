"""Test errors over many fresh tasks in bounded memory."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.prompts import derive_seed
from icl_interp.tasks.base import Task

__all__ = ["Risk", "query_risks"]

Key = TypeVar("Key", bound=Hashable)
_CHUNK = 20_000
_MOST_FLOATS = 10_000_000


@dataclass(frozen=True, slots=True)
class Risk:
    """A mean squared error: over test tasks, or exact."""

    value: float
    """In squared units of y."""
    standard_error: float
    """Of the mean, over tasks; 0 where it is exact."""


def query_risks(models: Mapping[Key, Callable[..., Tensor]], task: Task, n_tasks: int, *, seed: int) -> dict[Key, Risk]:
    """Test models on the last point of the same fresh prompts.

    Formula: mean of (f_last - y_last)^2, summed in float64, chunk by chunk.
    """
    if n_tasks < 2:
        raise InputError(f"query_risks needs at least two tasks for a standard error, got {n_tasks}.")
    sums = {key: torch.zeros(2, dtype=torch.float64) for key in models}
    size = max(2, min(_CHUNK, _MOST_FLOATS // (task.default_points * task.n_dims)))
    for number, start in enumerate(range(0, n_tasks, size)):
        prompts = task.sample(min(size, n_tasks - start), seed=derive_seed(seed, f"test chunk {number}"))
        wanted = prompts.ys[:, -1].double()
        with torch.no_grad():
            for key, model in models.items():
                squares = (model(prompts.xs, prompts.ys, points=[-1])[:, 0].double() - wanted).square()
                sums[key] += torch.stack([squares.sum(), squares.square().sum()])
    return {key: _risk(total, n_tasks) for key, total in sums.items()}


def _risk(sums: Tensor, n_tasks: int) -> Risk:
    mean, square = (sums / n_tasks).tolist()
    return Risk(mean, max(0.0, (square - mean**2) / (n_tasks - 1)) ** 0.5)
