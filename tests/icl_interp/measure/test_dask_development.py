"""An analysis of development on a real Dask scheduler with two workers, of which one is killed in the middle."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from development_runs import FEW, SHORT, make_run

from icl_interp.measure.development import development
from icl_interp.training.schedules import CheckpointSteps

pytest.importorskip("distributed", reason="the cluster extra is not installed")

PATIENCE = 120.0
"""Seconds: each worker imports torch and TransformerLens first."""


def _dask(*arguments: str, cwd: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=cwd
    )


def _wait_for(what: str, ready: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < give_up, f"waited in vain for {what}"
        time.sleep(0.005)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a scheduler on TCP, and its two workers, which live in another folder."""
    file, place = tmp_path / "scheduler.json", tmp_path / "elsewhere"
    place.mkdir()
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file", str(file)]
    processes = [_dask("scheduler", *options, cwd=place)]
    try:
        _wait_for("the scheduler", lambda: file.exists() and file.read_text().endswith("}"))
        address = json.loads(file.read_text())["address"]
        local = ["--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(place)]
        # Each imports what it will need before it takes work, so that both have some at the moment of the kill.
        local += ["--preload", "icl_interp.measure.development_workers"]
        workers = [_dask("worker", address, *local, "--name", f"worker{n}", cwd=place) for n in range(2)]
        processes += workers
        yield address, workers
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_worker_that_is_killed_costs_no_record(
    cluster: tuple[str, list[subprocess.Popen[bytes]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import Client

    address, workers = cluster
    assert address.startswith("tcp://")
    run = make_run(tmp_path / "run", steps=24, checkpoints=CheckpointSteps(every=2))
    copy = shutil.copytree(run, tmp_path / "copy" / "run")
    alone = development(copy, settings=FEW, llc=SHORT)
    with Client(address) as client:
        client.wait_for_workers(2, timeout=PATIENCE)
    records, killed = run / "development", []

    def kill_in_the_middle() -> None:
        _wait_for("a record", lambda: len(list(records.glob("*.pt"))) >= 2)
        workers[0].kill()
        workers[0].wait()
        killed.append({path: path.stat().st_mtime_ns for path in records.glob("*.pt")})

    monkeypatch.chdir(tmp_path)
    thread = threading.Thread(target=kill_in_the_middle)
    thread.start()
    spread = development("run", settings=FEW, llc=SHORT, scheduler=address)  # a relative path, another folder's workers
    thread.join()
    (kept,) = killed
    assert 2 <= len(kept) < 13  # in the middle
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # nothing was measured twice
    assert spread.to_json() == alone.to_json()
    names = [folder / "development" / "development.json" for folder in (run, copy)]
    assert names[0].read_bytes() == names[1].read_bytes()
    assert os.path.relpath(records) == "run/development"
