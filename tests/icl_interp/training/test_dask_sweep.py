"""A sweep on a real Dask scheduler with two workers, of which one is killed in the middle."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml
from dask_cluster import PATIENCE, Cluster, wait_for
from training_cases import TINY, assert_same_runs

from icl_interp import train
from icl_interp.training.schedules import CheckpointSteps
from icl_interp.training.sweep import SweepRun, expand_grid, load_grid

pytest.importorskip("distributed", reason="the cluster extra is not installed")

CONFIG = TINY.model_copy(update={"steps": 300, "checkpoints": CheckpointSteps(every=50), "eval_every": None})
GRID = {"seed": list(range(4))}


def _manifest(run: SweepRun) -> dict[str, object]:
    path = run.folder / "manifest.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _finished(runs: list[SweepRun]) -> list[SweepRun]:
    return [run for run in runs if _manifest(run).get("finished")]


def _under_way(runs: list[SweepRun]) -> list[SweepRun]:
    return [run for run in runs if (run.folder / "resume.pt").exists() and not _manifest(run).get("finished")]


def _times(runs: list[SweepRun]) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for run in runs for path in run.folder.rglob("*.pt")}


def test_a_worker_that_is_killed_costs_nothing(cluster: Cluster, tmp_path: Path) -> None:
    address, workers = cluster
    assert address.startswith("tcp://")
    (tmp_path / "config.yaml").write_text(CONFIG.to_yaml())
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(GRID))
    out, config = tmp_path / "out", str(tmp_path / "config.yaml")
    runs = expand_grid(config, load_grid(tmp_path / "grid.yaml"), out)
    arguments = [config, "--sweep", str(tmp_path / "grid.yaml"), "--scheduler", address, "--out", str(out)]
    command = "import sys; from icl_interp.cli.train import main; sys.argv[0] = 'icl-train'; main()"
    sweeping = subprocess.Popen([sys.executable, "-c", command, *arguments], stdout=subprocess.PIPE)
    try:
        wait_for("two runs under way, one finished", lambda: len(_under_way(runs)) == 2 and bool(_finished(runs)))
        workers[0].kill()
        workers[0].wait()
        done, interrupted = _finished(runs), _under_way(runs)
        before = _times(done)
        said, _ = sweeping.communicate(timeout=PATIENCE)
    finally:
        sweeping.kill()
    assert sweeping.returncode == 0
    assert said.decode().endswith("4 of 4 runs finished\n")
    assert list(pd.read_csv(out / "sweep.csv")["status"]) == ["finished"] * 4
    assert _times(done) == before  # no finished run was trained again
    resumed = {run.config.seed: _manifest(run)["resumed_after_steps"] for run in runs}
    (steps,) = [steps for steps in resumed.values() if steps]  # one worker, one interrupted run
    (step,) = steps
    assert step > 0
    assert step % 50 == 0  # from its last checkpoint
    (run,) = [run for run in interrupted if resumed[run.config.seed]]
    train(run.config, out=tmp_path / "undisturbed")
    assert_same_runs(run.folder, tmp_path / "undisturbed")
