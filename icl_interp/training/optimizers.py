"""torch's optimisers and their learning rates, as a config asks for them."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from icl_interp.training.train_config import TrainConfig

__all__ = ["learning_rate", "make_optimizer", "set_learning_rate"]

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


def learning_rate(config: TrainConfig, step: int) -> float:
    """Give the learning rate of a step.

    Formula, with W = `warmup`, T = `steps` and p = (step - W) / (T - W): "constant" is lr; "cosine" is
    lr (1 + cos(pi p)) / 2; "triangle" is lr (1 - p); all three rise as lr step / W before. "one_cycle" is torch's
    OneCycleLR with linear annealing and both division factors T W' / T - 1 for its W' = W: from lr / (W - 1) up to lr
    at step W, then down to lr / (W - 1)^2. Triangle and one-cycle take W = T // 2 where `warmup` is 0.

    Args:
        config: Peak, warm-up and schedule.
        step: Counting from 1.

    Returns:
        In the optimiser's units.

    Source:
        "triangle": Raventos et al. (2023), their code; "one_cycle": timaeus-research/icl.
    """
    warmup, steps = config.peak_step, config.steps
    if config.schedule == "one_cycle":
        return _one_cycle(config.lr, warmup, steps, step)
    if step <= warmup:
        return config.lr * step / warmup
    if config.schedule == "constant":
        return config.lr
    progress = (step - warmup) / max(1, steps - warmup)
    if config.schedule == "triangle":
        return config.lr * (1 - progress)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))


def _one_cycle(peak: float, warmup: int, steps: int, step: int) -> float:
    start = peak / (warmup - 1)
    if step <= warmup:
        return start + (peak - start) * (step - 1) / (warmup - 1)
    return peak + (start / (warmup - 1) - peak) * (step - warmup) / (steps - warmup)
