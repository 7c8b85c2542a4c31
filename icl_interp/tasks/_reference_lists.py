"""Which reference algorithms matter for each family, with hyperparameters that are derived from its own prompts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.predictors import (
    affine_recurrence,
    averaging,
    best_constant_step,
    best_gd_plus_plus,
    conjugate_gradient,
    context_mean,
    copy_last,
    discrete_mmse,
    gaussian_posterior_mean,
    gradient_descent,
    lasso,
    least_squares,
    linear_extrapolation,
    nearest_neighbors,
    newton,
    online_gradient_descent,
    optimal_learned_init,
    preprocess_then_gradient_descent,
    ridge,
    running_least_squares,
)
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts
from icl_interp.tasks.base import Task
from icl_interp.tasks.ill_conditioned import IllConditionedRegression
from icl_interp.tasks.linear import GaussianWeights, LinearTask
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.penalties import LASSO_GAP, bayes_penalty, lasso_penalty
from icl_interp.tasks.quadratic import QuadraticRegression
from icl_interp.tasks.recurrence import AffineRecurrence
from icl_interp.tasks.sine import SineRegression
from icl_interp.tasks.sparse import SparseLinearRegression
from icl_interp.tasks.task_pool import TaskPool
from icl_interp.tasks.uniform import UniformRegression

__all__ = ["GD_STEPS", "Candidates", "candidates_for"]

GD_STEPS = (1, 10)
"""Steps of the gradient-descent references (ours)."""
GD_PLUS_PLUS_STEPS = 5
"""Steps of GD++: the layers of von Oswald et al.'s deepest network with weights of their own."""
NEWTON_STEPS = 10
"""Iterations of Newton's method where inputs are ill-conditioned (ours; Fu et al. see some 20 in 12 layers), and of
conjugate gradients."""
LASSO_PROMPTS = 128
"""Prompts on which the Lasso's penalty is chosen."""

Candidates = dict[str, Predictor]


def candidates_for(task: Task, prompts: Prompts) -> Candidates:
    """List the algorithms for a family, before equals are merged.

    Args:
        task: What is in distribution.
        prompts: Of the task, on which hyperparameters are derived.

    Returns:
        Predictors by name, zero excepted.
    """
    return next(list_them(task, prompts) for kind, list_them in _LISTS if isinstance(task, kind))


def _linear(task: LinearTask, prompts: Prompts) -> Candidates:
    candidates: Candidates = {"least squares": least_squares()}
    if isinstance(task, TaskPool):
        candidates["ridge"] = ridge(bayes_penalty(task))
        candidates["Bayes = dMMSE"] = discrete_mmse(task.weights, task.noise_std)
    elif isinstance(task, LinearRegression):
        if task.weight_second_moment.any():
            candidates["ridge"] = ridge(bayes_penalty(task))
        candidates["Bayes"] = gaussian_posterior_mean(task.weight_mean, task.weight_cov, task.noise_std)
        if task.weight_mean.any() and not task.input_mean.any():
            candidates |= _one_learned_step(task, prompts.n_points)
    else:
        candidates["ridge"] = ridge(bayes_penalty(task))
        if isinstance(task, GaussianWeights):
            candidates["Bayes"] = gaussian_posterior_mean(0.0, 1.0, task.noise_std)
    top = float(torch.linalg.matrix_norm(prompts.xs.double(), ord=2).max()) ** 2
    for steps in GD_STEPS if top > 0 else ():  # at inputs that are all zero no step is best
        step = best_constant_step(prompts.xs, prompts.ys, steps, normalise="sum").step_size
        step = min(step, 1.5 / top) if steps > 1 else step  # one step cannot diverge
        candidates[f"{steps}-step GD"] = gradient_descent(steps, step, normalise="sum")
    return {**candidates, "averaging": averaging(), "3 nearest neighbours": nearest_neighbors(3)}


def _one_learned_step(task: LinearRegression, n_points: int) -> Candidates:
    # The optima are those for the last point; on shorter prefixes they are no optima.
    n_pairs = max(1, n_points - 1)
    cov, mean = task.weight_cov, task.weight_mean
    learned = optimal_learned_init(task.input_cov, cov, mean, task.noise_std, n_pairs)
    second = cov + torch.outer(mean, mean)
    frozen = optimal_learned_init(task.input_cov, second, torch.zeros_like(mean), task.noise_std, n_pairs)
    return {"GD-beta": learned.predictor(), "GD-0": frozen.predictor()}


def _sparse(task: SparseLinearRegression, prompts: Prompts) -> Candidates:
    steps = GD_STEPS[-1]
    return {
        **_linear(task, prompts),
        "Lasso": lasso(lasso_penalty(prompts[:LASSO_PROMPTS]), tol=LASSO_GAP),
        f"reweighted {steps}-step GD": preprocess_then_gradient_descent(steps),
    }


def _uniform(task: UniformRegression, prompts: Prompts) -> Candidates:
    return {**_linear(task, prompts), **_descent_with_curvature(prompts)}


def _ill_conditioned(task: IllConditionedRegression, prompts: Prompts) -> Candidates:
    return {
        **_linear(task, prompts),
        **_descent_with_curvature(prompts),
        f"{NEWTON_STEPS}-step Newton": newton(NEWTON_STEPS),
        f"{NEWTON_STEPS}-step CG": conjugate_gradient(NEWTON_STEPS),
        "online GD": online_gradient_descent("normalised"),
    }


def _descent_with_curvature(prompts: Prompts) -> Candidates:
    best = best_gd_plus_plus(prompts.xs, prompts.ys, GD_PLUS_PLUS_STEPS, normalise="sum", bounded=True)
    return {f"{GD_PLUS_PLUS_STEPS}-step GD++": best.predictor()}


def _recurrence(_task: AffineRecurrence, _prompts: Prompts) -> Candidates:
    return {
        "least squares": running_least_squares(),
        "oracle": affine_recurrence(),
        "copy last": copy_last(),
        "extrapolation": linear_extrapolation(),
    }


def _quadratic(task: QuadraticRegression, _prompts: Prompts) -> Candidates:
    bayes = _OnSquares(gaussian_posterior_mean(0.0, 1.0, task.noise_std))
    return {"least squares": least_squares(), "Bayes": bayes, "3 nearest neighbours": nearest_neighbors(3)}


def _wave(_task: SineRegression, _prompts: Prompts) -> Candidates:
    return {
        "least squares": running_least_squares(),
        "context mean": context_mean(),
        "3 nearest neighbours": nearest_neighbors(3),
    }


def _other(_task: Task, _prompts: Prompts) -> Candidates:
    return {
        "least squares": least_squares(),
        "averaging": averaging(),
        "context mean": context_mean(),
        "3 nearest neighbours": nearest_neighbors(3),
    }


_LISTS: tuple[tuple[type[Task], Callable[..., Candidates]], ...] = (
    (SparseLinearRegression, _sparse),
    (UniformRegression, _uniform),
    (IllConditionedRegression, _ill_conditioned),
    (LinearTask, _linear),
    (AffineRecurrence, _recurrence),
    (QuadraticRegression, _quadratic),
    (SineRegression, _wave),
    (Task, _other),
)


@dataclass(frozen=True)
class _OnSquares:
    # A predictor that reads x^2 / sqrt(3) for x.
    inner: Predictor

    @property
    def name(self) -> str:
        return f"{self.inner.name} on squares"

    def __call__(
        self,
        xs: Float[Tensor, "batch point dim"],
        ys: Float[Tensor, "batch point"],
        *,
        points: Sequence[int] | None = None,
    ) -> Float[Tensor, "batch asked"]:
        return self.inner(xs.square() / 3**0.5, ys, points=points)
