"""Which reference algorithms matter for a task, with hyperparameters that are derived and not guessed."""

from functools import lru_cache

import torch

from icl_interp.errors import InputError
from icl_interp.predictors import zero
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts, derive_seed, stream
from icl_interp.tasks._reference_lists import GD_STEPS, Candidates, candidates_for
from icl_interp.tasks.base import Task
from icl_interp.tasks.penalties import bayes_penalty, lasso_penalty
from icl_interp.tasks.sparse import SparseLinearRegression
from icl_interp.tasks.task_pool import TaskPool

__all__ = ["GD_STEPS", "bayes_penalty", "lasso_penalty", "merge_coinciding", "reference_predictors"]

SAME = 1e-4
"""Two predictors coincide on a task if they differ by less than this share of the labels' root mean square."""
DRAWN = 256
"""Prompts on which step sizes are chosen."""
COMPARED = 128
"""Prompts on which predictors are compared."""
COMPARED_POOL_ROWS = 2**22
"""Prompts times tasks on which a pool's predictors are compared, a second or two."""
COMPARED_LASSO = 8
"""Prompts for the Lasso, which fits one prefix after the other."""
REMEMBERED_POOL = 2**15
"""Tasks of the largest pool whose references are remembered; larger ones would keep 100 MB alive each."""


def reference_predictors(task: Task, *, n_points: int | None = None) -> Candidates:
    """List the algorithms that a model of this task could have learned.

    Every list starts with zero and has a least squares. What else, by family:

    - linear tasks: ridge with `bayes_penalty`, and gradient descent from zero with `GD_STEPS` steps, each with the
      constant step that is best over all prefixes of 256 of the task's own prompts; from two steps on at most 1.5 over
      the largest eigenvalue of X'X among them, so that it does not diverge on the next prompt that is a little larger.
      It descends the sum over pairs and not their mean: under the mean, a step that is good for long contexts diverges
      on short ones (both our choices). "Bayes" is the posterior mean under the task's own prior where that is known:
      Gaussian weights, whatever the inputs, and pools, where it is dMMSE. Bayes-optimal, each on its own task.
      Averaging and three nearest neighbours are Garg et al.'s baselines.
    - weights around a mean, inputs around zero: one gradient step from the best initial value with the best
      preconditioner (GD-beta), and from zero (GD-0), Zhang et al. (2024), Theorem 5.2, for the last point.
    - sparse weights: the Lasso with `lasso_penalty`, and gradient descent on reweighted inputs. Bayes is left out:
      it mixes the posteriors of all supports, 1,140 for 3 of 20, each with a fit of its own at every prefix.
    - uniform and ill-conditioned inputs: GD++ with the step and the curvature that `best_gd_plus_plus` finds.
    - ill-conditioned inputs: Newton's method, conjugate gradients and online gradient descent (Kaczmarz) as well.
    - recurrences: least squares with an intercept on consecutive values, the solution from two pairs ("oracle":
      Bayes-optimal without noise, from two pairs on), the last value, and the last step repeated.
    - quadratic functions: Bayes is the posterior mean on squared inputs. Nearest neighbours for it and the others.
    - sines, networks, trees: averages and nearest neighbours; Bayes is not known to us.

    Predictors that coincide on the task are one entry, "a = b". The list of a task is built once and remembered (not
    for pools above 2^15 tasks), and with it the fits of its Lasso.

    Args:
        task: What is in distribution.
        n_points: Pairs a prompt, for which step sizes are derived; None takes the task's usual number. Where there is
            only one, two are taken.

    Returns:
        Predictors by name, called `f(xs, ys, points=None)`.

    Raises:
        InputError: If `n_points` is below 1.

    Example:
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> list(reference_predictors(LinearRegression(n_dims=3)))[:2]
        ['zero', 'least squares = ridge = Bayes']
        >>> list(reference_predictors(TaskPool(3, 8, noise_std=0.5)))[:4]
        ['zero', 'least squares', 'ridge', 'Bayes = dMMSE']
    """
    if n_points is not None and n_points < 1:
        raise InputError(f"reference_predictors needs n_points to be at least 1, got {n_points}; leave it out.")
    n_points = max(2, task.default_points if n_points is None else n_points)
    large = isinstance(task, TaskPool) and task.n_tasks > REMEMBERED_POOL
    return dict((_built if large else _remembered)(task, n_points))


def _built(task: Task, n_points: int) -> Candidates:
    prompts = task.sample(DRAWN, n_points, seed=derive_seed(0, "reference predictors"))
    candidates = {"zero": zero(), **candidates_for(task, prompts)}
    return merge_coinciding(candidates, prompts[: _compared(task)])


_remembered = lru_cache(maxsize=8)(_built)


def _compared(task: Task) -> int:
    if isinstance(task, SparseLinearRegression):
        return COMPARED_LASSO
    return max(4, min(COMPARED, COMPARED_POOL_ROWS // task.n_tasks)) if isinstance(task, TaskPool) else COMPARED


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
