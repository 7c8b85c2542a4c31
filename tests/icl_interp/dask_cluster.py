"""A real Dask scheduler on TCP with two workers, for the tests that kill one of them in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 240.0
"""Seconds: torch and TransformerLens are imported first."""

# Imports what the workers will need, once for both, so that both take work at the moment of the kill.
_PROGRAM = """
import importlib, json, os, sys
from distributed.cli import dask_scheduler, dask_worker
importlib.import_module(sys.argv[1])
for command, arguments in json.loads(sys.argv[2]):
    child = os.fork()
    if child == 0:
        {"scheduler": dask_scheduler, "worker": dask_worker}[command].main(arguments)
        os._exit(0)
    print(child, flush=True)
for _ in range(3):
    os.wait()
"""


@dataclass
class Process:
    """The scheduler or a worker: a process that is no child of this one."""

    number: int

    def kill(self) -> None:
        os.kill(self.number, signal.SIGKILL)

    def wait(self) -> None:
        wait_for("the end of a process", lambda: not Path("/proc", str(self.number)).exists())


Cluster = tuple[str, list[Process]]
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
    here = ["--scheduler-file", str(file), "--no-dashboard"]
    local = ["--no-nanny", "--nthreads", "1", "--local-directory", str(elsewhere)]
    commands = [
        ("scheduler", [*here, "--host", "127.0.0.1", "--port", "0", "--no-show"]),
        *(("worker", [*here, *local, "--name", f"worker{n}"]) for n in range(2)),
    ]
    parent = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, needed, json.dumps(commands)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=elsewhere,
    )  # fmt: skip
    assert parent.stdout is not None
    processes = [Process(int(parent.stdout.readline())) for _ in commands]
    try:
        wait_for("the scheduler", lambda: file.exists() and file.read_text().endswith("}"))
        address = json.loads(file.read_text())["address"]
        _wait_for_workers(address)
        yield address, processes[1:]
    finally:
        for process in processes:
            if Path("/proc", str(process.number)).exists():
                process.kill()
        parent.communicate()


def _wait_for_workers(address: str) -> None:
    from distributed import Client  # an extra; tests without it are skipped before they come here

    with Client(address) as client:
        client.wait_for_workers(2, timeout=PATIENCE)
