"""Linear regression with uniform inputs."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from icl_interp.prompts import stream
from icl_interp.tasks.linear_regression import GaussianWeights


class UniformRegression(GaussianWeights):
    """Linear regression with inputs uniform on a cube: each coordinate of x ~ U(-half_width, half_width).

    Formula: y_k = w.x_k + noise_std * e_k with w ~ N(0, I); the variance of a coordinate is half_width^2 / 3.

    Args:
        half_width: Half the width of the cube. 0.5 is von Oswald et al.'s code (`input_range=1`), whose losses their
            paper reports; its text says U(-1, 1), which is half_width 1.
        n_dims, noise_std: As in `LinearRegression`.
        n_points: Number of examples per prompt if `sample` gets none; None means n_dims + 1: as many examples as
            dimensions, then the query, as in their experiments.

    Source:
        Von Oswald et al. (2023), arXiv 2212.07677, section 3, and their released code.

    Example:
        >>> float(UniformRegression(n_dims=10).sample(100, seed=0).xs.abs().max()) <= 0.5
        True
    """

    family: Literal["uniform_regression"] = "uniform_regression"
    half_width: float = Field(default=0.5, gt=0.0, allow_inf_nan=False)

    @property
    def default_points(self) -> int:
        return self.n_points if self.n_points is not None else self.n_dims + 1

    @property
    def input_second_moment(self) -> Float[Tensor, "dim dim"]:
        """E[x x'] = half_width^2 / 3 I, float64."""
        return torch.eye(self.n_dims, dtype=torch.float64) * (self.half_width**2 / 3)

    def draw_inputs(self, n_prompts: int, n_points: int, *, seed: int) -> Float[Tensor, "batch point dim"]:
        u = torch.rand(n_prompts, n_points, self.n_dims, generator=stream(seed, "inputs"))
        return (2 * u - 1) * self.half_width

    def describe(self) -> str:
        inputs = f"inputs uniform on [-{self.half_width:g}, {self.half_width:g}]"
        return self._in_words("linear regression", f"{inputs}, weights standard Gaussian")
