"""How stiff is the loss? The top eigenvalue of its Hessian, by power iteration."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probes._checks import _check_count
from probes._sgld import Loss, at_least_single, plain_attention
from probes._sgld_batches import Purpose, generator_for
from probes._sgld_parameters import ParameterRow, parameter_row

__all__ = ["top_hessian_eigenvalue"]


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
    entries that param_masks lets move. Power iteration finds the eigenvalue of largest magnitude; if that is negative,
    a second one on H - h_min I finds h_max. Two close eigenvalues cost iterations, not accuracy. On a minibatch the
    value is biased upwards.

    Args:
        loss: One number for (parameters by name, batch), twice differentiable.
        params: By name.
        batch: Handed to the loss.
        param_masks: None (all entries), name patterns, or name patterns with boolean masks.
        max_iterations: Products with H in each power iteration.
        tolerance: Relative change of the eigenvalue at which to stop.
        seed: Of the first direction.

    Returns:
        In loss units per squared parameter unit; negative at a maximum. NaN where the Hessian is not finite.

    Raises:
        TypeError: If a parameter is no floating-point tensor.
        ValueError: If parameters, masks or counts make no sense.

    Source:
        von Mises and Pollaczek-Geiringer (1929); Pearlmutter (1994), "Fast exact multiplication by the Hessian".

    Example:
        >>> scales = torch.tensor([1.0, 3.0, 2.0])
        >>> bowl = lambda p, _: (scales * p["w"].square()).sum() / 2
        >>> top = top_hessian_eigenvalue(bowl, {"w": torch.zeros(3)}, torch.zeros(1))
        >>> abs(top - 3.0) < 0.01
        True
    """
    who = "top_hessian_eigenvalue"
    _check_count(who, "max_iterations", max_iterations, 1)
    row = parameter_row(who, params, param_masks)
    loss = at_least_single(loss)
    return top_eigenvalue(loss, row, batch, max_iterations=max_iterations, tolerance=tolerance, seed=seed)


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
    """Measure the top eigenvalue of S H S, S = diag(scale), over the entries that may move.

    Args:
        loss: See `top_hessian_eigenvalue`.
        row: The parameters.
        batch: Handed to the loss.
        seed: Of the first direction.
        scale: One positive number an entry; None for ones.
        max_iterations: In each power iteration.
        tolerance: Relative.

    Returns:
        NaN where the Hessian is not finite.
    """
    point = row.center.clone().requires_grad_()
    with plain_attention():
        value = loss({**row.frozen, **row.named(point)}, batch)
        (gradient,) = torch.autograd.grad(value, point, create_graph=True)

        def product(direction: Tensor) -> Tensor:
            inner = direction if scale is None else direction * scale
            if not gradient.requires_grad:  # a loss that is linear in its parameters
                return torch.zeros_like(direction)
            (outer,) = torch.autograd.grad(gradient, point, inner, retain_graph=True, materialize_grads=True)
            return row.held(outer if scale is None else outer * scale)

        start = row.held(_direction(row, seed))
        extreme = _power_iteration(product, start, max_iterations, tolerance)
        if not extreme < 0:
            return extreme
        shifted = _power_iteration(lambda v: product(v) - extreme * v, start, max_iterations, tolerance)
        return shifted + extreme


def _direction(row: ParameterRow, seed: int) -> Tensor:
    center = row.center
    generator = generator_for(center.device, seed, Purpose.HESSIAN, 0, 0)
    return torch.randn(center.shape, generator=generator, dtype=center.dtype, device=center.device)


def _power_iteration(
    product: Callable[[Tensor], Tensor], start: Tensor, max_iterations: int, tolerance: float
) -> float:
    direction = start / torch.linalg.vector_norm(start)
    value = math.nan
    for _ in range(max_iterations):
        image = product(direction)
        before, value = value, float(direction @ image)
        length = torch.linalg.vector_norm(image)
        if not bool(torch.isfinite(length)) or float(length) == 0.0:
            return value
        direction = image / length
        if abs(value - before) <= tolerance * abs(value):
            break
    return value
