"""How wrong is the model after k examples, in and out of distribution, and which algorithm is as wrong as it?"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from icl_interp.measure.error_report import MODEL, ErrorCurve, ErrorReport, FamilyErrors
from icl_interp.measure.families import Families, Family, draw_families
from icl_interp.measure.statistics import estimate_mean, mean_band
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts
from icl_interp.query import Callee, predict
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import reference_predictors
from probes.bootstrap import Estimate

__all__ = ["error_curves", "first_scored_point", "prompt_errors", "summarise_errors"]

BATCH = 256
"""Prompts a call."""


def first_scored_point(n_dims: int, n_points: int) -> int:
    """Say from which point on errors count as late.

    Args:
        n_dims: d of the task.
        n_points: Pairs a prompt.

    Returns:
        d, so that least squares is determined; the last point where prompts are too short for that.
    """
    return min(n_dims, n_points - 1)


def prompt_errors(predictions: Float[Tensor, "sample point"], family: Family) -> Float64[Tensor, " sample"]:
    """Give each prompt its error: the mean squared error over late points, divided by E[y^2] of its family.

    Args:
        predictions: Of the family's labels; those of its queries where it has queries.
        family: Whose labels and unit are used.

    Returns:
        Dimensionless; predicting zero has 1 on average.
    """
    first = first_scored_point(family.prompts.n_dims, family.prompts.n_points)
    return _squared_errors(predictions, family)[:, first:].mean(1)


def summarise_errors(
    predictions: Mapping[str, Float[Tensor, "sample point"]],
    families: Families,
    references: Mapping[str, Predictor],
) -> ErrorReport:
    """Lay a model's errors beside those of the reference algorithms.

    Args:
        predictions: The model's, by family label, of each family's targets.
        families: The prompts.
        references: Predictors by name; the one that starts with "least squares" is what the excess is taken over.

    Returns:
        Curves with bootstrap bands over prompts.
    """
    summaries = {
        label: _summarise_family(predictions[label], family, references)
        for label, family in families.all_families.items()
    }
    fit = families.fit
    return ErrorReport(summaries, first_scored_point(fit.n_dims, fit.n_points), families.notes)


def _summarise_family(own: Tensor, family: Family, references: Mapping[str, Predictor]) -> FamilyErrors:
    said = {MODEL: own}
    said |= {name: predict(predictor, family.prompts) for name, predictor in references.items()}
    late = {name: prompt_errors(values, family) for name, values in said.items()}
    least_squares = next(name for name in references if name.startswith("least squares"))
    best = min(references, key=lambda name: float(late[name].mean()))
    return FamilyErrors(
        family=family,
        curves={name: _curve(values, family, late[name]) for name, values in said.items()},
        excess=estimate_mean(late[MODEL] - late[least_squares]),
        shortfalls={name: estimate_mean(errors - late[best]) for name, errors in late.items()},
        distances={name: _distance(own, said[name], family) for name in references},
        first_point=first_scored_point(family.prompts.n_dims, family.prompts.n_points),
    )


def error_curves(
    model: Callee,
    task: Task,
    *,
    shifts: Sequence[str] | None = None,
    n_prompts: int = 256,
    n_points: int | None = None,
    n_points_trained: int | None = None,
    seed: int = 0,
) -> ErrorReport:
    """Measure error against the number of in-context examples, for a model and every reference algorithm.

    Args:
        model: Any callable f(xs, ys): a model, or a predictor. Shifts of the query call f(xs, ys, points=[-1]).
        task: What is in distribution.
        shifts: Patterns as `select_shifts` takes them; None means the core suite. Longer prompts are cut where the
            model (one with a `cfg`) has no more positions; the report's notes say so.
        n_prompts: A family.
        n_points: Pairs a prompt; None takes the task's usual number.
        n_points_trained: Points that prompts had in training (`Checkpoint.n_points_trained`); later ones are marked as
            never seen there. None takes the task's usual number.
        seed: The only source of randomness.

    Returns:
        Curves with bootstrap bands over prompts.

    Example:
        >>> from icl_interp.predictors import least_squares
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> report = error_curves(least_squares(), LinearRegression(n_dims=3), shifts=["x_scale=3"], n_prompts=64)
        >>> report.in_distribution.curves["model"].late.value < 1e-6
        True
    """
    max_points = getattr(getattr(model, "cfg", None), "max_points", None)
    families = draw_families(
        task,
        shifts=shifts,
        n_prompts=n_prompts,
        n_points=n_points,
        max_points=max_points,
        n_points_trained=n_points_trained,
        seed=seed,
    )
    with torch.no_grad():
        said = {label: _predict(model, family.prompts) for label, family in families.all_families.items()}
    return summarise_errors(said, families, reference_predictors(task, n_points=n_points))


def _predict(model: Callee, prompts: Prompts) -> Tensor:
    there = prompts.to(getattr(model, "device", "cpu"))
    parts = [there[start : start + BATCH] for start in range(0, len(there), BATCH)]
    return torch.cat([predict(model, part).cpu() for part in parts])


def _squared_errors(predictions: Tensor, family: Family) -> Tensor:
    return (predictions.double() - family.prompts.targets.double()).square() / family.label_second_moment


def _distance(own: Tensor, other: Tensor, family: Family) -> Estimate:
    squares = (own.double() - other.double()).square().mean(1) / family.label_second_moment
    return estimate_mean(squares)


def _curve(predictions: Tensor, family: Family, late: Tensor) -> ErrorCurve:
    squares = _squared_errors(predictions, family)
    mean, low, high = mean_band(squares)
    first = family.first_unseen_point
    unseen = None if first is None else estimate_mean(squares[:, first:].mean(1))
    return ErrorCurve(mean=mean, low=low, high=high, late=estimate_mean(late), unseen=unseen)
