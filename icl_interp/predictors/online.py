"""Online gradient descent: one pass over the pairs, in their order."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.predictors._base import PrefixPredictor
from icl_interp.predictors._checks import Number, check_number
from icl_interp.predictors.protocol import Predictor


def online_gradient_descent(step_size: Number | Literal["normalised"]) -> Predictor:
    """Take one gradient step for each pair in turn, from w = 0.

    Formula: w <- w + eta (y_j - <w, x_j>) x_j for j = 0 .. k-1; yhat_k = <w, x_k>. With
    eta = 1 / |x_j|^2 ("normalised", the Kaczmarz projection) each pair is fitted exactly and then
    partly forgotten. The order of the pairs matters. No Bayes predictor. A diverging run is held at a
    large finite number.

    Args:
        step_size: eta above 0 in inverse squared units of the inputs, or "normalised".

    Returns:
        A predictor named after its step size: degree 1 in y; invariant when all x are scaled if
        normalised.

    Raises:
        InputTypeError: If the step size is neither a number nor a word.
        InputError: If it is not positive and finite, or another word.

    Source:
        Akyurek et al. (2022), arXiv 2211.15661, section 4 (one-pass SGD); Fu et al. (2024), arXiv
        2310.17086, section 3 (both step sizes).

    Example:
        >>> import torch
        >>> xs, ys = torch.tensor([[[1.0], [2.0], [1.0]]]), torch.tensor([[1.0, 4.0, 0.0]])
        >>> answer = online_gradient_descent("normalised")(xs, ys)  # w = 0, 1, 2
        >>> torch.testing.assert_close(answer, torch.tensor([[0.0, 2.0, 2.0]]))
    """
    if not isinstance(step_size, str):
        check_number("online_gradient_descent", "step_size", step_size, above=0.0)
        step_size = float(step_size)
    elif step_size != "normalised":
        raise InputError(f'online_gradient_descent needs step_size to be a number or "normalised", got {step_size!r}.')
    return _OnlineGradientDescent(step_size)


@dataclass(frozen=True)
class _OnlineGradientDescent(PrefixPredictor):
    step_size: float | Literal["normalised"]

    @property
    def name(self) -> str:
        return f"online_gradient_descent({self.step_size})"

    def _predict(
        self,
        xs: Float[Tensor, "batch point dim"],
        ys: Float[Tensor, "batch point"],
        asked: list[int],
        eps: float,  # noqa: ARG002
    ) -> Float[Tensor, "batch asked"]:
        if isinstance(self.step_size, str):
            squares = xs.square().sum(dim=2)
            rates = torch.where(squares > 0, 1 / torch.where(squares > 0, squares, 1.0), 0.0)
        else:
            rates = torch.full_like(ys, self.step_size)
        largest = torch.finfo(xs.dtype).max ** 0.25
        weights = torch.zeros_like(xs[:, 0])
        predictions = []
        for x, y, rate in zip(xs.unbind(1), ys.unbind(1), rates.unbind(1), strict=True):
            fit = (weights * x).sum(dim=1)
            predictions.append(fit)
            weights = (weights + (rate * (y - fit))[:, None] * x).clamp(-largest, largest)
        return torch.stack(predictions, dim=1)[:, asked]
