"""Sweeps on a real Dask scheduler with two workers: stopped by Ctrl-C and started again, and with a worker killed."""

import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pandas as pd
import pytest
import yaml
from dask_cluster import PATIENCE, Cluster, wait_for
from training_cases import TINY, assert_same_runs
from typer.testing import CliRunner

from icl_interp import train
from icl_interp.cli.train import _app
from icl_interp.training.schedules import CheckpointSteps
from icl_interp.training.sweep import SweepRun, expand_grid, load_grid

pytest.importorskip("distributed", reason="the cluster extra is not installed")

CONFIG = TINY.model_copy(update={"steps": 300, "checkpoints": CheckpointSteps(every=50), "eval_every": None})
NEEDED = "icl_interp.training.sweep"
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


def _sweep(folder: Path, address: str) -> tuple[list[SweepRun], list[str]]:
    """The runs of a sweep, and its command line."""
    (folder / "config.yaml").write_text(CONFIG.to_yaml())
    (folder / "grid.yaml").write_text(yaml.safe_dump(GRID))
    config, grid, out = (str(folder / name) for name in ("config.yaml", "grid.yaml", "out"))
    return expand_grid(config, load_grid(grid), out), [config, "--sweep", grid, "--scheduler", address, "--out", out]


def _start(arguments: list[str]) -> subprocess.Popen[str]:
    command = "import sys; from icl_interp.cli.train import main; sys.argv[0] = 'icl-train'; main()"
    return subprocess.Popen(
        [sys.executable, "-c", command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow  # three processes import torch and TransformerLens
def test_ctrl_c_and_the_same_command_again(cluster: Cluster, tmp_path: Path) -> None:
    runs, arguments = _sweep(tmp_path, cluster[0])
    sweeping = _start(arguments)
    try:
        wait_for("two runs under way", lambda: len(_under_way(runs)) == 2)
        sweeping.send_signal(signal.SIGINT)  # to the command alone: scheduler and workers run elsewhere
        said, complained = sweeping.communicate(timeout=PATIENCE)
    finally:
        sweeping.kill()
    assert (sweeping.returncode, said) == (130, ""), complained
    assert "Traceback" not in complained
    sentence = complained.splitlines()[-1]
    assert re.match(
        r"stopped: \d of 4 runs finished(, \d begun)?(, \d not begun)? \(the scheduler's workers ", sentence
    ), complained
    assert sentence.endswith(
        " finish what they have begun, and the next start waits for that); "
        f"{tmp_path / 'out' / 'sweep.csv'} says which, and the same command goes on."
    )
    assert len(pd.read_csv(tmp_path / "out" / "sweep.csv")) == 4
    again = CliRunner().invoke(_app, [*arguments, "--quiet"])
    assert (again.exit_code, again.stdout, again.stderr) == (0, "", "")
    assert list(pd.read_csv(tmp_path / "out" / "sweep.csv")["status"]) == ["finished"] * 4
    for run in runs:  # begun once, never stopped, by one writer
        assert _manifest(run)["resumed_after_steps"] == []
        steps = [json.loads(line)["step"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == sorted(set(steps))
    train(runs[0].config, out=tmp_path / "undisturbed")
    assert_same_runs(runs[0].folder, tmp_path / "undisturbed")


def test_a_worker_that_is_killed_costs_nothing(cluster: Cluster, tmp_path: Path) -> None:
    address, workers = cluster
    assert address.startswith("tcp://")
    runs, arguments = _sweep(tmp_path, address)
    seen = []

    def kill_in_the_middle() -> None:
        wait_for("two runs under way, one finished", lambda: len(_under_way(runs)) == 2 and bool(_finished(runs)))
        workers[0].kill()
        workers[0].wait()
        seen.append((_times(_finished(runs)), _under_way(runs)))

    thread = threading.Thread(target=kill_in_the_middle)
    thread.start()
    swept = CliRunner().invoke(_app, arguments)
    thread.join()
    ((before, interrupted),) = seen
    assert swept.exit_code == 0, swept.output
    assert swept.stdout.endswith("4 of 4 runs finished\n")
    assert list(pd.read_csv(tmp_path / "out" / "sweep.csv")["status"]) == ["finished"] * 4
    assert {path: path.stat().st_mtime_ns for path in before} == before  # no finished run was trained again
    resumed = {run.config.seed: _manifest(run)["resumed_after_steps"] for run in runs}
    (steps,) = [steps for steps in resumed.values() if steps]  # one worker, one interrupted run
    (step,) = steps
    assert step > 0
    assert step % 50 == 0  # from its last checkpoint
    (run,) = [run for run in interrupted if resumed[run.config.seed]]
    train(run.config, out=tmp_path / "undisturbed")
    assert_same_runs(run.folder, tmp_path / "undisturbed")
