"""Affine recurrences: sequences of numbers in which each value follows from the one before."""

from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field

from icl_interp.prompts import Prompts, stream
from icl_interp.tasks.base import Task, check_counts, one_dimension


class AffineRecurrence(Task):
    """Sequences s_{k+1} = a s_k + b + noise_std * e_k with one (a, b) per prompt.

    Formula: a ~ U(-slope_bound, slope_bound), b ~ N(0, offset_std^2), s_0 ~ N(0, start_std^2). Written as pairs of one
    dimension, xs[:, k, 0] = s_k and ys[:, k] = s_{k+1}; a model that reads one value per token reads s_0, s_1, ....
    Noise enters the sequence and stays in it. The paper's distributions, lengths and noise are not known to us: all
    defaults are our choice, and |a| is bounded because a growing sequence dominates the loss.

    Args:
        n_dims: 1.
        slope_bound: Above 0, at most 1.1.
        offset_std: Standard deviation of b.
        start_std: Standard deviation of s_0.
        noise_std: Standard deviation of the noise of each step, in units of y.
        n_points: Number of examples per prompt if `sample` gets none; None means 16.

    Source:
        Bhargav and Gu (2024), arXiv 2410.17438.

    Example:
        >>> prompts = AffineRecurrence().sample(3, seed=0)
        >>> torch.testing.assert_close(prompts.xs[:, 1:, 0], prompts.ys[:, :-1], rtol=0, atol=0)
    """

    family: Literal["affine_recurrence"] = "affine_recurrence"
    n_dims: Annotated[int, BeforeValidator(one_dimension)] = 1
    slope_bound: float = Field(default=0.95, gt=0.0, le=1.1)
    offset_std: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)
    start_std: float = Field(default=1.0, ge=0.0, allow_inf_nan=False)
    noise_std: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)

    def __init__(self, n_dims: int = 1, **fields: Any) -> None:
        super().__init__(**{"n_dims": n_dims, **fields})

    @property
    def default_points(self) -> int:
        return self.n_points if self.n_points is not None else 16

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """Draw prompts; starts, slopes, offsets and noise have streams of their own."""
        n_points = self.default_points if n_points is None else n_points
        check_counts(n_prompts, n_points)
        value = self.start_std * torch.randn(n_prompts, generator=stream(seed, "inputs"))
        slopes = self.slope_bound * (2 * torch.rand(n_prompts, generator=stream(seed, "weights")) - 1)
        offsets = self.offset_std * torch.randn(n_prompts, generator=stream(seed, "offsets"))
        noise = self.noise_std * torch.randn(n_prompts, n_points, generator=stream(seed, "noise"))
        values = [value]
        for k in range(n_points):
            values.append(slopes * values[-1] + offsets + noise[:, k])
        sequence = torch.stack(values, dim=1)
        return Prompts(xs=sequence[:, :-1, None], ys=sequence[:, 1:], source=f"AffineRecurrence, seed {seed}")

    def label_second_moment(self) -> float:
        """Give E[y^2], the mean over the points of a prompt of `default_points`.

        Formula: E[s_k^2] = E[a^2k] start_std^2 + E[(1 + a + ... + a^(k-1))^2] offset_std^2
        + E[1 + a^2 + ... + a^(2k-2)] noise_std^2, with E[a^m] = slope_bound^m / (m + 1) for even m and 0 for odd m.
        """
        n = self.default_points
        powers = torch.arange(2 * n + 1, dtype=torch.float64)
        moments = self.slope_bound**powers / (powers + 1) * (powers % 2 == 0)
        total = 0.0
        for k in range(1, n + 1):
            sums = powers[:k, None].long() + powers[:k].long()
            total += float(moments[2 * k]) * self.start_std**2 + float(moments[sums].sum()) * self.offset_std**2
            total += float(moments[: 2 * k : 2].sum()) * self.noise_std**2
        return total / n

    def describe(self) -> str:
        noise = f"noise of standard deviation {self.noise_std:g} a step" if self.noise_std else "no noise"
        return f"affine recurrences with slopes up to {self.slope_bound:g}, {noise}"
