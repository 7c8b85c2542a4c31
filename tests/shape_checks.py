"""The types and shapes of every call are checked in tests, as jaxtyping does it and at a third of its price.

jaxtyping binds the arguments of each call to a signature, checks them, calls the function, and checks arguments and
result once more. Here beartype checks arguments and result once, around the call; where an annotation names axes, the
call has a table of their sizes of its own, and where none does, no table is made.
"""

import dataclasses
import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype
from jaxtyping import AbstractArray, TypeCheckError

_jaxtyped = jaxtyping.jaxtyped
_typed = beartype(conf=BeartypeConf(violation_type=TypeCheckError))


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
    typed = _typed(function)
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
