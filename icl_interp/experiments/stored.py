"""JSON files that experiments leave: never over a foreign file, and one sentence for whatever is wrong with one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from icl_interp.errors import InputError
from icl_interp.files import is_own_json, refuse_foreign, write_atomically

__all__ = ["check_stored_place", "complete", "read_stored", "write_stored"]


def check_stored_place(path: Path, file_format: str, *, what: str) -> None:
    """Refuse a name under which there is anything but a file of one format, of whatever version."""
    refuse_foreign(path, lambda file: is_own_json(file, file_format), what=what)


def write_stored(path: str | Path, text: str, file_format: str, *, what: str) -> Path:
    """Write a file of one format, completely or not at all."""
    check_stored_place(Path(path), file_format, what=what)
    return write_atomically(path, lambda file: file.write(text.encode()))


def read_stored(path: str | Path, file_format: str, *, what: str, written_by: str) -> dict[str, Any]:
    """Read a file of one format."""
    try:
        contents = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise InputError(f"{what} needs a JSON file, got {path} ({' '.join(str(error).split())}).") from error
    if not isinstance(contents, dict) or contents.get("format") != file_format:
        raise InputError(
            f"{what} needs the format {file_format!r}, got another file: {path}; write it by {written_by}."
        )
    return contents


@contextmanager
def complete(path: str | Path, *, what: str, written_by: str) -> Iterator[None]:
    """Turn whatever is wrong with the fields of a file into one sentence."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"{what} needs all fields as {written_by} writes them, got {path} ({reason}); write it again."
        ) from error
