"""The loss at w*, from many batches, with its standard error."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from probes._errors import InputError, InputTypeError
from probes._sgld import Loss, plain_attention
from probes._sgld_batches import Batch, Batches, map_batch
from probes._sgld_parameters import ParameterRow


class NonFiniteLossError(InputError):
    """The loss at w* is NaN or infinite, so there is nothing to start from."""


@dataclass(frozen=True)
class InitLoss:
    """The loss at w*."""

    value: float
    """Mean over batches."""
    error: float
    """Its standard error; 0 where the whole data set was evaluated, NaN for a single batch."""
    n_batches: int
    """How many."""


def init_loss(who: str, loss: Loss, row: ParameterRow, batches: Batches, n_batches: int) -> InitLoss:
    """Evaluate the loss at w*.

    A data set of at most n_batches batches is evaluated once as a whole, batch by batch, which is exact for a loss that
    is a mean over samples; otherwise batches are drawn as for the chains.

    Args:
        who: The public function, for messages.
        loss: One number for (parameters by name, batch).
        row: The parameters.
        batches: Shared ones.
        n_batches: How many at most.

    Returns:
        Mean and standard error.

    Raises:
        InputTypeError: If the loss returns no tensor.
        InputError: If it returns more than one number.
        NonFiniteLossError: If it returns NaN or infinity.
    """
    named = {**row.frozen, **row.named(row.center)}
    size, total = batches.batch_size, batches.n_samples
    with torch.no_grad(), plain_attention():
        if size is None:
            return InitLoss(_one(who, loss(named, batches.data)), 0.0, 1)
        if total is not None and total <= n_batches * size:
            parts = [(start, min(start + size, total)) for start in range(0, total, size)]
            values = [_one(who, loss(named, _part(batches.data, *ends))) for ends in parts]
            weights = [(end - start) / total for start, end in parts]
            mean = sum(value * weight for value, weight in zip(values, weights, strict=True))
            return InitLoss(mean, 0.0, len(parts))
        drawn = (next(batches.block(block, 1, [0])) for block in range(n_batches))
        found = torch.tensor([_one(who, loss(named, batch)) for batch in drawn], dtype=torch.float64)
    error = float(found.std()) / math.sqrt(n_batches) if n_batches > 1 else math.nan
    return InitLoss(float(found.mean()), error, n_batches)


def _part(data: Batch, start: int, end: int) -> Batch:
    return map_batch(lambda tensor: tensor[start:end], data)


def _one(who: str, value: Any) -> float:
    if not isinstance(value, Tensor):
        raise InputTypeError(f"{who} needs loss(params, batch) to return a tensor, got {type(value).__name__}.")
    if value.ndim:
        raise InputError(
            f"{who} needs loss(params, batch) to return one number, got shape {tuple(value.shape)}; take the mean."
        )
    number = float(value)
    if not math.isfinite(number):
        raise NonFiniteLossError(f"{who} needs a finite loss at w*, got {number}; check the parameters and the data.")
    return number
