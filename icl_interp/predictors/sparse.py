"""Predictors for sparse weights: the Lasso, and gradient descent on reweighted inputs."""

import hashlib
import importlib
import warnings
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.predictors._base import Number, Predictor, PrefixPredictor, check_count, check_number
from icl_interp.predictors._spectral import MomentPredictor, affine_power, descent_progress, prefix_moments, spectrum
from icl_interp.predictors.gradient_descent import check_step_size, divisors

# Fits remembered by one Lasso predictor: 65536 prefixes of 20 dimensions take some 20 MB.
_REMEMBERED_FITS = 2**16
# Shares of the penalty that leaves no weight below which the Lasso's path is followed instead: descent stops at a gap
# of 1e-8, of which a penalty that small is hardly a part, and it takes many sweeps to get there.
_NEARLY_NO_PENALTY = 1e-4
_PATH_START = 1e6


def lasso(penalty: Number, *, max_iter: int = 100_000, tol: Number = 1e-8) -> Predictor:
    """Fit the examples before each point with the sum of absolute weights penalised.

    Formula: w = argmin |X w - y|^2 / (2 k) + penalty |w|_1 over the k examples, without intercept, by
    scikit-learn's coordinate descent, one prefix after the other. Below 1e-4 of the penalty at which all
    weights are 0, descent would take far too long, and scikit-learn's path of least angles is followed to the
    penalty: as it goes to 0 the fit becomes the one of the smallest |w|_1 among those of least squares;
    columns that differ by less than 1e-7 of the largest input then count as one. Fits are remembered, so that asking
    again for the same prompts, as for every checkpoint of a run, costs nothing. The mode, not the mean,
    of the posterior under a Laplace prior: near-optimal for sparse weights, Bayes-optimal for none.

    Args:
        penalty: Penalty alpha above 0, in units of label times input.
        max_iter: Largest number of sweeps over the coordinates; scikit-learn warns if they do not suffice.
        tol: Largest duality gap at which descent counts as done, relative to |y|^2 (scikit-learn's tol).

    Returns:
        A predictor named after its penalty; at a fixed penalty neither of degree 1 in y nor scale-free in x.

    Raises:
        ImportError: When called without scikit-learn.
        InputError: If an option is out of range; penalty 0 is `least_squares`.

    Source:
        Tibshirani (1996); as a reference for sparse tasks Garg et al. (2022), arXiv 2208.01066, section 4.

    Example:
        >>> xs, ys = torch.ones(1, 3, 1), torch.tensor([[3.0, 3.0, 0.0]])
        >>> answer = lasso(0.5)(xs, ys)  # (w - 3)^2 / 2 + 0.5 |w| is least at 2.5
        >>> torch.testing.assert_close(answer, torch.tensor([[0.0, 2.5, 2.5]]))
    """
    check_number("lasso", "penalty", penalty, above=0.0)
    check_count("lasso", "max_iter", max_iter, least=1)
    check_number("lasso", "tol", tol, above=0.0)
    return _Lasso(float(penalty), max_iter, float(tol), OrderedDict())


def preprocess_then_gradient_descent(steps: int, step_size: Number | Literal["per_prefix"] = "per_prefix") -> Predictor:
    """Reweight each input coordinate by its correlation with the labels, then descend.

    Formula: R = diag(X^T y / k), z = R x, and gradient descent from v = 0 on |Z v - y|^2 / (2 k); yhat_k = <v, R x_k>.
    Coordinates that do not go with the labels are learned slowly, which helps sparse weights when examples are few or
    noisy and steps are few; run long without noise, plain gradient descent is better. No Bayes predictor.

    Args:
        steps: Number of gradient steps, at least 0.
        step_size: Step size eta above 0, or "per_prefix" for 1 over the largest eigenvalue of Z^T Z / k. A constant
            diverges on some prompts, since R is heavy-tailed; what overflows is held at a large number.

    Returns:
        A predictor named after its steps: with "per_prefix" of degree 1 in y and scale-free in x.

    Raises:
        InputError: If an option is out of range.

    Source:
        Chen, Zhao and Zou (2024), arXiv 2408.04532. R as the mean of x y and the step for each prefix
        are our reading: the sources at hand do not give the constants.

    Example:
        >>> xs, ys = torch.tensor([[[1.0, 1.0], [1.0, -1.0], [1.0, 1.0]]]), torch.tensor([[2.0, 2.0, 0.0]])
        >>> answer = preprocess_then_gradient_descent(1)(xs, ys)  # R = diag(2, 0): one step finds w = (2, 0)
        >>> torch.testing.assert_close(answer[:, 2], torch.tensor([2.0]))
    """
    check_count("preprocess_then_gradient_descent", "steps", steps)
    check_step_size("preprocess_then_gradient_descent", step_size)
    return _PreprocessThenDescend(steps, None if isinstance(step_size, str) else float(step_size))


@dataclass(frozen=True, eq=False)
class _Lasso(PrefixPredictor):
    penalty: float
    max_iter: int
    tol: float
    remembered: OrderedDict[bytes, Tensor] = field(repr=False)

    @property
    def name(self) -> str:
        return f"lasso({self.penalty:.4g})"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], _eps: float
    ) -> Float[Tensor, "batch asked"]:
        model = _lasso_class()(alpha=self.penalty, fit_intercept=False, max_iter=self.max_iter, tol=self.tol)
        inputs, labels = xs.detach().cpu(), ys.detach().cpu()
        weights = torch.zeros(xs.shape[0], len(asked), xs.shape[2], dtype=xs.dtype)
        for prompt in range(xs.shape[0]):
            for column, point in enumerate(asked):
                weights[prompt, column] = self._fit(model, inputs[prompt, :point], labels[prompt, :point])
        return (xs[:, asked] * weights.to(xs)).sum(dim=2)

    def _fit(self, model: Any, inputs: Float[Tensor, "point dim"], labels: Float[Tensor, " point"]) -> Tensor:
        pull = float((inputs.mT @ labels).abs().amax()) if len(labels) else 0.0
        if pull == 0:
            return inputs.new_zeros(inputs.shape[1])  # nothing pulls on any weight
        digest = hashlib.blake2b(inputs.contiguous().numpy().tobytes(), digest_size=16)
        digest.update(labels.contiguous().numpy().tobytes())
        key = digest.digest()
        if key not in self.remembered:
            if self.penalty * len(labels) < _NEARLY_NO_PENALTY * pull:
                self.remembered[key] = self._follow_the_path(inputs, labels, pull)
            else:
                self.remembered[key] = torch.from_numpy(model.fit(inputs.numpy(), labels.numpy()).coef_.copy())
            if len(self.remembered) > _REMEMBERED_FITS:
                self.remembered.popitem(last=False)
        return self.remembered[key]

    def _follow_the_path(
        self, inputs: Float[Tensor, "point dim"], labels: Float[Tensor, " point"], pull: float
    ) -> Tensor:
        # In units in which the largest input is 1 and the path starts at a million: scikit-learn stops 1e-7 early.
        size = float(inputs.abs().amax())
        scale = _PATH_START * len(labels) * size / pull
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of columns that are one up to rounding, and of residuals that are 0
            weights = _lars_path()(
                (inputs / size).numpy(),
                (scale * labels).numpy(),
                alpha_min=scale / size * self.penalty,
                method="lasso",
                max_iter=self.max_iter,
                return_path=False,
            )[2]
        return torch.from_numpy(weights) / (scale * size)


def _lasso_class() -> Any:
    return _linear_models().Lasso


def _lars_path() -> Any:
    return _linear_models().lars_path


def _linear_models() -> Any:
    try:
        return importlib.import_module("sklearn.linear_model")
    except ImportError as error:
        raise ImportError("lasso needs scikit-learn; run `pip install scikit-learn`.") from error


@dataclass(frozen=True)
class _PreprocessThenDescend(MomentPredictor):
    steps: int
    step_size: float | None

    @property
    def name(self) -> str:
        suffix = "" if self.step_size is None else f", {self.step_size:.4g}"
        return f"preprocess_then_gradient_descent({self.steps}{suffix})"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], eps: float
    ) -> Float[Tensor, "batch asked"]:
        counts = divisors(asked, "mean", None, xs)[:, None]
        second, correlations = (
            moment / count
            for moment, count in zip(prefix_moments(xs, ys, asked), (counts[..., None], counts), strict=True)
        )
        second = correlations[..., None] * second * correlations[..., None, :]
        first, query = correlations.square(), correlations * xs[:, asked]
        if self.step_size is None:
            axes = spectrum(second, first, query, asked=asked, eps=eps)
            return axes.apply(descent_progress(axes.values / axes.largest, self.steps))
        return (query * affine_power(-self.step_size * second, self.step_size * first, self.steps)).sum(dim=2)
