"""What every predictor is: a named callable that reads a prompt as a causal model does."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Predictor(Protocol):
    """A reference algorithm, called like a model: ``f(xs, ys)`` or ``f(xs, ys, points=[-1])``.

    Entry k of the answer predicts ``ys[:, k]`` from ``xs[:, k]`` and the k pairs before it. It never
    reads ``ys[:, k]`` or anything after point k, so an unknown last label may be any finite number.

    Example:
        >>> import torch
        >>> from icl_interp.predictors import zero
        >>> assert isinstance(zero(), Predictor)
        >>> assert not isinstance(torch.zeros, Predictor)
    """

    @property
    def name(self) -> str:
        """Short label for tables and figures, with the hyperparameters that matter."""
        ...

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
            ys: Labels of the prompts.
            points: Which entries to answer, in this order; negative numbers count from the end.

        Returns:
            Predictions in the unit of the labels, one column for each asked point, dtype of ``xs``.
        """
        ...
