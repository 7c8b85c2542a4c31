"""How stiff is the loss? The top eigenvalue of its Hessian, by the Lanczos method."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes.learning_coefficient.batches import Purpose, generator_for
from probes.learning_coefficient.chains import Loss, at_least_single, plain_attention
from probes.learning_coefficient.parameters import ParameterRow, parameter_row

__all__ = ["top_hessian_eigenvalue"]

# Up to so many entries the Hessian is formed: Lanczos, which holds as many vectors, needs no fewer products.
_DENSE_ENTRIES = 20
_Product = Callable[[np.ndarray], np.ndarray]


@takes_arrays
def top_hessian_eigenvalue(
    loss: Callable[[dict[str, Tensor], Any], Tensor],
    params: Mapping[str, Float[Tensor, "..."]],
    batch: Any,
    *,
    param_masks: Any = None,
    max_iterations: int = 100,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> float:
    """Measure the largest eigenvalue of a loss's Hessian.

    Formula: h_max = max_v v^T H v / v^T v, H the second derivative of loss(params, batch) at params, restricted to the
    entries that param_masks lets move: the largest with its sign, also at a saddle whose most negative eigenvalue is
    larger in size. On a minibatch the value is biased upwards.

    Args:
        loss: One number for (parameters by name, batch), twice differentiable.
        params: By name.
        batch: Handed to the loss.
        param_masks: None (all entries), name patterns, or name patterns with boolean masks.
        max_iterations: Most restarts of the Lanczos iteration, about ten products with H each.
        tolerance: Error at which to stop, relative to h_max or, if that is larger, to the eigenvalues' root mean
            square.
        seed: Seed of the first direction.

    Returns:
        In loss units per squared parameter unit; negative at a maximum. NaN where the Hessian is not finite or the
        tolerance was not reached.

    Raises:
        InputError: If parameters, masks or counts make no sense.

    Source:
        Lehoucq, Sorensen and Yang (1998), "ARPACK users' guide"; Pearlmutter (1994), "Fast exact multiplication by the
        Hessian".

    Example:
        >>> scales = torch.tensor([1.0, 3.0, 2.0])
        >>> bowl = lambda p, _: (scales * p["w"].square()).sum() / 2
        >>> top = top_hessian_eigenvalue(bowl, {"w": torch.zeros(3)}, torch.zeros(1))
        >>> abs(top - 3.0) < 0.01
        True
    """
    who = "top_hessian_eigenvalue"
    checks.count(who, "max_iterations", max_iterations, 1)
    row = parameter_row(who, params, param_masks)
    loss = at_least_single(loss)
    return top_eigenvalue(loss, row, batch, max_iterations=max_iterations, tolerance=tolerance, seed=seed)


@takes_arrays
def top_eigenvalue(
    loss: Loss,
    row: ParameterRow,
    batch: Any,
    *,
    seed: int,
    scale: Tensor | None = None,
    max_iterations: int = 100,
    tolerance: float = 1e-3,
) -> float:
    """Measure the top eigenvalue of S H S, S = diag(scale), over the entries that may move."""
    point = row.center.clone().requires_grad_()
    with plain_attention():
        value = loss({**row.frozen, **row.named(point)}, batch)
        (gradient,) = torch.autograd.grad(value, point, create_graph=True)

        def product(direction: Tensor) -> Tensor:
            inner = direction if scale is None else direction * scale
            if not gradient.requires_grad:  # a loss that is linear in its parameters
                return torch.zeros_like(direction)
            (outer,) = torch.autograd.grad(gradient, point, inner, retain_graph=True, materialize_grads=True)
            return outer if scale is None else outer * scale

        free = torch.arange(row.center.numel()) if row.mask is None else row.mask.nonzero()[:, 0].cpu()
        start = row.held(_direction(row, seed))[free.to(row.center.device)].double().cpu()
        among = _among(product, free, row.center)
        if len(free) <= _DENSE_ENTRIES:
            return _dense(among, len(free))
        return _lanczos(among, (start / start.norm()).numpy(), max_iterations, tolerance)


def _direction(row: ParameterRow, seed: int) -> Tensor:
    center = row.center
    generator = generator_for(center.device, seed, Purpose.HESSIAN, 0, 0)
    return torch.randn(center.shape, generator=generator, dtype=center.dtype, device=center.device)


# The product among the entries that may move, from float64 to float64.
def _among(product: Callable[[Tensor], Tensor], free: Tensor, like: Tensor) -> _Product:
    free = free.to(like.device)

    def times(vector: np.ndarray) -> np.ndarray:
        whole = torch.zeros_like(like)
        whole[free] = torch.as_tensor(vector.reshape(len(free))).to(like)
        return product(whole)[free].double().cpu().numpy()

    return times


def _dense(times: _Product, n: int) -> float:
    hessian = np.stack([times(unit) for unit in np.eye(n)])
    return float(np.linalg.eigvalsh((hessian + hessian.T) / 2)[-1]) if np.isfinite(hessian).all() else float("nan")


def _lanczos(times: _Product, start: np.ndarray, max_iterations: int, tolerance: float) -> float:
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

    # In units of about the root mean square eigenvalue, and one unit up: ARPACK stops relative to the value found, so
    # that one near 0 would take for ever, and never asks for less than 4e-11.
    unit = float(np.linalg.norm(times(start)))
    if unit == 0.0 or not np.isfinite(unit):
        return 0.0 if unit == 0.0 else float("nan")
    n = len(start)
    operator = LinearOperator((n, n), matvec=lambda vector: times(vector) / unit + vector.reshape(n), dtype=np.float64)
    try:
        (value,) = eigsh(
            operator, k=1, which="LA", v0=start, maxiter=max_iterations, tol=tolerance, return_eigenvectors=False
        )
    except ArpackNoConvergence:
        return float("nan")
    return unit * (float(value) - 1)
