"""What an intervention does to a model's error, and to its likeness with each reference algorithm."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
from jaxtyping import Float64
from torch import Tensor

from icl_interp.interventions import Intervention, answered_points, predict_under
from icl_interp.measure.errors import first_scored_point
from icl_interp.measure.statistics import estimate_mean
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import reference_predictors
from probes.bootstrap import Estimate

__all__ = ["InterventionEffect", "intervention_effect", "late_answers"]


@dataclass(frozen=True, slots=True, eq=False)
class InterventionEffect:
    """Before and after, prompt by prompt; all errors are late ones, in units of E[y^2]."""

    description: str
    """What was done."""
    before: Estimate
    """Error of the untouched model."""
    after: Estimate
    """Error under the intervention."""
    change: Estimate
    """After minus before, with a paired interval: above 0, the intervention harms."""
    distance_changes: Mapping[str, Estimate]
    """By reference: mean squared distance to its predictions, after minus before; below 0, the model has become more
    like it."""
    changes: Float64[Tensor, " sample"]
    """The change of each prompt."""

    def to_frame(self) -> pd.DataFrame:
        """Lay the changes out, one a row.

        Returns:
            Columns quantity, change, low, high.
        """
        rows = {"error": self.change, **{f"distance to {name}": e for name, e in self.distance_changes.items()}}
        return pd.DataFrame(
            [(name, e.value, e.low, e.high) for name, e in rows.items()], columns=["quantity", "change", "low", "high"]
        )

    def __repr__(self) -> str:
        return f"InterventionEffect({self.description}: error {self.before.value:.3g} -> {self.after.value:.3g})"


def intervention_effect(
    model: HookedModel,
    task: Task,
    intervention: Intervention,
    *,
    prompts: Prompts | None = None,
    references: Mapping[str, Predictor] | None = None,
    n_prompts: int = 256,
    seed: int = 0,
) -> InterventionEffect:
    """Measure what an intervention does.

    Formula: error = mean over late points (at least d examples before them; the last point for a model that answers
    only its query) of squared error / E[y^2]; distances to references likewise.

    Args:
        model: Any family.
        task: What is in distribution; its E[y^2] is the unit.
        intervention: From `icl_interp.interventions`.
        prompts: What to measure on; None draws from the task.
        references: Predictors by name; None takes the task's.
        n_prompts: How many are drawn.
        seed: Of the prompts and of the bootstrap.

    Returns:
        Errors and distances before and after, with bootstrap intervals over prompts.

    Raises:
        InputError: If the model lacks a hook of the intervention.

    Example:
        >>> import torch
        >>> from icl_interp.interventions import steer
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> nothing = steer(torch.ones(8), "hook_embed", amount=0.0)
        >>> intervention_effect(model, LinearRegression(n_dims=2), nothing, n_prompts=32).change.value
        0.0
    """
    given = task.sample(n_prompts, seed=seed) if prompts is None else prompts
    unit = task.label_second_moment()
    known = reference_predictors(task) if references is None else references
    late = late_answers(model, given)
    labels = given.targets.double()[:, late]
    before, after = (predict_under(model, given, what).double()[:, -len(late) :] for what in (None, intervention))

    def shares(said: Tensor, aim: Tensor) -> Tensor:
        return (said - aim).square().mean(1) / unit

    errors = [shares(said, labels) for said in (before, after)]
    aims = {name: predictor(given.xs, given.ys, points=late).double() for name, predictor in known.items()}
    return InterventionEffect(
        description=intervention.description,
        before=estimate_mean(errors[0], seed=seed),
        after=estimate_mean(errors[1], seed=seed),
        change=estimate_mean(errors[1] - errors[0], seed=seed),
        distance_changes={
            name: estimate_mean(shares(after, aim) - shares(before, aim), seed=seed) for name, aim in aims.items()
        },
        changes=errors[1] - errors[0],
    )


def late_answers(model: HookedModel, prompts: Prompts) -> list[int]:
    """Say at which points a hooked model's answers count as late.

    Args:
        model: Any family.
        prompts: What it reads.

    Returns:
        Points with at least d examples before them, out of those that the model answers under hooks.
    """
    first = first_scored_point(prompts.n_dims, prompts.n_points)
    return [point for point in answered_points(model.cfg, prompts.n_points) if point >= first]
