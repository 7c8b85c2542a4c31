"""Everything that a run's weights depend on."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import yaml
from pydantic import Field, model_validator

from icl_interp.errors import InputError
from icl_interp.models.config import ModelConfig
from icl_interp.settings import Settings
from icl_interp.tasks.base import FunctionTask
from icl_interp.tasks.registry import AnyTask, task_to_config
from icl_interp.tasks.shifts.select import select_shifts
from icl_interp.training.schedules import CheckpointSteps, Curriculum, Ramp

_PEAKED = ("triangle", "one_cycle")
_LINEAR_RECIPE = {"steps": 20_000, "batch_size": 128, "schedule": "cosine", "grad_clip": 10.0, "loss_points": "last"}
"""What "lsa" and "ltb" take where a config says nothing: with N(0, 0.2^2) weights and Adam at 1e-3 it reaches the risks
of Zhang et al.'s theorems within 20,000 steps; their own settings are not known."""


class TrainConfig(Settings):
    """Everything that a run's weights depend on, and what the run records.

    A model of family "lsa" or "ltb" brings other defaults: 20,000 steps of 128 prompts, "cosine", gradients clipped at
    10, and the loss of the query alone.

    Args:
        model: Shape and initialisation of the model.
        task: Source of the prompts, fresh at every step. In a file `family` names its kind; the default is linear
            regression.
        steps: Number of optimiser steps.
        batch_size: Number of prompts per step.
        accumulate: Number of parts that a batch is cut into; their gradients are added: less memory, the same step.
        lr: Peak learning rate.
        optimizer: "adam", "adamw" (decoupled weight decay) or "sgd"; fused where torch can.
        betas: Adam's decay rates.
        adam_eps: Number that Adam adds to the denominator.
        weight_decay: Weight decay of all weights; decoupled for "adamw" only.
        momentum: Momentum of "sgd".
        schedule: "constant", "cosine" (down to 0 at the last step), "triangle" or "one_cycle"; see `learning_rate`.
        warmup: Steps over which the learning rate rises to its peak; for triangle and one-cycle 0 means half the run.
        grad_clip: Largest gradient norm; None leaves gradients alone.
        loss_points: "all": the mean over all points; "last": the last point only, the query.
        scale_loss: Whether the loss is divided by the task's E[y^2], so that learning rate and clipping mean the same
            for labels of any size. What is logged stays in squared units of y.
        curriculum: Easy prompts first; None shows the task as it is from the start.
        precision: "float32"; "bfloat16" runs products in bfloat16 (autocast) and keeps float32 weights; "float64".
            bfloat16 pays only where the hardware multiplies in it: on a CPU that does not (AVX2 only, one thread)
            dtsip's tiny, small and standard sizes made 0.13, 0.08 and 0.04 times the steps per second of float32.
        compile: Whether the model goes through torch.compile, which needs a C++ compiler and a minute or two before
            the first step; there it made 1.10, 1.00 and 0.98 times the steps (benchmarks/training.py --parts options).
        checkpoints: Which steps are kept; None keeps the last one only. A file or preset that does not say it keeps 12,
            from a thousandth of the run to its end, at equal ratios.
        log_every: Steps between lines of metrics.
        eval_every: Steps between evaluations against the reference predictors; None never evaluates.
        eval_prompts: Number of prompts per family in evaluations.
        eval_shifts: Shifts in evaluations, as `select_shifts` takes them, that apply to the task; None means fresh
            weights for a task pool and inputs three times as large elsewhere.
        seed: Seeds the first weights and, by separate streams, every batch; from 0 to 2**63 - 1.

    Older files say `checkpoint_every: n`, which is read as `checkpoints: {every: n}`.

    Raises:
        ValueError: If a value is out of range, a key is unknown, or values do not fit each other.

    Example:
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8)
        >>> TrainConfig(model=model, task=LinearRegression(2), steps=10, schedule="triangle").peak_step
        5
    """

    model: ModelConfig
    task: AnyTask
    steps: int = Field(ge=1)
    batch_size: int = Field(default=64, ge=1)
    accumulate: int = Field(default=1, ge=1)
    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    adam_eps: float = Field(default=1e-8, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    momentum: float = Field(default=0.0, ge=0, lt=1)
    schedule: Literal["constant", "cosine", "triangle", "one_cycle"] = "constant"
    warmup: int = Field(default=0, ge=0)
    grad_clip: float | None = Field(default=None, gt=0)
    loss_points: Literal["all", "last"] = "all"
    scale_loss: bool = False
    curriculum: Curriculum | None = None
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    compile: bool = False
    checkpoints: CheckpointSteps | None = None
    log_every: int = Field(default=10, ge=1)
    eval_every: int | None = Field(default=1000, ge=1)
    eval_prompts: int = Field(default=256, ge=2)
    eval_shifts: tuple[str, ...] | None = None
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="before")
    @classmethod
    def _fill_recipe(cls, values: Any) -> Any:
        model = values.get("model") if isinstance(values, Mapping) else None
        family = model.get("family") if isinstance(model, Mapping) else getattr(model, "family", None)
        return {**_LINEAR_RECIPE, **values} if family in ("lsa", "ltb") else values

    @model_validator(mode="before")
    @classmethod
    def _read_older(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or "checkpoint_every" not in values:
            return values
        values = dict(values)
        every = values.pop("checkpoint_every")
        if every is not None:
            if values.get("checkpoints") is not None:
                raise InputError("say checkpoints or checkpoint_every, not both; checkpoints: {every: n} is today's.")
            values["checkpoints"] = {"every": every}
        return values

    @model_validator(mode="after")
    def _check_fit(self) -> "TrainConfig":
        if problems := [*self._misfits(), *self._wrong_recipe()]:
            raise InputError(" ".join(problems))
        return self

    def _misfits(self) -> Iterator[str]:
        model, task, (dims, points) = self.model, self.task, self._ramps
        if model.n_dims != task.n_dims:
            yield f"model and task need the same n_dims, got {model.n_dims} and {task.n_dims}; change one."
        if task.default_points > model.n_points:
            yield (
                f"prompts of {task.default_points} points do not fit a model with positions for {model.n_points}; "
                "raise model.n_points or lower task.n_points."
            )
        if dims is not None and dims.end > task.n_dims:
            yield f"curriculum.dims needs an end of at most n_dims={task.n_dims}, got {dims.end}."
        if dims is not None and not isinstance(task, FunctionTask):
            yield f"curriculum.dims needs a task whose labels are a function of x, got {task.family}; leave it out."
        if points is not None and points.end > model.n_points:
            yield f"curriculum.points needs an end of at most model.n_points={model.n_points}, got {points.end}."
        # Now rather than at the first evaluation, which may be hours away.
        for pattern in (self.eval_shifts or ()) if self.eval_every is not None else ():
            try:
                select_shifts(task, [pattern], max_points=model.n_points)
            except ValueError as error:
                yield f"eval_shifts: {error}"

    def _wrong_recipe(self) -> Iterator[str]:
        if self.momentum and self.optimizer != "sgd":
            yield f"momentum needs optimizer sgd, got {self.momentum:g} with {self.optimizer}; Adam's is betas."
        if not all(0 <= beta < 1 for beta in self.betas):
            yield f"betas need two numbers from 0 to below 1, got {self.betas}; Adam's own are 0.9 and 0.999."
        if self.schedule in _PEAKED and not 2 <= self.peak_step < self.steps:
            yield (
                f"the schedule {self.schedule} needs its peak after step 1 and before the last step, got step "
                f"{self.peak_step} of {self.steps}; change warmup or steps."
            )
        if self.batch_size % self.accumulate:
            yield f"accumulate needs to divide batch_size, got {self.accumulate} and {self.batch_size}; change one."

    @property
    def _ramps(self) -> tuple[Ramp | None, Ramp | None]:
        curriculum = self.curriculum or Curriculum()
        return curriculum.dims, curriculum.points

    @property
    def peak_step(self) -> int:
        """The step at which the learning rate reaches its peak; 0 without a warm-up."""
        return self.steps // 2 if self.schedule in _PEAKED and not self.warmup else self.warmup

    @property
    def checkpoint_steps(self) -> tuple[int, ...]:
        """The steps that are kept, in ascending order; the last step is always among them."""
        return (self.steps,) if self.checkpoints is None else self.checkpoints.steps(self.steps)

    def n_points_at(self, step: int) -> int:
        """Say how many examples the prompts of a step have; steps count from 1."""
        _, ramp = self._ramps
        return self.task.default_points if ramp is None else ramp.at(step)

    def n_dims_at(self, step: int) -> int:
        """Say how many coordinates of x are not zero at a step; steps count from 1."""
        ramp, _ = self._ramps
        return self.task.n_dims if ramp is None else ramp.at(step)

    def to_yaml(self) -> str:
        """Write the resolved config, defaults included, as YAML that `load_config` reads back to an equal config.

        Raises:
            InputError: If this, its model or its task is of a class that would be read back as another.
        """
        for given, known in ((type(self), TrainConfig), (type(self.model), ModelConfig)):
            if given is not known:
                raise InputError(
                    f"a run folder holds a {known.__name__} exactly, got {given.__name__}, which would be read back as "
                    f"{known.__name__}; make a {known.__name__}, or train without a folder."
                )
        task_to_config(self.task)  # refuses a class that is not known
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
