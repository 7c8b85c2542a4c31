"""A checkpoint, and what a reader of a format gets and returns."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from torch import Tensor

from icl_interp.checkpoints.safe_load import WeightFile
from icl_interp.errors import CheckpointError
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.base import Task

if TYPE_CHECKING:
    import icl_interp.models.hooked  # TransformerLens comes with it, and only a good file is worth that
Layout = Mapping[str, object]
"""What a person says of a file: words or numbers by key."""
_Choice = TypeVar("_Choice")


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A model from a file, with what the file says and what had to be assumed."""

    model: "icl_interp.models.hooked.HookedModel"
    """The model, in evaluation mode."""
    task: Task
    """Task in distribution."""
    step: int | None
    """Number of training steps taken, if known."""
    n_points_trained: int
    """Number of examples per prompt in training; the positions of later ones are untrained."""
    origin: str
    """Program that wrote the file, in one clause."""
    notes: tuple[str, ...]
    """What was understood, in one sentence per item."""
    assumptions: tuple[str, ...]
    """What had to be assumed, in one sentence per item, with the option that changes it."""
    path: Path
    """The weight file."""
    sha256: str
    """Checksum of the weight file, in hexadecimal."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Plain provenance that the writer put beside the weights."""

    def __repr__(self) -> str:
        step = "unknown step" if self.step is None else f"step {self.step}"
        assumed = f"{len(self.assumptions)} assumption{'' if len(self.assumptions) == 1 else 's'}"
        return f"Checkpoint({self.path.name}, {self.origin}, {step}, {self.model.cfg.describe()}, {assumed})"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a reader returns: everything but the model. Fields without a line here are as in `Checkpoint`."""

    config: ModelConfig
    """Shape of the model."""
    weights: Mapping[str, Tensor]
    """float32 weights under the model's own names."""
    task: Task
    """The task of the file, or the one that was assumed."""
    n_points_trained: int
    origin: str
    step: int | None = None
    notes: tuple[str, ...] = ()
    task_assumptions: tuple[str, ...] = ()
    """Assumptions about the task; void once a task is given."""
    other_assumptions: tuple[str, ...] = ()
    """Other assumptions, which a task does not change."""
    points_assumption: str | None = None
    """Assumption about `n_points_trained`; void once a task with its own `n_points` is given."""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Reading({self.origin}, {self.config.describe()})"


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
    """Name of the files in error messages: "checkpoints of my lab"."""
    signs: ClassVar[tuple[str, ...]] = ()
    """Names that its files hold, with * for any text; they find the format nearest to an unknown file."""
    options: ClassVar[Mapping[str, str]] = {}
    """Keys that `--layout key=value` takes for such a file, with one clause per key."""

    def open(self, path: Path, head: bytes) -> Any | None:
        """Read a file that neither torch, safetensors nor numpy has written.

        Args:
            path: The file.
            head: Its first bytes.

        Returns:
            Its contents, or None if the file is of another kind. Without this method it is always None.
        """
        del path, head
        return None  # the answer of most

    @abstractmethod
    def recognises(self, contents: Any) -> bool:
        """Tell whether a file is of this format.

        Args:
            contents: Tensors and plain data of the file.

        Returns:
            True if `read` shall read it.
        """

    @abstractmethod
    def read(self, file: WeightFile, *, n_heads: int | None, layout: Layout) -> Reading:
        """Read the model of a file.

        Args:
            file: Its path and contents.
            n_heads: Number of attention heads, if it was given.
            layout: What else was given, by the keys of `options`.

        Returns:
            The model's config, its weights under our names, its task, and what was understood and assumed.
        """


def choose(layout: Layout, key: str, among: Mapping[str, _Choice], *, default: _Choice) -> _Choice:
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
