"""How long measuring took: kept in the folder of an experiment, since many measurements are not made again."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from icl_interp.errors import InputError
from icl_interp.files import write_atomically

__all__ = ["measuring", "seconds_of_measuring"]

_NAME = "measuring.json"


@contextmanager
def measuring(folder: str | Path) -> Iterator[None]:
    """Add the wall time of a `with` block to what measuring has taken so far, however the block ends."""
    before, started = seconds_of_measuring(folder), time.monotonic()
    try:
        yield
    finally:
        seconds = before + time.monotonic() - started
        text = json.dumps({"seconds": round(seconds, 1)}) + "\n"
        write_atomically(Path(folder) / _NAME, lambda file: file.write(text.encode()))


def seconds_of_measuring(folder: str | Path) -> float:
    """Tell how many seconds measuring has taken in a folder."""
    path = Path(folder) / _NAME
    if not path.is_file():
        return 0.0
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
        if contents.keys() != {"seconds"}:
            raise InputError(", ".join(contents))
        return float(contents["seconds"])
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"the time of measuring needs a file with a number of seconds, got {path}; remove it."
        ) from error
