"""What a checkpoint is once it has been read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from icl_interp.models.config import ModelConfig
from icl_interp.tasks.base import Task

if TYPE_CHECKING:
    import icl_interp.models.hooked  # TransformerLens comes with it, and only a good file is worth that


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A model from a file, with what the file said and what it left open."""

    model: "icl_interp.models.hooked.HookedModel"
    """The model, in evaluation mode."""
    task: Task
    """What counts as in distribution."""
    step: int | None
    """Training steps taken, where known."""
    n_points_trained: int
    """Points that prompts had in training; the positions of later points are untrained."""
    origin: str
    """Which program wrote the file, in one clause."""
    notes: tuple[str, ...]
    """What was understood, a sentence each."""
    assumptions: tuple[str, ...]
    """What had to be assumed, a sentence each, with how to say otherwise."""
    path: Path
    """The weight file."""
    sha256: str
    """Checksum of the weight file, in hexadecimal."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the writer put beside the weights: plain provenance."""

    def __repr__(self) -> str:
        step = "unknown step" if self.step is None else f"step {self.step}"
        assumed = f"{len(self.assumptions)} assumption{'' if len(self.assumptions) == 1 else 's'}"
        return f"Checkpoint({self.path.name}, {self.origin}, {step}, {self.model.cfg.describe()}, {assumed})"


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What a reader makes of a file: everything but the model, which is built only from a good reading."""

    config: ModelConfig
    """Shape of the model."""
    weights: Mapping[str, Tensor]
    """float32 weights under the model's own names."""
    task: Task
    """The task of the file, or the one that was assumed."""
    n_points_trained: int
    """As in `Checkpoint`."""
    origin: str
    """As in `Checkpoint`."""
    step: int | None = None
    """As in `Checkpoint`."""
    notes: tuple[str, ...] = ()
    """As in `Checkpoint`."""
    task_assumptions: tuple[str, ...] = ()
    """What was assumed of the task; void once a task is given."""
    other_assumptions: tuple[str, ...] = ()
    """What was assumed besides the distribution; a task does not change it."""
    points_assumption: str | None = None
    """What was assumed of `n_points_trained`; void once a task with its own `n_points` is given."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """As in `Checkpoint`."""

    def __repr__(self) -> str:
        return f"Reading({self.origin}, {self.config.describe()})"
