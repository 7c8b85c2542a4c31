"""Write a file completely or not at all, and replace only older files of our own; JSON without NaN."""

import errno
import io
import json
import math
import os
import re
import stat
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from icl_interp.errors import InputError

PAGE_MARKER = '<meta name="generator" content="icl-interp">'
"""In the head of every page that we write."""
_HEAD_BYTES = 2048
_OLDER_REPORT = re.compile(
    r'<!DOCTYPE html>\s*<html lang="en">\s*<head>\s*<meta charset="utf-8">.*<meta name="viewport".*'
    r'<meta name="color-scheme" content="light dark">\s*<title>',
    re.DOTALL,
)
_OLDER_WATCH_PAGE = re.compile(
    r'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">(<meta http-equiv="refresh" content="[\d.e+]+">)?'
    r"<title>Training: "
)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> Path:
    """Write into a temporary file of the same folder, force it to the disk, then move it into place.

    Whatever stood under the name stays until the new file is complete; whenever something fails, it stays for
    good and the temporary file is removed. A link stays a link, and what it points to is replaced. A pipe and a
    character device stay what they are, too: the complete bytes are sent through them.
    """
    path = Path(path)
    if _is_stream(path):
        _send(path, write)
        return path
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        if (problem := _special(target)) is not None:
            raise OSError(errno.EINVAL, problem)
        _fill(temporary, write)
        os.replace(temporary, target)
        _sync_folder(target.parent)
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


def refuse_foreign(path: str | os.PathLike[str], is_own: Callable[[Path], bool], *, what: str) -> None:
    """Refuse a name under which somebody keeps something else.

    A name that is free passes, and so do a pipe and a character device, which lose nothing.
    """
    path = Path(path)
    if _is_stream(path):
        return
    try:
        problem, is_free = _special(path), _mode(path) is None
        if problem is None and (is_free or is_own(path)):
            return
    except OSError as error:
        problem = error.strerror or str(error)
    if problem is not None:
        raise InputError(f"{what} needs a name for a file, got {path} ({problem}); choose another.")
    raise InputError(
        f"{what} is written over nothing but an older one that icl-interp wrote, got {path}, which holds something "
        "else; choose another name, or move that file away."
    )


def check_folder(flag: str, path: Path) -> None:
    """Refuse a place where no folder can be used or made; there may be folders above it to be made, too."""
    there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise InputError(f"{flag} needs a folder that can be written or made, got {path}.")


def is_own_page(path: Path) -> bool:
    """Tell whether a file is a page of ours."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).decode("utf-8", errors="replace")
        if PAGE_MARKER in head or _OLDER_WATCH_PAGE.match(head):
            return True
        return bool(_OLDER_REPORT.match(head)) and b'class="masthead"' in file.read()


def is_own_json(path: Path, file_format: str) -> bool:
    """Tell whether a file is JSON of one of our formats."""
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    said = contents.get("format") if isinstance(contents, dict) else None
    return isinstance(said, str) and said.rstrip(" 0123456789") == file_format.rstrip(" 0123456789")


def finite(value: Any) -> Any:
    """Put None in the place of NaN and infinities, which JSON lacks, wherever they stand in plain data."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    return value


def as_json(content: Mapping[str, Any]) -> str:
    """Write plain data so that equal data give equal text."""
    return json.dumps(finite(content), indent=1, sort_keys=True, allow_nan=False) + "\n"


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_stream(path: Path) -> bool:
    try:
        mode = _mode(path)
    except OSError:
        return False
    return mode is not None and (stat.S_ISFIFO(mode) or stat.S_ISCHR(mode))


def _special(path: Path) -> str | None:
    mode = _mode(path)
    if mode is None or stat.S_ISREG(mode):
        return None
    return os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "it is a disk or a socket"


def _send(path: Path, write: Callable[[BinaryIO], object]) -> None:
    # In memory first: what fails half way sends nothing, and torch.save goes back and forth.
    whole = io.BytesIO()
    write(whole)
    try:
        with open(os.open(path, os.O_WRONLY), "wb") as stream:
            stream.write(whole.getbuffer())
    except OSError as error:
        raise OSError(f"writing through {path} needs somebody who reads it to the end ({error.strerror}).") from error


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
