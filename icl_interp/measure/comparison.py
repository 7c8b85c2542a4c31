"""How do several models differ that were measured on the same prompts?"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.figures.dots import DotSeries, dots_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import TraceStyle, model_style, predictor_style
from icl_interp.measure.controls import estimate_mean
from icl_interp.measure.errors import MODEL, prompt_errors
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.result import Result
from icl_interp.measure.study.result import Study
from icl_interp.models.architecture import FINAL_NORM
from icl_interp.prompts import Prompts
from icl_interp.tasks.base import Task
from probes._core.results import short_repr
from probes.bootstrap import Estimate

_LEAST, _LEAST_SPD = 1e-4, 1e-6
"""Smaller values are drawn here: a logarithmic axis has no zero."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of a model beside that of the first model, on the same prompts."""

    quantity: str
    """Name of the number: "late error", "distance of predictions", or that of a claim."""
    family: str
    """Task family that it was measured on; empty where it belongs to none."""
    model: str
    """Name of the model."""
    value: float
    """Number of the model."""
    first: float
    """Number of the first model."""
    difference: Estimate
    """Model minus first model; its interval is over prompts, or NaN where only the two numbers are known."""

    __repr__ = short_repr


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Result):
    """Studies of several models on the same prompts, the first of which the others are compared with."""

    studies: Mapping[str, Study]
    """Studies by name of the model, in the order in which they were named."""

    @property
    def names(self) -> list[str]:
        """Names of the models."""
        return list(self.studies)

    @property
    def first(self) -> Study:
        """The model that the others are compared with."""
        return next(iter(self.studies.values()))

    @property
    def styles(self) -> dict[str, TraceStyle]:
        """Style of each model, the same in all figures."""
        return {name: model_style(place) for place, name in enumerate(self.studies)}

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """Numbers of each other model beside those of the first, late errors first."""
        found: list[Difference] = []
        for name in self.names[1:]:
            found += _late_errors(name, self.studies[name], self.first)
            found += _claims(name, self.studies[name], self.first)
        return tuple(found)

    def to_frame(self) -> pd.DataFrame:
        """Lay the differences out, one per row."""
        rows = [
            (d.quantity, d.family, d.model, d.value, d.first, d.difference.value, d.difference.low, d.difference.high)
            for d in self.differences
        ]
        columns = ["quantity", "family", "model", "value", "first_model", "difference", "low", "high"]
        return pd.DataFrame(rows, columns=columns)

    def to_dict(self) -> dict[str, Any]:
        """Give the models' names and the differences as plain data; the studies have their own.

        Returns:
            Entries "models" and "differences".
        """
        return {"models": self.names, "differences": [dataclasses.asdict(found) for found in self.differences]}

    def plot(self, label: str = IN_DISTRIBUTION) -> Any:
        """Draw the error of every model against the number of examples, with the reference predictors."""
        lines = [
            Line(name, range(len(curve.mean)), _floor(curve.mean), predictor_style(name), width=1.2)
            for name, curve in self.first.errors.families[label].curves.items()
            if name != MODEL
        ]
        for name, style in self.styles.items():
            curve = self.studies[name].errors.families[label].curves[MODEL]
            ends = _floor(curve.low), _floor(curve.high)
            lines.append(Line(name, range(len(curve.mean)), _floor(curve.mean), style, *ends, 3, markers=True))
        return lines_figure(lines, x="in-context examples", y="squared error / E[y²]", y_type="log")

    def plot_layers(self) -> Any:
        """Draw the error of each model's read-outs over its depth, from the read-in (0) to the last block (1)."""
        lines = []
        for name, style in self.styles.items():
            if (report := self.studies[name].readouts) is None:
                continue
            places = [i for i, site in enumerate(report.sites) if site != FINAL_NORM]
            errors = [report.errors[i] for i in places]
            depth = [i / max(1, len(places) - 1) for i in range(len(places))]
            low, high = [e.low for e in errors], [e.high for e in errors]
            lines.append(Line(name, depth, [e.value for e in errors], style, low, high, 3, markers=True))
        return lines_figure(lines, x="depth (0: read-in, 1: last block)", y="error / E[y²]", y_type="log")

    def plot_agreement(self) -> Any:
        """Draw how far each model's predictions are from those of each reference predictor."""
        series = []
        for name, style in self.styles.items():
            if (report := self.studies[name].agreement) is None:
                continue
            found = {reference: each.spd.mean for reference, each in report.references.items()}
            values, low, high = (
                [max(getattr(mean, end), _LEAST_SPD) for mean in found.values()] for end in ("value", "low", "high")
            )
            series.append(DotSeries(name, list(found), values, style, low, high))
        return dots_figure(series, x="squared difference / E[y²]", x_type="log")

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.names)})"


def compare_studies(studies: Mapping[str, Study]) -> Comparison:
    """Set studies of several models side by side.

    Formula: difference = mean over prompts of (late error of the model - late error of the first model).
    The prompts are the same, so the difference has a narrower interval than either error.

    Args:
        studies: At least two studies by name of the model, of one task, with equal seeds, prompts and points.

    Returns:
        Differences from the first model, and figures with one colour per model.

    Raises:
        InputError: If there are fewer than two studies, or their tasks or prompts differ.

    Example:
        >>> from icl_interp.measure.study.run import study
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> config = ModelConfig(n_dims=2, n_points=4, n_layers=1, n_heads=1, d_model=8)
        >>> how = {"n_prompts": 8, "n_points": 4, "shifts": ["x_scale=3"], "layers": [], "n_controls": 0}
        >>> task = LinearRegression(n_dims=2)
        >>> both = {name: study(build_model(config, seed=s), task, **how) for name, s in (("a", 1), ("b", 2))}
        >>> compare_studies(both).differences[0].quantity
        'late error'
    """
    if len(studies) < 2:
        raise InputError(f"compare_studies needs at least two studies, got {len(studies)}; name one more model.")
    check_same_task({name: study.task for name, study in studies.items()})
    for (name, one), (other, two) in pairwise(studies.items()):
        if not _same(one.families.fit, two.families.fit):
            raise InputError(
                f"compare_studies needs studies of the same prompts, got others for {name} than for {other}; give both "
                "the same seed, n_prompts and n_points."
            )
    return Comparison(dict(studies))


def check_same_task(tasks: Mapping[str, Task]) -> None:
    """Refuse models that were trained on different distributions, since no prompt would be like training for both."""
    (first, task), *others = tasks.items()
    for name, other in others:
        if other.n_dims != task.n_dims:
            raise InputError(
                f"models are compared on the same prompts, got {task.n_dims} dimensions for {first} and "
                f"{other.n_dims} for {name}; compare models of one size of input."
            )
        if _but_for_length(other) != _but_for_length(task):
            raise InputError(
                f"models are compared on the same prompts, got {task.describe()} for {first} and {other.describe()} "
                f"for {name}; name one distribution for both by --task (task= in Python), or compare other models."
            )


def _but_for_length(task: Task) -> tuple[type[Task], dict[str, Any]]:
    return type(task), task.model_dump(exclude={"n_points"})  # fewer examples are asked of all then


def _same(one: Prompts, two: Prompts) -> bool:
    return one.ys.shape == two.ys.shape and torch.equal(one.ys, two.ys) and torch.equal(one.xs, two.xs)


def _late_errors(name: str, study: Study, first: Study) -> list[Difference]:
    """Compare late errors prompt by prompt, and say how far predictions are from one another."""
    found = []
    for label, family in first.families.by_label.items():
        other = study.families.by_label.get(label)
        if other is None or not _same(family.prompts, other.prompts):
            continue
        said = [each.survey.families[label].predictions for each in (study, first)]
        own, base = (prompt_errors(predictions, family) for predictions in said)
        late = Difference("late error", label, name, float(own.mean()), float(base.mean()), estimate_mean(own - base))
        apart = estimate_mean(_apart(*said) / family.label_second_moment)
        found += [late, Difference("distance of predictions", label, name, apart.value, 0.0, apart)]
    return sorted(found, key=lambda difference: difference.quantity != "late error")


def _apart(own: Float[Tensor, "sample point"], other: Float[Tensor, "sample point"]) -> Float[Tensor, " sample"]:
    return (own.double() - other.double()).square().mean(1)


def _claims(name: str, study: Study, first: Study) -> list[Difference]:
    nan = float("nan")
    return [
        Difference(claim, "", name, own.value, base.value, Estimate(own.value - base.value, nan, nan))
        for claim, own in study.verdicts.items()
        if (base := first.verdicts.get(claim)) is not None
    ]


def _floor(values: Tensor) -> list[float]:
    return [float(value) for value in values.clamp(min=_LEAST)]
