"""Predictors for sequences of numbers s_0, s_1, ..., where each value is to follow from those before.

A sequence becomes a prompt of pairs (s_k, s_{k+1}): ``xs[:, k, 0] = s_k`` and ``ys[:, k] = s_{k+1}``, one
dimension. At point k the values s_0 .. s_k are known: s_k as the input, the others from the pairs too.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.predictors._base import Predictor, PrefixPredictor
from icl_interp.predictors._prefix_lstsq import min_norm_predictions


def affine_recurrence() -> Predictor:
    """Solve s' = a s + b from two pairs and apply it.

    Formula: a = (y_j - y_i) / (x_j - x_i), yhat_k = y_i + a (x_k - x_i), from the consecutive pairs
    i, j = i + 1 before k whose inputs lie furthest apart (the earliest in a tie). Exact, hence
    Bayes-optimal, from k = 2 on for a sequence without noise; where all inputs before k agree the
    sequence stands still and the last label is repeated. With fewer than two pairs the last value is
    repeated.

    Returns:
        A predictor named "affine_recurrence": it depends on the order of the pairs.

    Source:
        Bhargav and Gu (2024), arXiv 2410.17438, for the task. Taking the widest pair is ours: late
        differences of a contracting sequence are rounding noise.

    Example:
        >>> import torch
        >>> s = torch.tensor([[1.0, 3.0, 7.0, 15.0, 31.0]])  # s' = 2 s + 1
        >>> answer = affine_recurrence()(s[:, :-1, None], s[:, 1:])
        >>> torch.testing.assert_close(answer, torch.tensor([[1.0, 3.0, 15.0, 31.0]]))
    """
    return _AffineRecurrence()


def running_least_squares() -> Predictor:
    """Fit a s + b to the pairs before each point by least squares.

    Formula: minimum-norm (a, b) of |X a + b - y|^2, yhat_k = a x_k + b. Exact for a sequence without
    noise from k = 2 on; singular systems (one pair, or a sequence that stands still) take the
    minimum-norm (a, b), which fits them as well. Inputs of more dimensions are fitted alike, with one
    slope each. Bayes-optimal in the same cases as `least_squares` with an intercept.

    Returns:
        A predictor named "running_least_squares": degree 1 in y.

    Source:
        Bhargav and Gu (2024), arXiv 2410.17438, for the task; the baseline is ours.

    Example:
        >>> import torch
        >>> s = torch.tensor([[1.0, 3.0, 7.0, 15.0, 31.0]])  # s' = 2 s + 1
        >>> answer = running_least_squares()(s[:, :-1, None], s[:, 1:])
        >>> torch.testing.assert_close(answer[:, 2:], torch.tensor([[15.0, 31.0]]))
    """
    return _RunningLeastSquares()


def copy_last() -> Predictor:
    """Repeat the last value.

    Formula: yhat_k = y_{k-1}, and x_0 at k = 0, where no label has been seen. Bayes-optimal for a
    sequence that stands still or walks at random.

    Returns:
        A predictor named "copy_last": it depends on the order of the pairs.

    Source:
        Our baseline for the task of Bhargav and Gu (2024), arXiv 2410.17438.

    Example:
        >>> import torch
        >>> s = torch.tensor([[1.0, 3.0, 7.0, 15.0]])
        >>> torch.testing.assert_close(copy_last()(s[:, :-1, None], s[:, 1:]), s[:, :-1])
    """
    return _CopyLast()


def linear_extrapolation() -> Predictor:
    """Repeat the last step.

    Formula: yhat_k = 2 y_{k-1} - x_{k-1}, that is 2 s_k - s_{k-1}, and x_0 at k = 0. Exact, hence
    Bayes-optimal, for s' = s + b.

    Returns:
        A predictor named "linear_extrapolation": it depends on the order of the pairs.

    Source:
        Our baseline for the task of Bhargav and Gu (2024), arXiv 2410.17438.

    Example:
        >>> import torch
        >>> s = torch.tensor([[1.0, 3.0, 5.0, 7.0]])
        >>> answer = linear_extrapolation()(s[:, :-1, None], s[:, 1:])
        >>> torch.testing.assert_close(answer, torch.tensor([[1.0, 5.0, 7.0]]))
    """
    return _LinearExtrapolation()


class _SequencePredictor(PrefixPredictor):
    def _check(self, xs: Tensor) -> None:
        if xs.shape[2] != 1:
            raise InputError(
                f"{self.name} needs sequences of numbers, that is inputs of 1 dimension, got {xs.shape[2]}; "
                "running_least_squares takes vectors."
            )


@dataclass(frozen=True)
class _AffineRecurrence(_SequencePredictor):
    @property
    def name(self) -> str:
        return "affine_recurrence"

    def _predict(
        self,
        xs: Float[Tensor, "batch point dim"],
        ys: Float[Tensor, "batch point"],
        asked: list[int],
        eps: float,  # noqa: ARG002
    ) -> Float[Tensor, "batch asked"]:
        inputs = xs[..., 0]
        answer = _last_values(inputs, ys)
        if ys.shape[1] < 3:
            return answer[:, asked]
        gaps = inputs[:, 1:-1] - inputs[:, :-2]
        widest, first = gaps.abs()[:, 0], torch.zeros_like(gaps[:, 0], dtype=torch.long)
        for point in range(2, ys.shape[1]):
            wider = gaps[:, point - 2].abs() > widest
            widest = torch.where(wider, gaps[:, point - 2].abs(), widest)
            first = torch.where(wider, point - 2, first)
            gap = gaps.gather(1, first[:, None])[:, 0]
            rise = (ys.gather(1, first[:, None] + 1) - ys.gather(1, first[:, None]))[:, 0]
            away = inputs[:, point] - inputs.gather(1, first[:, None])[:, 0]
            solved = ys.gather(1, first[:, None])[:, 0] + rise * away / torch.where(gap != 0, gap, 1.0)
            answer[:, point] = torch.where(gap != 0, solved, answer[:, point])
        return answer[:, asked]


@dataclass(frozen=True)
class _RunningLeastSquares(PrefixPredictor):
    @property
    def name(self) -> str:
        return "running_least_squares"

    def _predict(
        self,
        xs: Float[Tensor, "batch point dim"],
        ys: Float[Tensor, "batch point"],
        asked: list[int],
        eps: float,
    ) -> Float[Tensor, "batch asked"]:
        with_constant = torch.cat([xs, torch.ones_like(xs[..., :1])], dim=2)
        return min_norm_predictions(with_constant, ys, eps)[:, asked]


@dataclass(frozen=True)
class _CopyLast(_SequencePredictor):
    @property
    def name(self) -> str:
        return "copy_last"

    def _predict(
        self,
        xs: Float[Tensor, "batch point dim"],
        ys: Float[Tensor, "batch point"],
        asked: list[int],
        eps: float,  # noqa: ARG002
    ) -> Float[Tensor, "batch asked"]:
        return _last_values(xs[..., 0], ys)[:, asked]


@dataclass(frozen=True)
class _LinearExtrapolation(_SequencePredictor):
    @property
    def name(self) -> str:
        return "linear_extrapolation"

    def _predict(
        self,
        xs: Float[Tensor, "batch point dim"],
        ys: Float[Tensor, "batch point"],
        asked: list[int],
        eps: float,  # noqa: ARG002
    ) -> Float[Tensor, "batch asked"]:
        return torch.cat([xs[:, :1, 0], 2 * ys[:, :-1] - xs[:, :-1, 0]], dim=1)[:, asked]


def _last_values(
    inputs: Float[Tensor, "batch point"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch point"]:
    return torch.cat([inputs[:, :1], ys[:, :-1]], dim=1)
