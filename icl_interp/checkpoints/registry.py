"""The formats that open, in a registry to which users can add."""

import fnmatch
import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from icl_interp.checkpoints.dtsip import Dtsip
from icl_interp.checkpoints.gpt2 import GPT2
from icl_interp.checkpoints.hooked_transformer import HookedTransformerFile
from icl_interp.checkpoints.linear_attention import MergedMatrices, VonOswald
from icl_interp.checkpoints.own import Own
from icl_interp.checkpoints.record import Layout, Reader, Reading
from icl_interp.checkpoints.safe_load import WeightFile, head_of, load_weight_file, sha256_of
from icl_interp.checkpoints.timaeus import Timaeus
from icl_interp.checkpoints.weights import few, leaf_names, to_float32
from icl_interp.errors import CheckpointError, InputError, InputTypeError, users_code
from icl_interp.registry import Registry

_ALL_OURS = (Own(), Dtsip(), Timaeus(), HookedTransformerFile(), VonOswald(), GPT2(), MergedMatrices())
READERS = Registry[Reader](__name__, "READERS", {reader.name: reader for reader in _ALL_OURS})
"""Every reader by its name. Readers of others are asked first, the newest before all."""
_OURS = tuple(READERS)

_ReaderKind = TypeVar("_ReaderKind")
_Answer = TypeVar("_Answer")


def register_reader(kind: _ReaderKind) -> _ReaderKind:
    """Let `load_checkpoint` and `icl-probe` open a format of your own.

    Args:
        kind: A subclass of `Reader` with its own name, which is made without arguments. A class of the same module and
            name replaces the one before, so that a notebook's cell can run again.

    Returns:
        The same class, so that this works as a decorator.

    Raises:
        InputTypeError: If it is no subclass of Reader, or an abstract one.
        InputError: If it has no name, or one that another reader has.

    Example:
        >>> from icl_interp.checkpoints.own import read_own
        >>> @register_reader
        ... class Wrapped(Reader):
        ...     name = "our format in a list"
        ...
        ...     def recognises(self, contents):
        ...         return isinstance(contents, list)
        ...
        ...     def read(self, file, *, n_heads, layout):
        ...         return read_own(WeightFile(file.path, file.contents[0], file.sha256), n_heads=n_heads)
        >>> list(READERS)[-1]
        'our format in a list'
        >>> del READERS["our format in a list"]  # for the examples that follow
    """
    if not (isinstance(kind, type) and issubclass(kind, Reader)) or inspect.isabstract(kind):
        raise InputTypeError(f"register_reader needs a subclass of Reader that defines all its methods, got {kind!r}.")
    own: type[Reader] = kind
    if not isinstance(own.name, str) or not own.name:
        raise InputError(
            f"register_reader needs a name for sentences, got none in {own.__name__}; write name = "
            f'"checkpoints of my lab" in the class.'
        )
    READERS.add(own.name, own(), who="register_reader", what="name that no other reader has", code=type)
    return kind


def _theirs() -> list[Reader]:
    return list(reversed(READERS.theirs.values()))


def open_file(path: Path) -> WeightFile:
    """Read a file of any container that is known, or that a reader of the user's opens."""
    theirs = _theirs()
    for reader in theirs if path.is_file() else ():
        if (contents := _ask(reader, partial(reader.open, path, head_of(path)))) is not None:
            return WeightFile(path=path, contents=contents, sha256=sha256_of(path))
    return load_weight_file(path)


def is_claimed(path: Path, contents: object) -> bool:
    """Tell whether a reader takes a file, or what is in it, for weights."""
    readers = (*_theirs(), *(READERS[name] for name in _OURS if name in READERS))
    opened = any(_ask(reader, partial(reader.open, path, head_of(path))) is not None for reader in _theirs())
    return opened or any(_ask(reader, partial(reader.recognises, contents)) for reader in readers)


def read_file(file: WeightFile, *, n_heads: int | None, layout: Layout) -> Reading:
    """Let the reader that recognises a file say which model is in it."""
    for reader in (*_theirs(), *(READERS[name] for name in _OURS if name in READERS)):
        if not _ask(reader, partial(reader.recognises, file.contents)):
            continue
        _check_layout(file.path, reader, layout)
        reading = _ask(reader, partial(reader.read, file, n_heads=n_heads, layout=layout))
        if not isinstance(reading, Reading):
            raise InputTypeError(
                f"the reader {reader.name!r} needs to return a Reading, got {type(reading).__name__}; see "
                "icl_interp.Reader."
            )
        return reading if reader.name in _OURS else replace(reading, weights=to_float32(file.path, reading.weights))
    raise CheckpointError(_unknown(file))


def _ask(reader: Reader, question: Callable[[], _Answer]) -> _Answer:
    # What somebody else's reader says of an input is said as it stands; any other error of it is shown as theirs.
    if reader.name in _OURS:
        return question()
    with users_code(f"the reader {reader.name!r}", passing=(InputError,)):
        return question()


def _check_layout(path: Path, reader: Reader, layout: Layout) -> None:
    unknown = [key for key in layout if key not in reader.options]
    if unknown and not reader.options:
        raise CheckpointError(
            f"{reader.name} need no layout beside the file, got {few(map(str, unknown))}: {path}; leave out --layout "
            "(layout=)."
        )
    if unknown:
        known = "; ".join(f"{key} ({meaning})" for key, meaning in reader.options.items())
        raise CheckpointError(
            f"the layout of {reader.name} needs keys among {known}, got {few(map(str, unknown))}: {path}; check the "
            "spelling."
        )


def _unknown(file: WeightFile) -> str:
    if isinstance(file.contents, Mapping):
        names = list(leaf_names(file.contents))
        came = f"a dictionary with the keys {few(names) or '(none)'}"
    else:
        names, came = [], f"one {type(file.contents).__name__}"
    return (
        f"a checkpoint needs a format that is known, got {came}: {file.path}; {_nearest(names)}. Three ways on: "
        "--model my_model.py:load (loader=) opens it by your own code, see docs/own_models.md; activations that "
        "you saved as .npz are probed without a model; docs/checkpoints.md lists what opens, and "
        "icl_interp.register_reader adds a format of your own."
    )


def _nearest(names: list[str]) -> str:
    missing = {
        reader: [sign for sign in reader.signs if not any(fnmatch.fnmatchcase(name, f"*{sign}") for name in names)]
        for reader in READERS.values()
        if reader.signs
    }
    reader = min(missing, key=lambda reader: len(missing[reader]) / len(reader.signs))
    if len(missing[reader]) == len(reader.signs):
        return f"it is like none of {', '.join(READERS)}"
    return f"nearest are {reader.name}, which have {few(missing[reader]) or 'other parts'} as well"
