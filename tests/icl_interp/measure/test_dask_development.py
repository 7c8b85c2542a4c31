"""An analysis of development on a real Dask scheduler with two workers, of which one is killed in the middle."""

import os
import shutil
import threading
from pathlib import Path

import pytest
from dask_cluster import Cluster, wait_for
from development_runs import FEW, SHORT, make_run

from icl_interp.measure.development.run import development
from icl_interp.training.schedules import CheckpointSteps

pytest.importorskip("distributed", reason="the cluster extra is not installed")

NEEDED = "icl_interp.measure.development.jobs"


@pytest.mark.slow  # three processes import torch and TransformerLens; a killed worker of a sweep is no slow test
def test_a_worker_that_is_killed_costs_no_record(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, workers = cluster
    assert address.startswith("tcp://")
    run = make_run(tmp_path / "run", steps=24, checkpoints=CheckpointSteps(every=2))
    copy = shutil.copytree(run, tmp_path / "copy" / "run")
    alone = development(copy, settings=FEW, llc=SHORT)
    records, killed = run / "development", []

    def kill_in_the_middle() -> None:
        wait_for("a record", lambda: len(list(records.glob("*.pt"))) >= 2)
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
