"""Find the weight file of a run folder."""

import re
from dataclasses import dataclass
from pathlib import Path

from icl_interp.checkpoints.errors import CheckpointError

__all__ = ["Choice", "choose_file", "numbered_files"]

_NUMBERED = ("model_*", "checkpoints/step_*", "step_*")
_NAME = re.compile(r"(?:model|step)_(\d+)\.(?:pt|safetensors)")


@dataclass(frozen=True, slots=True)
class Choice:
    """The weight file to read, and why that one."""

    path: Path
    """The file."""
    note: str | None
    """A sentence where there was a choice."""

    def __repr__(self) -> str:
        return f"Choice({self.path})"


def choose_file(path: Path) -> Choice:
    """Take a file as it is, and out of a run folder its current or newest checkpoint.

    dtsip/in-context-learning keeps the current one in state.pt; otherwise the highest number in model_N.pt,
    checkpoints/step_N.pt or step_N.pt wins. What is numbered may end in .safetensors as well.

    Args:
        path: A file or a folder.

    Returns:
        The file; whether it exists and can be read is not looked at.

    Raises:
        CheckpointError: If a folder holds no checkpoint, or may not be listed.
    """
    try:
        if not path.is_dir():
            return Choice(path=path, note=None)
        if (path / "state.pt").exists():
            return Choice(path=path / "state.pt", note=None)
        if numbered := numbered_files(path):
            newest = numbered[max(numbered)]
            note = f"Of {len(numbered)} checkpoints in the folder the newest was taken, {newest.name}."
            return Choice(path=newest, note=note)
    except OSError as error:
        raise CheckpointError(
            f"a run folder needs to be readable, got {path} ({error.strerror}); change its permissions."
        ) from error
    raise CheckpointError(
        f"a run folder needs a checkpoint (state.pt, model_N.pt or checkpoints/step_N.pt), got a folder "
        f"without one: {path}; name the weight file itself."
    )


def numbered_files(path: Path) -> dict[int, Path]:
    """List the checkpoints of a run folder that are numbered by their step.

    Args:
        path: A folder.

    Returns:
        Files by step: model_N, else checkpoints/step_N, else step_N; empty where there is none.
    """
    for pattern in _NUMBERED:
        numbered = {n: file for file in path.glob(pattern) if (n := _number(file)) is not None}
        if numbered:
            return numbered
    return {}


def _number(file: Path) -> int | None:
    match = _NAME.fullmatch(file.name)
    return int(match.group(1)) if match else None
