"""Predictors for sequences of numbers s_0, s_1, ..., where each value is to follow from those before.

A sequence becomes a prompt of examples (s_k, s_{k+1}): ``xs[:, k, 0] = s_k`` and ``ys[:, k] = s_{k+1}``, one
dimension. At point k the values s_0 .. s_k are known: s_k as the input, the others from the examples too.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.predictors._base import Predictor, PrefixPredictor
from icl_interp.predictors._prefix_lstsq import exclusive_cumsum


def affine_recurrence() -> Predictor:
    """Solve s' = a s + b from two examples and apply it.

    Formula: a = (y_j - y_i) / (x_j - x_i), yhat_k = y_i + a (x_k - x_i), from the consecutive examples i, j = i + 1
    before k whose inputs lie furthest apart (the earliest in a tie). Exact, hence Bayes-optimal, from k = 2 on for a
    sequence without noise; where all inputs before k agree the sequence stands still and the last label is repeated.
    With fewer than two examples the last value is repeated.

    Returns:
        A predictor named "affine_recurrence": it depends on the order of the examples.

    Source:
        Bhargav and Gu (2024), arXiv 2410.17438, for the task. Taking the widest pair is ours: late
        differences of a contracting sequence are rounding noise.

    Example:
        >>> s = torch.tensor([[1.0, 3.0, 7.0, 15.0, 31.0]])  # s' = 2 s + 1
        >>> answer = affine_recurrence()(s[:, :-1, None], s[:, 1:])
        >>> torch.testing.assert_close(answer, torch.tensor([[1.0, 3.0, 15.0, 31.0]]))
    """
    return _AffineRecurrence()


def running_least_squares() -> Predictor:
    """Fit a s + b to the examples before each point by least squares.

    Formula: minimum-norm (a, b) of |X a + b - y|^2, yhat_k = a x_k + b. Exact for a sequence without noise from k = 2
    on, whatever the unit of x and its distance from 0; singular systems (one example, or a sequence that stands still
    up to the rounding of its dtype) take the minimum-norm (a, b), which fits them as well. Inputs of more dimensions
    are fitted alike, with one slope each. Bayes-optimal in the same cases as `least_squares` with an intercept.

    Returns:
        A predictor named "running_least_squares": degree 1 in y.

    Source:
        Bhargav and Gu (2024), arXiv 2410.17438, for the task; the baseline is our choice.

    Example:
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
        A predictor named "copy_last": it depends on the order of the examples.

    Source:
        Our baseline for the task of Bhargav and Gu (2024), arXiv 2410.17438.

    Example:
        >>> s = torch.tensor([[1.0, 3.0, 7.0, 15.0]])
        >>> torch.testing.assert_close(copy_last()(s[:, :-1, None], s[:, 1:]), s[:, :-1])
    """
    return _CopyLast()


def linear_extrapolation() -> Predictor:
    """Repeat the last step.

    Formula: yhat_k = 2 y_{k-1} - x_{k-1}, that is 2 s_k - s_{k-1}, and x_0 at k = 0. Exact, hence
    Bayes-optimal, for s' = s + b.

    Returns:
        A predictor named "linear_extrapolation": it depends on the order of the examples.

    Source:
        Our baseline for the task of Bhargav and Gu (2024), arXiv 2410.17438.

    Example:
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
    name = "affine_recurrence"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], _eps: float
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
    name = "running_least_squares"

    def _floats_per_prompt(self, n_points: int, n_dims: int) -> int:
        return 4 * n_points * (n_points + n_dims) * n_dims

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], eps: float
    ) -> Float[Tensor, "batch asked"]:
        # Centred: the constant column is exact at any unit of x, and only x itself has rounding in it.
        xs, first = xs - xs[:, :1], xs[:, :1]  # differences of near numbers are exact
        before = torch.arange(xs.shape[1]).to(xs)
        counts = before.clamp(min=1)
        means, mean_labels = exclusive_cumsum(xs) / counts[:, None], exclusive_cumsum(ys) / counts
        away = xs - means
        noise = eps * exclusive_cumsum((xs + first).square().sum(dim=2)).sqrt() * counts.clamp(min=xs.shape[2])
        # Helmert's rows: those before point k have the moments of the k centred examples.
        shares = (before / (before + 1)).sqrt()
        rows, labels = shares[:, None] * away, shares * (ys - mean_labels)
        values, slopes, axes = _principal_axes(rows, labels, asked)
        kept = values > noise[:, asked, None]
        along, centre = ((axes @ part[:, asked, :, None])[..., 0] for part in (away, means + first))
        slopes = torch.where(kept, slopes / torch.where(kept, values, 1.0), 0.0)
        # Along the other axes the weights are free: those of the smallest norm, the intercept's counted, are taken.
        rest = mean_labels[:, asked] - (slopes * centre).sum(dim=2)
        free = torch.where(kept, 0.0, centre)
        tilt = (along * free).sum(dim=2) / (1 + free.square().sum(dim=2))
        return mean_labels[:, asked] + (along * slopes).sum(dim=2) + rest * tilt


def _principal_axes(
    rows: Float[Tensor, "batch point dim"], labels: Float[Tensor, "batch point"], asked: list[int]
) -> tuple[Float[Tensor, "batch asked dim"], Float[Tensor, "batch asked dim"], Float[Tensor, "batch asked dim dim"]]:
    # Singular values of the rows before each point, the labels along the left vectors, and the right ones.
    if rows.shape[2] == 1:
        values = exclusive_cumsum(rows.square()).sqrt()
        products = exclusive_cumsum(rows * labels[..., None]) / torch.where(values > 0, values, 1.0)
        return values[:, asked], products[:, asked], torch.ones_like(values[:, asked, None])
    before = torch.arange(rows.shape[1]) < torch.tensor(asked)[:, None]
    padded = torch.where(before[..., None].to(rows.device), rows[:, None], 0.0)
    padded = torch.nn.functional.pad(padded, (0, 0, 0, max(0, rows.shape[2] - rows.shape[1])))
    left, values, axes = torch.linalg.svd(padded, full_matrices=False)
    return values, (left[..., : rows.shape[1], :].mT @ labels[:, None, :, None])[..., 0], axes


@dataclass(frozen=True)
class _CopyLast(_SequencePredictor):
    name = "copy_last"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], _eps: float
    ) -> Float[Tensor, "batch asked"]:
        return _last_values(xs[..., 0], ys)[:, asked]


@dataclass(frozen=True)
class _LinearExtrapolation(_SequencePredictor):
    name = "linear_extrapolation"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], _eps: float
    ) -> Float[Tensor, "batch asked"]:
        return torch.cat([xs[:, :1, 0], 2 * ys[:, :-1] - xs[:, :-1, 0]], dim=1)[:, asked]


def _last_values(
    inputs: Float[Tensor, "batch point"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch point"]:
    return torch.cat([inputs[:, :1], ys[:, :-1]], dim=1)
