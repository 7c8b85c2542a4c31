"""Tasks whose labels are linear in the inputs: y = w.x + noise, with one w a prompt, drawn apart from the inputs."""

from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.prompts import stream
from icl_interp.tasks.base import FunctionTask, Labels

__all__ = ["GaussianWeights", "LinearTask", "numerical_rank"]


class LinearTask(FunctionTask):
    """A task y_k = w.x_k + noise_std e_k whose weights are independent of its inputs.

    Its second moments decide E[y^2], here and under every shift that moves inputs or weights linearly.
    """

    @abstractmethod
    def draw_weights(self, n_prompts: int, *, seed: int) -> Float[Tensor, "batch dim"]:
        """Draw the weights of a seed."""

    @property
    @abstractmethod
    def input_second_moment(self) -> Float[Tensor, "dim dim"]:
        """E[x x'], float64."""

    @property
    @abstractmethod
    def weight_second_moment(self) -> Float[Tensor, "dim dim"]:
        """E[w w'], float64."""

    @property
    def weight_mean(self) -> Float[Tensor, " dim"]:
        """E[w], float64."""
        return torch.zeros(self.n_dims, dtype=torch.float64)

    def label_second_moment_at(self, input_second_moment: Float[Tensor, "dim dim"]) -> float:
        """Give E[y^2] where the functions are asked at other inputs.

        Formula: tr(E[x x'] E[w w']) + noise_std^2.
        """
        return float((input_second_moment * self.weight_second_moment).sum() + self.noise_std**2)

    @property
    def input_rank(self) -> int:
        """Dimension of the span of many inputs of a prompt."""
        return numerical_rank(self.input_second_moment)

    def draw_labels(self, xs: Float[Tensor, "batch point dim"], *, seed: int) -> Labels:
        """Ask the functions of a seed at some inputs."""
        ws = self.draw_weights(len(xs), seed=seed)
        return Labels((xs @ ws[:, :, None])[:, :, 0], ws)  # the product that einsum would call, at a fifth of its cost

    def label_second_moment(self) -> float:
        """Give E[y^2], the mean squared error of predicting zero.

        Formula: tr(E[x x'] E[w w']) + noise_std^2.
        """
        return float((self.input_second_moment * self.weight_second_moment).sum() + self.noise_std**2)


class GaussianWeights(LinearTask):
    """A linear task with w ~ N(0, I), whatever its inputs."""

    def draw_weights(self, n_prompts: int, *, seed: int) -> Float[Tensor, "batch dim"]:
        """Draw the weights of a seed."""
        return torch.randn(n_prompts, self.n_dims, generator=stream(seed, "weights"))

    @property
    def weight_second_moment(self) -> Float[Tensor, "dim dim"]:
        """E[w w'], float64."""
        return torch.eye(self.n_dims, dtype=torch.float64)


def numerical_rank(matrix: Float[Tensor, "dim other"]) -> int:
    """Count the directions of a symmetric, positive semi-definite matrix."""
    values = torch.linalg.eigvalsh(matrix)
    return int((values > 1e-12 * values[-1]).sum())
