"""The embedded models: small trained networks, each with the recipe, the seed and the manifest of its training."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.checkpoints.safe_load import numbered_files
from icl_interp.errors import InputError
from icl_interp.settings import read_yaml
from icl_interp.tasks.base import Task
from icl_interp.tasks.registry import task_from_config

FOLDER = Path(__file__).parent
PREFIX = "demo:"
"""How a command line names them."""


@dataclass(frozen=True, slots=True)
class DemoModel:
    """A trained network that ships with the package.

    Its weights are stored as float16 where that moves predictions by less than 0.001 of the root of E[y²], as a root
    mean square; the manifest holds this number and the largest change.
    """

    name: str
    """Name after `demo:` on a command line."""
    description: str
    """What it is and what it was trained on."""
    good_for: str
    """What to look at with it."""
    preset: str
    """Name of the recipe: `icl-train PRESET` trains it again."""

    @property
    def path(self) -> Path:
        """The checkpoint file, or the folder of a run with several checkpoints."""
        run = FOLDER / self.name
        return run if run.is_dir() else FOLDER / f"{self.name}.pt"

    @property
    def files(self) -> tuple[Path, ...]:
        """Its checkpoint files, by rising step."""
        numbered = numbered_files(self.path) if self.path.is_dir() else {0: self.path}
        return tuple(numbered[step] for step in sorted(numbered))

    @property
    def size(self) -> int:
        """Size of its checkpoint files in bytes."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Every setting of its training, as `icl-train` takes them from a YAML file."""
        return dict(read_yaml(self._beside("config.yaml")))

    @property
    def seed(self) -> int:
        """Seed of its first weights and its batches."""
        return int(self.recipe["seed"])

    @property
    def task(self) -> Task:
        """Task that it was trained on."""
        return task_from_config(self.recipe["task"])

    @property
    def manifest(self) -> Mapping[str, Any]:
        """Command, versions and machine of its training, and the precision of its weights."""
        return dict(json.loads(self._beside("manifest.json").read_text(encoding="utf-8")))

    def load(self) -> Checkpoint:
        """Load it; of a run the last checkpoint.

        Returns:
            The model in float32 with its task.
        """
        return load_checkpoint(self.path)

    def _beside(self, name: str) -> Path:
        return self.path / name if self.path.is_dir() else FOLDER / f"{self.name}_{name}"

    def __repr__(self) -> str:
        return f"DemoModel({self.name}: {self.description})"


_MODELS = (
    DemoModel(
        "demo", "a transformer of 4 layers on linear regression in 6 dimensions with weights in 3 of them",
        "a first look, shifts and the spectral signature", "demo",
    ),
    DemoModel(
        "transience", "12 checkpoints of a transformer on a pool of 8 tasks: on new tasks it gets better, then worse",
        "timelines, trajectories and learning coefficients", "transience",
    ),
    DemoModel(
        "lsa", "one layer of linear attention on regression tasks around (1, ..., 1)",
        "weights that can be read, and the error that attention alone cannot remove", "zhang-lsa",
    ),
    DemoModel(
        "ltb", "a linear transformer block on the same tasks: one gradient step from a learned start",
        "induced weights, and a mechanism and a risk that are known exactly", "zhang-ltb",
    ),
    DemoModel(
        "sparse", "a transformer of 3 layers on linear regression in 4 dimensions with one weight that is not zero",
        "comparison with the Lasso and least squares (it was trained for minutes only)", "sparse",
    ),
    DemoModel(
        "recurrence", "a transformer of 2 layers on sequences of numbers in which each follows from the one before",
        "models that read one number per token", "recurrence",
    ),
    DemoModel(
        "memoriser", "a transformer of 2 layers on a pool of 4 tasks, which it knows by heart",
        "retrieval of tasks against learning, and prompts from outside the pool", "memoriser",
    ),
    DemoModel(
        "generaliser", "the same transformer on a pool of 64 tasks, which solves new ones as well",
        "comparison with the memoriser", "generaliser",
    ),
)  # fmt: skip


def demo_models() -> Mapping[str, DemoModel]:
    """List the embedded models.

    `icl-probe demo:NAME` writes the report of one, `icl-train PRESET` trains it again.

    Returns:
        Records by name, today's demo first; `.load()` gives the model and its task.

    Example:
        >>> block = demo_models()["ltb"]
        >>> block.task.n_dims, block.seed, block.preset
        (5, 0, 'zhang-ltb')
        >>> block.load().model.cfg.family
        'ltb'
    """
    return MappingProxyType({model.name: model for model in _MODELS})


def embedded(path: Path) -> Path:
    """Give the files of an embedded model where a command line names one, and any other path as it is."""
    word = str(path)
    if not word.startswith(PREFIX) or path.exists():
        return path
    known = demo_models()
    if (name := word.removeprefix(PREFIX)) not in known:
        raise InputError(f"the embedded models are {', '.join(known)}, got {word!r}; name one of them, as in demo:ltb.")
    return known[name].path


def is_embedded(path: Path) -> bool:
    """Tell whether a path lies in the package, where no command writes."""
    return path.resolve().is_relative_to(FOLDER.resolve())
