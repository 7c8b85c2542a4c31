"""The run folder: config, manifest, metrics and checkpoints of one training run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icl_interp.atomic import write_atomically
from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.models.hooked import HookedModel
from icl_interp.tasks.base import Task

__all__ = ["RunFolder"]


class RunFolder:
    """A folder that tells the story of one run: config.yaml, manifest.json, metrics.jsonl, checkpoints/step_N.pt.

    Args:
        path: Made if it is missing; refused if it already holds a run, so that nothing is overwritten.

    Raises:
        ValueError: If the folder holds files already or cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = RunFolder(Path(folder) / "run", config="steps: 1")
        ...     run.log({"step": 1, "loss": 2.0})
        ...     print(run.metrics_path.read_text(), end="")
        {"step": 1, "loss": 2.0}
    """

    def __init__(self, path: str | Path, *, config: str) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if any(self.path.iterdir()):
                raise ValueError(f"a new run needs an empty folder, {self.path} holds files; choose another --out.")
            write_atomically(self.path / "config.yaml", lambda file: file.write(config.encode()))
            (self.path / "checkpoints").mkdir()
        except OSError as error:
            reason = error.strerror or getattr(error.__cause__, "strerror", None) or error
            raise ValueError(
                f"a run needs a folder that can be written, got {self.path} ({reason}); choose another --out."
            ) from error

    @property
    def metrics_path(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    def checkpoint_path(self, step: int) -> Path:
        """Name the checkpoint of a step.

        Args:
            step: Optimiser steps taken.

        Returns:
            A path that sorts by step.
        """
        return self.path / "checkpoints" / f"step_{step:08d}.pt"

    def log(self, record: Mapping[str, float | int]) -> None:
        """Append one line of metrics.

        Args:
            record: Plain numbers by name.
        """
        with self.metrics_path.open("a") as file:
            file.write(json.dumps(dict(record)) + "\n")

    def save(self, model: HookedModel, task: Task, step: int) -> Path:
        """Write a checkpoint, completely or not at all.

        Args:
            model: With its weights after `step` steps.
            task: What it trains on.
            step: Optimiser steps taken.

        Returns:
            Where it is.
        """
        return save_checkpoint(self.checkpoint_path(step), model, task=task, step=step)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write what the run was made with, completely or not at all.

        Args:
            manifest: Plain values by name.
        """
        text = json.dumps(dict(manifest), indent=2) + "\n"
        write_atomically(self.path / "manifest.json", lambda file: file.write(text.encode()))
