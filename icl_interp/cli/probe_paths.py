"""Which checkpoint a command line asks to probe."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from icl_interp.checkpoints.errors import CheckpointError
from icl_interp.checkpoints.folder import choose_file, numbered_files
from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.record import Checkpoint

__all__ = ["load_probed", "probed_path"]


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
    """Load what is probed; of a run folder whose newest checkpoint is damaged, the newest that can be read.

    Args:
        path: From `probed_path`.
        **how: As for `load_checkpoint`.

    Returns:
        The checkpoint; its assumptions say which newer ones were passed over.

    Raises:
        CheckpointError: As `load_checkpoint`, about the newest.
    """
    try:
        return load_checkpoint(path, **how)
    except CheckpointError:
        numbered = numbered_files(path) if path.is_dir() else {}
        if len(numbered) < 2 or choose_file(path).path not in numbered.values():
            raise
        from icl_interp.measure.development_files import load_newest

        return load_newest(numbered, **how)[0]


def _number(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdigit() else -1
