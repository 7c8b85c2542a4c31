"""Many small models of one shape in one process, batched over models instead of one after the other."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from icl_interp.models.build import build_model
from icl_interp.training.batches import draw_batch
from icl_interp.training.loop import StepRecord, check_loss, prompt_loss
from icl_interp.training.optimizers import make_optimizer, set_learning_rate
from icl_interp.training.run import TrainResult
from icl_interp.training.run_log import is_logged
from icl_interp.training.schedules import learning_rate
from icl_interp.training.train_config import TrainConfig

__all__ = ["MAY_DIFFER", "train_many"]

MAY_DIFFER = ("seed", "lr", "task")
"""What the configs of an ensemble may differ in."""


def train_many(
    configs: Sequence[TrainConfig], *, on_step: Callable[[list[StepRecord]], None] | None = None
) -> list[TrainResult]:
    """Train models of one shape together: the same batches and steps as `train`, one call for all of them.

    Equal to separate training but for the order of floating-point sums: 1e-4 relative after 100 steps in float32,
    1e-9 in float64. It pays for models so small that calls cost more than products do.

    Args:
        configs: Equal but for `seed`, `lr` and `task`, whose prompts need equally many points. Nothing is evaluated
            and no folder is written.
        on_step: Called after each step with one record a model, for progress.

    Returns:
        One result a config, in their order.

    Raises:
        ValueError: If there is no config, configs differ in more than may differ, or ask for compile, accumulate or
            bfloat16.
        FloatingPointError: If a loss is no longer finite or diverges; the message names the model.

    Example:
        >>> from icl_interp.training.config import load_config
        >>> tiny = load_config("demo", ["steps=2", "batch_size=4", "model.n_layers=1"])
        >>> results = train_many([tiny, tiny.model_copy(update={"seed": 1})])
        >>> [len(result.history) for result in results]
        [2, 2]
    """
    _check_alike(configs)
    ensemble = _Ensemble(configs)
    histories: list[list[StepRecord]] = [[] for _ in configs]
    for step in range(1, configs[0].steps + 1):
        records = ensemble.advance(step)
        if is_logged(configs[0], step):
            for history, record in zip(histories, records, strict=True):
                history.append(record)
        if on_step is not None:
            on_step(records)
    models = ensemble.models()
    return [TrainResult(model, tuple(history), (), None) for model, history in zip(models, histories, strict=True)]


class _Ensemble:
    def __init__(self, configs: Sequence[TrainConfig]) -> None:
        self._configs, first = configs, configs[0]
        dtype = torch.float64 if first.precision == "float64" else torch.float32
        self._models = [build_model(config.model, seed=config.seed).to(dtype) for config in configs]
        self._weights, self._buffers = stack_module_state(self._models)
        self._called = build_model(first.model, seed=0).to(dtype)
        _attend_openly(self._called)
        self._losses = vmap(self._loss)
        # The optimiser's steps are linear in the learning rate: it takes the largest, and each model its share.
        largest = max(config.lr for config in configs)
        shares = torch.tensor([config.lr / largest for config in configs], dtype=dtype)
        self._shares = None if bool((shares == 1).all()) else shares
        self._optimizer = make_optimizer(first, self._weights.values())
        self._units = [config.task.label_second_moment() for config in configs]
        self._scales = torch.tensor(self._units if first.scale_loss else [1.0] * len(configs), dtype=dtype)

    def advance(self, step: int) -> list[StepRecord]:
        first = self._configs[0]
        batches = [draw_batch(config, step) for config in self._configs]
        xs, ys = torch.stack([batch.xs for batch in batches]), torch.stack([batch.ys for batch in batches])
        losses = self._losses(self._weights, self._buffers, xs, ys)
        values = losses.tolist()
        for number, (config, loss) in enumerate(zip(self._configs, values, strict=True)):
            check_loss(config, step, loss, unit=self._units[number], of=f" of model {number}")
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward((losses / self._scales).sum())
        if first.grad_clip is not None:
            _clip_each(list(self._weights.values()), first.grad_clip)
        rates = [learning_rate(config, step) for config in self._configs]
        self._step(max(rates))
        return [StepRecord(step, loss, lr) for loss, lr in zip(values, rates, strict=True)]

    def _loss(self, weights: dict[str, Tensor], buffers: dict[str, Tensor], xs: Tensor, ys: Tensor) -> Tensor:
        def model(xs: Tensor, ys: Tensor, **points: Any) -> Tensor:
            return functional_call(self._called, (weights, buffers), (xs, ys), points)

        return prompt_loss(model, xs, ys, self._configs[0])

    def _step(self, lr: float) -> None:
        set_learning_rate(self._optimizer, lr)
        before = None if self._shares is None else [weight.detach().clone() for weight in self._weights.values()]
        self._optimizer.step()
        if before is not None and self._shares is not None:
            with torch.no_grad():
                for weight, old in zip(self._weights.values(), before, strict=True):
                    weight.copy_(torch.lerp(old, weight, self._shares.view(-1, *[1] * (old.ndim - 1))))

    def models(self) -> list[Any]:
        for number, model in enumerate(self._models):
            model.load_state_dict({
                name: stacked[number].detach() for name, stacked in {**self._weights, **self._buffers}.items()
            })
        return self._models


def _attend_openly(model: Any) -> None:
    # vmap has no rule for the fused attention; a pattern that somebody listens to is computed in the open.
    for name in model.hook_dict:
        if name.endswith("hook_pattern"):
            model.add_hook(name, _listen)


def _listen(pattern: Tensor, hook: Any) -> None:
    pass


def _clip_each(weights: list[Tensor], largest: float) -> None:
    # torch.nn.utils.clip_grad_norm_, one norm a model.
    squares = [weight.grad.square().flatten(1).sum(1) for weight in weights if weight.grad is not None]
    factors = (largest / (torch.stack(squares).sum(0).sqrt() + 1e-6)).clamp(max=1.0)
    for weight in weights:
        if weight.grad is not None:
            weight.grad.mul_(factors.view(-1, *[1] * (weight.ndim - 1)))


def _check_alike(configs: Sequence[TrainConfig]) -> None:
    if not configs:
        raise ValueError("train_many needs at least one config, got none.")
    first = configs[0]
    common = [config.model_dump(exclude=set(MAY_DIFFER)) for config in configs]
    differing = sorted({name for other in common for name in other if other[name] != common[0][name]})
    if differing:
        raise ValueError(
            f"train_many needs configs that differ in {', '.join(MAY_DIFFER)} only, got different "
            f"{', '.join(differing)}; train these apart."
        )
    if len({config.task.default_points for config in configs}) > 1 and first.curriculum is None:
        raise ValueError("train_many needs tasks of equally many points; set task.n_points.")
    if first.compile or first.accumulate > 1 or first.precision == "bfloat16":
        raise ValueError("train_many does without compile, accumulate and bfloat16; leave them out or train apart.")
