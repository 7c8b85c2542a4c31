"""Sparse linear regression: few coordinates matter, and which ones changes from prompt to prompt."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.prompts import stream
from icl_interp.tasks.linear_regression import LinearTask, symmetric_root


class SparseLinearRegression(LinearTask):
    """Linear regression with s non-zero weights: a random support of s coordinates, and N(0, 1) on it.

    Formula: y_k = w.x_k + noise_std * e_k, x_k ~ N(0, C) with C_ij = x_correlation^|i - j|. The defaults are Garg et
    al.'s task in 20 dimensions; correlated inputs and noise make Chen et al.'s variants. Their sizes are remembered
    only (d = 16, s = 4), and this form of C is our choice.

    Args:
        n_nonzero: Number of non-zero weights s, at most n_dims.
        x_correlation: Correlation of neighbouring coordinates, between -1 and 1, both excluded.
        n_dims, noise_std, n_points: As in `LinearRegression`.

    Raises:
        ValueError: If there are more non-zero weights than dimensions, or another value is out of range.

    Source:
        Garg et al. (2022), section 4 (3 of 20); Chen, Zhao and Zou (2024), arXiv 2408.04532.

    Example:
        >>> prompts = SparseLinearRegression(n_dims=20).sample(5, seed=0)
        >>> (prompts.ws != 0).sum(1).tolist()
        [3, 3, 3, 3, 3]
    """

    family: Literal["sparse_linear_regression"] = "sparse_linear_regression"
    n_nonzero: int = Field(default=3, ge=1)
    x_correlation: float = Field(default=0.0, gt=-1.0, lt=1.0)

    @model_validator(mode="after")
    def _check_support(self) -> "SparseLinearRegression":
        if self.n_nonzero > self.n_dims:
            raise InputError(
                f"n_nonzero needs at most {self.n_dims} weights, the number of dimensions, got {self.n_nonzero}."
            )
        return self

    @property
    def input_second_moment(self) -> Float[Tensor, "dim dim"]:
        place = torch.arange(self.n_dims, dtype=torch.float64)
        return torch.tensor(self.x_correlation, dtype=torch.float64) ** (place[:, None] - place).abs()

    @property
    def weight_second_moment(self) -> Float[Tensor, "dim dim"]:
        """E[w w'] = (s / d) I, float64."""
        return torch.eye(self.n_dims, dtype=torch.float64) * (self.n_nonzero / self.n_dims)

    def draw_inputs(self, n_prompts: int, n_points: int, *, seed: int) -> Float[Tensor, "batch point dim"]:
        z = torch.randn(n_prompts, n_points, self.n_dims, generator=stream(seed, "inputs"))
        return z @ symmetric_root(self.input_second_moment).float()

    def draw_weights(self, n_prompts: int, *, seed: int) -> Float[Tensor, "batch dim"]:
        values = torch.randn(n_prompts, self.n_dims, generator=stream(seed, "weights"))
        ranks = torch.rand(n_prompts, self.n_dims, generator=stream(seed, "support")).argsort(1).argsort(1)
        return values * (ranks < self.n_nonzero)

    def describe(self) -> str:
        inputs = f"correlated by {self.x_correlation:g}" if self.x_correlation else "standard Gaussian"
        return self._in_words("sparse linear regression", f"inputs {inputs}, {self.n_nonzero} non-zero weights")
