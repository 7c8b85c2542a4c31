"""Write a file completely or not at all."""

import errno
import io
import os
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["write_atomically"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
            Whatever `write` makes of such an error, it is this one that is raised; its other errors pass through.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        _fill(temporary, write)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        remedy = "make room there" if error.errno in _NO_ROOM else "make the folder"
        raise OSError(
            f"writing a file needs a folder that exists and can be written, got {path} "
            f"({error.strerror or error}); {remedy} or choose another."
        ) from error
    finally:
        with suppress(OSError):  # what could not be written may not be removable either, and is the error to tell
            temporary.unlink()
    return path


class _DiskFile(io.FileIO):
    # Remembers the disk's first error: torch.save puts a RuntimeError of its zip writer in its place.
    failure: OSError | None = None

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            self.failure = self.failure or error
            raise


def _fill(temporary: Path, write: Callable[[BinaryIO], object]) -> None:
    # "x" rather than tempfile: the file gets the permissions that the user's umask gives.
    disk = _DiskFile(temporary, "xb")
    try:
        with io.BufferedWriter(disk) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
    except Exception:
        if disk.failure is not None:
            raise disk.failure from None
        raise


def _sync_folder(folder: Path) -> None:
    # Without this a crash may forget the rename; where folders cannot be opened (Windows) the rename still is
    # atomic.
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
