"""One gradient step with a learned start and preconditioner: the best of a linear transformer block."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.predictors._base import (
    Number,
    Predictor,
    PrefixPredictor,
    check_count,
    check_dims,
    check_number,
    check_parameter,
)
from icl_interp.predictors._prefix_lstsq import exclusive_cumsum
from icl_interp.predictors.bayes import covariance_factor
from icl_interp.predictors.gradient_descent import Normalise, check_normalise, divisors
from probes._core.arrays import takes_arrays
from probes._core.results import short_repr

# Its square still is a number of float64.
_LARGEST_NOISE = 1e150


@takes_arrays
def gd_learned_init(
    init: Float[Tensor, " dim"],
    preconditioner: Float[Tensor, "dim dim"],
    *,
    normalise: Normalise = "mean",
    fixed_count: int | None = None,
) -> Predictor:
    """Take one preconditioned gradient step from a given start (GD-beta).

    Formula: yhat_k = <beta - Gamma (1/c) X^T (X beta - y), x_k> with beta = ``init``, Gamma = ``preconditioner`` and c
    the number of examples k ("mean"), 1 ("sum") or ``fixed_count`` ("fixed"). From no examples it predicts <beta, x_k>.
    Not Bayes-optimal; with the parameters of `optimal_learned_init` it is the best that a linear transformer block can
    do.

    Args:
        init: Start beta; zeros give GD-0.
        preconditioner: Preconditioner Gamma, in inverse squared units of the inputs.
        normalise: What the summed gradient is divided by. The source has one context length M, where
            "mean" and "fixed" at M agree.
        fixed_count: The divisor for "fixed", otherwise None.

    Returns:
        A predictor named "gd_learned_init". Degree 1 in y only from init 0.

    Raises:
        InputError: If shapes do not fit, or an option is unknown.

    Source:
        Zhang, Wu and Bartlett (2024), arXiv 2402.14951, eq. 5.1.

    Example:
        >>> from icl_interp.predictors import gradient_descent
        >>> xs, ys = torch.randn(2, 5, 3), torch.randn(2, 5)
        >>> same = gd_learned_init(torch.zeros(3), 0.1 * torch.eye(3))
        >>> torch.testing.assert_close(same(xs, ys), gradient_descent(1, 0.1)(xs, ys))
    """
    owner = "gd_learned_init"
    check_parameter(owner, "init", init, 1)
    check_parameter(owner, "preconditioner", preconditioner, 2)
    if preconditioner.shape != (init.shape[0], init.shape[0]):
        raise InputError(
            f"{owner} needs a square preconditioner of the dimension of init, "
            f"got {list(preconditioner.shape)} for {init.shape[0]} dimensions."
        )
    check_normalise(owner, normalise, fixed_count)
    return _LearnedInit(init, preconditioner, normalise, fixed_count)


@dataclass(frozen=True, eq=False)
class LearnedInitOptimum:
    """The best start and preconditioner for a task and a context length, and their risk."""

    init: Float[Tensor, " dim"]
    """Start beta, the mean of the weights."""
    preconditioner: Float[Tensor, "dim dim"]
    """Preconditioner Gamma, in inverse squared units of the inputs."""
    risk: float
    """Least expected squared error at the query, label noise included, in squared units of the labels."""
    n_pairs: int
    """Number of context examples M for which they are the best."""

    __repr__ = short_repr

    def predictor(self) -> Predictor:
        """Build the gradient step with these parameters.

        Returns:
            `gd_learned_init`, dividing by the number of examples.
        """
        return gd_learned_init(self.init, self.preconditioner)


@takes_arrays
def optimal_learned_init(
    x_cov: Float[Tensor, "dim dim"],
    w_cov: Float[Tensor, "dim dim"],
    w_mean: Float[Tensor, " dim"],
    noise_std: Number,
    n_pairs: int,
) -> LearnedInitOptimum:
    """Give the parameters with which one gradient step has the least expected error.

    Formula: with H = ``x_cov``, Psi = ``w_cov``, M = ``n_pairs`` and A = H^1/2 Psi H^1/2, Omega = ((M+1) A + (tr A +
    noise_std^2) I) / M, Gamma = Psi H^1/2 Omega^-1 H^-1/2, beta = ``w_mean`` and risk = noise_std^2 + tr(A (I - A
    Omega^-1)). For x ~ N(0, H) and w ~ N(w_mean, Psi). A singular H takes the pseudo-inverse root; without variance and
    noise (Omega = 0) nothing is left to learn and Gamma is 0.

    Args:
        x_cov: Covariance H of the inputs, which have mean 0.
        w_cov: Covariance Psi of the weights.
        w_mean: Mean of the weights.
        noise_std: Standard deviation of the label noise, at least 0.
        n_pairs: Context length M, at least 1.

    Returns:
        The optimum, in the dtype of ``w_mean``.

    Raises:
        InputError: If shapes do not fit, or a covariance is not symmetric and positive semi-definite.

    Source:
        Zhang, Wu and Bartlett (2024), arXiv 2402.14951, Theorems 5.2 and 5.3.

    Example:
        >>> eye = torch.eye(5, dtype=torch.float64)
        >>> optimum = optimal_learned_init(eye, eye, torch.ones(5), noise_std=0.0, n_pairs=5)
        >>> assert abs(optimum.risk - 30 / 11) < 1e-12
    """
    owner = "optimal_learned_init"
    check_parameter(owner, "w_mean", w_mean, 1)
    n_dims = w_mean.shape[0]
    factors = []
    for option, covariance in (("x_cov", x_cov), ("w_cov", w_cov)):
        check_parameter(owner, option, covariance, 2)
        factors.append(covariance_factor(owner, option, covariance))
        if covariance.shape[0] != n_dims:
            raise InputError(
                f"{owner} needs {option} of the dimension of w_mean, got {covariance.shape[0]} and {n_dims}."
            )
    check_number(owner, "noise_std", noise_std, least=0.0)
    check_count(owner, "n_pairs", n_pairs, least=1)
    # With H = R R^T, Psi = S S^T and R^T S = U diag(b) V^T, the eigenvalues of A are b^2 and
    # Gamma = S V diag(b / omega) U^T R^+: a product of covariances would leave rounding where b is 0.
    x_factor, w_factor = factors
    left, spreads, right = torch.linalg.svd(x_factor.mT @ w_factor, full_matrices=False)
    sizes = torch.linalg.matrix_norm(x_factor) * torch.linalg.matrix_norm(w_factor)
    kept = spreads > torch.finfo(spreads.dtype).eps * n_dims * sizes
    left, spreads, right = left[:, kept], spreads[kept], right[kept]
    noise = min(float(noise_std), _LARGEST_NOISE) ** 2
    omega = ((n_pairs + 1) * spreads.square() + (spreads.square().sum() + noise)) / n_pairs
    inverse_root = x_factor.mT / x_factor.square().sum(dim=0)[:, None]  # columns of R are orthogonal
    gamma = (w_factor @ right.mT * (spreads / omega)) @ left.mT @ inverse_root
    risk = noise + float((spreads.square() * (1 - spreads.square() / omega)).sum())
    return LearnedInitOptimum(w_mean, gamma.to(w_mean), risk, n_pairs)


@dataclass(frozen=True, eq=False)
class _LearnedInit(PrefixPredictor):
    init: Tensor = field(repr=False)
    preconditioner: Tensor = field(repr=False)
    normalise: Normalise
    fixed_count: int | None

    name = "gd_learned_init"

    def _check(self, xs: Tensor) -> None:
        check_dims(self.name, "init", self.init.shape[0], xs)

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], _eps: float
    ) -> Float[Tensor, "batch asked"]:
        start = xs @ self.init.to(xs)
        moments = exclusive_cumsum(xs * (ys - start)[..., None])[:, asked]
        moments = moments / divisors(asked, self.normalise, self.fixed_count, xs)[:, None]
        return start[:, asked] + (xs[:, asked] * (moments @ self.preconditioner.to(xs).mT)).sum(dim=2)
