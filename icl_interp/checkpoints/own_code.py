"""Weights that the user's own code opens: a function from a path to their network."""

import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.checkpoints.safe_load import choose_file, numbered_files
from icl_interp.errors import CheckpointError, InputError, InputTypeError, users_code
from icl_interp.tasks.base import Task
from icl_interp.tasks.registry import task_from_config
from icl_interp.user_files import import_files

_POINTS_UNKNOWN = (
    "How many examples prompts had in training is not known: {n_points} are assumed, the usual number of the task; "
    "say otherwise with `--task n_points={n_points}` or `task=`."
)
Loader = Callable[[Path], Any]
"""From the path of a weight file, or of a folder, to a module or a wrapped one."""


@dataclass(frozen=True, slots=True)
class CodeFile:
    """A function in a Python file of the user's; plain data, so that other processes can import it as well."""

    file: Path
    """Path of the file."""
    name: str
    """Name of a function of one path."""

    @classmethod
    def parse(cls, text: str) -> "CodeFile":
        """Read FILE.py:NAME."""
        file, colon, name = text.rpartition(":")
        if not colon or not name.isidentifier() or not file.endswith(".py"):
            raise InputError(f"--model needs FILE.py:NAME, such as my_model.py:load, got {text!r}; write it so.")
        if not Path(file).is_file():
            raise InputError(f"--model needs a Python file that exists, got {file}; check the path.")
        return cls(Path(file).absolute(), name)

    def __call__(self, path: Path) -> Any:
        """Import the file and call its function."""
        import_files([self.file], option="--model")
        function = getattr(sys.modules[self.file.stem], self.name, None)
        if not callable(function):
            raise InputError(f"--model needs a function {self.name} in {self.file.name}, which has none; define it.")
        with users_code(str(self)):
            return function(path)

    def __str__(self) -> str:
        return f"{self.file.name}:{self.name}"


def load_by(loader: Loader, path: Path, *, task: Any, device: str | torch.device) -> Checkpoint:
    """Open weights by the user's own code, which runs because the user names it.

    Raises:
        CheckpointError: If the path does not exist, there is no task, or what comes is no module.
        InputTypeError: If the loader is no function.
    """
    from icl_interp.models.open.wrap import WrappedModel, wrap  # seconds, spent on a good file only

    if not path.exists():
        raise CheckpointError(f"{path} does not exist; check the path.")
    chosen = choose_file(path).path if path.is_dir() and numbered_files(path) else path
    if not callable(loader):
        raise InputTypeError(
            f"loader needs a function from the path to a torch module, got {loader!r}; import it and pass the function."
        )
    found = task_of(task)
    model = loader(chosen)
    if isinstance(model, torch.nn.Module) and not isinstance(model, WrappedModel):
        try:
            model = wrap(model)
        except InputTypeError:  # one of our own classes
            model = model.eval()
    if not isinstance(model, torch.nn.Module):
        raise CheckpointError(
            f"{_named(loader)} needs to return a torch module or a wrapped one, got {type(model).__name__}; return the "
            "network."
        )
    if isinstance(model, WrappedModel) and isinstance(loader, CodeFile):
        model.options = replace(model.options, code=str(loader))
    model = model.to(device)
    first = found.sample(8, seed=0)
    model.prepare(first.xs, first.ys)
    return Checkpoint(
        model=model,
        task=found,
        step=None,
        n_points_trained=found.default_points,
        origin=f"opened by {_named(loader)}",
        notes=(),
        assumptions=() if found.n_points else (_POINTS_UNKNOWN.format(n_points=found.default_points),),
        path=chosen,
        sha256=_checksum(chosen),
    )


def _named(loader: Loader) -> str:
    return str(loader) if isinstance(loader, CodeFile) else getattr(loader, "__name__", "your function")


def task_of(task: Any) -> Task:
    """Take the task that must be given, since code says nothing of it."""
    if isinstance(task, Task):
        return task
    if not task:
        raise CheckpointError(
            "a network that your own code opens needs its task, and none was given; pass task=... (--task "
            "family=linear_regression --task n_dims=5)."
        )
    return task_from_config(task)


def identity_of(loader: Loader) -> str:
    """Name the code of a loader by its contents, for keys of records that it took part in."""
    if isinstance(loader, CodeFile):
        return f"{loader.name} {hashlib.sha256(loader.file.read_bytes()).hexdigest()}"
    try:
        return hashlib.sha256(inspect.getsource(loader).encode()).hexdigest()
    except (OSError, TypeError):
        return f"{getattr(loader, '__module__', '')}.{getattr(loader, '__qualname__', type(loader).__name__)}"


def _checksum(path: Path) -> str:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
