"""Gradient descent on the examples before each point: all examples at once, or one by one in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.predictors._base import Number, Predictor, PrefixPredictor, check_count, check_number
from icl_interp.predictors._spectral import MomentPredictor, affine_power, descent_progress, prefix_moments, spectrum

Normalise = Literal["mean", "sum", "fixed"]

# A diverging GD++ grows doubly exponentially; held here, its next step still fits into float64.
LARGEST_WEIGHT, LARGEST_SHRINK = 1e100, 1e30


def gradient_descent(
    steps: int,
    step_size: Number | Literal["per_prefix"],
    *,
    normalise: Normalise = "mean",
    fixed_count: int | None = None,
) -> Predictor:
    """Do steps of gradient descent from w = 0 on the squared error of the examples before each point.

    Formula: w <- w - (step_size / c) X^T (X w - y), ``steps`` times, with c the number of examples k ("mean"), 1
    ("sum") or ``fixed_count`` ("fixed"). No Bayes predictor in general: it approaches least squares, and few steps act
    like ridge regression. It diverges where step_size / c exceeds 2 / s_max(X)^2; what then overflows is held at a
    large finite number. Long runs go by repeated squaring, in O(log steps).

    Args:
        steps: Number of steps, at least 0.
        step_size: Learning rate eta above 0, in inverse squared units of the inputs. "per_prefix" takes
            c / s_max(X)^2 from the examples before each point, so that no prompt diverges and a common
            scale of the inputs cancels. `best_constant_step` searches one on a training sample.
        normalise: What the summed gradient is divided by; the papers differ.
        fixed_count: The divisor for "fixed", otherwise None.

    Returns:
        A predictor named after its steps and step size: degree 1 in y.

    Raises:
        InputError: If an option is out of range, unknown or missing.

    Source:
        von Oswald et al. (2023), arXiv 2212.07677, section 2 ("mean"); Fu et al. (2024), arXiv
        2310.17086, section 3 ("sum"); Zhang, Wu and Bartlett (2024), arXiv 2402.14951 ("fixed" at M).

    Example:
        >>> xs, ys = torch.tensor([[[1.0], [3.0], [2.0]]]), torch.tensor([[2.0, 1.0, 0.0]])
        >>> one = gradient_descent(1, 0.5)(xs, ys)  # at the last point: 2 * 0.5 / 2 * (1 * 2 + 3 * 1)
        >>> torch.testing.assert_close(one, torch.tensor([[0.0, 3.0, 2.5]]))
    """
    check_count("gradient_descent", "steps", steps)
    check_step_size("gradient_descent", step_size)
    check_normalise("gradient_descent", normalise, fixed_count)
    rate = None if isinstance(step_size, str) else float(step_size)
    return _GradientDescent(steps, rate, normalise, fixed_count)


def gd_plus_plus(
    steps: int,
    step_size: Number | Sequence[Number],
    curvature: Number | Sequence[Number],
    *,
    normalise: Normalise = "mean",
    fixed_count: int | None = None,
) -> Predictor:
    """Do gradient descent in which each step also shrinks the inputs along directions of large variance (GD++).

    Formula, in each step and with S = X^T X / c of the current inputs: residuals of context and query take a gradient
    step eta, and every input becomes (I - gamma S) x. Equivalently w <- w + (eta / c) P^2 X^T (y - X w), P <- P - gamma
    P^2 S P from P = I: an eigenvalue l of S counts as l (1 - gamma l)^2 in the second step. No Bayes predictor.

    Args:
        steps: Number of steps, at least 1.
        step_size: Step size eta above 0, or one per step.
        curvature: Curvature gamma, at least 0, or one per step; 0 is plain gradient descent. The paper's gamma
            multiplies the *sum* over N examples; ours is divided by c as eta is, so it is N times theirs.
        normalise: Divisor of sums over examples.
        fixed_count: The divisor for "fixed", otherwise None.

    Returns:
        A predictor named after its steps: degree 1 in y.

    Raises:
        InputError: If an option is out of range, or a list has not one number for each step.

    Source:
        von Oswald et al. (2023), arXiv 2212.07677, appendix A.10; the common divisor is our choice.

    Example:
        >>> xs, ys = torch.randn(2, 5, 3), torch.randn(2, 5)
        >>> plain = gradient_descent(3, 0.1)(xs, ys)
        >>> torch.testing.assert_close(gd_plus_plus(3, 0.1, 0.0)(xs, ys), plain)
    """
    owner = "gd_plus_plus"
    check_count(owner, "steps", steps, least=1)
    check_normalise(owner, normalise, fixed_count)
    rates = _one_for_each_step(owner, "step_size", step_size, steps)
    gammas = _one_for_each_step(owner, "curvature", curvature, steps)
    for rate in rates:
        check_number(owner, "step_size", rate, above=0.0)
    for gamma in gammas:
        check_number(owner, "curvature", gamma, least=0.0)
    return _GDPlusPlus(tuple(map(float, rates)), tuple(map(float, gammas)), normalise, fixed_count)


def check_step_size(owner: str, step_size: Number | str) -> None:
    """Refuse a step size that is neither positive nor "per_prefix"."""
    if not isinstance(step_size, str):
        check_number(owner, "step_size", step_size, above=0.0)
    elif step_size != "per_prefix":
        raise InputError(f'{owner} needs step_size to be a number or "per_prefix", got {step_size!r}.')


def check_normalise(owner: str, normalise: str, fixed_count: int | None) -> None:
    """Refuse an unknown normalisation, or a divisor that does not belong to it."""
    if normalise not in get_args(Normalise):
        raise InputError(f'{owner} needs normalise to be "mean", "sum" or "fixed", got {normalise!r}.')
    if normalise == "fixed":
        if fixed_count is None:
            raise InputError(f'{owner} needs fixed_count with normalise="fixed"; pass the context length.')
        check_count(owner, "fixed_count", fixed_count, least=1)
    elif fixed_count is not None:
        raise InputError(
            f'{owner} needs no fixed_count with normalise="{normalise}", got {fixed_count}; '
            'leave it out or pass normalise="fixed".'
        )


def divisors(asked: list[int], normalise: str, fixed_count: int | None, like: Tensor) -> Float[Tensor, " asked"]:
    """Give what a sum over the examples before each asked point is divided by."""
    if normalise == "mean":
        return torch.tensor(asked).to(like).clamp(min=1)
    return torch.full((len(asked),), float(fixed_count or 1)).to(like)


def _one_for_each_step(owner: str, option: str, given: Number | Sequence[Number], steps: int) -> tuple[Number, ...]:
    if not isinstance(given, Sequence):
        return (given,) * steps
    if len(given) != steps:
        raise InputError(f"{owner} needs one {option} for each of its {steps} steps, got {len(given)}.")
    return tuple(given)


@dataclass(frozen=True)
class _GradientDescent(MomentPredictor):
    steps: int
    step_size: float | None
    normalise: Normalise
    fixed_count: int | None

    @property
    def name(self) -> str:
        step_size = "per_prefix" if self.step_size is None else f"{self.step_size:.4g}"
        return f"gradient_descent({self.steps}, {step_size})"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], eps: float
    ) -> Float[Tensor, "batch asked"]:
        second, first = prefix_moments(xs, ys, asked)
        if self.step_size is None:
            axes = spectrum(second, first, xs[:, asked], asked=asked, eps=eps)
            return axes.apply(descent_progress(axes.values / axes.largest, self.steps))
        rates = (self.step_size / divisors(asked, self.normalise, self.fixed_count, xs))[:, None]
        weights = affine_power(second * -rates[..., None], first * rates, self.steps)
        return (xs[:, asked] * weights).sum(dim=2)


@dataclass(frozen=True)
class _GDPlusPlus(MomentPredictor):
    step_sizes: tuple[float, ...]
    curvatures: tuple[float, ...]
    normalise: Normalise
    fixed_count: int | None

    @property
    def name(self) -> str:
        return f"gd_plus_plus({len(self.step_sizes)}, {self.step_sizes[0]:.4g}, {self.curvatures[0]:.4g})"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], _eps: float
    ) -> Float[Tensor, "batch asked"]:
        counts = divisors(asked, self.normalise, self.fixed_count, xs)[:, None]
        second, first = prefix_moments(xs, ys, asked)
        second, first = second / counts[..., None], first / counts
        shrink = torch.eye(xs.shape[2]).to(xs).expand_as(second)
        weights = torch.zeros_like(first)
        for rate, gamma in zip(self.step_sizes, self.curvatures, strict=True):
            gradient = first - (second @ weights[..., None])[..., 0]
            change = rate * (shrink @ (shrink @ gradient[..., None]))[..., 0]
            weights = (weights + change).clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT)
            shrink = shrink - gamma * (shrink @ second @ shrink) @ shrink
            shrink = shrink.clamp(-LARGEST_SHRINK, LARGEST_SHRINK)
        return (xs[:, asked] * weights).sum(dim=2)


def online_gradient_descent(step_size: Number | Literal["normalised"]) -> Predictor:
    """Take one gradient step for each example in turn, from w = 0.

    Formula: w <- w + eta (y_j - <w, x_j>) x_j for j = 0 .. k-1; yhat_k = <w, x_k>. With eta = 1 / |x_j|^2
    ("normalised", the Kaczmarz projection) each example is fitted exactly and then partly forgotten. The order of the
    examples matters. No Bayes predictor. A diverging run is held at a large finite number.

    Args:
        step_size: eta above 0 in inverse squared units of the inputs, or "normalised".

    Returns:
        A predictor named after its step size: degree 1 in y; invariant when all x are scaled if normalised.

    Raises:
        InputTypeError: If the step size is neither a number nor a word.
        InputError: If it is not positive and finite, or another word.

    Source:
        Akyurek et al. (2022), arXiv 2211.15661, section 4 (one-pass SGD); Fu et al. (2024), arXiv
        2310.17086, section 3 (both step sizes).

    Example:
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
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], _eps: float
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
