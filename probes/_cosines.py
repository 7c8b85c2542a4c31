"""Cosines between errors or weights of many predictors, prompt by prompt; undefined ones are NaN."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._checks import _check_activations, _check_same_shape


# Of every first predictor with every second one.
def _error_cosines(
    who: str,
    a: Float[Tensor, "first batch point"],
    b: Float[Tensor, "second batch point"],
    ys: Float[Tensor, "batch point"],
) -> Float64[Tensor, "first second batch"]:
    _check_two(who, a[0], ys, "batch point")
    _check_two(who, b[0], ys, "batch point")
    labels = ys.double()
    # A residual that is the rounding of predictions and labels has no direction.
    scale = torch.stack([labels.abs().amax(dim=1), a.abs().amax(dim=(0, 2)), b.abs().amax(dim=(0, 2))]).amax(dim=0)
    floor = 8 * torch.finfo(ys.dtype).eps * scale.double() * ys.shape[1] ** 0.5
    errors_a, errors_b = (_unit_rows(values.double() - labels, floor) for values in (a, b))
    return torch.einsum("ibp,jbp->ijb", errors_a, errors_b).clamp(-1.0, 1.0)


# Of every first predictor with every second one, averaged over the entries in which both have a direction.
def _weight_cosines(
    who: str, a: Float[Tensor, "first batch point dim"], b: Float[Tensor, "second batch point dim"]
) -> Float64[Tensor, "first second batch"]:
    _check_two(who, a[0], b[0], "batch point dim")
    zero = torch.zeros((), dtype=torch.float64, device=a.device)
    units_a, units_b = (_unit_rows(values.double(), zero) for values in (a, b))
    rows = [torch.einsum("bpd,jbpd->jbp", one, units_b).clamp(-1.0, 1.0).nanmean(dim=2) for one in units_a]
    return torch.stack(rows)


# NaN where a row is not longer than the floor.
def _unit_rows(rows: Float64[Tensor, "*batch dim"], floor: Tensor) -> Float64[Tensor, "*batch dim"]:
    length = rows.norm(dim=-1, keepdim=True)
    return torch.where(length > floor[..., None], rows / length, torch.nan)


def _check_two(who: str, a: Tensor, b: Tensor, axes: str) -> None:
    """Refuse two tensors that do not describe the same prompts."""
    _check_activations(who, "a", a, axes)
    _check_activations(who, "b", b, axes)
    _check_same_shape(who, ("a", "b"), a, b)
