"""Which reference algorithms matter for a task, with hyperparameters that are derived and not guessed."""

import torch

from icl_interp.predictors import (
    best_constant_step,
    gaussian_posterior_mean,
    gradient_descent,
    least_squares,
    ridge,
    zero,
)
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts, derive_seed, stream
from icl_interp.tasks.linear_regression import LinearRegression

__all__ = ["GD_STEPS", "bayes_penalty", "merge_coinciding", "reference_predictors"]

GD_STEPS = (1, 10)
"""Steps of the gradient-descent references (ours)."""
SAME = 1e-4
"""Two predictors coincide on a task if they differ by less than this share of the labels' root mean square."""


def bayes_penalty(task: LinearRegression) -> float:
    """Give the ridge penalty that the task's noise and weights call for.

    Formula: noise_std^2 * n_dims / tr(w_cov). Ridge with it is Bayes-optimal for w ~ N(0, c I); for other weights
    it is the penalty of the isotropic prior of equal energy.

    Args:
        task: With weights that vary.

    Returns:
        Lambda in (X'X + lambda I)^-1 X'y, in squared units of x.

    Raises:
        ValueError: If the weights do not vary.

    Source:
        Hoerl and Kennard (1970); Akyurek et al. (2023), section 4.
    """
    energy = float(task.weight_cov.trace())
    if energy == 0:
        raise ValueError("bayes_penalty needs weights that vary, got a zero w_cov.")
    return task.noise_std**2 * task.n_dims / energy


def reference_predictors(task: LinearRegression) -> dict[str, Predictor]:
    """List the algorithms that a model of this task could have learned.

    Zero; minimum-norm least squares; ridge with `bayes_penalty`; the Bayes posterior mean under the task's own prior;
    gradient descent from zero with `GD_STEPS` steps, each with the constant step that is best over all prefixes of
    1024 of the task's own prompts; from two steps on at most 1.5 over the largest eigenvalue of X'X among them, so that
    it does not diverge on the next prompt that is a little larger. It descends the sum over pairs and not their mean:
    under the mean, a step that is good for long contexts diverges on short ones (both our choices). Predictors that
    coincide on the task are one entry, "a = b".

    Args:
        task: What is in distribution.

    Returns:
        Predictors by name, called `f(xs, ys, points=None)`.

    Example:
        >>> list(reference_predictors(LinearRegression(n_dims=3)))[:2]
        ['zero', 'least squares = ridge = Bayes']
    """
    prompts = task.sample(1024, seed=derive_seed(0, "reference predictors"))
    candidates: dict[str, Predictor] = {"zero": zero(), "least squares": least_squares()}
    if task.weight_rank:
        candidates["ridge"] = ridge(bayes_penalty(task))
    candidates["Bayes"] = gaussian_posterior_mean(task.weight_mean, task.weight_cov, task.noise_std)
    stable = 1.5 / float(torch.linalg.matrix_norm(prompts.xs.double(), ord=2).max()) ** 2
    for steps in GD_STEPS:
        step = best_constant_step(prompts.xs, prompts.ys, steps, normalise="sum").step_size
        step = min(step, stable) if steps > 1 else step  # one step cannot diverge
        candidates[f"{steps}-step GD"] = gradient_descent(steps, step, normalise="sum")
    return merge_coinciding(candidates, prompts)


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
