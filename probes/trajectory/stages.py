"""Where do the stages of a run end? Boundaries where a smoothed curve is flat against the logarithm of the step."""

import itertools
import math
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError

__all__ = ["Stage", "StageBoundaries", "find_stages"]

# The share of the steepest slope below which a curve counts as flat when no limit is given.
_FLAT_SHARE = 0.1
# The share of the curve's range below which a change makes no stage when no limit is given.
_SMALL_SHARE = 0.05


@dataclass(frozen=True)
class Stage:
    """A stretch of training between two boundaries."""

    start: float
    """First step, in optimiser steps."""
    end: float
    """Last step."""
    change: float
    """Smoothed value at the end minus that at the start."""

    @property
    def kind(self) -> str:
        """Type "A" where the curve rises (for a learning coefficient: growing complexity), "B" where it falls."""
        return "A" if self.change > 0 else "B"


@dataclass(frozen=True, eq=False, repr=False)
class StageBoundaries:
    """Boundaries of a run, with the curve and slope they were read from."""

    boundaries: Float64[Tensor, " boundary"]
    """Steps at which stages meet, rising; first and last step of the curve are not among them."""
    stages: tuple[Stage, ...]
    """In order; one more than boundaries."""
    grid_steps: Float64[Tensor, " grid"]
    """Steps of the smoothed curve, evenly spaced in log(step + 1)."""
    curve: Float64[Tensor, " grid"]
    """Mean of the Gaussian process, in units of the values."""
    curve_std: Float64[Tensor, " grid"]
    """Its standard deviation, without the noise of single values."""
    slope: Float64[Tensor, " grid"]
    """d curve / d log(step + 1)."""
    max_slope: float
    """A boundary's |slope| is below this."""
    length_scale: float
    """Length scale of the fitted kernel, in units of log(step + 1)."""
    noise_std: float
    """Noise of single values, as fitted or as given (root mean square)."""

    def __repr__(self) -> str:
        found = ", ".join(f"{float(step):.0f}" for step in self.boundaries)
        kinds = "".join(stage.kind for stage in self.stages)
        return f"StageBoundaries({len(self.stages)} stages {kinds}, boundaries at {found or 'no'} steps)"


@takes_arrays
def find_stages(
    steps: Float[Tensor, " checkpoint"],
    values: Float[Tensor, " checkpoint"],
    *,
    errors: Float[Tensor, " checkpoint"] | None = None,
    max_slope: float | None = None,
    min_change: float | None = None,
    n_grid: int = 400,
    n_restarts: int = 10,
    seed: int = 0,
) -> StageBoundaries:
    """Find the steps at which a curve stops changing, stage by stage.

    Formula: a Gaussian process (constant times squared-exponential kernel, length scale in [0.5, 1000]) of the values
    over u = log(step + 1); slope = mean of the forward and backward difference of its mean on an even grid of u; a
    boundary is an inner local minimum of |slope| that is below max_slope. Both conditions are read at the same grid
    point; the published code intersects indices that are off by one. Where a curve rests, its fit wiggles; so while the
    smallest stage changes by less than min_change, it goes to its neighbours: of its two boundaries the flatter one
    stays. Boundaries are resolved to about a grid spacing, and not more sharply than the checkpoints. Meaningless for a
    curve that never flattens, which has one stage.

    Args:
        steps: Optimiser steps, from 0, rising.
        values: A learning coefficient or a loss, one value per checkpoint.
        errors: Standard errors of the values; None fits one noise level for all.
        max_slope: In value units per unit of log(step + 1); None means a tenth of the steepest slope (our choice). The
            paper's code uses 8 for its learning coefficients.
        min_change: In value units; None means a twentieth of the smoothed curve's range, 0 merges nothing, as in the
            paper's code. The twentieth is our choice, chosen on the synthetic curve of our own tests and on no run:
            compare with 0 before a boundary is believed.
        n_grid: Points of the even grid.
        n_restarts: Restarts of the fit of the kernel.
        seed: Seed of the restarts.

    Returns:
        Boundaries and stages in optimiser steps, not rounded, with the curve; float64 on the CPU.

    Raises:
        InputError: If steps do not rise, there are fewer than four, or an error or max_slope is not positive.

    Source:
        Hoogland et al. (2024), "The developmental landscape of in-context learning", section on stage boundaries; the
        kernel's bounds and restarts are those of its code. The noise term and the default of max_slope are ours.

    Example:
        >>> u = torch.linspace(0, 10, 41).double()
        >>> two_steps = torch.sigmoid(4 * (u - 2.5)) + torch.sigmoid(4 * (u - 7.5))
        >>> found = find_stages(u.expm1(), two_steps, n_restarts=0)
        >>> [round(math.log1p(float(step))) for step in found.boundaries]
        [5]
    """
    who = "find_stages"
    _check_curve(who, steps, values, errors)
    checks.count(who, "n_grid", n_grid, 5)
    if min_change is not None and not min_change >= 0:
        raise InputError(f"{who} needs a min_change from 0, got {min_change}; pass None for a twentieth of the range.")
    if max_slope is not None and not max_slope > 0:
        raise InputError(f"{who} needs a positive max_slope, got {max_slope}; pass None for a tenth of the steepest.")
    u = steps.detach().double().cpu().log1p().numpy()
    grid = np.linspace(u[0], u[-1], n_grid)
    y = values.detach().double().cpu().numpy()
    noise = None if errors is None else errors.detach().double().cpu().numpy()
    curve, std, length_scale, noise_std = _smooth(
        u, y, noise, grid, n_restarts, seed, constant=bool(checks.is_constant(values))
    )
    # On an even grid numpy's inner differences are the mean of the two one-sided ones.
    slope = np.gradient(curve, (grid[-1] - grid[0]) / (n_grid - 1))
    limit = _FLAT_SHARE * float(np.abs(slope).max()) if max_slope is None else max_slope
    least = _SMALL_SHARE * float(np.ptp(curve)) if min_change is None else min_change
    inner = _merge(_flat_minima(slope, limit), curve, slope, least)
    ends = [float(np.expm1(grid[i])) for i in inner]
    edges = [0, *inner, n_grid - 1]
    stages = tuple(
        Stage(float(np.expm1(grid[a])), float(np.expm1(grid[b])), float(curve[b] - curve[a]))
        for a, b in itertools.pairwise(edges)
    )
    return StageBoundaries(
        _tensor(np.array(ends)), stages, _tensor(np.expm1(grid)), _tensor(curve), _tensor(std),
        _tensor(slope), limit, length_scale, noise_std,
    )  # fmt: skip


def _check_curve(who: str, steps: Tensor, values: Tensor, errors: Tensor | None) -> None:
    checks.activations(who, "steps", steps, "checkpoint")
    checks.activations(who, "values", values, "checkpoint")
    checks.same_length(who, ("steps", "values"), len(steps), len(values))
    checks.count(who, "a number of checkpoints", len(steps), 4)
    if float(steps[0]) < 0 or bool((steps.diff() <= 0).any()):
        raise InputError(f"{who} needs steps from 0 that rise strictly, got {steps.tolist()[:5]} ...; sort them.")
    if errors is not None:
        checks.activations(who, "errors", errors, "checkpoint")
        checks.same_length(who, ("errors", "values"), len(errors), len(values))
        if float(errors.min()) <= 0:
            raise InputError(f"{who} needs positive errors, got {float(errors.min()):.3g}; pass None to fit the noise.")


def _smooth(
    u: np.ndarray,
    y: np.ndarray,
    errors: np.ndarray | None,
    grid: np.ndarray,
    n_restarts: int,
    seed: int,
    *,
    constant: bool,
) -> tuple[np.ndarray, np.ndarray, float, float]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    level, spread = float(y.mean()), float(y.std())
    if constant:
        return np.full_like(grid, level), np.zeros_like(grid), math.inf, 0.0
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * RBF(1.0, (0.5, 1e3))
    alpha = 1e-10 if errors is None else np.square(errors / spread)
    if errors is None:
        kernel = kernel + WhiteKernel(1e-2, (1e-8, 1.0))
    process = GaussianProcessRegressor(kernel, alpha=alpha, n_restarts_optimizer=n_restarts, random_state=seed)
    with warnings.catch_warnings():
        # A parameter at its bound is reported through the result, not as a warning.
        warnings.simplefilter("ignore", ConvergenceWarning)
        process.fit(u[:, None], (y - level) / spread)
    smooth = process.kernel_ if errors is not None else process.kernel_.k1
    cross = smooth(grid[:, None], u[:, None])
    curve = cross @ process.alpha_.reshape(len(u))
    solved = np.linalg.solve(process.L_, cross.T)
    variance = smooth.diag(grid[:, None]) - np.square(solved).sum(axis=0)
    noise = (
        float(np.sqrt(np.square(errors).mean())) if errors is not None else spread * process.kernel_.k2.noise_level**0.5
    )
    length = float(smooth.k2.length_scale)
    return level + spread * curve, spread * np.sqrt(np.maximum(variance, 0.0)), length, float(noise)


def _flat_minima(slope: np.ndarray, limit: float) -> list[int]:
    size = np.abs(slope)
    # Minima are sought on the inner points, so index i there is point i + 1 of the grid.
    lower = (size[1:-1] < size[:-2]) & (size[1:-1] <= size[2:]) & (size[1:-1] < limit)
    return [int(i) + 1 for i in np.flatnonzero(lower)]


def _merge(boundaries: list[int], curve: np.ndarray, slope: np.ndarray, least: float) -> list[int]:
    kept = list(boundaries)
    while kept:
        edges = [0, *kept, len(curve) - 1]
        changes = np.abs(np.diff(curve[edges]))
        smallest = int(changes.argmin())
        if changes[smallest] >= least:
            break
        # Stage i lies between boundaries i - 1 and i; the first and the last have one only.
        around = [i for i in (smallest - 1, smallest) if 0 <= i < len(kept)]
        kept.pop(max(around, key=lambda i: abs(slope[kept[i]])))
    return kept


def _tensor(array: np.ndarray) -> Tensor:
    return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float64)
