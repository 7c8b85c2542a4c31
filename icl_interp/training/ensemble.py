"""Many small models of one shape in one process, batched over models; a diverging one does not lose the others."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeGuard

import torch
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from icl_interp.errors import DivergedError, InputError
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.linear.components import context_divisor
from icl_interp.prompts import stream
from icl_interp.tasks.base import FunctionTask, Task
from icl_interp.tasks.linear_regression import LinearTask
from icl_interp.tasks.own import try_out
from icl_interp.training.batches import batch_seed, draw_batch
from icl_interp.training.loop import (
    StepRecord,
    learning_rate,
    loss_advice,
    loss_problem,
    make_optimizer,
    set_learning_rate,
)
from icl_interp.training.run import TrainResult, is_logged
from icl_interp.training.train_config import TrainConfig

_ATTENTION = "blocks.0.attn."
_MLP = "blocks.0.mlp."


def _draw_batches(
    configs: Sequence[TrainConfig], step: int
) -> tuple[Float[Tensor, "model batch point dim"], Float[Tensor, "model batch point"]]:
    """Draw the prompts of one step for every config; linear tasks are labelled in one product."""
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


def _has_formula(config: ModelConfig) -> bool:
    return config.family in ("lsa", "ltb") and config.n_layers == 1 and config.is_textbook


def _answers_by_formula(
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


def _read(weights: Mapping[str, Tensor], like: Tensor) -> Tensor:  # [model d_model]
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


class EnsembleDivergedError(DivergedError):
    """Some models of an ensemble diverged; the results of the others are here."""

    def __init__(self, message: str, results: Mapping[int, TrainResult], diverged: Mapping[int, StepRecord]) -> None:
        super().__init__(message)
        self.results: Mapping[int, TrainResult] = MappingProxyType(dict(results))
        self.diverged: Mapping[int, StepRecord] = MappingProxyType(dict(diverged))

    def __reduce__(self) -> tuple[Any, ...]:
        # Read-only mappings cannot be pickled, and workers hand errors over in that way.
        return type(self), (str(self), dict(self.results), dict(self.diverged))


MAY_DIFFER = ("seed", "lr", "task")  # what the configs of an ensemble may differ in
_Answer = Callable[[dict[str, Tensor], Tensor, Tensor], Tensor]


def train_many(
    configs: Sequence[TrainConfig], *, on_step: Callable[[Mapping[int, StepRecord]], None] | None = None
) -> list[TrainResult]:
    """Train models of one shape together: the same batches and steps as `train`, one call for all of them.

    Equal to separate training but for the order of floating-point sums: 1e-4 relative after 100 steps in float32,
    1e-9 in float64. It pays for models so small that calls cost more than products do: on one thread, sixteen at once
    made 6.7 (LSA) and 6.6 (LTB, d = 5) times the steps per second of one after the other; transformers of two layers
    2.5 times at width 8, 1.2 times at width 16 and 0.8 times at width 64, from where on separate processes (`sweep`)
    are the way. Ratios of one run, by `python benchmarks/training.py --parts linear many --repeats 2`.

    Models do not touch each other: where one diverges, it is given up and has no further records, and the others go on
    to the same bits as beside a model that does well, whatever its learning rate. Where all diverge, the training ends
    at once.

    Args:
        configs: Equal but for `seed`, `lr` and `task`, whose prompts need equally many points. Nothing is evaluated
            and no folder is written.
        on_step: Called after each step with the records of the models that have not diverged, by their place, for
            progress.

    Returns:
        One result per config, in their order.

    Raises:
        InputError: If there is no config, configs differ in more than may differ, or ask for compile, accumulate or
            bfloat16.
        EnsembleDivergedError: At the end, if a loss was no longer finite or diverged: a FloatingPointError that names
            the models and holds the results of the others.

    Example:
        >>> from icl_interp.training.configs import load_config
        >>> tiny = load_config("demo", ["steps=2", "batch_size=4", "model.n_layers=1"])
        >>> results = train_many([tiny, tiny.model_copy(update={"seed": 1})])
        >>> [len(result.history) for result in results]
        [2, 2]
    """
    _check_alike(configs)
    for config in configs:
        try_out(config.task)
    ensemble = _Ensemble(configs)
    histories: list[list[StepRecord]] = [[] for _ in configs]
    for step in range(1, configs[0].steps + 1):
        records = ensemble.advance(step)
        if not records:
            break
        if is_logged(configs[0], step):
            for number, record in records.items():
                histories[number].append(record)
        if on_step is not None:
            on_step(records)
    ensemble.check_last_step()
    results = {n: TrainResult(model, tuple(histories[n]), (), None) for n, model in ensemble.models().items()}
    if diverged := ensemble.diverged:
        others = "the others were trained to their end and are in this error's results" if results else "none is left"
        said = what_diverged(configs, diverged, lambda number: f"model {number}")
        message = f"{len(diverged)} of {len(configs)} models diverged: {said}; {others}."
        raise EnsembleDivergedError(message, results, diverged)
    return list(results.values())


def what_diverged(
    configs: Sequence[TrainConfig], diverged: Mapping[int, StepRecord], name: Callable[[int], str]
) -> str:
    """List what was wrong with each model, by its name, and what to change."""
    problems = (
        loss_problem(record.step, record.loss, unit=configs[n].task.label_second_moment(), of=f" of {name(n)}")
        for n, record in diverged.items()
    )
    rates = dict.fromkeys(configs[number].lr for number in diverged)
    return f"{', '.join(map(str, problems))}; {loss_advice(rates)}"


class _Ensemble:
    def __init__(self, configs: Sequence[TrainConfig]) -> None:
        self._configs, first = configs, configs[0]
        self._dtype = torch.float64 if first.precision == "float64" else torch.float32
        self._models = [build_model(config.model, seed=config.seed).to(self._dtype) for config in configs]
        # One row per model: one tensor to clip and to update, whatever the number of weights.
        flat = [torch.cat([weight.detach().flatten() for weight in model.parameters()]) for model in self._models]
        self._rows = torch.stack(flat).requires_grad_()
        self._shapes = {name: weight.shape for name, weight in self._models[0].named_parameters()}
        self._last = first.loss_points == "last"
        self._answer = self._by_formula if _has_formula(first.model) else self._by_vmap()
        self.diverged: dict[int, StepRecord] = {}
        self._decay, self._decoupled = first.weight_decay, first.optimizer == "adamw"
        self._optimizer = make_optimizer(first.model_copy(update={"weight_decay": 0.0}), [self._rows])
        set_learning_rate(self._optimizer, 1.0)
        self._units = [config.task.label_second_moment() for config in configs]
        self._scales = torch.tensor(self._units if first.scale_loss else [1.0] * len(configs), dtype=self._dtype)

    def advance(self, step: int) -> dict[int, StepRecord]:
        losses, rates = self._losses(step), [learning_rate(config, step) for config in self._configs]
        seen = self._leave_diverged(step, losses, rates)
        records = {number: record for number, record in enumerate(seen) if number not in self.diverged}
        if not records:
            return records
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward((losses / self._scales).sum())
        if (largest := self._configs[0].grad_clip) is not None and self._rows.grad is not None:
            # torch.nn.utils.clip_grad_norm_, one norm per model.
            norms = self._rows.grad.norm(dim=1, keepdim=True)
            self._rows.grad.mul_((largest / (norms + 1e-6)).clamp_(max=1.0))
        self._step(rates)
        return records

    def check_last_step(self) -> None:
        # No later step sees what the last update has done.
        step = self._configs[0].steps
        with torch.no_grad():
            losses = self._losses(step)
        self._leave_diverged(step, losses, [learning_rate(config, step) for config in self._configs])

    def _losses(self, step: int) -> Tensor:
        xs, ys = (tensor.to(self._dtype) for tensor in _draw_batches(self._configs, step))
        answers = self._answer(self._weights(), xs, ys)
        return (answers - (ys[:, :, -1:] if self._last else ys)).square().mean((1, 2))

    def _leave_diverged(self, step: int, losses: Tensor, rates: Sequence[float]) -> list[StepRecord]:
        seen = [StepRecord(step, loss, lr) for loss, lr in zip(losses.tolist(), rates, strict=True)]
        for number, record in enumerate(seen):
            lost = loss_problem(record.step, record.loss, unit=self._units[number]) is not None
            if lost and number not in self.diverged:
                self.diverged[number] = record
        return seen

    def _weights(self) -> dict[str, Tensor]:
        parts = torch.split_with_sizes(self._rows, [shape.numel() for shape in self._shapes.values()], dim=1)
        return {name: part.view(-1, *shape) for part, (name, shape) in zip(parts, self._shapes.items(), strict=True)}

    def _by_formula(self, weights: dict[str, Tensor], xs: Tensor, ys: Tensor) -> Tensor:
        return _answers_by_formula(weights, self._configs[0].model, xs, ys, last=self._last)

    def _by_vmap(self) -> _Answer:
        called = build_model(self._configs[0].model, seed=0).to(self._dtype)
        asked = {"points": [-1]} if self._last else {}
        batched = vmap(lambda weights, xs, ys: functional_call(called, weights, (xs, ys), asked))

        def answer(weights: dict[str, Tensor], xs: Tensor, ys: Tensor) -> Tensor:
            with sdpa_kernel(SDPBackend.MATH):  # vmap has no rule for the fused attention
                return batched(weights, xs, ys)

        return answer

    def _step(self, rates: Sequence[float]) -> None:
        # Updates are linear in the learning rate and know the weights through gradient and decay only: the optimiser
        # takes its step from 0 at a rate of 1, and each model its own rate of that, so that no model feels what rates
        # the others have, and a large one rounds as it would alone.
        before, lr = self._rows.detach().clone(), torch.tensor(rates, dtype=self._dtype)[:, None]
        if self._decay and not self._decoupled and self._rows.grad is not None:
            self._rows.grad.add_(before, alpha=self._decay)
        with torch.no_grad():
            self._rows.zero_()
            self._optimizer.step()
            kept = before * (1 - lr * self._decay) if self._decay and self._decoupled else before
            self._rows.copy_(torch.addcmul(kept, lr, self._rows))

    def models(self) -> dict[int, Any]:
        with torch.no_grad():
            for number, model in enumerate(self._models):
                for name, stacked in self._weights().items():
                    model.get_parameter(name).copy_(stacked[number])
        return {number: model for number, model in enumerate(self._models) if number not in self.diverged}


def _check_alike(configs: Sequence[TrainConfig]) -> None:
    if not configs:
        raise InputError("train_many needs at least one config, got none.")
    first = configs[0]
    common = [config.model_dump(exclude=set(MAY_DIFFER)) for config in configs]
    differing = sorted({name for other in common for name in other if other[name] != common[0][name]})
    if differing:
        raise InputError(
            f"train_many needs configs that differ in {', '.join(MAY_DIFFER)} only, got different "
            f"{', '.join(differing)}; train these apart."
        )
    if len({config.task.default_points for config in configs}) > 1 and (
        first.curriculum is None or first.curriculum.points is None
    ):
        raise InputError("train_many needs tasks of equally many points; set task.n_points.")
    if first.compile or first.accumulate > 1 or first.precision == "bfloat16":
        raise InputError("train_many does without compile, accumulate and bfloat16; leave them out or train apart.")
