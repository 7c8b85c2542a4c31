"""Arrays of numpy where tensors are asked for: converted in one place, without a loss of precision."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from probes._core.errors import InputTypeError

_F = TypeVar("_F", bound=Callable[..., Any])


def takes_arrays(function: _F) -> _F:
    """Let a function take arrays of numpy wherever it takes tensors, also in lists, tuples and mappings of them.

    A tensor shares the memory of its array where it can. Results are tensors.
    """

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*map(tensors_in, args), **{name: tensors_in(value) for name, value in kwargs.items()})

    called.__wrapped__ = inspect.unwrap(function)  # past what tests put between
    called.takes_arrays = True  # type: ignore[attr-defined]  # so that none is forgotten: a test asks
    return called  # type: ignore[return-value]  # the same signature


def tensors_in(value: Any) -> Any:
    """Turn an array, or the arrays of a list, a tuple or a mapping, into tensors; all else stays as it is."""
    if isinstance(value, np.ndarray):
        return tensor_of(value)
    if type(value) in (list, tuple) and any(isinstance(part, np.ndarray) for part in value):
        return type(value)(map(tensors_in, value))
    if isinstance(value, Mapping) and any(isinstance(part, np.ndarray) for part in value.values()):
        return {key: tensors_in(part) for key, part in value.items()}
    return value


def tensor_of(array: NDArray[Any]) -> Tensor:
    """Turn one array into a tensor of its dtype."""
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not native.flags.writeable or any(stride < 0 for stride in native.strides):
        native = native.copy()  # torch shares no memory that is read-only or runs backwards
    try:
        return torch.from_numpy(native)
    except TypeError:
        raise InputTypeError(
            f"arrays need a dtype that torch has, got {array.dtype}; convert with .astype(numpy.float64) or float32."
        ) from None
