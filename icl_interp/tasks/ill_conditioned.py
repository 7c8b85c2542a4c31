"""Linear regression with inputs of high condition number, along other axes in each prompt."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from icl_interp.prompts import stream
from icl_interp.tasks.linear_regression import GaussianWeights


class IllConditionedRegression(GaussianWeights):
    """Linear regression whose inputs have a covariance of high condition number, along other axes in each prompt.

    Formula: x_k = U diag(s) U' z_k with z_k ~ N(0, I) and one random orthonormal U per prompt; half of the s^2 (the
    smaller half, for odd d) are condition_number times the others, and they sum to d, so that E|x|^2 = d.
    y_k = w.x_k + noise_std * e_k with w ~ N(0, I).

    Args:
        condition_number: Ratio of the largest to the smallest eigenvalue of the covariance, at least 1.
        n_dims, noise_std, n_points: As in `LinearRegression`.

    Source:
        Fu et al. (2024), arXiv 2310.17086, section 4 (eigenvalues 100 and 1 half and half, a basis for each
        sequence), normalised as in their code. For odd d the split is our choice.

    Example:
        >>> prompts = IllConditionedRegression(n_dims=4).sample(1, 4000, seed=0)
        >>> values = torch.linalg.eigvalsh(torch.cov(prompts.xs[0].T))
        >>> bool(70 < values[-1] / values[0] < 140)
        True
    """

    family: Literal["ill_conditioned_regression"] = "ill_conditioned_regression"
    condition_number: float = Field(default=100.0, ge=1.0, allow_inf_nan=False)

    @property
    def input_second_moment(self) -> Float[Tensor, "dim dim"]:
        """E[x x'] = I over prompts, float64."""
        return torch.eye(self.n_dims, dtype=torch.float64)

    @property
    def input_scales(self) -> Float[Tensor, " dim"]:
        """s, float64: the standard deviations of x along the axes of a prompt."""
        variances = torch.ones(self.n_dims, dtype=torch.float64)
        variances[: self.n_dims // 2] = self.condition_number
        return (variances * (self.n_dims / variances.sum())).sqrt()

    def draw_inputs(self, n_prompts: int, n_points: int, *, seed: int) -> Float[Tensor, "batch point dim"]:
        z = torch.randn(n_prompts, n_points, self.n_dims, generator=stream(seed, "inputs"))
        axes = torch.linalg.qr(torch.randn(n_prompts, self.n_dims, self.n_dims, generator=stream(seed, "axes"))).Q
        return ((z @ axes) * self.input_scales.float()) @ axes.mT

    def describe(self) -> str:
        inputs = f"inputs Gaussian with condition number {self.condition_number:g} along random axes"
        return self._in_words("linear regression", f"{inputs}, weights standard Gaussian")
