"""Which checkpoint a command line asks to probe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icl_interp.checkpoints.errors import CheckpointError
from icl_interp.checkpoints.folder import choose_file, numbered_files
from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.measure.development_failure import MeasurementError, demand_finite
from icl_interp.measure.development_files import load_newest

__all__ = ["load_probed", "probed_path"]

_TRIED = 64
"""Prompts that a run's newest checkpoint must answer with numbers."""


def probed_path(paths: Sequence[Path]) -> Path:
    """Choose what the chapters on a single checkpoint are about.

    Args:
        paths: Of the command line, at least one.

    Returns:
        The first path; where it is a file and others of its folder are named as well (`step_*.pt`), the one of them
        with the largest number.
    """
    first = paths[0]
    if first.is_dir() or len(paths) == 1:
        return first
    same = [path for path in paths if path.parent == first.parent and not path.is_dir()]
    return max(same, key=_number)


def load_probed(path: Path, **how: Any) -> Checkpoint:
    """Load what is probed; of a run folder the newest checkpoint that can be read and whose answers are finite.

    Args:
        path: From `probed_path`.
        **how: As for `load_checkpoint`.

    Returns:
        The checkpoint; its assumptions say which newer ones were passed over.

    Raises:
        InputError: What is wrong with the newest, where there is no older one to turn to.
    """
    numbered = numbered_files(path) if path.is_dir() else {}
    if len(numbered) < 2 or choose_file(path).path not in numbered.values():
        return load_checkpoint(path, **how)
    try:
        checkpoint = load_checkpoint(path, **how)
        _try_out(checkpoint)
    except (CheckpointError, MeasurementError):
        return load_newest(numbered, try_out=_try_out, **how)[0]
    return checkpoint


def _try_out(checkpoint: Checkpoint) -> None:
    # This brings in TransformerLens, which takes seconds; a bad file was refused before it.
    from icl_interp.measure.development_prompts import answers

    demand_finite("answers", answers(checkpoint.model, checkpoint.task.sample(_TRIED, seed=0)))


def _number(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdigit() else -1
