"""The types and shapes of every call are checked in tests, as jaxtyping does it and at a third of its price.

jaxtyping binds the arguments of each call to a signature, checks them, calls the function, and checks arguments and
result once more. Here beartype checks arguments and result once, around the call; where an annotation names axes, the
call has a table of their sizes of its own, and where none does, no table is made. What is checked of an inner function
is compiled once and not again whenever its definition is run; and a tensor that fits is recognised by a few look-ups.
All else, and all that does not fit, is answered by jaxtyping.
"""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, TypeCheckError
from jaxtyping import _array_types as kinds
from jaxtyping import _storage as storage

_jaxtyped = jaxtyping.jaxtyped
_typed = beartype(conf=BeartypeConf(violation_type=TypeCheckError))
_says = type(AbstractArray).__instancecheck_str__
_DTYPES = {str(value).partition(".")[2]: value for value in vars(torch).values() if isinstance(value, torch.dtype)}
_inner: dict[tuple[object, ...], types.FunctionType] = {}


def _typed_again(function: types.FunctionType, hints: dict[str, object]) -> Any:
    """Check an inner function as the first one that was made of the same lines, of which nothing is kept alive."""
    key = (function.__code__, *hints.items())
    if key not in _inner:
        cells = tuple(types.CellType() for _ in function.__closure__ or ())
        first = types.FunctionType(function.__code__, function.__globals__, function.__name__, None, cells)
        first.__annotations__, first.__qualname__ = hints, function.__qualname__
        _inner[key] = _typed(first)
    known = _inner[key]
    if "__beartype_func" not in (known.__kwdefaults__ or {}):  # nothing is annotated
        return _typed(function)
    again = types.FunctionType(known.__code__, known.__globals__, closure=known.__closure__)
    again.__kwdefaults__ = {**known.__kwdefaults__, "__beartype_func": function}
    return functools.update_wrapper(again, function)


@functools.cache
def _plain(kind: Any) -> tuple[frozenset[torch.dtype], tuple[int | str | None, ...]] | None:
    """Which dtypes fit and which axes: a size, a name, or any; None where there is more to it."""
    if kind.array_type is not torch.Tensor or kind._skip_instancecheck or kind.index_variadic is not None:
        return None
    dims: list[int | str | None] = []
    for dim in kind.dims:
        if dim is kinds._anonymous_dim:
            dims.append(None)
        elif isinstance(dim, kinds._FixedDim) and not dim.broadcastable:
            dims.append(dim.size)
        elif isinstance(dim, kinds._NamedDim) and not dim.broadcastable and not dim.treepath:
            dims.append(dim.name)
        else:
            return None
    names = set(_DTYPES) if kind.dtypes is kinds._any_dtype else set(kind.dtypes)
    return frozenset(dtype for name, dtype in _DTYPES.items() if name in names), tuple(dims)


def says(kind: Any, value: Any) -> str:
    """What jaxtyping says of a value, empty where it fits: found by itself for a tensor that plainly does."""
    stack = getattr(storage._shape_storage, "memo_stack", None)
    if not stack or not isinstance(value, torch.Tensor) or (known := _plain(kind)) is None:
        return _says(kind, value)
    dtypes, dims = known
    shape, sizes, new = value.shape, stack[-1][0], []
    if value.dtype in dtypes and len(shape) == len(dims):
        for dim, size in zip(dims, shape, strict=True):
            if isinstance(dim, str):
                if dim not in sizes:
                    sizes[dim] = size
                    new.append(dim)
                elif sizes[dim] != size:
                    break
            elif dim is not None and dim != size:
                break
        else:
            return ""
    for dim in new:
        del sizes[dim]
    return _says(kind, value)


def _names_axes(hint: object) -> bool:
    """Whether an annotation has a shape somewhere inside."""
    if isinstance(hint, list):  # the arguments of a Callable
        return any(map(_names_axes, hint))
    if inspect.isclass(hint) and issubclass(hint, AbstractArray):
        return True
    bounds = [*getattr(hint, "__constraints__", ()), getattr(hint, "__bound__", None), getattr(hint, "__value__", None)]
    return any(_names_axes(each) for each in [*typing.get_args(hint), *bounds] if each is not None)


def _known(hint: object, names: dict[str, Any]) -> object:
    """An annotation in quotes, read where it stands; anything at all if it names what comes later or only for mypy."""
    if not isinstance(hint, str):
        return hint
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__={"hint": hint}), names)["hint"]
    except NameError:
        return Any


def checked(function: Any = None, *, typechecker: object = None) -> Any:
    """Stands for `jaxtyping.jaxtyped` where the import hook decorates; what is no plain function is left to it.

    A dataclass is checked where it is made.
    """
    if function is None:
        return functools.partial(checked, typechecker=typechecker)
    if dataclasses.is_dataclass(function) and inspect.isclass(function):
        own = vars(function).get("__init__")
        if own is not None and not hasattr(own, "__wrapped__"):
            function.__init__ = checked(own, typechecker=typechecker)
        return function
    if not inspect.isfunction(function) or inspect.isgeneratorfunction(function):
        return _jaxtyped(function, typechecker=typechecker)
    written = function.__annotations__
    hints = {name: _known(hint, function.__globals__) for name, hint in written.items()}
    function.__annotations__ = hints
    inner = "<locals>" in function.__qualname__
    typed = _typed_again(function, hints) if inner else _typed(function)
    typed.__annotations__ = function.__annotations__ = written
    if not any(map(_names_axes, hints.values())):
        return typed
    table = _jaxtyped("context")

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        with table:
            return typed(*args, **kwargs)

    return call


def install() -> None:
    """From now on, what the hook imports is checked here."""
    jaxtyping.jaxtyped = typing.cast("Callable[..., Any]", checked)
    kind: Any = type(AbstractArray)
    kind.__instancecheck_str__ = says
    kind.__instancecheck__ = lambda kind, value: says(kind, value) == ""
