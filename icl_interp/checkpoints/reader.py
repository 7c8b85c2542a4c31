"""What reads one format of checkpoint files, and what it may be told that a file does not say."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from icl_interp.checkpoints.record import Reading
from icl_interp.checkpoints.safe_load import WeightFile
from icl_interp.errors import CheckpointError

Layout = Mapping[str, object]
"""What a person says of a file: words or numbers by key."""

_Choice = TypeVar("_Choice")


class Reader(ABC):
    """A format of checkpoint files; derive from it and call `register_reader`.

    Example:
        >>> class Bare(Reader):
        ...     name = "a bare read-out"
        ...     signs = ("readout",)
        ...
        ...     def recognises(self, contents):
        ...         return isinstance(contents, dict) and "readout" in contents
        ...
        ...     def read(self, file, *, n_heads, layout):
        ...         raise NotImplementedError
        >>> Bare().recognises({"readout": 1})
        True
    """

    name: ClassVar[str] = ""
    """Which files these are, for sentences: "checkpoints of my lab"."""
    signs: ClassVar[tuple[str, ...]] = ()
    """Names that its files hold, with * for any text: they tell which format an unknown file is nearest to."""
    options: ClassVar[Mapping[str, str]] = {}
    """What `--layout key=value` may say of such a file: a clause by key."""

    def open(self, path: Path, head: bytes) -> Any | None:
        """Give what a file holds that neither torch, safetensors nor numpy has written.

        Args:
            path: The file.
            head: Its first bytes.

        Returns:
            Its contents, or None where the file is of another kind. Without this method it is always None.
        """
        del path, head
        return None  # the answer of most

    @abstractmethod
    def recognises(self, contents: Any) -> bool:
        """Tell whether a file is of this format.

        Args:
            contents: What it holds: tensors and plain data.

        Returns:
            True if `read` shall read it.
        """

    @abstractmethod
    def read(self, file: WeightFile, *, n_heads: int | None, layout: Layout) -> Reading:
        """Say which model a file holds.

        Args:
            file: Its path and contents.
            n_heads: Attention heads, where they were given.
            layout: What else was said of the file, by the keys of `options`.

        Returns:
            The model's config, its weights under our names, its task, and what was understood and assumed.
        """


def choose(layout: Layout, key: str, among: Mapping[str, _Choice], *, default: _Choice) -> _Choice:
    """Take one of several words."""
    if key not in layout:
        return default
    word = str(layout[key])
    if word not in among:
        raise CheckpointError(
            f"the layout of a file needs {key} out of {', '.join(among)}, got {word!r}; pass --layout {key}="
            f"{next(iter(among))} (layout={{{key!r}: ...}}) or another of them."
        )
    return among[word]


def count(layout: Layout, key: str, *, default: int, least: int, most: int) -> int:
    """Take a whole number."""
    if key not in layout:
        return default
    given = layout[key]
    text = str(given)
    number = int(text) if text.isdecimal() and len(text) < 10 and not isinstance(given, bool) else -1
    if not least <= number <= most:
        raise CheckpointError(
            f"the layout of a file needs {key} to be a whole number from {least} to {most}, got {given!r}; change it."
        )
    return number


def number_or_word(layout: Layout, key: str, among: Mapping[str, int], *, default: int, most: int) -> int:
    """Take a whole number, or a word that stands for one."""
    if str(layout.get(key)) in among:
        return among[str(layout[key])]
    if key in layout and not str(layout[key]).isdecimal():
        raise CheckpointError(
            f"the layout of a file needs {key} to be {', '.join(among)} or a number from 0 to {most}, got "
            f"{layout[key]!r}; change it."
        )
    return count(layout, key, default=default, least=0, most=most)
