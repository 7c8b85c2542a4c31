"""Where the records of a timeline are kept."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from icl_interp.measure.development_files import RunFiles

__all__ = ["records_folder"]


@contextmanager
def records_folder(asked: Path | None, runs: Sequence[RunFiles]) -> Iterator[tuple[Path | None, str]]:
    """Choose a folder that the next call chooses as well, so that an interrupted analysis goes on.

    Args:
        asked: Of --cache.
        runs: Whose checkpoints are measured.

    Yields:
        The folder, None for "development" inside each run folder, and what to say about it. Where nothing was asked
        for, the run folders come first, then the user's cache folder as the system has it, and last a temporary one,
        which is gone at the end of the block.
    """
    if asked is not None:
        yield asked, f"the timeline's records are kept in {asked}"
    elif all(os.access(run.folder, os.W_OK) for run in runs):
        yield None, ""
    elif (own := _made(user_cache_path("icl-interp"))) is not None:
        yield own, f"a run folder cannot be written, so the timeline's records are kept in {own}"
    else:
        with tempfile.TemporaryDirectory() as lost:
            yield (
                Path(lost),
                "neither run nor cache folder can be written, so the timeline's records are lost at the end; --cache "
                "FOLDER keeps them",
            )


def _made(folder: Path) -> Path | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
