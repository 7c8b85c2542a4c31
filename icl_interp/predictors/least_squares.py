"""Least squares and ridge regression on the examples before each point, for all points at once."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from icl_interp.predictors._base import Number, Predictor, PrefixPredictor, check_dims, check_number, check_parameter
from icl_interp.predictors._prefix_lstsq import (
    above_rounding,
    exact_predictions,
    min_norm_predictions,
    prefix_posterior,
)
from probes._core.arrays import takes_arrays

# Largest condition number of X X^T + penalty I that one Cholesky factor is trusted with.
_CONDITION_LIMIT = 5e7


def least_squares() -> Predictor:
    """Fit the examples before each point exactly, with the smallest weights that do.

    Formula: yhat_k = x_k^T X^+ y over the k examples before it. Bayes-optimal without label noise for w ~ N(0, c I),
    and the limit of ridge as the penalty goes to 0. Below k = d, and for inputs in a subspace, it is the minimum-norm
    solution; nothing is predicted (0) without examples. With noisy labels its error has a peak at k = d.

    Singular values of the k inputs up to eps * max(k, d) * s_max count as zero, where eps belongs to
    the dtype the inputs *came in*: a float32 prompt drawn in a subspace leaves it by rounding, and a
    float64 tolerance would fit that noise with weights of 1e7. The arithmetic is float64.

    Returns:
        A predictor named "least_squares": degree 1 in y, invariant when all x are scaled.

    Source:
        Akyurek et al. (2022), arXiv 2211.15661, section 3; Garg et al. (2022), arXiv 2208.01066. The
        algorithm for all prefixes at once is our own.

    Example:
        >>> xs = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [3.0, 2.0]]])
        >>> ys = torch.tensor([[2.0, 5.0, 0.0]])  # w = (2, 3): the last label is never read
        >>> torch.testing.assert_close(least_squares()(xs, ys), torch.tensor([[0.0, 2.0, 12.0]]))
    """
    return _LeastSquares()


@takes_arrays
def ridge(penalty: Number, mean: Float[Tensor, " dim"] | Number | None = None) -> Predictor:
    """Fit the examples before each point with squared weights penalised.

    Formula: yhat_k = x_k^T (w0 + (X^T X + penalty I)^-1 X^T (y - X w0)) with the *sum* over the k examples
    in X^T X, not the mean, and w0 = ``mean``. Bayes-optimal for w ~ N(w0, tau^2 I) and label noise of
    variance sigma^2 at penalty = sigma^2 / tau^2. At penalty 0 it is least squares (minimum distance
    from w0), singular systems included. A penalty takes the inputs as they are: only singular values that
    float64 cannot tell from 0 count as zero, also for inputs that came in float32.

    Args:
        penalty: Penalty lambda, at least 0, in squared units of the inputs.
        mean: Weights that it shrinks towards: a vector, one number for all coordinates, or None for 0.

    Returns:
        A predictor named after its penalty. Degree 1 in y only without a mean.

    Raises:
        InputTypeError: If the penalty is no number.
        InputError: If the penalty is negative or not finite, or the mean is no finite vector.

    Source:
        Raventos et al. (2023), arXiv 2306.15063; arXiv 2501.17745, eq. 5; the centred form is Zhang, Wu and Bartlett
        (2024), arXiv 2402.14951, Lemma 6.1.

    Example:
        >>> xs, ys = torch.tensor([[[1.0], [1.0]]]), torch.tensor([[4.0, 0.0]])
        >>> torch.testing.assert_close(ridge(1.0)(xs, ys), torch.tensor([[0.0, 2.0]]))
        >>> torch.testing.assert_close(ridge(1.0, mean=2.0)(xs, ys), torch.tensor([[2.0, 3.0]]))
    """
    check_number("ridge", "penalty", penalty, least=0.0)
    if isinstance(mean, Tensor):
        check_parameter("ridge", "mean", mean, 1)
    elif mean is not None:
        check_number("ridge", "mean", mean)
        mean = float(mean)
    return _Ridge(float(penalty), mean)


@dataclass(frozen=True)
class _LeastSquares(PrefixPredictor):
    name = "least_squares"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], eps: float
    ) -> Float[Tensor, "batch asked"]:
        return min_norm_predictions(xs, ys, eps)[:, asked]


@dataclass(frozen=True, eq=False)
class _Ridge(PrefixPredictor):
    penalty: float
    mean: Tensor | float | None = field(repr=False)

    @property
    def name(self) -> str:
        return f"ridge({self.penalty:.4g}{'' if self.mean is None else ', centred'})"

    def _check(self, xs: Tensor) -> None:
        if isinstance(self.mean, Tensor):
            check_dims(self.name, "mean", self.mean.shape[0], xs)

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], eps: float
    ) -> Float[Tensor, "batch asked"]:
        if self.mean is None:
            return ridge_predictions(xs, ys, self.penalty, eps)[:, asked]
        prior = (xs * torch.as_tensor(self.mean).to(xs)).sum(dim=2)
        return (prior + ridge_predictions(xs, ys - prior, self.penalty, eps))[:, asked]


def ridge_predictions(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], penalty: float, eps: float
) -> Float[Tensor, "batch point"]:
    """Predict every point by ridge regression on the points before it."""
    if penalty == 0:
        return min_norm_predictions(xs, ys, eps)
    unsure = xs.square().sum(dim=2).cumsum(dim=1) > _CONDITION_LIMIT * penalty
    # Points beyond that are kept out of the factor, which would otherwise fail for the others as well.
    predictions = prefix_posterior(torch.where(unsure[..., None], 0.0, xs), ys, noise=penalty)
    if not bool(unsure.any()):
        return predictions
    exact = exact_predictions(xs, ys, unsure, lambda values, n: _shrunk_inverse(values, n, xs.shape[2], penalty))
    return predictions.index_put(unsure.nonzero(as_tuple=True), exact)


def _shrunk_inverse(
    values: Float[Tensor, "pair rank"], n_pairs: Int[Tensor, " pair"], n_dims: int, penalty: float
) -> Float[Tensor, "pair rank"]:
    # s / (s^2 + penalty). What float64 makes of a singular value 0 is dropped: a penalty below it would not tame it.
    kept = above_rounding(values, n_pairs, n_dims, torch.finfo(values.dtype).eps)
    safe = torch.where(kept, values, 1.0)
    return torch.where(kept, 1 / (safe + penalty / safe), 0.0)
