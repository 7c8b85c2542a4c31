"""The training loop: plain PyTorch, every batch a pure function of (seed, step)."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import DivergedError
from icl_interp.models.build import build_model
from icl_interp.prompts import Prompts
from icl_interp.training.batches import draw_batch
from icl_interp.training.train_config import TrainConfig

_FUSED = ("cpu", "cuda")  # where torch has fused optimisers: one pass over the weights instead of a dozen
_DIVERGED = 1e6  # a loss of so many E[y^2] counts as diverged (our choice); fresh models have about 1


def make_optimizer(config: TrainConfig, parameters: Iterable[Tensor]) -> torch.optim.Optimizer:
    parameters = list(parameters)
    common: Any = {"lr": config.lr, "weight_decay": config.weight_decay, "fused": parameters[0].device.type in _FUSED}
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, **common)
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW
    return kind(parameters, betas=config.betas, eps=config.adam_eps, **common)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def learning_rate(config: TrainConfig, step: int) -> float:
    """Give the learning rate of a step.

    Formula, with W = `warmup`, T = `steps` and p = (step - W) / (T - W): "constant" is lr; "cosine" is
    lr (1 + cos(pi p)) / 2; "triangle" is lr (1 - p); all three rise as lr step / W before. "one_cycle" is torch's
    OneCycleLR with linear annealing and both division factors T W' / T - 1 for its W' = W: from lr / (W - 1) up to lr
    at step W, then down to lr / (W - 1)^2. Triangle and one-cycle take W = T // 2 where `warmup` is 0.
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


@dataclass(frozen=True, slots=True)
class StepRecord:
    """The numbers of one optimiser step."""

    step: int
    """Counting from 1."""
    loss: float
    """Mean squared error over the batch and the points of the loss, before the step, in squared units of y."""
    lr: float
    """Learning rate of the step."""


def _prompt_loss(
    model: Any, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], config: TrainConfig
) -> Float[Tensor, ""]:
    """Give the mean over prompts and points, all or the last, of (f_k - y_k)^2, in float32 or better."""
    last = config.loss_points == "last"
    predictions, targets = (model(xs, ys, points=[-1]), ys[:, -1:]) if last else (model(xs, ys), ys)
    targets = targets.to(torch.float64 if config.precision == "float64" else torch.float32)
    return (predictions.to(targets.dtype) - targets).square().mean()


def loss_problem(step: int, loss: float, *, unit: float, of: str = "") -> str | None:
    """Tell whether a loss is lost."""
    if not math.isfinite(loss):
        return f"the loss{of} was {loss} at step {step}"
    if loss > _DIVERGED * unit > 0:
        return f"the loss{of} diverged to {loss:.3g} at step {step}, more than {_DIVERGED:.0e} E[y^2]"
    return None


def loss_advice(rates: Iterable[float]) -> str:
    return f"lower lr (now {', '.join(f'{lr:g}' for lr in rates)}), lengthen warmup or set grad_clip"


class Trainer:
    """A model with its optimiser, moved forward one step at a time."""

    def __init__(self, config: TrainConfig, *, device: str = "cpu") -> None:
        self.config = config
        dtype = torch.float64 if config.precision == "float64" else torch.float32
        self.model = build_model(config.model, seed=config.seed).to(device=device, dtype=dtype)
        self.optimizer = make_optimizer(config, self.model.parameters())
        self.step = 0
        self._kept = frozenset(config.checkpoint_steps)
        self._parameters = list(self.model.parameters())
        self._called = torch.compile(self.model) if config.compile else self.model
        self._unit = config.task.label_second_moment()
        self._scale = self._unit if config.scale_loss else 1.0
        self._device = torch.device(device)

    def advance(self) -> StepRecord:
        step = self.step + 1
        lr = learning_rate(self.config, step)
        set_learning_rate(self.optimizer, lr)
        self.optimizer.zero_grad(set_to_none=True)
        loss = sum(self._backward(part) for part in self._parts(step)) / self.config.accumulate
        self.check_loss(step, loss)
        if self.config.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.config.grad_clip)
        self.optimizer.step()
        self.step = step
        self._check_step()
        return StepRecord(step=step, loss=loss, lr=lr)

    def check_loss(self, step: int, loss: float, *, of: str = "") -> None:
        if (problem := loss_problem(step, loss, unit=self._unit, of=of)) is not None:
            raise DivergedError(f"{problem}; {loss_advice([self.config.lr])}.")

    def _check_step(self) -> None:
        # The next step would see what this one has done; what is kept, and the end of the run, cannot wait for it.
        step = self.step
        if step in self._kept and not all(bool(weight.isfinite().all()) for weight in self._parameters):
            raise DivergedError(
                f"the weights were no longer finite after the update at step {step}; {loss_advice([self.config.lr])}."
            )
        if step == self.config.steps:
            with torch.no_grad():  # not through torch.compile, which would compile once more
                loss = sum(self._loss(self.model, part).item() for part in self._parts(step)) / self.config.accumulate
            self.check_loss(step, loss, of=" after the update")

    def _parts(self, step: int) -> Iterator[Prompts]:
        prompts = draw_batch(self.config, step)
        if self._device.type != "cpu":
            prompts = prompts.to(self._device)
        size = len(prompts) // self.config.accumulate
        for start in range(0, len(prompts), size):
            yield prompts if size == len(prompts) else prompts[start : start + size]

    def _loss(self, model: Any, prompts: Prompts) -> Tensor:
        half = self.config.precision == "bfloat16"
        with torch.autocast(self._device.type, dtype=torch.bfloat16) if half else nullcontext():
            return _prompt_loss(model, prompts.xs, prompts.ys, self.config)

    def _backward(self, prompts: Prompts) -> float:
        loss = self._loss(self._called, prompts)
        torch.autograd.backward(loss / (self._scale * self.config.accumulate))
        return loss.item()

    def state(self) -> dict[str, Any]:
        """Take everything that later steps depend on; batches need the step alone."""
        return {"step": self.step, "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
