"""Registries of named parts, ours and the user's; each name is unique, and worker processes get the user's entries."""

import importlib
import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import cloudpickle

from icl_interp.errors import InputError, InputTypeError, one_line

_Entry = TypeVar("_Entry")
_FEW = 4
"""Names that are shown of many."""
_HOMES: dict[str, str] = {}
"""The module of each registry, by its attribute there."""


class Registry(dict[str, _Entry], Generic[_Entry]):
    """Entries by name; `add` refuses a name that is taken."""

    def __init__(self, home: str, attribute: str, ours: Mapping[str, _Entry] | None = None) -> None:
        super().__init__(ours or {})
        self._ours = frozenset(self)
        _HOMES[attribute] = home

    def __repr__(self) -> str:
        shown = [*list(self)[:_FEW], *(["..."] if len(self) > _FEW else [])]
        return f"Registry({len(self)}{': ' if shown else ''}{', '.join(shown)})"

    @property
    def theirs(self) -> dict[str, _Entry]:
        """What the user registered, in that order."""
        return {name: entry for name, entry in self.items() if name not in self._ours}

    def add(self, name: str, entry: _Entry, *, who: str, what: str, code: Callable[[_Entry], object]) -> None:
        """Take an entry; one whose code has the same module and name gives way, so that a notebook's cell can rerun."""
        if name in self and (name in self._ours or not _same(code(self[name]), code(entry))):
            raise InputError(
                f"{who} needs a {what}, got {name!r} in {place_of(code(entry))}, which is "
                f"{place_of(code(self[name]))}'s; give it a name of its own."
            )
        self.pop(name, None)
        self[name] = entry


def _same(one: object, other: object) -> bool:
    named = hasattr(one, "__qualname__") and hasattr(other, "__qualname__")
    return place_of(one) == place_of(other) if named else one is other or bool(one == other)


def place_of(thing: object) -> str:
    """Say where a function or class is defined; of any other object, its class."""
    named: Any = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def name_of(who: str, thing: object, name: str | None) -> str:
    """Take the name that was given, or else the one that an object or a function has."""
    found = name or getattr(thing, "name", None) or getattr(thing, "__name__", None)
    if not isinstance(found, str) or not found.isprintable() or "<" in found or " = " in found:
        raise InputError(f"{who} needs a name for tables and files, got {found!r}; pass name='mine'.")
    return found


def check_callable(who: str, what: str, thing: object, *arguments: str) -> None:
    """Refuse what cannot be called as it will be."""
    shown = f"f({', '.join(arguments)})"
    if not callable(thing):
        raise InputTypeError(f"{who} needs {what} that is called {shown}, got {type(thing).__name__}.")
    if not takes(thing, *arguments):
        raise InputTypeError(
            f"{who} needs {what} that is called {shown}, got {place_of(thing)}{inspect.signature(thing)}; change its "
            "arguments."
        )


def takes(thing: Callable[..., object], *arguments: str, **named: str) -> bool:
    """Tell whether a callable takes arguments; True where nothing is known, as of some builtins."""
    try:
        inspect.signature(thing).bind(*arguments, **named)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


_Packed = tuple[str, str, str, bytes]
"""Module and attribute of a registry, the name of an entry, and the entry in a pickle."""
_LOCK = threading.Lock()
_UNPACKED: dict[tuple[str, str], bytes] = {}


def carried() -> list[_Packed]:
    """Pack what the user registered, for another process."""
    return [
        (home, attribute, name, _pickled(name, entry))
        for attribute, home in _HOMES.items()
        for name, entry in _at(home, attribute).theirs.items()
    ]


def unpack(packed: list[_Packed]) -> None:
    """Register in this process what `carried` packed in another, and nothing else."""
    wanted = {(attribute, name) for _, attribute, name, _ in packed}
    with _LOCK:  # a worker may have several threads
        for attribute, home in list(_HOMES.items()):
            registry = _at(home, attribute)
            for name in [name for name in registry.theirs if (attribute, name) not in wanted]:
                del registry[name]
        for home, attribute, name, pickled in packed:
            registry = _at(home, attribute)
            if name not in registry or _UNPACKED.get((attribute, name)) != pickled:
                registry[name] = _unpickled(name, pickled)
                _UNPACKED[attribute, name] = pickled


def _at(home: str, attribute: str) -> Registry[Any]:
    registry: Registry[Any] = getattr(importlib.import_module(home), attribute)
    return registry


def _pickled(name: str, entry: object) -> bytes:
    try:
        return bytes(cloudpickle.dumps(entry))
    except Exception as error:
        raise InputError(
            f"workers need what you registered, and {name!r} cannot be sent to them ({type(error).__name__}: "
            f"{one_line(error)}); take open files and the like out of it, or ask for one worker."
        ) from error


def _unpickled(name: str, pickled: bytes) -> Any:
    try:
        return cloudpickle.loads(pickled)
    except Exception as error:
        raise InputError(
            f"a worker cannot load {name!r}, which you registered ({type(error).__name__}: {one_line(error)}); define "
            "it in a file that --import names, or in a module that workers can import."
        ) from error
