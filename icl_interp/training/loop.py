"""The training loop: plain PyTorch, every batch a pure function of (seed, step)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from icl_interp.models.build import build_model
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import derive_seed
from icl_interp.training.config import TrainConfig

__all__ = ["StepRecord", "batch_seed", "steps_of"]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one optimiser step saw."""

    step: int
    """Counting from 1."""
    loss: float
    """Mean squared error over the batch and all points, before the step, in squared units of y."""
    lr: float
    """Learning rate of the step."""


def batch_seed(seed: int, step: int) -> int:
    """Give the seed of one training batch.

    Args:
        seed: The run's seed.
        step: Counting from 1.

    Returns:
        A derived seed: no two steps share one, and none meets a seed that is typed by hand for evaluation.

    Example:
        >>> batch_seed(0, 1) != batch_seed(0, 2)
        True
    """
    return derive_seed(seed, f"train step {step}")


def learning_rate(config: TrainConfig, step: int) -> float:
    """Give the learning rate of a step.

    Args:
        config: Peak, warm-up and schedule.
        step: Counting from 1.

    Returns:
        In the optimiser's units.
    """
    if step <= config.warmup:
        return config.lr * step / config.warmup
    if config.schedule == "constant":
        return config.lr
    progress = (step - config.warmup) / max(1, config.steps - config.warmup)
    return config.lr * 0.5 * (1 + math.cos(math.pi * progress))


def steps_of(config: TrainConfig) -> Iterator[tuple[StepRecord, HookedModel]]:
    """Train a fresh model, one optimiser step an iteration.

    Args:
        config: The run.

    Yields:
        What the step saw, and the model after it (always the same object).

    Raises:
        FloatingPointError: If the loss is no longer finite; the message names the step and what to change.
    """
    model = build_model(config.model, seed=config.seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    for step in range(1, config.steps + 1):
        prompts = config.task.sample(config.batch_size, seed=batch_seed(config.seed, step))
        lr = learning_rate(config, step)
        for group in optimizer.param_groups:
            group["lr"] = lr
        loss = (model(prompts.xs, prompts.ys) - prompts.ys).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_clip)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss was {value} at step {step}; lower lr (now {config.lr:g}), lengthen warmup or set grad_clip."
            )
        optimizer.step()
        yield StepRecord(step=step, loss=value, lr=lr), model
