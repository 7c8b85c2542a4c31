"""The reference predictors of a task, with penalties and steps derived from its distribution or its prompts."""

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp import predictors
from icl_interp.errors import InputError
from icl_interp.predictors._base import Predictor
from icl_interp.predictors.references import REFERENCES, References
from icl_interp.prompts import Prompts, derive_seed, stream
from icl_interp.query import Callee
from icl_interp.tasks.base import Task
from icl_interp.tasks.fixed_prompts import FixedPrompts
from icl_interp.tasks.ill_conditioned import IllConditionedRegression
from icl_interp.tasks.linear_regression import GaussianWeights, LinearRegression, LinearTask
from icl_interp.tasks.quadratic import QuadraticRegression
from icl_interp.tasks.recurrence import AffineRecurrence
from icl_interp.tasks.sine import SineRegression
from icl_interp.tasks.sparse import SparseLinearRegression
from icl_interp.tasks.task_pool import TaskPool
from icl_interp.tasks.uniform import UniformRegression

_LASSO_GRID = tuple(10 ** (exponent / 2) for exponent in range(0, -9, -1))
"""Where the Lasso's penalty is sought, largest first, in units of the root mean squares of a label times that of an
input coordinate: half decades from 1, where nearly all weights are 0, to 1e-4, the least of Garg et al.'s list."""
_NEARLY_BEST = 1.01  # of the least loss (our choice); without noise the loss is flat towards 0, and fits take longer
_LASSO_GAP = 1e-4  # duality gap at which a fit is done, scikit-learn's default; without noise tighter ones take minutes


def bayes_penalty(task: LinearTask) -> float:
    """Give the ridge penalty that suits the task's noise and weights.

    Formula: noise_std^2 * n_dims / E|w|^2. Ridge with it is Bayes-optimal for w ~ N(0, c I); for other weights
    it is the penalty of the isotropic prior of equal energy. A pool counts as what it was drawn from, N(0, I).

    Args:
        task: Task with weights that are not all zero.

    Returns:
        Lambda in (X'X + lambda I)^-1 X'y, in squared units of x.

    Raises:
        InputError: If all weights are zero.

    Source:
        Hoerl and Kennard (1970); Akyurek et al. (2022), arXiv 2211.15661, section 4; for pools arXiv 2501.17745, eq. 5.
    """
    if isinstance(task, TaskPool):
        return task.noise_std**2
    energy = float(task.weight_second_moment.trace())
    if energy == 0:
        raise InputError("bayes_penalty needs weights that are not all zero, got a zero w_mean and w_cov.")
    return task.noise_std**2 * task.n_dims / energy


def lasso_losses(prompts: Prompts) -> dict[float, float]:
    """Give each penalty of the Lasso its mean squared error at the points d/2 and d, where sparsity helps."""
    xs, ys = prompts.xs.double().numpy(), prompts.ys.double().numpy()
    unit = float(np.sqrt(np.mean(xs**2) * np.mean(ys**2)))
    if unit == 0:
        raise InputError("lasso_losses needs inputs and labels that are not all zero, got zeros; change the task.")
    grid = [unit * share for share in _LASSO_GRID]
    points = sorted({min(k, prompts.n_points - 1) for k in (max(1, prompts.n_dims // 2), prompts.n_dims)})
    losses = np.zeros(len(grid))
    fit_path, slow = _lasso_path()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", slow)  # small penalties without noise, which lose anyway
        for x, y in zip(xs, ys, strict=True):
            for k in (point for point in points if point > 0):
                weights = fit_path(x[:k], y[:k], alphas=grid, tol=_LASSO_GAP)[1]
                losses += (x[k] @ weights - y[k]) ** 2
    return dict(zip(grid, (losses / (len(xs) * len(points))).tolist(), strict=True))


def lasso_penalty(prompts: Prompts) -> float:
    """Choose the Lasso's penalty on a sample.

    Formula: the largest of `_LASSO_GRID` whose loss (`lasso_losses`) is within 1 % of the least.

    Args:
        prompts: A hundred or more prompts of the task, with labels that are not all zero.

    Returns:
        alpha of `icl_interp.predictors.lasso`, in units of label times input.

    Example:
        >>> from icl_interp.tasks.sparse import SparseLinearRegression
        >>> quiet, loud = (SparseLinearRegression(6, n_nonzero=1, noise_std=s).sample(128, seed=0) for s in (0.1, 1.0))
        >>> lasso_penalty(quiet) < lasso_penalty(loud)
        True
    """
    losses = lasso_losses(prompts)
    enough = _NEARLY_BEST * min(losses.values())
    return next(penalty for penalty, loss in losses.items() if loss <= enough)


def _lasso_path() -> tuple[Any, type[Warning]]:
    try:
        path = importlib.import_module("sklearn.linear_model").lasso_path
        return path, importlib.import_module("sklearn.exceptions").ConvergenceWarning
    except ImportError as error:
        raise ImportError("lasso_losses needs scikit-learn; run `pip install scikit-learn`.") from error


GD_STEPS = (1, 10)  # of the gradient-descent references (our choice)
_GD_PLUS_PLUS_STEPS = 5  # the layers of von Oswald et al.'s deepest network with weights of their own
NEWTON_STEPS = (
    10  # where inputs are ill-conditioned (our choice; Fu et al. see some 20 in 12 layers); conjugate gradients' too
)
_LASSO_PROMPTS = 128  # on which the Lasso's penalty is chosen

_Candidates = dict[str, Predictor]


def _linear(task: LinearTask, prompts: Prompts) -> _Candidates:
    candidates: _Candidates = {"least squares": predictors.least_squares()}
    if isinstance(task, TaskPool):
        candidates["ridge"] = predictors.ridge(bayes_penalty(task))
        candidates["Bayes"] = candidates["dMMSE"] = predictors.discrete_mmse(task.weights, task.noise_std)
    elif isinstance(task, LinearRegression):
        if task.weight_second_moment.any():
            candidates["ridge"] = predictors.ridge(bayes_penalty(task))
        candidates["Bayes"] = predictors.gaussian_posterior_mean(task.weight_mean, task.weight_cov, task.noise_std)
        if task.weight_mean.any() and not task.input_mean.any():
            candidates |= _one_learned_step(task, prompts.n_points)
    else:
        candidates["ridge"] = predictors.ridge(bayes_penalty(task))
        if isinstance(task, GaussianWeights):
            candidates["Bayes"] = predictors.gaussian_posterior_mean(0.0, 1.0, task.noise_std)
    return {
        **candidates,
        **_descent(prompts),
        "averaging": predictors.averaging(),
        "3 nearest neighbours": predictors.nearest_neighbors(3),
    }


def _descent(prompts: Prompts) -> _Candidates:
    found: _Candidates = {}
    top = float(torch.linalg.matrix_norm(prompts.xs.double(), ord=2).max()) ** 2
    for steps in GD_STEPS if top > 0 else ():  # at inputs that are all zero no step is best
        step = predictors.best_constant_step(prompts.xs, prompts.ys, steps, normalise="sum").step_size
        step = min(step, 1.5 / top) if steps > 1 else step  # one step cannot diverge
        found[f"{steps}-step GD"] = predictors.gradient_descent(steps, step, normalise="sum")
    return found


def _one_learned_step(task: LinearRegression, n_points: int) -> _Candidates:
    learned, frozen = learned_step_optima(task, n_points)
    return {"GD-beta": learned.predictor(), "GD-0": frozen.predictor()}


def learned_step_optima(
    task: LinearRegression, n_points: int
) -> tuple[predictors.LearnedInitOptimum, predictors.LearnedInitOptimum]:
    """Give the best gradient step from a learned start, and the best one from 0, for inputs of mean 0.

    The optima are those for the last point; on shorter prefixes they are no optima.
    """
    n_pairs = max(1, n_points - 1)
    cov, mean = task.weight_cov, task.weight_mean
    learned = predictors.optimal_learned_init(task.input_cov, cov, mean, task.noise_std, n_pairs)
    second = cov + torch.outer(mean, mean)
    return learned, predictors.optimal_learned_init(
        task.input_cov, second, torch.zeros_like(mean), task.noise_std, n_pairs
    )


def _sparse(task: SparseLinearRegression, prompts: Prompts) -> _Candidates:
    steps = GD_STEPS[-1]
    return {
        **_linear(task, prompts),
        "Lasso": predictors.lasso(lasso_penalty(prompts[:_LASSO_PROMPTS]), tol=_LASSO_GAP),
        f"reweighted {steps}-step GD": predictors.preprocess_then_gradient_descent(steps),
    }


def _uniform(task: UniformRegression, prompts: Prompts) -> _Candidates:
    return {**_linear(task, prompts), **_descent_with_curvature(prompts)}


def _ill_conditioned(task: IllConditionedRegression, prompts: Prompts) -> _Candidates:
    return {
        **_linear(task, prompts),
        **_descent_with_curvature(prompts),
        f"{NEWTON_STEPS}-step Newton": predictors.newton(NEWTON_STEPS),
        f"{NEWTON_STEPS}-step CG": predictors.conjugate_gradient(NEWTON_STEPS),
        "online GD": predictors.online_gradient_descent("normalised"),
    }


def _descent_with_curvature(prompts: Prompts) -> _Candidates:
    best = predictors.best_gd_plus_plus(prompts.xs, prompts.ys, _GD_PLUS_PLUS_STEPS, normalise="sum", bounded=True)
    return {f"{_GD_PLUS_PLUS_STEPS}-step GD++": best.predictor()}


def _recurrence(_task: AffineRecurrence, _prompts: Prompts) -> _Candidates:
    return {
        "least squares": predictors.running_least_squares(),
        "oracle": predictors.affine_recurrence(),
        "copy last": predictors.copy_last(),
        "extrapolation": predictors.linear_extrapolation(),
    }


def _quadratic(task: QuadraticRegression, _prompts: Prompts) -> _Candidates:
    bayes = _OnSquares(predictors.gaussian_posterior_mean(0.0, 1.0, task.noise_std))
    return {
        "least squares": predictors.least_squares(),
        "Bayes": bayes,
        "3 nearest neighbours": predictors.nearest_neighbors(3),
    }


def _wave(_task: SineRegression, _prompts: Prompts) -> _Candidates:
    return {
        "least squares": predictors.running_least_squares(),
        "context mean": predictors.context_mean(),
        "3 nearest neighbours": predictors.nearest_neighbors(3),
    }


def _saved(_task: FixedPrompts, prompts: Prompts) -> _Candidates:
    return {
        "least squares": predictors.least_squares(),
        "ridge": predictors.ridge(_best_penalty(prompts)),
        **_descent(prompts),
        "averaging": predictors.averaging(),
        "context mean": predictors.context_mean(),
        "3 nearest neighbours": predictors.nearest_neighbors(3),
    }


def _best_penalty(prompts: Prompts) -> float:
    # No law says it: of half decades around the mean square of an input, the one whose answers err least.
    unit, aim = float(prompts.xs.double().square().mean()), prompts.ys[:, 1:].double()
    penalties = [0.0, *(unit * 10 ** (exponent / 2) for exponent in range(-6, 5))]

    def loss(penalty: float) -> float:
        return float((predictors.ridge(penalty)(prompts.xs, prompts.ys)[:, 1:].double() - aim).square().mean())

    return min(penalties, key=loss)


def _other(_task: Task, _prompts: Prompts) -> _Candidates:
    return {
        "least squares": predictors.least_squares(),
        "averaging": predictors.averaging(),
        "context mean": predictors.context_mean(),
        "3 nearest neighbours": predictors.nearest_neighbors(3),
    }


_LISTS: tuple[tuple[type[Task], Callable[..., _Candidates]], ...] = (
    (SparseLinearRegression, _sparse),
    (UniformRegression, _uniform),
    (IllConditionedRegression, _ill_conditioned),
    (LinearTask, _linear),
    (AffineRecurrence, _recurrence),
    (QuadraticRegression, _quadratic),
    (SineRegression, _wave),
    (FixedPrompts, _saved),
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


_SAME = 1e-4  # predictors coincide if they differ by less than this share of the labels' root mean square
_DRAWN = 256  # prompts on which step sizes are chosen
_COMPARED = 128  # prompts on which predictors are compared
_COMPARED_POOL_ROWS = 2**22  # prompts times tasks on which a pool's predictors are compared, a second or two
_COMPARED_LASSO = 8  # prompts for the Lasso, which fits one prefix after the other
_REMEMBERED_POOL = 2**15  # tasks of the largest pool that is remembered; larger ones would keep 100 MB alive each


def reference_predictors(task: Task, *, n_points: int | None = None) -> References:
    """List the predictors that a model of this task could have learned.

    Every list starts with zero and has least squares. The others depend on the family:

    - linear tasks: ridge with `bayes_penalty`, and gradient descent from zero with `GD_STEPS` steps, each with the
      constant step that is best over all prefixes of 256 of the task's own prompts; from two steps on at most 1.5 over
      the largest eigenvalue of X'X among them, so that it does not diverge on the next prompt that is a little larger.
      It descends the sum over examples and not their mean: under the mean, a step that is good for long contexts
      diverges on short ones (both our choices). "Bayes" is the posterior mean under the task's own prior where that is
      known: Gaussian weights, whatever the inputs, and pools, where it is dMMSE. Bayes-optimal, each on its own task.
      Averaging and three nearest neighbours are Garg et al.'s baselines.
    - weights around a mean, inputs around zero: one gradient step from the best initial value with the best
      preconditioner (GD-beta), and from zero (GD-0), Zhang et al. (2024), Theorem 5.2, for the last point.
    - sparse weights: the Lasso with `lasso_penalty`, and gradient descent on reweighted inputs. Bayes is left out:
      it mixes the posteriors of all supports, 1,140 for 3 of 20, each with a fit of its own at every prefix.
    - uniform and ill-conditioned inputs: GD++ with the step and the curvature that `best_gd_plus_plus` finds.
    - ill-conditioned inputs: Newton's method, conjugate gradients and online gradient descent (Kaczmarz) as well.
    - recurrences: least squares with an intercept on consecutive values, the solution from two examples ("oracle":
      Bayes-optimal without noise, from two examples on), the last value, and the last step repeated.
    - quadratic functions: Bayes is the posterior mean on squared inputs. Nearest neighbours for it and the others.
    - saved prompts (`FixedPrompts`): ridge with the penalty, and gradient descent with the steps, that suit them.
    - sines, networks, trees: averages and nearest neighbours; Bayes is not known to us.

    Predictors that coincide on the task are one entry, shown as "a = b" and found under each of its names. The list of
    a task is built once and remembered (not for pools above 2^15 tasks), and with it the fits of its Lasso.

    Args:
        task: What is in distribution.
        n_points: Number of examples per prompt, for which step sizes are derived; None takes the task's usual number.
            Where there is only one, two are taken.

    Returns:
        A mapping from names to predictors, called `f(xs, ys, points=None)`. It remembers the answers of each to
        prompts.

    Raises:
        InputError: If `n_points` is below 1.

    Example:
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> list(reference_predictors(LinearRegression(n_dims=3)))[:2]
        ['zero', 'least squares = ridge = Bayes']
        >>> list(reference_predictors(TaskPool(3, 8, noise_std=0.5)))[:4]
        ['zero', 'least squares', 'ridge', 'Bayes = dMMSE']
        >>> "dMMSE" in reference_predictors(TaskPool(3, 8, noise_std=0.5))
        True
    """
    if n_points is not None and n_points < 1:
        raise InputError(f"reference_predictors needs n_points to be at least 1, got {n_points}; leave it out.")
    n_points = max(2, task.default_points if n_points is None else n_points)
    large = isinstance(task, TaskPool) and task.n_tasks > _REMEMBERED_POOL
    return References((_built if large else _remembered)(task, n_points))  # a new one: what it recalls goes with it


def references_with(task: Task, own: Mapping[str, Callee] | None, *, n_points: int | None = None) -> References:
    """Add a user's predictors to those of a task; a `References` is all of them."""
    if isinstance(own, References):
        return own
    known = reference_predictors(task, n_points=n_points)
    theirs = own_references(own)
    return known.and_own(theirs) if theirs else known


def own_references(given: Mapping[str, Callee] | None) -> dict[str, Callee]:
    """Put a user's predictors of one call beside those that are registered."""
    registered = {name: reference.predictor for name, reference in REFERENCES.items()}
    for name, predictor in (given or {}).items():
        if registered.setdefault(name, predictor) is not predictor:
            raise InputError(f"references need names that no other has, got {name!r}, which is registered; rename one.")
    return registered


def _built(task: Task, n_points: int) -> list[tuple[list[str], Predictor]]:
    n_prompts = min(_DRAWN, task.n_saved) if isinstance(task, FixedPrompts) else _DRAWN
    prompts = task.sample(n_prompts, n_points, seed=derive_seed(0, "reference predictors"))
    list_them = next(listing for kind, listing in _LISTS if isinstance(task, kind))
    candidates = {"zero": predictors.zero(), **list_them(task, prompts)}
    return _merge_coinciding(candidates, prompts[: _compared(task)])


_remembered = lru_cache(maxsize=8)(_built)


def _compared(task: Task) -> int:
    if isinstance(task, SparseLinearRegression):
        return _COMPARED_LASSO
    return max(4, min(_COMPARED, _COMPARED_POOL_ROWS // task.n_tasks)) if isinstance(task, TaskPool) else _COMPARED


def _merge_coinciding(candidates: _Candidates, prompts: Prompts) -> list[tuple[list[str], Predictor]]:
    """Make one entry of predictors that say the same, on the prompts and on the prompts with noisy labels."""
    tolerance = _SAME * float(prompts.ys.square().mean().sqrt())
    groups: list[tuple[list[str], Predictor, Tensor]] = []
    # Noisy labels as well: what agrees only where labels fit exactly is not the same algorithm.
    noise = torch.randn(prompts.ys.shape, generator=stream(0, "merge"), dtype=prompts.ys.dtype)
    xs, ys = prompts.xs.repeat(2, 1, 1), torch.cat([prompts.ys, prompts.ys + noise * prompts.ys.std()])
    asked: dict[int, Tensor] = {}  # one predictor may have two names from the start
    for name, predictor in candidates.items():
        if id(predictor) not in asked:
            asked[id(predictor)] = predictor(xs, ys)
        said = asked[id(predictor)]
        for names, _, known in groups:
            if float((said - known).square().mean().sqrt()) <= tolerance:
                names.append(name)
                break
        else:
            groups.append(([name], predictor, said))
    return [(names, predictor) for names, predictor, _ in groups]
