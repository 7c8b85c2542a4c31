"""Read a plain pickle of numpy arrays without numpy's unpickling or any other foreign function.

Every name that the pickle asks for is answered by an inert stand-in. An array is built only after all its parts are
known and fit together: numpy would believe a crafted dtype, and read bytes as pointers.
"""

import io
import math
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CODES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
"""The dtypes that exist here."""
_MOST_AXES = 32
_MOST_LEVELS = 50
_MOST_VALUES = 1_000_000
_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_REFUSED_OPCODES = (
    "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID", "NEXT_BUFFER", "READONLY_BUFFER", "EMPTY_SET", "ADDITEMS",
    "FROZENSET",
)  # fmt: skip
"""What no pickle of arrays has: the process's own registry, persistent ids, buffers out of band, sets."""


def read_array_pickle(data: bytes) -> Any:
    """Give the numbers, texts, lists, dictionaries and numeric arrays that a pickle holds.

    Anything else is an UnpicklingError, whose text is "GLOBAL module.name" where the pickle asks for that name.
    """
    _check_opcodes(data)
    return _Finisher().finish(_Unpickler(io.BytesIO(data)).load())


def _check_opcodes(data: bytes) -> None:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        if opcode.name in _REFUSED_OPCODES:
            raise pickle.UnpicklingError(f"it has the opcode {opcode.name}")
        if opcode.name.endswith("PUT") and int(argument or 0) > count:  # pickle makes room for as many
            raise pickle.UnpicklingError("its memo is out of order")


class _Dtype:
    __slots__ = ("code", "order")

    def __init__(self, code: object, align: object = 0, copy: object = 0) -> None:
        if not isinstance(code, str) or code not in _CODES or not {align, copy} <= {False, True}:
            raise pickle.UnpicklingError(f"it has arrays of the dtype {str(code)[:20]!r}")
        self.code, self.order = code, "="

    def __setstate__(self, state: object) -> None:
        # (version, byte order, subdtype, names, fields, item size, alignment, flags)
        if (
            not isinstance(state, tuple)
            or len(state) != 8
            or state[0] not in (3, 4)
            or state[1] not in ("<", ">", "|", "=")
            or state[2:5] != (None, None, None)
            or state[5:] != (-1, -1, 0)
        ):
            raise pickle.UnpicklingError("it has a dtype that is no plain number")
        self.order = "=" if state[1] == "|" else state[1]

    @property
    def numpy(self) -> np.dtype[Any]:
        return np.dtype(f"{self.order}{self.code}")


class _Array:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: object) -> None:
        # (version, shape, dtype, is in Fortran's order, bytes)
        if not isinstance(state, tuple) or len(state) != 5 or state[0] != 1 or self.value is not None:
            raise pickle.UnpicklingError("it has an array in a version that is not known")
        _, shape, dtype, is_fortran, data = state
        self.value = _build(data, dtype, shape, "F" if is_fortran else "C")


def _build(data: object, dtype: object, shape: object, order: str) -> NDArray[Any]:
    if not isinstance(dtype, _Dtype) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("it has an array of objects")
    if (
        not isinstance(shape, tuple)
        or len(shape) > _MOST_AXES
        or not all(type(n) is int and 0 <= n < 2**48 for n in shape)
        or math.prod(shape) * dtype.numpy.itemsize != len(data)
    ):
        raise pickle.UnpicklingError("it has an array whose shape does not fit its bytes")
    flat = np.frombuffer(data, dtype.numpy)
    return flat.astype(dtype.numpy.newbyteorder("=")).reshape(shape, order="F" if order == "F" else "C")


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    if kind is not _NDARRAY or shape != (0,) or code not in (b"b", "b"):
        raise pickle.UnpicklingError("it has an array in a version that is not known")
    return _Array()


def _from_buffer(data: object, dtype: object, shape: object, order: object, axes: object = None) -> _Array:
    found = _Array()
    if order == "K" and isinstance(axes, tuple) and isinstance(shape, tuple) and sorted(axes) == [*range(len(shape))]:
        found.value = _build(data, dtype, shape, "C").transpose(axes)
    elif order in ("C", "F"):
        found.value = _build(data, dtype, shape, str(order))
    else:
        raise pickle.UnpicklingError("it has an array in a version that is not known")
    return found


def _scalar(dtype: object, data: object) -> bool | int | float | complex:
    number: bool | int | float | complex = _build(data, dtype, (), "C").item()
    return number


def _encode(text: object, encoding: object) -> bytes:
    # How Python 3 writes bytes in protocol 2.
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("GLOBAL _codecs.encode")
    return text.encode("latin1")


class _StandIn:
    """What a name of the pickle is answered by: it can be called, and nothing else can be done with it."""

    __slots__ = ("_call",)
    _call: Callable[..., object] | None

    def __init__(self, call: Callable[..., object] | None) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: object) -> object:
        if self._call is None:
            raise pickle.UnpicklingError("it makes an array in a way that is not known")
        return self._call(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError("it changes what it asks for")

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("it changes what it asks for")


_NDARRAY = _StandIn(None)
_NAMES = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _StandIn(_Dtype),
    ("_codecs", "encode"): _StandIn(_encode),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _StandIn(_reconstruct) for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _StandIn(_scalar) for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _StandIn(_from_buffer) for core in ("core", "_core")},
}
"""All that a pickle may ask for."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"GLOBAL {module}.{name}")
        return _NAMES[module, name]


class _Finisher:
    """Put arrays in the place of their stand-ins."""

    def __init__(self) -> None:
        self.n_values = 0

    def finish(self, value: object, level: int = 0) -> Any:
        self.n_values += 1
        if level > _MOST_LEVELS or self.n_values > _MOST_VALUES:  # a few bytes can refer to themselves without end
            raise pickle.UnpicklingError("it is nested without end")
        if isinstance(value, dict):
            if not all(type(key) in _PLAIN for key in value):
                raise pickle.UnpicklingError("it has a dictionary whose keys are no texts")
            return {key: self.finish(item, level + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.finish(item, level + 1) for item in value)
        if isinstance(value, _Array) and value.value is not None:
            return value.value
        if type(value) in _PLAIN:
            return value
        raise pickle.UnpicklingError("it has something else than numbers, texts and arrays")


def numeric_array(array: NDArray[Any]) -> NDArray[Any]:
    """Refuse an array of anything but numbers, such as of text or records."""
    if array.dtype.kind not in "biufc" or array.dtype.str[1:] not in _CODES:
        raise pickle.UnpicklingError(f"it has arrays of the dtype {str(array.dtype)[:20]!r}")
    return array
