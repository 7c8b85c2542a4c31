"""The dtype of a result; the package's docstring states the rule."""

import torch
from torch import Tensor


# float32 for 16-bit input, else the input's own dtype; float64 where a finite number would overflow that.
def _result(exact: Tensor, given: torch.dtype) -> Tensor:
    cast = exact.to(torch.promote_types(given, torch.float32))
    if cast.dtype == exact.dtype or bool(cast.isfinite().all()):
        return cast
    return exact if bool((exact.isfinite() & ~cast.isfinite()).any()) else cast


# The same on the device of the input.
def _like(exact: Tensor, given: Tensor) -> Tensor:
    return _result(exact, given.dtype).to(given.device)


# For what has to be computed in the input's dtype.
def _at_least_single(given: Tensor) -> Tensor:
    return given.to(torch.promote_types(given.dtype, torch.float32))
