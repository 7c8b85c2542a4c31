"""The run folder: config, manifest, metrics, checkpoints and the state to resume from, of one training run."""

import hashlib
import json
import os
import re
import struct
import sys
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from icl_interp.checkpoints.own import write_checkpoint
from icl_interp.errors import CheckpointError, InputError
from icl_interp.files import finite, write_atomically
from icl_interp.tasks.base import Task

_LOCK = ".lock"
"""Held, by means of the operating system, while a process writes the run; the file may stay."""
LOOK_SECONDS = 1.0
"""Between two looks whether another process still writes (our choice)."""
_LEFTOVER = re.compile(
    r"\.(config\.yaml|manifest\.json|metrics\.jsonl|resume\.pt|watch\.html|step_\d+\.pt)\.[0-9a-f]{8}\.tmp"
)
"""Names under which this project writes what is not complete yet."""
_CAN_LOOK = sys.platform == "linux"
"""Whether the operating system tells of a lock without taking it."""
_MOMENT = 0.0 if _CAN_LOOK else 0.2
"""Seconds that a new writer waits where somebody who only asks holds the lock for an instant."""


class RunBusyError(InputError):
    """Another process writes the run."""

    def __init__(self, path: str | Path) -> None:
        super().__init__(
            f"a run has one writer, and another process writes {path}; wait for it or choose another --out."
        )
        self.path = Path(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    def wait(self) -> None:
        """Return when that process no longer writes: it has closed the run, or is no more."""
        while True:
            time.sleep(LOOK_SECONDS)
            if not is_busy(self.path):
                return


def is_busy(path: str | Path) -> bool:
    """Ask whether a process writes a run now, without getting in the way of one that is about to."""
    try:
        with FileIO(Path(path) / _LOCK) as file:
            return _look(file)
    except (FileNotFoundError, NotADirectoryError):
        return False


if _CAN_LOOK:
    # FileLock's own lock (flock) keeps writers apart; nobody can ask about it without trying to take it. So a writer
    # holds one of another kind as well (of its open file, F_OFD), which can be asked about.
    import fcntl

    def _record(kind: int) -> bytes:
        return struct.pack("hhqqi", kind, os.SEEK_SET, 0, 0, 0)  # struct flock: the whole file

    def _show(lock: Path) -> int:
        file = os.open(lock, os.O_RDWR)
        with suppress(OSError):  # a network file system where both kinds are one says no, and shows it already
            fcntl.fcntl(file, fcntl.F_OFD_SETLK, _record(fcntl.F_WRLCK))
        return file

    def _look(file: FileIO) -> bool:
        answer = fcntl.fcntl(file, fcntl.F_OFD_GETLK, _record(fcntl.F_WRLCK))
        return bool(struct.unpack("hhqqi", answer)[0] != fcntl.F_UNLCK)

else:

    def _show(lock: Path) -> int:
        return os.open(lock, os.O_RDONLY)

    def _look(file: FileIO) -> bool:
        try:
            FileLock(file.name).acquire(timeout=0).lock.release()
        except Timeout:
            return True
        return False


class RunFolder:
    """The folder of one run: config.yaml, manifest.json, metrics.jsonl, checkpoints/step_N.pt.

    One process at a time: the folder is locked until `close`, until a `with` block ends, or the process does.
    """

    def __init__(self, path: str | Path, *, config: str, resume: bool = False) -> None:
        self.path = Path(path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not resume:
                self._refuse_files()
            self._lock = FileLock(self.path / _LOCK)
            self._acquire()
            try:
                self._open(config, resume=resume)
            except BaseException:
                self.close()
                raise
        except OSError as error:
            reason = error.strerror or getattr(error.__cause__, "strerror", None) or error
            raise InputError(
                f"a run needs a folder that can be written, got {self.path} ({reason}); choose another --out."
            ) from error

    def _acquire(self) -> None:
        try:
            self._lock.acquire(timeout=_MOMENT)
        except Timeout:
            raise RunBusyError(self.path) from None
        self._hide = weakref.finalize(self, os.close, _show(self.path / _LOCK))

    def _open(self, config: str, *, resume: bool) -> None:
        if not resume:
            self._refuse_files()  # again: another process may have been faster
        self._remove_leftovers()
        stored = self.path / "config.yaml"
        if not stored.exists():
            self._refuse_files()
            write_atomically(stored, lambda file: file.write(config.encode()))
        (self.path / "checkpoints").mkdir(exist_ok=True)

    def _refuse_files(self) -> None:
        if any(entry.name != _LOCK for entry in self.path.iterdir()):
            raise InputError(
                f"a new run needs an empty folder, {self.path} holds files; choose another --out, or --resume if it "
                "is a run."
            )

    def _remove_leftovers(self) -> None:
        # What a process that was killed while it wrote has left; nobody else writes here.
        if (self.path / "config.yaml").exists() or not any(
            not entry.name.startswith(".") for entry in self.path.iterdir()
        ):
            for folder in (self.path, self.path / "checkpoints"):
                for file in folder.glob(".*.tmp"):
                    if _LEFTOVER.fullmatch(file.name):
                        file.unlink(missing_ok=True)

    def close(self) -> None:
        """Let other processes write."""
        self._hide()
        self._lock.release(force=True)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def config_sha256(self) -> str:
        """What names the config: the hash of config.yaml as it lies there, whichever version wrote it."""
        return hashlib.sha256((self.path / "config.yaml").read_bytes()).hexdigest()

    @property
    def metrics_path(self) -> Path:
        """One JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def manifest_path(self) -> Path:
        """What the run was made with."""
        return self.path / "manifest.json"

    @property
    def resume_path(self) -> Path:
        """The newest state that training can go on from."""
        return self.path / "resume.pt"

    def checkpoint_path(self, step: int) -> Path:
        return self.path / "checkpoints" / f"step_{step:08d}.pt"

    def log(self, record: Mapping[str, Any]) -> None:
        with self.metrics_path.open("a", encoding="utf-8") as file:
            file.write(_line(record))

    def sync_metrics(self) -> None:
        """Force the metrics to the disk, so that no state is newer than they are."""
        if self.metrics_path.exists():
            with self.metrics_path.open("rb+") as file:
                os.fsync(file.fileno())

    def read_metrics(self) -> list[dict[str, Any]]:
        return read_metrics(self.path)

    def forget_metrics_after(self, step: int) -> list[dict[str, Any]]:
        """Drop lines of steps that will be taken again."""
        kept = [record for record in self.read_metrics() if record["step"] <= step]
        text = "".join(map(_line, kept))
        if self.metrics_path.exists():
            write_atomically(self.metrics_path, lambda file: file.write(text.encode()))
        return kept

    def save(self, model: Any, task: Task, step: int, *, n_points_trained: int | None = None) -> Path:
        """Write a checkpoint, completely or not at all."""
        path = self.checkpoint_path(step)
        try:
            return write_checkpoint(path, model, task=task, step=step, n_points_trained=n_points_trained)
        except CheckpointError as error:
            if isinstance(error.__cause__, OSError):
                raise error.__cause__ from None
            raise

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write what the run was made with, completely or not at all."""
        text = json.dumps(dict(manifest), indent=2) + "\n"
        write_atomically(self.manifest_path, lambda file: file.write(text.encode()))

    def read_manifest(self) -> dict[str, Any]:
        return read_manifest(self.path)


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Read what a run was made with and whether it is finished."""
    path = Path(folder) / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        manifest = None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("finished"), bool):
        raise InputError(
            f"a run needs a manifest that is whole JSON and says whether it is finished, got a damaged one: {path}; "
            "remove it, and a resumed run writes a new one."
        )
    return manifest


def read_metrics(folder: str | Path) -> list[dict[str, Any]]:
    """Read what a run has logged.

    What a killed process or a power loss leaves at the end is left out: a torn line, NULs. A resumed run logs those
    steps again.
    """
    path = Path(folder) / "metrics.jsonl"
    try:
        lines = [line.strip(b"\0") for line in path.read_bytes().split(b"\n")[:-1]]
    except FileNotFoundError:
        return []
    while lines and not lines[-1]:
        lines.pop()
    records = [_decoded(line) for line in lines]
    if records and records[-1] is None:
        records.pop()
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict) or type(record.get("step")) is not int:
            raise InputError(
                f"a run needs metrics of one JSON object with a step a line, got a damaged line {number}: {path}; "
                "remove that line."
            )
    return records


def _decoded(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(finite(record), allow_nan=False) + "\n"
