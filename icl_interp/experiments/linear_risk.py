"""Risks of models on isotropic tasks: exact for one linear block, by sampling for any model, and the least possible."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from scipy import optimize
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.linear.constructions import EffectiveParameters
from icl_interp.prompts import derive_seed
from icl_interp.tasks.base import Task

Key = TypeVar("Key", bound=Hashable)
_STARTS = ((0.0, 0.0), (-0.5, 0.05), (0.5, -0.05))
"""Starts of the search (our choice): shares of |b*| in v21 and sizes of v12. Nine starts around them find the same."""
_CHUNK = 20_000
_MOST_FLOATS = 10_000_000


@dataclass(frozen=True, slots=True)
class Risk:
    """A mean squared error: over test tasks, or exact."""

    value: float  # in squared units of y
    standard_error: float  # of the mean, over tasks; 0 where it is exact


def query_risks(models: Mapping[Key, Callable[..., Tensor]], task: Task, n_tasks: int, *, seed: int) -> dict[Key, Risk]:
    """Test models on the last point of the same fresh prompts, summed in float64 chunk by chunk in bounded memory."""
    if n_tasks < 2:
        raise InputError(f"query_risks needs at least two tasks for a standard error, got {n_tasks}.")
    sums = {key: torch.zeros(2, dtype=torch.float64) for key in models}
    size = max(2, min(_CHUNK, _MOST_FLOATS // (task.default_points * task.n_dims)))
    for number, start in enumerate(range(0, n_tasks, size)):
        prompts = task.sample(min(size, n_tasks - start), seed=derive_seed(seed, f"test chunk {number}"))
        wanted = prompts.ys[:, -1].double()
        with torch.no_grad():
            for key, model in models.items():
                squares = (model(prompts.xs, prompts.ys, points=[-1])[:, 0].double() - wanted).square()
                sums[key] += torch.stack([squares.sum(), squares.square().sum()])
    means = {key: (total / n_tasks).tolist() for key, total in sums.items()}
    return {key: Risk(m, max(0.0, (square - m**2) / (n_tasks - 1)) ** 0.5) for key, (m, square) in means.items()}


def linear_risk(
    parameters: EffectiveParameters, w_mean: Float[Tensor, " dim"], n_pairs: int, *, noise_std: float = 0.0
) -> Float[Tensor, ""]:
    """Give the expected squared error of one linear block at the query, attached to the parameters for autograd.

    Formula: for x ~ N(0, I), w ~ N(b*, I), y = <w, x> and M examples, with u = v_minus1, b = v21 + u b*,
    A = V11 + b* v12^T and c = b* - gamma the error without noise is
    (M+1)/M |A^T b|^2 + |b|^2 |A|^2 / M + (M+2)/M u^2 (2d + d^2) |v12|^2 + 2 (M+1)/M u (d+1) b^T A v12
    + u^2 |A|^2 (M+1+d)/M + 4/M u b^T A v12 + (M+1+d)/M |b|^2 |v12|^2
    - 2 (b^T A c + u d <v12, c> + u tr A + <v12, b>) + |c|^2 + d,
    and noise of variance s in all labels, the query's included, adds
    s [1 + 2 (M+1)/M u (b^T A v12 + u d |v12|^2) - 2 u <v12, c>
    + ((|b|^2 + u^2 d) |v12|^2 + u^2 (|A|^2 + d |v12|^2)) / M] + s^2 (M+2)/M u^2 |v12|^2.

    Source: Zhang, Wu and Bartlett (2024), arXiv 2402.14951, appendix, for gamma = 0 and no noise; gamma only moves the
    target, and the terms of the noise are ours. `w_mean` is b*, the mean of the tasks that the block is asked.

    >>> zero, eye = torch.zeros(5), torch.eye(5)
    >>> best = EffectiveParameters(torch.ones(5), -torch.ones(5), torch.tensor(1.0), 5 / 11 * eye, zero)
    >>> torch.testing.assert_close(linear_risk(best, torch.ones(5), 5), torch.tensor(30 / 11))
    """
    d = len(w_mean)
    if parameters.gamma.shape != w_mean.shape or n_pairs < 1:
        raise InputError(
            f"linear_risk needs w_mean of the model's {len(parameters.gamma)} dimensions and at least one pair, got "
            f"{d} dimensions and {n_pairs} pairs."
        )
    if not noise_std >= 0:
        raise InputError(f"linear_risk needs a noise_std of 0 or more, got {noise_std:g}.")
    u, v12, m = parameters.v_minus1, parameters.v12, float(n_pairs)
    b = parameters.v21 + u * w_mean
    a = parameters.V11 + torch.outer(w_mean, v12)
    c = w_mean - parameters.gamma
    bb, aa, vv, bav = b @ b, a.square().sum(), v12 @ v12, b @ a @ v12
    square = (
        (m + 1) / m * (a.mT @ b).square().sum()
        + bb * aa / m
        + (m + 2) / m * u**2 * (2 * d + d**2) * vv
        + 2 * (m + 1) / m * u * (d + 1) * bav
        + u**2 * aa * (m + 1 + d) / m
        + 4 / m * u * bav
        + (m + 1 + d) / m * bb * vv
    )
    cross = b @ a @ c + u * d * (v12 @ c) + u * a.trace() + v12 @ b
    s = noise_std**2
    of_noise = (
        1
        + 2 * (m + 1) / m * u * (bav + u * d * vv)
        - 2 * u * (v12 @ c)
        + ((bb + u**2 * d) * vv + u**2 * (aa + d * vv)) / m
    )
    return square - 2 * cross + c @ c + d + s * of_noise + s**2 * (m + 2) / m * u**2 * vv


def optimal_lsa_risk(w_mean: Float[Tensor, " dim"], n_pairs: int) -> float:
    """Give the least expected error of linear self-attention without MLP, by BFGS from around the best step of GD-0.

    Over v21 = alpha e, V11 = p I + q e e^T, v12 = omega e and v_minus1 = 1, with e along b*; for d = 5 it equals the
    minimum over all weights. Theorem 4.1 bounds it; we computed the number.
    """
    if n_pairs < 1:
        raise InputError(f"optimal_lsa_risk needs at least one pair, got {n_pairs}.")
    start = w_mean.detach().double()
    norm = float(start.norm())
    along = torch.zeros_like(start)
    along[0] = 1.0
    mean, one, eye = norm * along, torch.ones((), dtype=torch.float64), torch.eye(len(start), dtype=torch.float64)

    def risk_and_slope(theta: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
        alpha, p, q, omega = point
        inner = p * eye + q * torch.outer(along, along)
        found = linear_risk(EffectiveParameters(0 * mean, alpha * along, one, inner, omega * along), mean, n_pairs)
        (slope,) = torch.autograd.grad(found, point)
        return found.item(), slope.numpy()

    # The best preconditioner from start 0 has B (M + 1) / M + tr(B) / M below B = I + b* b*^T.
    trace = len(mean) + norm**2
    gain, gain_along = (n_pairs * b / ((n_pairs + 1) * b + trace) for b in (1.0, 1.0 + norm**2))
    starts = [(share * norm, gain, gain_along - gain, tilt) for share, tilt in _STARTS]
    with torch.enable_grad():
        results = [optimize.minimize(risk_and_slope, np.array(s), jac=True, method="BFGS", tol=1e-10) for s in starts]
    return float(min(result.fun for result in results))


def lsa_gap_bound(w_mean: Float[Tensor, " dim"], n_pairs: int) -> float:
    """Give the least gap between attention alone and a linear block: 2 |b*|^2 / (3 (M+1)), Theorem 4.1."""
    return 2 / (3 * (n_pairs + 1)) * float(w_mean.double().square().sum())


def shifted_risk(n_dims: int, n_pairs: int, distance: float) -> float:
    """Give the error of the best linear block where b* has moved by a distance since training; without noise.

    (d + |delta|^2) (1 - 2 g + g^2 (M+1+d) / M) with g = M / (M+1+d), the best preconditioner; derived by us.
    """
    g = n_pairs / (n_pairs + 1 + n_dims)
    return (n_dims + distance**2) * (1 - 2 * g + g**2 * (n_pairs + 1 + n_dims) / n_pairs)
