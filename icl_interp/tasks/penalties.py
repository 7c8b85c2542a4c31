"""The penalties that a task's own law calls for: ridge's from its moments, the Lasso's from a sample."""

import importlib
import warnings
from typing import Any

import numpy as np

from icl_interp.errors import InputError
from icl_interp.prompts import Prompts
from icl_interp.tasks.linear import LinearTask
from icl_interp.tasks.task_pool import TaskPool

__all__ = ["LASSO_GRID", "bayes_penalty", "lasso_losses", "lasso_penalty"]

LASSO_GRID = tuple(10 ** (exponent / 2) for exponent in range(0, -9, -1))
"""Where the Lasso's penalty is sought, largest first, in units of the root mean squares of a label times that of an
input coordinate: half decades from 1, where nearly all weights are 0, to 1e-4, the least of Garg et al.'s list."""
NEARLY_BEST = 1.01
"""The largest penalty whose loss is within 1 % of the least is taken: without noise the loss is flat towards 0, where
fits only take longer (ours)."""
LASSO_GAP = 1e-4
"""Duality gap at which a fit of the Lasso is done (scikit-learn's default): tighter ones take minutes where there are
fewer pairs than dimensions and no noise."""


def bayes_penalty(task: LinearTask) -> float:
    """Give the ridge penalty that the task's noise and weights call for.

    Formula: noise_std^2 * n_dims / E|w|^2. Ridge with it is Bayes-optimal for w ~ N(0, c I); for other weights
    it is the penalty of the isotropic prior of equal energy. A pool counts as what it was drawn from, N(0, I).

    Args:
        task: With weights that are not all zero.

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
    """Try the Lasso's penalties on a sample.

    Formula: the mean squared error over the prompts and the points d/2 and d, where sparsity helps and least squares
    does not yet know the weights. scikit-learn fits the whole grid of a prefix at once, each penalty from the last.

    Args:
        prompts: Of the task, with labels that are not all zero; a hundred or more.

    Returns:
        Loss by penalty (alpha of `icl_interp.predictors.lasso`), the largest first.

    Raises:
        ImportError: When called without scikit-learn.
        InputError: If all labels or inputs are zero, which leaves penalties without a unit.
    """
    xs, ys = prompts.xs.double().numpy(), prompts.ys.double().numpy()
    unit = float(np.sqrt(np.mean(xs**2) * np.mean(ys**2)))
    if unit == 0:
        raise InputError("lasso_losses needs inputs and labels that are not all zero, got zeros; change the task.")
    grid = [unit * share for share in LASSO_GRID]
    points = sorted({min(k, prompts.n_points - 1) for k in (max(1, prompts.n_dims // 2), prompts.n_dims)})
    losses = np.zeros(len(grid))
    fit_path, slow = _lasso_path()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", slow)  # small penalties without noise, which lose anyway
        for x, y in zip(xs, ys, strict=True):
            for k in (point for point in points if point > 0):
                weights = fit_path(x[:k], y[:k], alphas=grid, tol=LASSO_GAP)[1]
                losses += (x[k] @ weights - y[k]) ** 2
    return dict(zip(grid, (losses / (len(xs) * len(points))).tolist(), strict=True))


def lasso_penalty(prompts: Prompts) -> float:
    """Choose the Lasso's penalty on a sample.

    Formula: the largest of `LASSO_GRID` whose loss (`lasso_losses`) is within 1 % of the least.

    Args:
        prompts: Of the task, with labels that are not all zero; a hundred or more.

    Returns:
        alpha of `icl_interp.predictors.lasso`, in units of label times input.

    Example:
        >>> from icl_interp.tasks.sparse import SparseLinearRegression
        >>> quiet, loud = (SparseLinearRegression(6, n_nonzero=1, noise_std=s).sample(128, seed=0) for s in (0.1, 1.0))
        >>> lasso_penalty(quiet) < lasso_penalty(loud)
        True
    """
    losses = lasso_losses(prompts)
    enough = NEARLY_BEST * min(losses.values())
    return next(penalty for penalty, loss in losses.items() if loss <= enough)


def _lasso_path() -> tuple[Any, type[Warning]]:
    try:
        path = importlib.import_module("sklearn.linear_model").lasso_path
        return path, importlib.import_module("sklearn.exceptions").ConvergenceWarning
    except ImportError as error:
        raise ImportError("lasso_losses needs scikit-learn; run `pip install scikit-learn`.") from error
