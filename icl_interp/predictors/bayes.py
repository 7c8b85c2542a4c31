"""Bayes-optimal predictors for known priors over the weights."""

import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.predictors._base import Number, Predictor, PrefixPredictor, check_dims, check_number, check_parameter
from icl_interp.predictors.least_squares import ridge_predictions
from probes._core.arrays import takes_arrays

# Misfits in units of the noise are held below this precision, so that the sum of their squares stays finite.
_LARGEST_PRECISION = 1e40
# Noise so many times above the rounding of misfits makes it harmless; below, misfits within it count as none.
_CLEAR_OF_ROUNDING = 100.0

# Noise over the prior's spread is held between this and its inverse, so that its square is a number of float64.
_LARGEST_RATIO = 1e150


@takes_arrays
def gaussian_posterior_mean(
    w_mean: Float[Tensor, " dim"] | Number, w_cov: Float[Tensor, "dim dim"] | Number, noise_std: Number
) -> Predictor:
    """Predict with the posterior mean of the weights under w ~ N(w_mean, w_cov).

    Formula: yhat_k = x_k^T w_mean + x_k^T S (S^T X^T X S + noise_std^2 I)^-1 S^T X^T (y - X w_mean)
    with w_cov = S S^T. Bayes-optimal for squared error under that prior and label noise of standard
    deviation ``noise_std``, whatever the inputs' distribution. A singular ``w_cov`` confines the
    weights to a subspace (their span around ``w_mean``). Without noise the inverse becomes the
    pseudo-inverse, the limit noise_std -> 0, with the rank tolerance of `least_squares`.

    Args:
        w_mean: Mean of the weights, a vector or one number for all coordinates.
        w_cov: Covariance of the weights; a number stands for that multiple of the identity.
        noise_std: Standard deviation of the label noise, at least 0, in the unit of the labels.

    Returns:
        A predictor named after the noise. Degree 1 in y only for ``w_mean`` 0.

    Raises:
        InputTypeError: If a parameter is neither a number nor a floating-point tensor.
        InputError: If shapes do not fit, or ``w_cov`` is not symmetric and positive semi-definite.

    Source:
        Zhang, Wu and Bartlett (2024), arXiv 2402.14951, Lemma 6.1.

    Example:
        >>> from icl_interp.predictors import ridge
        >>> xs, ys = torch.randn(2, 5, 3), torch.randn(2, 5)
        >>> isotropic = gaussian_posterior_mean(0.0, 4.0, noise_std=0.5)
        >>> torch.testing.assert_close(isotropic(xs, ys), ridge(0.5**2 / 4.0)(xs, ys))
    """
    owner = "gaussian_posterior_mean"
    check_number(owner, "noise_std", noise_std, least=0.0)
    if isinstance(w_mean, Tensor):
        check_parameter(owner, "w_mean", w_mean, 1)
    else:
        check_number(owner, "w_mean", w_mean)
    factor: Tensor | float
    if isinstance(w_cov, Tensor):
        check_parameter(owner, "w_cov", w_cov, 2)
        factor = covariance_factor(owner, "w_cov", w_cov)
        if isinstance(w_mean, Tensor) and w_mean.shape[0] != w_cov.shape[0]:
            raise InputError(
                f"{owner} needs w_mean and w_cov of one dimension, got {w_mean.shape[0]} and {w_cov.shape[0]}."
            )
    else:
        check_number(owner, "w_cov", w_cov, least=0.0)
        factor = float(w_cov) ** 0.5
    return _GaussianPosteriorMean(w_mean if isinstance(w_mean, Tensor) else float(w_mean), factor, float(noise_std))


@takes_arrays
def discrete_mmse(weights: Float[Tensor, "task dim"], noise_std: Number) -> Predictor:
    """Predict with the posterior mean over a finite pool of tasks (dMMSE).

    Formula: yhat_k = x_k . sum_m p_m t_m with p = softmax_m(-sum_{j<k} (y_j - t_m.x_j)^2 / (2 noise_std^2)).
    Bayes-optimal for tasks drawn uniformly from the pool with that label noise. From no examples it predicts
    with the mean of the pool. Without noise only the tasks that fit the examples best keep weight, where
    misfits within the rounding of the inputs' dtype count as none; with noise below it that is the rounding of
    float64. Memory grows with the number of tasks, not with prompts times points times tasks.

    Args:
        weights: The pool, one task per row.
        noise_std: Standard deviation of the label noise, at least 0, in the unit of the labels.

    Returns:
        A predictor named after the size of the pool; neither of degree 1 in y nor scale-free in x.

    Raises:
        InputError: If the pool is empty or not finite, or the noise is negative.

    Source:
        Raventos et al. (2023), arXiv 2306.15063; arXiv 2501.17745, eq. 4. The limit without noise is our choice.

    Example:
        >>> pool = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> xs, ys = torch.tensor([[[1.0, -1.0], [2.0, 4.0]]]), torch.tensor([[-1.0, 0.0]])
        >>> answer = discrete_mmse(pool, noise_std=0.1)(xs, ys)  # the pool's mean, then the second task
        >>> torch.testing.assert_close(answer, torch.tensor([[0.0, 4.0]]))
    """
    check_parameter("discrete_mmse", "weights", weights, 2)
    check_number("discrete_mmse", "noise_std", noise_std, least=0.0)
    return _DiscreteMMSE(weights, float(noise_std))


def covariance_factor(owner: str, option: str, covariance: Float[Tensor, "dim other"]) -> Float[Tensor, "dim rank"]:
    """Write a covariance as S S^T with one column for each direction of positive variance."""
    if covariance.shape[0] != covariance.shape[1]:
        raise InputError(f"{owner} needs a square matrix as {option}, got shape {list(covariance.shape)}.")
    matrix = covariance.double()
    slack = torch.finfo(covariance.dtype).eps * matrix.shape[0] * float(matrix.norm())
    asymmetry = float((matrix - matrix.mT).abs().amax())
    if asymmetry > slack:
        raise InputError(
            f"{owner} needs a symmetric matrix as {option}, got entries that differ by {asymmetry:.3g} "
            f"from their mirror image; average it with its transpose if that is meant."
        )
    variances, directions = torch.linalg.eigh((matrix + matrix.mT) / 2)
    if float(variances[0]) < -slack:
        raise InputError(
            f"{owner} needs a positive semi-definite matrix as {option}, "
            f"got the eigenvalue {float(variances[0]):.3g}; check its signs."
        )
    kept = variances > slack
    return directions[:, kept] * variances[kept].sqrt()


@dataclass(frozen=True, eq=False)
class _GaussianPosteriorMean(PrefixPredictor):
    w_mean: Tensor | float = field(repr=False)
    factor: Tensor | float = field(repr=False)
    noise_std: float

    @property
    def name(self) -> str:
        return f"gaussian_posterior_mean(noise_std={self.noise_std:.4g})"

    def _check(self, xs: Tensor) -> None:
        if isinstance(self.w_mean, Tensor):
            check_dims(self.name, "w_mean", self.w_mean.shape[0], xs)
        if isinstance(self.factor, Tensor):
            check_dims(self.name, "w_cov", self.factor.shape[0], xs)

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], eps: float
    ) -> Float[Tensor, "batch asked"]:
        prior = (xs * torch.as_tensor(self.w_mean).to(xs)).sum(dim=2)
        if isinstance(self.factor, Tensor):
            spread = float(self.factor.abs().amax()) if self.factor.numel() else 0.0
        else:
            spread = self.factor
        if spread == 0.0:
            return prior[:, asked]  # no variance: nothing to learn
        # In units of the prior's spread, since squares of its own unit may leave float64.
        white = xs @ (self.factor / spread).to(xs) if isinstance(self.factor, Tensor) else xs
        ratio = min(max(self.noise_std / spread, 1 / _LARGEST_RATIO), _LARGEST_RATIO)
        penalty = ratio**2 if self.noise_std > 0 else 0.0
        return (prior + ridge_predictions(white, ys - prior, penalty, eps))[:, asked]


@dataclass(frozen=True, eq=False)
class _DiscreteMMSE(PrefixPredictor):
    weights: Tensor = field(repr=False)
    noise_std: float

    @property
    def name(self) -> str:
        return f"discrete_mmse({self.weights.shape[0]} tasks)"

    def _check(self, xs: Tensor) -> None:
        check_dims(self.name, "weights", self.weights.shape[1], xs)

    def _floats_per_prompt(self, n_points: int, n_dims: int) -> int:
        return 4 * self.weights.shape[0] + n_points * n_dims  # small chunks stay in the cache

    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], eps: float
    ) -> Float[Tensor, "batch asked"]:
        pool = self.weights.to(xs)
        # What rounding makes of a misfit 0: by the labels' dtype without noise, else by float64's own arithmetic.
        rounding = _rounding(xs.detach(), pool.detach(), eps if self.noise_std == 0 else torch.finfo(torch.float64).eps)
        # Square root of the bits of evidence in a squared misfit.
        scale = (math.sqrt(0.5 / math.log(2)) / rounding.clamp(min=self.noise_std)).clamp(max=_LARGEST_PRECISION)
        # An input 0 tells no task from another, but a label far off would drown what the other inputs tell.
        scale = torch.where(rounding > 0, scale, 0.0)
        doubtful = self.noise_std < _CLEAR_OF_ROUNDING * float(rounding.amax())
        # One product [x, -y] [t, 1]^T gives scaled misfits whose sum of squares is minus the logit in bits.
        rows = torch.cat([xs, -ys[..., None]], dim=2) * scale
        tasks = torch.nn.functional.pad(pool, (0, 1), value=1.0)
        columns = tasks.mT.contiguous()
        # Logits reach 1e5 and need float64; the weights, once at most 1, need no more than the inputs have.
        narrow = torch.float32 if eps >= torch.finfo(torch.float32).eps else torch.float64
        summed = columns.to(narrow)
        logits = xs.new_zeros(len(xs), len(pool))
        # Buffers save most of the time, but gradients cannot flow through them.
        graded = rows.requires_grad or pool.requires_grad
        wide = None if graded else torch.empty_like(logits)
        slim = None if graded else torch.empty_like(logits, dtype=narrow)
        sums = {}
        for point in range(xs.shape[1]):
            if point in asked:
                centred = torch.sub(logits, logits.amax(dim=1, keepdim=True), out=wide)
                weights = centred.to(narrow) if slim is None else slim.copy_(centred)
                # 2^-120 is far below rounding; beyond it float32 would compute with slow denormals.
                sums[point] = summed @ weights.clamp_(min=-120).exp2_().mT  # of w t, and of w
            if point + 1 < xs.shape[1]:
                misfits = torch.mm(rows[:, point], columns, out=wide)
                if doubtful:
                    misfits = (misfits.abs() - scale[:, point] * rounding[:, point]).clamp(min=0)
                logits = torch.addcmul(logits, misfits, misfits, value=-1, out=None if wide is None else logits)
        found = torch.stack([sums[point] for point in asked], dim=2).to(xs)
        return torch.einsum("dba,bad->ba", found[:-1], xs[:, asked]) / found[-1]


def _rounding(
    xs: Float[Tensor, "batch point dim"], pool: Float[Tensor, "task dim"], eps: float
) -> Float[Tensor, "batch point 1"]:
    # Labels computed at this precision err by about eps |x| |t|: that much misfit is no evidence.
    return 4 * eps * xs.square().sum(dim=2, keepdim=True).sqrt() * pool.square().sum(dim=1).max().sqrt()
