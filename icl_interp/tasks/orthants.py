"""Inputs confined to one random orthant a prompt."""

from dataclasses import dataclass, replace

import torch

from icl_interp.prompts import Prompts, stream
from icl_interp.tasks.base import FunctionTask
from icl_interp.tasks.shifted_sources import estimate_label_second_moment

__all__ = ["RandomOrthants"]


@dataclass(frozen=True, slots=True)
class RandomOrthants:
    """A task whose inputs have, prompt by prompt, the signs of one random orthant.

    Formula: x_k = s * |x_k|, with s uniform on {-1, 1}^dim, one s a prompt; labels are those that the same
    functions give the new inputs, with the same noise. Garg et al. leave the query free, which is the shift
    `random_quadrants`; here it shares the orthant, so that one pass of the model answers all points (our choice).

    Example:
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> prompts = RandomOrthants(LinearRegression(n_dims=3)).sample(4, seed=0)
        >>> bool((prompts.xs.sign() == prompts.xs[:, :1].sign()).all())
        True
    """

    task: FunctionTask
    """Whose inputs are folded."""

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """Draw prompts as a pure function of the arguments.

        Args:
            n_prompts: How many, at least 1.
            n_points: Pairs a prompt; None takes the task's usual number.
            seed: The only source of randomness.

        Returns:
            The task's own prompts of that seed, with their inputs folded.
        """
        base = self.task.sample(n_prompts, n_points, seed=seed)
        coins = torch.randint(0, 2, (n_prompts, 1, base.n_dims), generator=stream(seed, "orthants"))
        folded = self.task.prompts_at(base.xs.abs() * (2 * coins - 1), seed=seed)
        return replace(folded, source=f"{base.source}, random orthants")

    def label_second_moment(self) -> float:
        """Give E[y^2], the mean squared error of predicting zero.

        Formula: that of inputs whose E[x x'] keeps the diagonal of the task's own and loses the rest, since the
        signs are independent and fair. An estimate for quadratic functions, where E[x x'] does not decide it.

        Returns:
            In squared units of y.
        """
        task = self.task
        second = task.input_second_moment
        known = None if second is None else task.label_second_moment_at(torch.diag(second.diagonal()))
        return estimate_label_second_moment(self) if known is None else known
