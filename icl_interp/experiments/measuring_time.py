"""How long measuring took: kept in the folder of an experiment, since what is measured is not measured again."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from icl_interp.atomic import write_atomically

__all__ = ["measuring", "seconds_of_measuring"]

_NAME = "measuring.json"


@contextmanager
def measuring(folder: str | Path) -> Iterator[None]:
    """Add the wall time of a `with` block to what measuring has taken so far, however the block ends.

    Args:
        folder: Of the experiment.

    Yields:
        Nothing.

    Raises:
        OSError: If the folder cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with measuring(folder):
        ...         pass
        ...     seconds_of_measuring(folder)
        0.0
    """
    started = time.monotonic()
    try:
        yield
    finally:
        seconds = seconds_of_measuring(folder) + time.monotonic() - started
        text = json.dumps({"seconds": round(seconds, 1)}) + "\n"
        write_atomically(Path(folder) / _NAME, lambda file: file.write(text.encode()))


def seconds_of_measuring(folder: str | Path) -> float:
    """Tell what measuring has taken in a folder.

    Args:
        folder: Of the experiment.

    Returns:
        Wall time of all commands that measured there, for all seeds and again where a command was repeated; 0 where
        none was, or an older version.
    """
    path = Path(folder) / _NAME
    return float(json.loads(path.read_text())["seconds"]) if path.is_file() else 0.0
