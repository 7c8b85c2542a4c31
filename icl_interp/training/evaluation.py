"""Where a model stands between the reference predictors, in and out of distribution, while it is being trained."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from icl_interp.measure.families import IN_DISTRIBUTION, Families, draw_families
from icl_interp.predictors.references import References
from icl_interp.query import predict
from icl_interp.tasks.references import reference_predictors
from icl_interp.tasks.shifts.suite import SHIFTS
from icl_interp.training.batches import evaluation_seed
from icl_interp.training.train_config import TrainConfig
from probes._core.results import short_repr

_PREFERRED = ("w_fresh", "x_scale=3")


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """A model against the reference predictors, on prompts that training never draws."""

    step: int
    """Optimiser steps taken."""
    loss_per_point: tuple[float, ...]
    """Mean squared error in distribution after k examples, in squared units of y."""
    errors: dict[str, float]
    """Mean squared error over all points by family, in units of the family's E[y^2]."""
    distances: dict[str, dict[str, float]]
    """Mean squared difference from each reference's predictions, by family and reference, in units of E[y^2]."""

    __repr__ = short_repr

    def to_dict(self) -> dict[str, Any]:
        return {"loss_per_point": list(self.loss_per_point), "errors": self.errors, "distances": self.distances}

    @classmethod
    def from_dict(cls, line: Mapping[str, Any]) -> "EvaluationRecord":
        """Read a line of metrics back; what is not finite is null there."""

        def numbers(by_name: Mapping[str, float | None]) -> dict[str, float]:
            return {name: math.nan if value is None else value for name, value in by_name.items()}

        distances = {label: numbers(by_name) for label, by_name in line["distances"].items()}
        return cls(line["step"], tuple(line["loss_per_point"]), numbers(line["errors"]), distances)


class Evaluator:
    """Fixed prompts and what the references say to them, drawn when they are first needed."""

    def __init__(self, config: TrainConfig) -> None:
        self.config = config

    @cached_property
    def families(self) -> Families:
        """The prompts, in distribution first."""
        config = self.config
        return draw_families(
            config.task, shifts=_shifts(config), n_prompts=config.eval_prompts, max_points=config.model.n_points,
            seed=evaluation_seed(config),
        )  # fmt: skip

    @cached_property
    def references(self) -> References:
        return reference_predictors(self.config.task)

    @cached_property
    def _best_per_point(self) -> Tensor | None:
        prompts, name = self.families.in_distribution.prompts, self.references.optimal
        return None if name is None else _squares(self.references.answer(name, prompts), prompts.targets).mean(0)

    def best_loss(self, step: int) -> float | None:
        """Give the loss of the Bayes predictor on prompts like those of a step."""
        config = self.config
        if self._best_per_point is None or config.n_dims_at(step) != config.task.n_dims:
            return None
        curve = self._best_per_point[: config.n_points_at(step)]
        return float(curve[-1] if config.loss_points == "last" else curve.mean())

    @torch.no_grad()
    def __call__(self, model: Any, *, step: int) -> EvaluationRecord:
        families = self.families.all_families
        device = getattr(model, "device", "cpu")
        own = {label: predict(model, family.prompts.to(device)).cpu() for label, family in families.items()}

        def far(label: str, other: Tensor) -> float:
            return float(_squares(own[label], other).mean()) / families[label].label_second_moment

        errors = {label: far(label, family.prompts.targets) for label, family in families.items()}
        answers = {label: self.references.answers(family.prompts) for label, family in families.items()}
        distances = {label: {name: far(label, said) for name, said in of.items()} for label, of in answers.items()}
        per_point = _squares(own[IN_DISTRIBUTION], self.families.in_distribution.prompts.targets).mean(0)
        return EvaluationRecord(step, tuple(per_point.tolist()), errors, distances)


def _shifts(config: TrainConfig) -> list[str]:
    if config.eval_shifts is not None:
        return list(config.eval_shifts)
    applying = [shift for shift in _PREFERRED if SHIFTS[shift.partition("=")[0]].applies_to(config.task)]
    return applying[:1]


def _squares(said: Tensor, wanted: Tensor) -> Tensor:
    return (said.double() - wanted.double()).square()
