"""Sine waves of random amplitude and phase."""

from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.prompts import stream
from icl_interp.tasks.base import FunctionTask, Labels, one_dimension


class SineRegression(FunctionTask):
    """Sine waves of random amplitude and phase.

    Formula: y_k = A sin(x_k + phase) + noise_std * e_k with x_k ~ U(-5, 5), phase ~ U(0, pi) and A ~ U(amplitude_low,
    amplitude_high); without noise E[y^2] = E[A^2] / 2. One dimension.

    Args:
        n_dims: 1.
        amplitude_low: Least amplitude.
        amplitude_high: Largest amplitude. 0.5 as in the released code; the paper's text says 5.
        noise_std: Standard deviation of the label noise, in units of y.
        n_points: Number of examples per prompt if `sample` gets none; None means 11 (our choice).

    Raises:
        ValueError: If there is more than one dimension, or the amplitudes are in the wrong order.

    Source:
        Von Oswald et al. (2023), arXiv 2212.07677, section 4, after Finn et al. (2017). Adding the phase, not
        subtracting it, is our reading.

    Example:
        >>> SineRegression(amplitude_low=2.0, amplitude_high=2.0).label_second_moment()
        2.0
    """

    family: Literal["sine_regression"] = "sine_regression"
    n_dims: Annotated[int, BeforeValidator(one_dimension)] = 1
    amplitude_low: float = Field(default=0.1, ge=0.0, allow_inf_nan=False)
    amplitude_high: float = Field(default=0.5, gt=0.0, allow_inf_nan=False)

    def __init__(self, n_dims: int = 1, **fields: Any) -> None:
        super().__init__(**{"n_dims": n_dims, **fields})

    @model_validator(mode="after")
    def _check_amplitudes(self) -> "SineRegression":
        if self.amplitude_low > self.amplitude_high:
            raise InputError(
                f"amplitude_low needs at most amplitude_high, got {self.amplitude_low:g} and {self.amplitude_high:g}."
            )
        return self

    @property
    def default_points(self) -> int:
        return self.n_points if self.n_points is not None else 11

    @property
    def input_second_moment(self) -> Float[Tensor, "dim dim"]:
        """E[x^2] = 25 / 3, float64."""
        return torch.tensor([[25 / 3]], dtype=torch.float64)

    def draw_inputs(self, n_prompts: int, n_points: int, *, seed: int) -> Float[Tensor, "batch point dim"]:
        return 10 * torch.rand(n_prompts, n_points, 1, generator=stream(seed, "inputs")) - 5

    def draw_labels(self, xs: Float[Tensor, "batch point dim"], *, seed: int) -> Labels:
        amplitude, phase = torch.rand(2, len(xs), 1, generator=stream(seed, "weights"))
        amplitude = self.amplitude_low + (self.amplitude_high - self.amplitude_low) * amplitude
        return Labels(amplitude * torch.sin(xs[..., 0] + torch.pi * phase))

    def label_second_moment(self) -> float:
        """E[y^2] = (a^2 + a b + b^2) / 6 + noise_std^2 for amplitudes from a to b."""
        a, b = self.amplitude_low, self.amplitude_high
        return (a * a + a * b + b * b) / 6 + self.noise_std**2

    def label_second_moment_at(self, input_second_moment: Float[Tensor, "dim dim"]) -> float:  # noqa: ARG002
        """That of the task's own inputs, since phases cover half a period evenly."""
        return self.label_second_moment()

    def describe(self) -> str:
        return (
            f"sine waves of amplitude {self.amplitude_low:g} to {self.amplitude_high:g}, inputs uniform on [-5, 5], "
            f"{self._describe_noise()}"
        )
