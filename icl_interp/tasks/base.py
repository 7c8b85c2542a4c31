"""The base of all tasks: a frozen config that draws prompts."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.prompts import Prompts, stream
from icl_interp.settings import Settings
from probes._core.results import short_repr


class Task(Settings, ABC):
    """A distribution of prompts, and its own config: frozen, with no keys but its fields, to and from YAML.

    `family` names the class in files; `icl_interp.tasks.registry` turns it back into one.

    Args:
        n_dims: Number of coordinates of x.
        n_points: Number of examples per prompt if `sample` gets none; None takes the family's usual number.
    """

    family: str
    n_dims: int = Field(ge=1)
    n_points: int | None = Field(default=None, ge=1)

    def __init__(self, n_dims: int, **fields: Any) -> None:
        super().__init__(**{"n_dims": n_dims, **fields})

    @property
    def default_points(self) -> int:
        """Number of examples per prompt if `sample` gets none: 2 n_dims + 1 where the family does not say otherwise."""
        return self.n_points if self.n_points is not None else 2 * self.n_dims + 1

    @abstractmethod
    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        """Draw prompts as a pure function of the arguments.

        Args:
            n_prompts: Number of prompts, at least 1.
            n_points: Number of examples per prompt, at least 1; None takes `default_points`.
            seed: The only source of randomness.

        Returns:
            float32 prompts on the CPU.

        Raises:
            InputError: If a count is below 1.
        """

    @abstractmethod
    def label_second_moment(self) -> float:
        """Give E[y^2], the mean squared error of predicting zero, in squared units of y."""

    @abstractmethod
    def describe(self) -> str:
        """Describe the prompts in one clause without full stop, for headers and notes."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Noiseless labels of random functions, one function per prompt."""

    ys: Float[Tensor, "batch point"]
    """Noiseless labels."""
    ws: Float[Tensor, "batch dim"] | None = None
    """Weights of the functions, if they are linear."""

    __repr__ = short_repr


class FunctionTask(Task):
    """A task whose labels are a function of their own input: one random function per prompt, plus noise.

    Inputs, functions and noise come from separate streams of the seed: tasks that differ in one share the other two.
    """

    noise_std: float = Field(default=0.0, ge=0.0, allow_inf_nan=False)

    continuous_inputs: ClassVar[bool] = True
    """Whether inputs almost surely never repeat and their span grows with every point."""

    @abstractmethod
    def draw_inputs(self, n_prompts: int, n_points: int, *, seed: int) -> Float[Tensor, "batch point dim"]:
        """Draw the inputs of a seed, float32, from the stream "inputs"."""

    @abstractmethod
    def draw_labels(self, xs: Float[Tensor, "batch point dim"], *, seed: int) -> Labels:
        """Ask the functions of a seed, one per prompt, at any inputs; without noise."""

    @property
    def input_mean(self) -> Float[Tensor, " dim"]:
        """Mean of x, float64."""
        return torch.zeros(self.n_dims, dtype=torch.float64)

    @property
    def input_second_moment(self) -> Float[Tensor, "dim dim"] | None:
        """E[x x'], float64; None where it is not known."""
        return None

    def label_second_moment_at(self, input_second_moment: Float[Tensor, "dim dim"]) -> float | None:  # noqa: ARG002
        """Give E[y^2] at other inputs of this E[x x']; None where it depends on more than this moment."""
        return None

    @property
    def input_rank(self) -> int:
        """Dimension of the span of many inputs of a prompt."""
        return self.n_dims

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        n_points = self.default_points if n_points is None else n_points
        check_counts(n_prompts, n_points)
        return self.prompts_at(self.draw_inputs(n_prompts, n_points, seed=seed), seed=seed)

    def prompts_at(self, xs: Float[Tensor, "batch point dim"], *, seed: int) -> Prompts:
        """Label given inputs with the functions and the noise of a seed; the inputs of the seed give `sample`."""
        labels = self.draw_labels(xs, seed=seed)
        ys = labels.ys
        if self.noise_std > 0:
            ys = ys + self.noise_std * torch.randn(ys.shape, generator=stream(seed, "noise"))
        return Prompts(xs=xs, ys=ys, ws=labels.ws, source=f"{type(self).__name__}, seed {seed}")

    def _in_words(self, what: str, laws: str) -> str:
        return f"{what} in {self.n_dims} dimensions, {laws}, {self._describe_noise()}"

    def _describe_noise(self) -> str:
        return f"label noise of standard deviation {self.noise_std:g}" if self.noise_std else "no label noise"


class GaussianInputs(FunctionTask):
    """A task with x ~ N(0, I)."""

    @property
    def input_second_moment(self) -> Float[Tensor, "dim dim"]:
        return torch.eye(self.n_dims, dtype=torch.float64)

    def draw_inputs(self, n_prompts: int, n_points: int, *, seed: int) -> Float[Tensor, "batch point dim"]:
        return torch.randn(n_prompts, n_points, self.n_dims, generator=stream(seed, "inputs"))


def check_counts(n_prompts: int, n_points: int) -> None:
    """Refuse to draw nothing."""
    if n_prompts < 1 or n_points < 1:
        raise InputError(
            f"sample needs at least one prompt and one point, got {n_prompts} prompts of {n_points} points; "
            "ask for more."
        )


def one_dimension(n_dims: object) -> object:
    """Refuse more than one dimension, for families of numbers."""
    if isinstance(n_dims, bool) or n_dims != 1:
        raise InputError(
            f"n_dims needs to be 1, since inputs of this family are numbers, got {n_dims!r}; give a model of n_dims=1, "
            "or another family."
        )
    return n_dims
