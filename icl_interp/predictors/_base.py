"""The frame of every predictor: check once, compute in float64 by chunks, answer in the input's dtype."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.predictors._checks import check_prompts, resolve_points

# 2 million float64 numbers (16 MB) of work space for one chunk of prompts: larger ones leave the cache.
CHUNK_FLOATS = 2**21


class PrefixPredictor(ABC):
    """A predictor that answers for every prefix of a prompt; subclasses hold only the mathematics."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short label for tables and figures, with the hyperparameters that matter."""

    @abstractmethod
    def _predict(
        self,
        xs: Float[Tensor, "batch point dim"],
        ys: Float[Tensor, "batch point"],
        asked: list[int],
        eps: float,
    ) -> Float[Tensor, "batch asked"]:
        """Predict the asked points of a chunk in float64; ``eps`` is the precision of the caller's dtype."""

    def _check(self, xs: Tensor) -> None:  # noqa: ARG002
        """Refuse inputs that do not fit this predictor's parameters; by default there is nothing to fit."""
        return

    def _floats_per_prompt(self, n_points: int, n_dims: int) -> int:
        # How much work space one prompt takes, for the size of the chunks.
        return 4 * n_points * (n_points + n_dims)

    def __call__(
        self,
        xs: Float[Tensor, "batch point dim"],
        ys: Float[Tensor, "batch point"],
        *,
        points: Sequence[int] | None = None,
    ) -> Float[Tensor, "batch asked"]:
        """Predict the labels of the asked points (all by default) from the pairs before each.

        Args:
            xs: Inputs of the prompts.
            ys: Labels of the prompts; the label of the last point asked for is never read.
            points: Which entries to answer, in this order; negative numbers count from the end.

        Returns:
            Predictions in the unit of the labels, one column for each asked point. Computed in float64,
            returned in the dtype of ``xs``; what exceeds its range saturates at its largest number.

        Raises:
            InputTypeError: If the tensors are not floating-point or not of one dtype, or a point is no integer.
            InputError: If shapes do not fit, a value is not finite, or a point is out of range.
        """
        check_prompts(self.name, xs, ys)
        self._check(xs)
        asked = resolve_points(self.name, points, xs.shape[1])
        n_read = max(asked) + 1
        info = torch.finfo(xs.dtype)
        size = max(1, CHUNK_FLOATS // self._floats_per_prompt(n_read, xs.shape[2]))
        chunks = zip(torch.split(xs[:, :n_read], size), torch.split(ys[:, :n_read], size), strict=True)
        answers = [self._predict(x.double(), y.double(), asked, info.eps) for x, y in chunks]
        return torch.cat(answers).clamp(info.min, info.max).to(xs.dtype)
