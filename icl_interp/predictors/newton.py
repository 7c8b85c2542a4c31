"""Second-order and Krylov iterations on the examples before each point."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.predictors._base import Number, Predictor, check_count, check_number
from icl_interp.predictors._spectral import MomentPredictor, descent_progress, prefix_moments, spectrum

# 2^1000 still fits into float64, and every direction that is kept has long been inverted by then.
_MOST_DOUBLINGS = 1000


def newton(steps: int, *, scaling: Number | Literal["frobenius"] = 1.0) -> Predictor:
    """Invert X^T X by Newton-Schulz iterations and predict with the inverse reached.

    Formula: M <- 2 M - M S M with S = X^T X, ``steps`` times from M = alpha S; yhat_k = x_k^T M X^T y. An eigenvalue l
    of S is inverted up to the factor 1 - (1 - alpha l^2)^(2^steps), which is how it is computed: the iteration itself
    would double its rounding errors outside the inputs' span in each step. Tends to minimum-norm least squares, and is
    Bayes-optimal where that is. Directions that `least_squares` would count as rounding of the inputs, eigenvalues l up
    to (eps * max(k, d))^2 times the largest with eps of the dtype the inputs came in (at least 2e-16 * d times it, the
    rounding of S), are left out.

    Args:
        steps: Number of iterations, at least 0; n of them learn a direction as far as 2^n gradient steps of size alpha
            on S^2.
        scaling: c in alpha = c / ||S S^T||_2, between 0 and 2, both excluded; or "frobenius" for
            alpha = 1 / ||S S^T||_F.

    Returns:
        A predictor named after its iterations: degree 1 in y, invariant when all x are scaled.

    Raises:
        InputError: If ``steps`` is negative, or ``scaling`` is not in its range.

    Source:
        Fu et al. (2024), arXiv 2310.17086, section 3 and appendix, where alpha = 2 / ||S S^T||_2 is
        printed: with exactly 2 the top direction's factor is 1 - (-1)^(2^steps) = 0 for ever. Their code
        takes the Frobenius norm; the default c = 1 is our choice.

    Example:
        >>> from icl_interp.predictors import least_squares
        >>> xs, ys = torch.randn(2, 9, 3, dtype=torch.float64), torch.randn(2, 9, dtype=torch.float64)
        >>> torch.testing.assert_close(newton(40)(xs, ys)[:, 5:], least_squares()(xs, ys)[:, 5:])
    """
    check_count("newton", "steps", steps)
    if isinstance(scaling, str):
        if scaling != "frobenius":
            raise InputError(f'newton needs scaling to be a number or "frobenius", got {scaling!r}.')
    elif scaling == 2:
        raise InputError(
            "newton needs scaling below 2, got 2: the residual of the largest direction then stays at "
            "modulus 1 and the iteration never converges; pass 1.99 or less."
        )
    else:
        check_number("newton", "scaling", scaling, above=0.0, below=2.0)
        scaling = float(scaling)
    return _Newton(steps, scaling)


def conjugate_gradient(steps: int) -> Predictor:
    """Minimise the squared error of the examples before each point over a Krylov space.

    Formula: w = argmin |X w - y|^2 over span{S^i X^T y : i < steps} with S = X^T X, by ``steps`` iterations of
    conjugate gradients on the normal equations from w = 0. Equals minimum-norm least squares, and is Bayes-optimal
    where that is, once ``steps`` reaches the number of different nonzero eigenvalues of S (up to rounding, which an
    ill-conditioned prefix, k near d, amplifies). Directions that `least_squares` would count as rounding of the inputs
    are left out, as in `newton`: float32 inputs drawn in a subspace leave it by rounding, and a further step would fit
    noisy labels with weights of 1e7 there. A prefix whose residual has vanished stays where it is.

    Args:
        steps: Number of iterations, at least 0.

    Returns:
        A predictor named after its iterations: degree 1 in y (though not linear), invariant when all x are scaled.

    Raises:
        InputTypeError: If ``steps`` is no whole number.
        InputError: If it is negative.

    Source:
        Hestenes and Stiefel (1952), section 10; as a candidate for what transformers do, Fu et al.
        (2024), arXiv 2310.17086, appendix.

    Example:
        >>> from icl_interp.predictors import least_squares
        >>> xs, ys = torch.randn(2, 9, 2, dtype=torch.float64), torch.randn(2, 9, dtype=torch.float64)
        >>> torch.testing.assert_close(conjugate_gradient(2)(xs, ys)[:, 4:], least_squares()(xs, ys)[:, 4:])
    """
    check_count("conjugate_gradient", "steps", steps)
    return _ConjugateGradient(steps)


@dataclass(frozen=True)
class _Newton(MomentPredictor):
    steps: int
    scaling: float | Literal["frobenius"]

    @property
    def name(self) -> str:
        suffix = "" if self.scaling == 1 else f", scaling={self.scaling}"
        return f"newton({self.steps}{suffix})"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], eps: float
    ) -> Float[Tensor, "batch asked"]:
        axes = spectrum(*prefix_moments(xs, ys, asked), xs[:, asked], asked=asked, eps=eps)
        rates = (axes.values / axes.largest).square()  # alpha l^2 for c = 1
        if isinstance(self.scaling, str):
            norm = rates.square().sum(dim=2, keepdim=True).sqrt()
            rates = rates / torch.where(norm > 0, norm, 1.0)
        else:
            rates = rates * self.scaling
        return axes.apply(descent_progress(rates, 2.0 ** min(self.steps, _MOST_DOUBLINGS)))


@dataclass(frozen=True)
class _ConjugateGradient(MomentPredictor):
    steps: int

    @property
    def name(self) -> str:
        return f"conjugate_gradient({self.steps})"

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], eps: float
    ) -> Float[Tensor, "batch asked"]:
        # In the eigenbasis of S a product with it is one of numbers, and what is no signal has been left out.
        axes = spectrum(*prefix_moments(xs, ys, asked), xs[:, asked], asked=asked, eps=eps)
        residual = axes.moments
        weights = torch.zeros_like(residual)
        direction = residual
        square = residual.square().sum(dim=2, keepdim=True)
        # Below this the residual is rounding: a further step would divide noise by noise.
        vanished = square * (10 * xs.shape[2] * torch.finfo(xs.dtype).eps) ** 2
        for _ in range(self.steps):
            image = axes.values * direction
            curvature = (direction * image).sum(dim=2, keepdim=True)
            going = (square > vanished) & (curvature > 0)
            length = torch.where(going, square, 0.0) / torch.where(going, curvature, 1.0)
            weights = weights + length * direction
            residual = residual - length * image
            last, square = square, residual.square().sum(dim=2, keepdim=True)
            direction = residual + square / torch.where(last > 0, last, 1.0) * direction
        return (axes.queries * weights).sum(dim=2)
