"""torch's optimisers, as a config asks for them."""

from collections.abc import Iterable

import torch
from torch import Tensor

from icl_interp.training.train_config import TrainConfig

__all__ = ["make_optimizer", "set_learning_rate"]

_FUSED = ("cpu", "cuda")
"""Devices for which torch has fused Adam, AdamW and SGD: one pass over the weights instead of a dozen."""


def make_optimizer(config: TrainConfig, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    """Make the optimiser of a run.

    Args:
        config: Names it, with its settings.
        parameters: What it shall change.

    Returns:
        A fresh optimiser at the peak learning rate; fused where torch has that.
    """
    parameters = list(parameters)
    fused = parameters[0].device.type in _FUSED
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, fused=fused
        )
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(
        parameters,
        lr=config.lr,
        betas=config.betas,
        eps=config.adam_eps,
        weight_decay=config.weight_decay,
        fused=fused,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Change the learning rate of all weights.

    Args:
        optimizer: Changed in place.
        lr: The new rate.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
