"""What results look like: their dtypes, and their representation in one line."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

_LONGEST = 240
"""Characters of a whole result."""
_LONGEST_TEXT = 40
"""Characters of a text inside."""
_FEW = 3
"""Numbers or names that are shown of many."""


def short_repr(result: Any) -> str:
    """Show a dataclass in one line: small values as they are, tensors by their shapes, of many entries a few."""
    name, parts, length = type(result).__name__, [], 0
    for field in fields(result):
        if field.repr:
            part = f"{field.name}={_short(getattr(result, field.name))}"
            length += len(part) + 2
            if length > _LONGEST:
                parts.append("...")
                break
            parts.append(part)
    return f"{name}({', '.join(parts)})"


def _short(value: Any) -> str:
    match value:
        case torch.Tensor() if value.dim() == 0:
            return _short(value.item())
        case torch.Tensor():
            return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
        case bool() | int() | None:
            return repr(value)
        case float() | complex():
            return f"{value:.4g}"
        case str():
            return repr(value) if len(value) <= _LONGEST_TEXT else f"{value[:_LONGEST_TEXT]!r}..."
        case Mapping():
            return f"{{{_some([_short(name) for name in list(value)[:_FEW]], len(value))}}}"
        case Sequence() if all(isinstance(entry, int | float | str | None) for entry in value):
            return f"({_some([_short(entry) for entry in value[:_FEW]], len(value))})"
        case Sequence():
            return f"({len(value)} entries)"
        case _ if is_dataclass(value) or not callable(value):
            return f"{type(value).__name__}(...)"
        case _:
            return getattr(value, "__name__", type(value).__name__)


def _some(shown: list[str], count: int) -> str:
    return ", ".join(shown) if len(shown) == count else f"{', '.join(shown)}, ... {count} in all"


# float32 for 16-bit input, else the input's own dtype; float64 where a finite number would overflow that.
def in_dtype(exact: Tensor, given: torch.dtype) -> Tensor:
    cast = exact.to(torch.promote_types(given, torch.float32))
    if cast.dtype == exact.dtype or bool(cast.isfinite().all()):
        return cast
    return exact if bool((exact.isfinite() & ~cast.isfinite()).any()) else cast


# The same on the device of the input.
def cast_like(exact: Tensor, given: Tensor) -> Tensor:
    return in_dtype(exact, given.dtype).to(given.device)


# For what has to be computed in the input's dtype.
def widened(given: Tensor) -> Tensor:
    return given.to(torch.promote_types(given.dtype, torch.float32))
