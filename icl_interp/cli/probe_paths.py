"""Which checkpoint a command line asks to probe."""

from collections.abc import Sequence
from pathlib import Path

__all__ = ["probed_path"]


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


def _number(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdigit() else -1
