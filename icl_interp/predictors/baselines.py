"""Simple predictors that every algorithm has to beat."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.predictors._base import Predictor, PrefixPredictor, check_count
from icl_interp.predictors._prefix_lstsq import exclusive_cumsum

_Weighting = Literal["uniform", "inverse_square"]


def zero() -> Predictor:
    """Predict 0 for every label.

    Formula: yhat_k = 0. Bayes-optimal for k = 0 on every task whose weights have mean 0; its error is
    the mean square of the labels, the scale by which other errors are divided.

    Returns:
        A predictor named "zero".

    Example:
        >>> assert zero()(torch.ones(2, 3, 4), torch.ones(2, 3)).abs().max() == 0
    """
    return _Zero()


def context_mean() -> Predictor:
    """Predict the mean of the labels seen so far, whatever the input.

    Formula: yhat_k = (1/k) sum_{j<k} y_j, and 0 without examples. Bayes-optimal (in the limit of many
    examples) where labels do not depend on inputs.

    Returns:
        A predictor named "context_mean": degree 1 in y.

    Example:
        >>> answer = context_mean()(torch.ones(1, 3, 1), torch.tensor([[1.0, 3.0, 9.0]]))
        >>> torch.testing.assert_close(answer, torch.tensor([[0.0, 1.0, 2.0]]))
    """
    return _ContextMean()


def averaging() -> Predictor:
    """Predict with the mean of x y as weights.

    Formula: yhat_k = x_k . (1/k) sum_{j<k} y_j x_j, and 0 without examples: one gradient step of size 1
    from w = 0. Unbiased for inputs of covariance I; Bayes-optimal for none of our tasks.

    Returns:
        A predictor named "averaging": degree 1 in y.

    Source:
        Garg et al. (2022), arXiv 2208.01066, section 3 ("averaging"; AveragingModel in dtsip's code).

    Example:
        >>> from icl_interp.predictors import gradient_descent
        >>> xs, ys = torch.randn(2, 5, 3), torch.randn(2, 5)
        >>> torch.testing.assert_close(averaging()(xs, ys), gradient_descent(1, 1.0)(xs, ys))
    """
    return _Averaging()


def nearest_neighbors(n_neighbors: int = 3, *, weighting: _Weighting = "uniform") -> Predictor:
    """Predict the mean label of the examples whose inputs are nearest.

    Formula: yhat_k = sum_j a_j y_j over the nearest examples before k in Euclidean distance, with a_j equal ("uniform")
    or proportional to 1 / distance^2 ("inverse_square"; inputs met before then decide alone). All examples while there
    are fewer than ``n_neighbors``, 0 from none; the earlier example wins a tie. No Bayes predictor.

    Args:
        n_neighbors: Number of neighbours, at least 1; 3 as in both sources.
        weighting: Weighting of their labels.

    Returns:
        A predictor named after its neighbours: degree 1 in y, invariant when all x are scaled.

    Raises:
        InputTypeError: If ``n_neighbors`` is no whole number.
        InputError: If it is below 1, or the weighting is unknown.

    Source:
        Garg et al. (2022), arXiv 2208.01066, section 3 (uniform); Akyurek et al. (2022), arXiv
        2211.15661, section 4 (both weightings).

    Example:
        >>> xs = torch.tensor([[[0.0], [5.0], [1.0], [4.5]]])
        >>> ys = torch.tensor([[1.0, 7.0, 2.0, 0.0]])
        >>> answer = nearest_neighbors(1)(xs, ys)
        >>> torch.testing.assert_close(answer, torch.tensor([[0.0, 1.0, 1.0, 7.0]]))
    """
    check_count("nearest_neighbors", "n_neighbors", n_neighbors, least=1)
    if weighting not in get_args(_Weighting):
        raise InputError(f'nearest_neighbors needs weighting to be "uniform" or "inverse_square", got {weighting!r}.')
    return _NearestNeighbors(n_neighbors, weighting)


@dataclass(frozen=True)
class _Zero(PrefixPredictor):
    name = "zero"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], _ys: Float[Tensor, "batch point"], asked: list[int], _eps: float
    ) -> Float[Tensor, "batch asked"]:
        return xs.new_zeros(xs.shape[0], len(asked))


@dataclass(frozen=True)
class _ContextMean(PrefixPredictor):
    name = "context_mean"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], _eps: float
    ) -> Float[Tensor, "batch asked"]:
        counts = torch.arange(xs.shape[1]).to(xs).clamp(min=1)
        return (exclusive_cumsum(ys) / counts)[:, asked]


@dataclass(frozen=True)
class _Averaging(PrefixPredictor):
    name = "averaging"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], _eps: float
    ) -> Float[Tensor, "batch asked"]:
        counts = torch.arange(xs.shape[1]).to(xs).clamp(min=1)
        weights = exclusive_cumsum(xs * ys[..., None]) / counts[:, None]
        return (xs * weights).sum(dim=2)[:, asked]


@dataclass(frozen=True)
class _NearestNeighbors(PrefixPredictor):
    n_neighbors: int
    weighting: _Weighting

    @property
    def name(self) -> str:
        suffix = "" if self.weighting == "uniform" else f", {self.weighting}"
        return f"nearest_neighbors({self.n_neighbors}{suffix})"

    def _floats_per_prompt(self, n_points: int, n_dims: int) -> int:
        return 4 * n_points * n_points * (n_dims + 4)

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], _eps: float
    ) -> Float[Tensor, "batch asked"]:
        # Differences, not the expanded square: equal inputs must be at distance 0 exactly.
        distances = (xs[:, asked, None] - xs[:, None]).square().sum(dim=3)
        inside = torch.arange(xs.shape[1], device=xs.device) < torch.tensor(asked, device=xs.device)[:, None]
        distances = torch.where(inside, distances, torch.inf)
        nearest, indices = distances.sort(dim=2, stable=True)
        nearest, indices = nearest[..., : self.n_neighbors], indices[..., : self.n_neighbors]
        weights = self._weights(nearest)
        labels = ys[:, None].expand(-1, len(asked), -1).gather(2, indices)
        return (weights * labels).sum(dim=2) / weights.sum(dim=2).clamp(min=torch.finfo(xs.dtype).tiny)

    def _weights(self, squared: Float[Tensor, "batch asked neighbor"]) -> Float[Tensor, "batch asked neighbor"]:
        found = torch.isfinite(squared).to(squared)
        if self.weighting == "uniform":
            return found
        met = squared[..., :1] == 0  # relative to the nearest, so that no scale overflows
        smallest = torch.where(met | (found[..., :1] == 0), 1.0, squared[..., :1])
        inverse = smallest / torch.where((squared > 0) & (found > 0), squared, 1.0) * found
        return torch.where(met, (squared == 0).to(squared), inverse)
