"""A real Dask scheduler on TCP with two workers, for the tests that kill one of them in the middle."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 240.0
"""Seconds: each process imports torch and TransformerLens first."""

Cluster = tuple[str, list[subprocess.Popen[bytes]]]
"""The scheduler's address, and its workers."""


def wait_for(what: str, ready: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < give_up, f"waited in vain for {what}"
        time.sleep(0.02)


@contextmanager
def started_cluster(place: Path, *, needed: str) -> Iterator[Cluster]:
    """Start the processes, which work in a folder of their own inside `place`, and end them with the block.

    `needed` is the module with what the workers will do.

    Both workers are there when the block begins: joblib waits for one for ten seconds only.
    """
    file, elsewhere = place / "scheduler.json", place / "elsewhere"
    elsewhere.mkdir()
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file", str(file)]
    processes = [_dask("scheduler", *options, cwd=elsewhere)]
    try:
        wait_for("the scheduler", lambda: file.exists() and file.read_text().endswith("}"))
        address = json.loads(file.read_text())["address"]
        local = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(elsewhere)]
        # Each imports what it will need before it takes work, so that both have some at the moment of the kill.
        local += ["--preload", needed]
        workers = [_dask("worker", address, *local, "--name", f"worker{n}", cwd=elsewhere) for n in range(2)]
        processes += workers
        _wait_for_workers(address)
        yield address, workers
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _wait_for_workers(address: str) -> None:
    from distributed import Client  # an extra; tests without it are skipped before they come here

    with Client(address) as client:
        client.wait_for_workers(2, timeout=PATIENCE)


def _dask(*arguments: str, cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd
    )
