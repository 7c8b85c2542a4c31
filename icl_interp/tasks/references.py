"""Which reference algorithms matter for a task, with hyperparameters that are derived and not guessed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.predictors import (
    affine_recurrence,
    averaging,
    best_constant_step,
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
    optimal_learned_init,
    preprocess_then_gradient_descent,
    ridge,
    running_least_squares,
    zero,
)
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts, derive_seed, stream
from icl_interp.tasks.base import Task
from icl_interp.tasks.ill_conditioned import IllConditionedRegression
from icl_interp.tasks.linear import GaussianWeights, LinearTask
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.quadratic import QuadraticRegression
from icl_interp.tasks.recurrence import AffineRecurrence
from icl_interp.tasks.sine import SineRegression
from icl_interp.tasks.sparse import SparseLinearRegression
from icl_interp.tasks.task_pool import TaskPool

__all__ = ["GD_STEPS", "bayes_penalty", "lasso_penalty", "merge_coinciding", "reference_predictors"]

GD_STEPS = (1, 10)
"""Steps of the gradient-descent references (ours)."""
NEWTON_STEPS = 10
"""Iterations of Newton's method where inputs are ill-conditioned (ours; Fu et al. see some 20 in 12 layers)."""
LASSO_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
"""Where the Lasso's penalty is sought: Garg et al.'s list without 1e-4, which takes long to fit."""
SAME = 1e-4
"""Two predictors coincide on a task if they differ by less than this share of the labels' root mean square."""
DRAWN = 1024
"""Prompts on which step sizes are chosen and predictors are compared."""
COMPARED_POOL_ROWS = 2**22
"""Prompts times tasks on which a pool's predictors are compared, a second or two."""
COMPARED_LASSO = 8
"""Prompts for the Lasso, which fits one prefix after the other."""
LASSO_GAP = 1e-4
"""Duality gap at which a fit of the Lasso is done (scikit-learn's default): tighter ones take minutes where there are
fewer pairs than dimensions and no noise."""

Candidates = dict[str, Predictor]


def bayes_penalty(task: LinearTask) -> float:
    """Give the ridge penalty that the task's noise and weights call for.

    Formula: noise_std^2 * n_dims / E|w|^2. Ridge with it is Bayes-optimal for w ~ N(0, c I); for other weights
    it is the penalty of the isotropic prior of equal energy. A pool counts as what it was drawn from, N(0, I).

    Args:
        task: With weights that are not all zero.

    Returns:
        Lambda in (X'X + lambda I)^-1 X'y, in squared units of x.

    Raises:
        ValueError: If all weights are zero.

    Source:
        Hoerl and Kennard (1970); Akyurek et al. (2023), section 4; for pools Raventos et al. (2023), eq. 3.
    """
    if isinstance(task, TaskPool):
        return task.noise_std**2
    energy = float(task.weight_second_moment.trace())
    if energy == 0:
        raise ValueError("bayes_penalty needs weights that are not all zero, got a zero w_mean and w_cov.")
    return task.noise_std**2 * task.n_dims / energy


def lasso_penalty(prompts: Prompts) -> float:
    """Choose the Lasso's penalty on a sample.

    Formula: the one of `LASSO_PENALTIES` with the least mean squared error at the points d/2 and d of the prompts,
    where sparsity helps and least squares does not yet know the weights.

    Args:
        prompts: Of the task, a few.

    Returns:
        alpha of `icl_interp.predictors.lasso`.
    """
    points = sorted({min(k, prompts.n_points - 1) for k in (max(1, prompts.n_dims // 2), prompts.n_dims)})
    wanted = prompts.ys[:, points]

    def loss(penalty: float) -> float:
        return float((lasso(penalty, tol=LASSO_GAP)(prompts.xs, prompts.ys, points=points) - wanted).square().mean())

    return min(LASSO_PENALTIES, key=loss)


def reference_predictors(task: Task) -> Candidates:
    """List the algorithms that a model of this task could have learned.

    Every list starts with zero and has a least squares. What else, by family:

    - linear tasks: ridge with `bayes_penalty`, and gradient descent from zero with `GD_STEPS` steps, each with the
      constant step that is best over all prefixes of 1024 of the task's own prompts; from two steps on at most 1.5 over
      the largest eigenvalue of X'X among them, so that it does not diverge on the next prompt that is a little larger.
      It descends the sum over pairs and not their mean: under the mean, a step that is good for long contexts diverges
      on short ones (both our choices). "Bayes" is the posterior mean under the task's own prior where that is known:
      Gaussian weights, whatever the inputs, and pools, where it is dMMSE. Bayes-optimal, each on its own task.
    - weights around a mean, inputs around zero: one gradient step from the best initial value with the best
      preconditioner (GD-beta), and from zero (GD-0), Zhang et al. (2024), Theorem 5.2, for the usual prompt length.
    - sparse weights: the Lasso with `lasso_penalty`, and gradient descent on reweighted inputs. Bayes is left out.
    - ill-conditioned inputs: Newton's method as well.
    - recurrences: least squares with an intercept on consecutive values, the solution from two pairs ("oracle":
      Bayes-optimal without noise, from two pairs on), the last value, and the last step repeated.
    - quadratic functions: Bayes is the posterior mean on squared inputs. Nearest neighbours for it and the others.
    - sines, networks, trees: averages and nearest neighbours; Bayes is not known to us.

    Predictors that coincide on the task are one entry, "a = b".

    Args:
        task: What is in distribution.

    Returns:
        Predictors by name, called `f(xs, ys, points=None)`.

    Example:
        >>> list(reference_predictors(LinearRegression(n_dims=3)))[:2]
        ['zero', 'least squares = ridge = Bayes']
        >>> list(reference_predictors(TaskPool(3, 8, noise_std=0.5)))[:4]
        ['zero', 'least squares', 'ridge', 'Bayes = dMMSE']
    """
    prompts = task.sample(DRAWN, seed=derive_seed(0, "reference predictors"))
    candidates: Candidates = {"zero": zero()}
    candidates |= next(list_them(task, prompts) for kind, list_them in _LISTS if isinstance(task, kind))
    return merge_coinciding(candidates, prompts[: _compared(task)])


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
            candidates |= _one_learned_step(task)
    else:
        candidates["ridge"] = ridge(bayes_penalty(task))
        if isinstance(task, GaussianWeights):
            candidates["Bayes"] = gaussian_posterior_mean(0.0, 1.0, task.noise_std)
    # Zero inputs have no largest eigenvalue, and any step will do.
    stable = 1.5 / max(float(torch.linalg.matrix_norm(prompts.xs.double(), ord=2).max()) ** 2, 1e-300)
    for steps in GD_STEPS:
        step = best_constant_step(prompts.xs, prompts.ys, steps, normalise="sum").step_size
        step = min(step, stable) if steps > 1 else step  # one step cannot diverge
        candidates[f"{steps}-step GD"] = gradient_descent(steps, step, normalise="sum")
    return candidates


def _one_learned_step(task: LinearRegression) -> Candidates:
    # The optima are those for the task's usual length; on shorter prefixes they are no optima.
    n_pairs = max(1, task.default_points - 1)
    cov, mean = task.weight_cov, task.weight_mean
    learned = optimal_learned_init(task.input_cov, cov, mean, task.noise_std, n_pairs)
    second = cov + torch.outer(mean, mean)
    frozen = optimal_learned_init(task.input_cov, second, torch.zeros_like(mean), task.noise_std, n_pairs)
    return {"GD-beta": learned.predictor(), "GD-0": frozen.predictor()}


def _sparse(task: SparseLinearRegression, prompts: Prompts) -> Candidates:
    steps = GD_STEPS[-1]
    return {
        **_linear(task, prompts),
        "Lasso": lasso(lasso_penalty(prompts[: 2 * COMPARED_LASSO]), tol=LASSO_GAP),
        f"reweighted {steps}-step GD": preprocess_then_gradient_descent(steps),
    }


def _ill_conditioned(task: IllConditionedRegression, prompts: Prompts) -> Candidates:
    return {**_linear(task, prompts), f"{NEWTON_STEPS}-step Newton": newton(NEWTON_STEPS)}


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
    (IllConditionedRegression, _ill_conditioned),
    (LinearTask, _linear),
    (AffineRecurrence, _recurrence),
    (QuadraticRegression, _quadratic),
    (SineRegression, _wave),
    (Task, _other),
)


def _compared(task: Task) -> int:
    if isinstance(task, SparseLinearRegression):
        return COMPARED_LASSO
    return max(4, min(DRAWN, COMPARED_POOL_ROWS // task.n_tasks)) if isinstance(task, TaskPool) else DRAWN


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


def merge_coinciding(candidates: dict[str, Predictor], prompts: Prompts) -> dict[str, Predictor]:
    """Make one entry of predictors that say the same, on the prompts and on the prompts with noisy labels.

    Args:
        candidates: By name.
        prompts: Where they are compared.

    Returns:
        The first of each group of equals, named "a = b".
    """
    tolerance = SAME * float(prompts.ys.square().mean().sqrt())
    groups: list[tuple[list[str], Predictor, torch.Tensor]] = []
    # Noisy labels as well: what agrees only where labels fit exactly is not the same algorithm.
    noise = torch.randn(prompts.ys.shape, generator=stream(0, "merge"), dtype=prompts.ys.dtype)
    xs, ys = prompts.xs.repeat(2, 1, 1), torch.cat([prompts.ys, prompts.ys + noise * prompts.ys.std()])
    for name, predictor in candidates.items():
        said = predictor(xs, ys)
        for names, _, known in groups:
            if float((said - known).square().mean().sqrt()) <= tolerance:
                names.append(name)
                break
        else:
            groups.append(([name], predictor, said))
    return {" = ".join(names): predictor for names, predictor, _ in groups}
