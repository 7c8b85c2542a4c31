"""Quadratic functions, as an evaluation task."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.prompts import stream
from icl_interp.tasks.base import GaussianInputs, Labels


class QuadraticRegression(GaussianInputs):
    """Labels linear in the squared coordinates.

    Formula: y_k = sum_i w_i x_ki^2 / sqrt(3) + noise_std * e_k with w ~ N(0, I), so that E[y^2] = d without noise.

    Args:
        n_dims, noise_std, n_points: As in `LinearRegression`.

    Source:
        dtsip/in-context-learning, `QuadraticRegression`.

    Example:
        >>> QuadraticRegression(n_dims=5).label_second_moment()
        5.0
    """

    family: Literal["quadratic_regression"] = "quadratic_regression"

    def draw_labels(self, xs: Float[Tensor, "batch point dim"], *, seed: int) -> Labels:
        ws = torch.randn(len(xs), self.n_dims, generator=stream(seed, "weights"))
        return Labels(torch.einsum("bpd,bd->bp", xs.square(), ws) / 3**0.5)

    def label_second_moment(self) -> float:
        """E[y^2] = d + noise_std^2, since E[x^4] = 3."""
        return self.n_dims + self.noise_std**2

    def describe(self) -> str:
        return self._in_words("quadratic regression", "inputs standard Gaussian")
