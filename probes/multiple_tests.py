"""How often did chance get a try? Adjustments for many tests at once."""

import torch
from jaxtyping import Float
from torch import Tensor

from probes._checks import _check_axes, _check_floating
from probes._errors import InputError

__all__ = ["holm"]


def holm(p_values: Float[Tensor, " test"]) -> Float[Tensor, " test"]:
    """Adjust p-values for the number of tests, whatever their dependence.

    Formula: with p_(1) <= ... <= p_(m), adjusted p_(i) = max_{j <= i} min(1, (m - j + 1) p_(j)). Rejecting
    what is at most alpha keeps the chance of any false claim at alpha or below.

    Args:
        p_values: One a test, in [0, 1], any order.

    Returns:
        Adjusted p-values in the same order, in [p, 1], dtype of the input.

    Raises:
        InputTypeError: If the p-values are no floating-point tensor.
        InputError: If there is none, or one lies outside [0, 1].

    Source:
        Holm (1979), "A simple sequentially rejective multiple test procedure".

    Example:
        >>> adjusted = holm(torch.tensor([0.01, 0.04, 0.03]))
        >>> torch.testing.assert_close(adjusted, torch.tensor([0.03, 0.06, 0.06]))
    """
    _check_floating("holm", "p_values", p_values)
    _check_axes("holm", "p_values", p_values, "test")
    outside = int((~((p_values >= 0) & (p_values <= 1))).sum())
    if outside:
        raise InputError(f"holm needs p-values in [0, 1], got {outside} outside; leave undefined tests out.")
    order = p_values.double().argsort()
    factors = torch.arange(len(p_values), 0, -1, device=p_values.device)
    adjusted = torch.empty_like(p_values, dtype=torch.float64)
    adjusted[order] = (p_values.double()[order] * factors).clamp_max(1.0).cummax(dim=0).values
    return adjusted.to(p_values.dtype)
