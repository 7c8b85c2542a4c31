"""Prompts and answers of many small models at once: one tensor with a leading axis of models, no loop over them."""

from collections.abc import Mapping, Sequence
from typing import TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.models.config import ModelConfig
from icl_interp.models.linear_components import context_divisor
from icl_interp.prompts import stream
from icl_interp.tasks.base import FunctionTask, Task
from icl_interp.tasks.linear import LinearTask
from icl_interp.training.batches import batch_seed, draw_batch
from icl_interp.training.train_config import TrainConfig

__all__ = ["answers_by_formula", "draw_batches", "has_formula"]

_ATTENTION = "blocks.0.attn."
_MLP = "blocks.0.mlp."


def draw_batches(
    configs: Sequence[TrainConfig], step: int
) -> tuple[Float[Tensor, "model batch point dim"], Float[Tensor, "model batch point"]]:
    """Draw the prompts of one step for every config.

    Inputs and weights of linear tasks come from each config's own streams; they are labelled in one product.

    Args:
        configs: With equal batch sizes and numbers of points.
        step: Counting from 1.

    Returns:
        xs and ys, model by model what `draw_batch` gives.
    """
    tasks = [task for task in (config.task for config in configs) if _is_plainly_linear(task)]
    if len(tasks) < len(configs):
        batches = [draw_batch(config, step) for config in configs]
        return torch.stack([batch.xs for batch in batches]), torch.stack([batch.ys for batch in batches])
    n_prompts, seeds = configs[0].batch_size, [batch_seed(config.seed, step) for config in configs]
    drawn, weights = [], []
    for config, task, seed in zip(configs, tasks, seeds, strict=True):
        inputs = task.draw_inputs(n_prompts, config.n_points_at(step), seed=seed)
        if (n_dims := config.n_dims_at(step)) < task.n_dims:
            inputs[:, :, n_dims:] = 0
        drawn.append(inputs)
        weights.append(task.draw_weights(n_prompts, seed=seed))
    xs = torch.stack(drawn)
    ys = (xs @ torch.stack(weights)[..., None])[..., 0]
    for number, (task, seed) in enumerate(zip(tasks, seeds, strict=True)):
        if task.noise_std > 0:
            ys[number] += task.noise_std * torch.randn(ys.shape[1:], generator=stream(seed, "noise"))
    return xs, ys


def _is_plainly_linear(task: Task) -> TypeGuard[LinearTask]:
    # Whether the task labels as LinearTask does, so that doing it here for all of them gives the same.
    kind = type(task)
    return (
        issubclass(kind, LinearTask)
        and kind.draw_labels is LinearTask.draw_labels
        and kind.sample is FunctionTask.sample
        and kind.prompts_at is FunctionTask.prompts_at
    )


def has_formula(config: ModelConfig) -> bool:
    """Say whether `answers_by_formula` knows a model.

    Args:
        config: Of any family.

    Returns:
        True for one layer of "lsa" or "ltb".
    """
    return config.family in ("lsa", "ltb") and config.n_layers == 1


def answers_by_formula(
    weights: Mapping[str, Tensor],
    config: ModelConfig,
    xs: Float[Tensor, "model batch point dim"],
    ys: Float[Tensor, "model batch point"],
    *,
    last: bool,
) -> Float[Tensor, "model batch asked"]:
    """Answer for all models of an ensemble of one-layer linear networks.

    Formula, with r what the label entry is read from (the label's column of W_in W_out) and e_i = [x_i; y_i]:
    f = sign (<r, q> + sum_h q W_Q W_K^T (1/c) sum_i e_i <e_i, W_V W_O r>), q = [x; 0]; the first term is there with
    attention's skip only. Every product has models for its batch and prompts for its rows, which is why this is faster
    than `torch.func.vmap` over the model, whose products are as many and as small as prompts are.

    Args:
        weights: By name, each with a leading axis of models.
        config: With `has_formula`.
        xs: Inputs, one batch a model.
        ys: Labels.
        last: Whether the last point alone is asked, or all of them.

    Returns:
        What the models answer, differentiable in the weights.
    """
    w_out = weights[_ATTENTION + "W_O"]
    read = _read(weights, w_out)
    value_read = (weights[_ATTENTION + "W_V"] @ (w_out @ read[:, None, :, None]))[..., 0]  # [model head d_model]
    query_key = weights[_ATTENTION + "W_Q"] @ weights[_ATTENTION + "W_K"].mT
    context = torch.cat([xs, ys[..., None]], dim=3)[:, :, :-1]
    asked = xs[:, :, -1:] if last else xs
    query = torch.nn.functional.pad(asked, (0, 1))
    sums = _sums_before(context, value_read, last=last)  # [model batch asked head d_model]
    n_points = xs.shape[2]
    divisors = [context_divisor(config, k) for k in ([n_points - 1] if last else range(n_points))]
    rows = query.flatten(1, 2)[:, None] @ query_key  # [model head batch*asked d_model]
    meeting = torch.unflatten(rows, 2, query.shape[1:3]).movedim(1, 3)
    answers = (meeting * sums).sum((3, 4)) / torch.tensor(divisors, dtype=xs.dtype)
    if config.attn_skip:
        answers = answers + (query.flatten(1, 2) @ read[..., None]).view(answers.shape)
    return config.output_sign * answers


def _read(weights: Mapping[str, Tensor], like: Tensor) -> Tensor:
    # [model d_model]
    if _MLP + "W_in" in weights:
        return (weights[_MLP + "W_in"] @ weights[_MLP + "W_out"][..., -1:])[..., 0]
    label = torch.zeros(like.shape[0], like.shape[-1], dtype=like.dtype)
    label[:, -1] = 1
    return label


def _sums_before(context: Tensor, value_read: Tensor, *, last: bool) -> Tensor:
    # sum_i e_i <e_i, value read> over the pairs before each asked point.
    if last:
        moments = context.mT @ context  # [model batch d_model d_model]; no gradient goes through it
        sums = moments.flatten(1, 2) @ value_read.mT
        return torch.unflatten(sums, 1, moments.shape[1:3]).mT[:, :, None]
    meant = torch.unflatten(context.flatten(1, 2) @ value_read.mT, 1, context.shape[1:3])
    terms = (meant[..., None] * context[:, :, :, None]).cumsum(2)
    nothing = terms.new_zeros(*terms.shape[:2], 1, *terms.shape[3:])
    return torch.cat([nothing, terms], dim=2)
