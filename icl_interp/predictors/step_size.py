"""The step size, and curvature, with which gradient descent or GD++ does best on a sample of prompts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.predictors._base import Predictor, check_count, check_prompts, resolve_points
from icl_interp.predictors._spectral import Spectrum, descent_progress, prefix_moments, spectrum
from icl_interp.predictors.gradient_descent import Normalise, check_normalise, divisors, gd_plus_plus, gradient_descent
from probes._core.arrays import takes_arrays

# Step sizes tried first, evenly on a logarithmic scale; the best cell is then refined.
_GRID_SIZE = 96
# Matrices decomposed at a time, to bound memory.
_CHUNK_MATRICES = 2**13
# Tried first: step sizes around that of plain gradient descent, curvatures as shares of one over an eigenvalue.
_STEP_FACTORS = tuple(10 ** (exponent / 6) for exponent in range(-6, 8))
_CURVATURE_SHARES = (0.0, 0.1, 0.2, 0.4, 0.8)
# Where a bounded search ends, as shares of one over the largest eigenvalue of the sample.
LARGEST_STEP, LARGEST_CURVATURE = 1.5, 1.0


@dataclass(frozen=True)
class BestStep:
    """The best constant step size for a number of steps, and what it achieves."""

    step_size: float
    """Learning rate, in inverse squared units of the inputs."""
    loss: float
    """Mean squared error at that step size, in squared units of the labels."""
    steps: int
    """Gradient steps it was chosen for."""
    normalise: Normalise
    """What the summed gradient is divided by."""
    fixed_count: int | None = None
    """The divisor for "fixed"."""

    def predictor(self) -> Predictor:
        """Build the gradient descent that takes these steps.

        Returns:
            `gradient_descent` with this step size.
        """
        return gradient_descent(self.steps, self.step_size, normalise=self.normalise, fixed_count=self.fixed_count)


@takes_arrays
def best_constant_step(
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    steps: int,
    *,
    normalise: Normalise = "mean",
    fixed_count: int | None = None,
    points: Sequence[int] | None = None,
) -> BestStep:
    """Search the one step size that minimises the mean squared error of gradient descent on a sample.

    Formula: argmin over eta of the mean over prompts and points of (yhat_k(eta) - y_k)^2, with yhat from
    `gradient_descent`. In the eigenbasis of X^T X each yhat is a sum of the scalars (1 - (1 - eta l / c)^steps) / l, so
    that every step size is tried exactly at the price of one decomposition. A logarithmic grid covers all scales from
    "nothing learned" to "every prefix diverges"; a bounded search refines the best cell. Step sizes at which some
    prefix diverges are not forbidden: with few steps they can be best. An error beyond float64 counts as infinite.

    The step is chosen on a training sample: draw it apart from the prompts it is then used on.

    Args:
        xs: Inputs of the training sample.
        ys: Labels of the training sample.
        steps: Gradient steps, at least 1.
        normalise: What the summed gradient is divided by, as in `gradient_descent`.
        fixed_count: The divisor for "fixed".
        points: Points that count, all by default.

    Returns:
        The step size and its loss; ``.predictor()`` builds the gradient descent.

    Raises:
        InputError: If an option is out of range, or no asked point has a non-zero input before it.

    Source:
        von Oswald et al. (2023), arXiv 2212.07677, appendix (line search on 10^4 tasks); the
        eigenvalue form and the grid are our own.

    Example:
        >>> xs = torch.tensor([[[2.0], [1.0]]])
        >>> best = best_constant_step(xs, torch.tensor([[2.0, 1.0]]), steps=1)
        >>> assert abs(best.step_size - 0.25) < 1e-6  # eta * 2 * 2 = 1 recovers w = 1
    """
    owner = "best_constant_step"
    asked = _checked_sample(owner, xs, ys, steps, normalise, fixed_count, points)
    counts = divisors(asked, normalise, fixed_count, xs.double())
    axes, labels = _sample_spectrum(owner, xs, ys, asked, counts), ys.double()[:, asked]
    tops = axes.values[..., -1]

    def loss(log_step: float) -> float:
        progress = descent_progress(axes.values * math.exp(log_step), steps)
        value = float((axes.apply(progress) - labels).square().mean())
        return value if math.isfinite(value) else math.inf

    # Below the first bound nothing has moved anywhere; beyond the second every prefix diverges.
    bounds = math.log(1e-3 / (steps * float(tops.amax()))), math.log(4 / float(tops[tops > 0].amin()))
    log_step = _minimise(loss, *bounds)
    return BestStep(math.exp(log_step), loss(log_step), steps, normalise, fixed_count)


def _minimise(loss: Callable[[float], float], least: float, most: float) -> float:
    from scipy.optimize import minimize_scalar  # 0.3 s to import, and needed by nothing else here

    grid = torch.linspace(least, most, _GRID_SIZE, dtype=torch.float64).tolist()
    losses = [loss(point) for point in grid]
    cell = losses.index(min(losses))
    around = (grid[max(cell - 1, 0)], grid[min(cell + 1, _GRID_SIZE - 1)])
    found = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-9})
    return float(found.x) if found.fun < losses[cell] else float(grid[cell])


def _checked_sample(
    owner: str,
    xs: Tensor,
    ys: Tensor,
    steps: int,
    normalise: str,
    fixed_count: int | None,
    points: Sequence[int] | None,
) -> list[int]:
    """Refuse a sample or options that no search can use."""
    check_prompts(owner, xs, ys)
    check_count(owner, "steps", steps, least=1)
    check_normalise(owner, normalise, fixed_count)
    return resolve_points(owner, points, xs.shape[1])


def _sample_spectrum(
    owner: str,
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    asked: list[int],
    counts: Float[Tensor, " asked"],
) -> Spectrum:
    """Decompose X^T X / c of all asked prefixes, a bounded number at a time."""
    size = max(1, _CHUNK_MATRICES // len(asked))
    eps = torch.finfo(xs.dtype).eps
    pieces = []
    for chunk_xs, chunk_ys in zip(torch.split(xs.double(), size), torch.split(ys.double(), size), strict=True):
        second, first = prefix_moments(chunk_xs, chunk_ys, asked)
        second, first = second / counts[:, None, None], first / counts[:, None]
        pieces.append(spectrum(second, first, chunk_xs[:, asked], asked=asked, eps=eps))
    parts = zip(*((piece.values, piece.moments, piece.queries) for piece in pieces), strict=True)
    found = Spectrum(*(torch.cat(part) for part in parts))
    if not bool((found.values > 0).any()):
        raise InputError(f"{owner} needs an asked point with a non-zero input before it; ask for later points.")
    return found


@dataclass(frozen=True)
class BestGDPlusPlus:
    """The best step size and curvature for a number of steps, the same in each, and what they achieve."""

    step_size: float
    """Step size eta, in inverse squared units of the inputs."""
    curvature: float
    """Curvature gamma, in inverse squared units of the inputs."""
    loss: float
    """Mean squared error with them, in squared units of the labels."""
    steps: int
    """Gradient steps they were chosen for."""
    normalise: Normalise
    """What sums over examples are divided by."""
    fixed_count: int | None = None
    """The divisor for "fixed"."""

    def predictor(self) -> Predictor:
        """Build the GD++ that takes these steps.

        Returns:
            `gd_plus_plus` with this step size and curvature.
        """
        return gd_plus_plus(
            self.steps, self.step_size, self.curvature, normalise=self.normalise, fixed_count=self.fixed_count
        )


@takes_arrays
def best_gd_plus_plus(
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    steps: int,
    *,
    normalise: Normalise = "mean",
    fixed_count: int | None = None,
    points: Sequence[int] | None = None,
    bounded: bool = False,
) -> BestGDPlusPlus:
    """Search the one step size and the one curvature that minimise the mean squared error of GD++ on a sample.

    Formula: argmin over eta and gamma of the mean over prompts and points of (yhat_k - y_k)^2, with yhat from
    `gd_plus_plus`. In the eigenbasis of X^T X / c an eigenvalue l is learned up to q, with p = 1 and q = 0 at first,
    q <- q + eta l p^2 (1 - q) and p <- p - gamma l p^3 in each step, so that every pair of values is tried exactly at
    the price of one decomposition. A grid around the best step of plain gradient descent, which is among the
    candidates (gamma = 0), then a simplex search. Never worse on the sample than `best_constant_step`, unless bounded.

    The values are chosen on a training sample: draw it apart from the prompts they are then used on.

    Args:
        xs: Inputs of the training sample.
        ys: Labels of the training sample.
        steps: Gradient steps, at least 2: the curvature of one step would change nothing.
        normalise: What sums over examples are divided by, as in `gd_plus_plus`.
        fixed_count: The divisor for "fixed".
        points: Points that count, all by default.
        bounded: Whether eta stays at most 1.5 and gamma at most 1 over the largest eigenvalue of the sample, so that
            no prefix of it diverges, nor one that is a little larger (both bounds are our choice).

    Returns:
        Both values and their loss; ``.predictor()`` builds the GD++.

    Raises:
        InputError: If an option is out of range, or no asked point has a non-zero input before it.

    Source:
        von Oswald et al. (2023), arXiv 2212.07677, appendix A.10, where both are trained by gradient descent on the
        same loss; the search is our choice.

    Example:
        >>> xs = torch.randn(200, 11, 10, generator=torch.Generator().manual_seed(0))
        >>> ys = xs.sum(dim=2)
        >>> assert best_gd_plus_plus(xs, ys, 3).loss < 0.9 * best_constant_step(xs, ys, 3).loss
    """
    owner = "best_gd_plus_plus"
    check_count(owner, "steps", steps, least=2)
    asked = _checked_sample(owner, xs, ys, steps, normalise, fixed_count, points)
    counts = divisors(asked, normalise, fixed_count, xs.double())
    axes, labels = _sample_spectrum(owner, xs, ys, asked, counts), ys.double()[:, asked]
    top = float(axes.values.amax())
    most = (LARGEST_STEP / top, LARGEST_CURVATURE / top) if bounded else (math.inf, math.inf)

    def loss(step_size: float, curvature: float) -> float:
        if not (0 < step_size <= most[0] and 0 <= curvature <= most[1]):
            return math.inf
        value = float((axes.apply(_progress(axes, step_size, curvature, steps)) - labels).square().mean())
        return value if math.isfinite(value) else math.inf

    plain = best_constant_step(xs, ys, steps, normalise=normalise, fixed_count=fixed_count, points=points).step_size
    unit = 1 / top if bounded else 1 / float(axes.values[..., -1].mean())
    grid = [(min(plain * factor, most[0]), share * unit) for share in _CURVATURE_SHARES for factor in _STEP_FACTORS]
    start = min([(min(plain, most[0]), 0.0), *grid], key=lambda pair: loss(*pair))
    step_size, curvature = _refine(loss, start, unit)
    return BestGDPlusPlus(step_size, curvature, loss(step_size, curvature), steps, normalise, fixed_count)


def _progress(axes: Spectrum, step_size: float, curvature: float, steps: int) -> Float[Tensor, "batch asked dim"]:
    learned, shrink = torch.zeros_like(axes.values), torch.ones_like(axes.values)
    for _ in range(steps):
        learned = learned + step_size * axes.values * shrink.square() * (1 - learned)
        shrink = shrink - curvature * axes.values * shrink**3
    return learned


def _refine(loss: Callable[[float, float], float], start: tuple[float, float], unit: float) -> tuple[float, float]:
    from scipy.optimize import minimize  # 0.3 s to import, and needed by nothing else here

    step_size, curvature = start
    options: Any = {
        "initial_simplex": [[0.0, curvature / unit], [-0.2, curvature / unit], [0.0, curvature / unit + 0.1]],
        "xatol": 1e-4,
        "fatol": 1e-9 * max(loss(*start), 1e-300),
        "maxfev": 150,
    }
    search: Any = minimize  # the stubs' overloads are narrower than the function
    found = search(
        lambda pair: loss(step_size * math.exp(pair[0]), abs(pair[1]) * unit),
        x0=[0.0, curvature / unit],
        method="Nelder-Mead",
        options=options,
    )
    if not found.fun < loss(*start):
        return start
    return step_size * math.exp(float(found.x[0])), abs(float(found.x[1])) * unit
