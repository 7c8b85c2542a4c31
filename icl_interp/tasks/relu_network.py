"""Random networks with one hidden layer, as an evaluation task."""

from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from icl_interp.prompts import stream
from icl_interp.tasks.base import GaussianInputs, Labels


class ReluNetworkRegression(GaussianInputs):
    """Labels by a random network with one hidden layer.

    Formula: y_k = sqrt(2 / h) sum_j a_j max(0, u_j.x_k) + noise_std * e_k with u_j ~ N(0, I), a_j ~ N(0, 1); without
    noise E[y^2] = d.

    Args:
        n_hidden: Number of hidden units h; 100 as in dtsip's last version (4 before).
        n_dims, noise_std: As in `LinearRegression`.
        n_points: Number of examples per prompt if `sample` gets none; None means 5 * n_dims + 1, as Garg et al. train.

    Source:
        Garg et al. (2022), section 6; dtsip/in-context-learning, `Relu2nnRegression`.

    Example:
        >>> ReluNetworkRegression(n_dims=20).sample(2, seed=0).n_points
        101
    """

    family: Literal["relu_network_regression"] = "relu_network_regression"
    n_hidden: int = Field(default=100, ge=1)

    @property
    def default_points(self) -> int:
        return self.n_points if self.n_points is not None else 5 * self.n_dims + 1

    def draw_labels(self, xs: Float[Tensor, "batch point dim"], *, seed: int) -> Labels:
        first = torch.randn(len(xs), self.n_dims, self.n_hidden, generator=stream(seed, "weights"))
        second = torch.randn(len(xs), self.n_hidden, generator=stream(seed, "output weights"))
        hidden = torch.einsum("bpd,bdh->bph", xs, first).relu()
        return Labels(torch.einsum("bph,bh->bp", hidden, second) * (2 / self.n_hidden) ** 0.5)

    def label_second_moment(self) -> float:
        """E[y^2] = d + noise_std^2, since E[max(0, u.x)^2] = d / 2."""
        return self.n_dims + self.noise_std**2

    def label_second_moment_at(self, input_second_moment: Float[Tensor, "dim dim"]) -> float:
        """E[y^2] = tr(E[x x']) + noise_std^2."""
        return float(input_second_moment.trace()) + self.noise_std**2

    def describe(self) -> str:
        what = f"regression on relu networks with {self.n_hidden} hidden units"
        return self._in_words(what, "inputs standard Gaussian")
