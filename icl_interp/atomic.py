"""Write a file completely or not at all."""

import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

__all__ = ["write_atomically"]


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> Path:
    """Write into a temporary file of the same folder, force it to the disk, then move it into place.

    Whatever stood under the name stays until the new file is complete; whenever something fails, it stays for
    good and the temporary file is removed.

    Args:
        path: Where the file shall be; its folder must exist.
        write: Fills an open binary file.

    Returns:
        The path.

    Raises:
        OSError: If the folder is missing or not writable, the name is taken by a folder, or the disk is full.
            Errors of `write` that do not come from the disk pass through.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        # "x" rather than tempfile: the file gets the permissions that the user's umask gives.
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        raise OSError(
            f"writing a file needs a folder that exists and can be written, got {path} "
            f"({error.strerror or error}); make the folder or choose another."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _sync_folder(folder: Path) -> None:
    # Without this a crash may forget the rename; where folders cannot be opened (Windows) the rename still is
    # atomic.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
