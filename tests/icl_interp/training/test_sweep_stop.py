"""Ctrl-C and SIGTERM in a sweep: one sentence, the table of what there is, and the same command goes on."""

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from training_cases import TINY, assert_same_runs
from typer.testing import CliRunner

from icl_interp import train
from icl_interp.cli.train import _app
from icl_interp.jobs import _WRITE_SECONDS
from icl_interp.training import sweep as sweep_module
from icl_interp.training.loop import StepRecord, Trainer
from icl_interp.training.schedules import CheckpointSteps
from icl_interp.training.stopping import RunStoppedError
from icl_interp.training.sweep import SweepRun, SweepStoppedError, expand_grid, load_grid, sweep, train_one_run

GRID = {"seed": [0, 1], "lr": [0.01, 1e18, 0.003]}
"""The second learning rate makes a run fail."""
COLUMNS = ["seed", "lr", "run", "status", "step", "loss", "seconds", "error"]
PATIENCE = 240.0
"""Seconds: a process imports torch and TransformerLens first."""


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A config and a grid."""
    (tmp_path / "config.yaml").write_text(TINY.model_copy(update={"optimizer": "sgd"}).to_yaml())
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(GRID, sort_keys=False))
    return str(tmp_path / "config.yaml"), str(tmp_path / "grid.yaml")


def stops_at(run: int, steps: int, monkeypatch: pytest.MonkeyPatch, number: signal.Signals = signal.SIGINT) -> None:
    """Let Ctrl-C, or another signal, come in the middle of one run."""
    train_whole = sweep_module.train

    def interrupted(config: object, **options: object) -> object:
        numbers.append(len(numbers))

        def on_step(record: object) -> None:
            if numbers[-1] == run and record.step == steps:
                signal.raise_signal(number)

        return train_whole(config, **options | {"on_step": on_step})

    numbers: list[int] = []
    monkeypatch.setattr(sweep_module, "train", interrupted)


def test_the_table_tells_how_far_each_run_is(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = expand_grid(files[0], load_grid(files[1]), tmp_path / "out")
    with monkeypatch.context() as patch:
        stops_at(2, 7, patch)
        with pytest.raises(SweepStoppedError) as stop:
            sweep(runs, tmp_path / "out")
    assert str(stop.value) == (
        f"stopped: 1 of 6 runs finished, 1 failed, 1 begun, 3 not begun; {tmp_path / 'out' / 'sweep.csv'} says which, "
        "and the same command goes on."
    )
    table = pd.read_csv(tmp_path / "out" / "sweep.csv")
    assert list(table.columns) == COLUMNS
    assert list(table["status"]) == ["finished", "failed", "begun", *["not begun"] * 3]
    failed = len((runs[1].folder / "metrics.jsonl").read_text().splitlines())
    assert 0 < failed < 12
    assert list(table["step"].fillna(0)) == [12, failed, 7, 0, 0, 0]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "sweep.parquet"), stop.value.result.table)
    assert len(stop.value.result.failed) == 1
    # Stopped again before it comes to anything, it still knows what was finished.
    monkeypatch.setattr(sweep_module, "train_one_run", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SweepStoppedError, match=r"stopped: 1 of 6 runs finished, 2 begun, 3 not begun; "):
        sweep(runs, tmp_path / "out")


def test_at_a_scheduler_what_was_begun_goes_on_there(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("icl_interp.training.sweep.run_all", stopped)
    runs = expand_grid(files[0], load_grid(files[1]), tmp_path / "out")
    with pytest.raises(
        SweepStoppedError,
        match=r"6 not begun \(the scheduler's workers finish what they have begun, and the next start waits for that\)",
    ):
        sweep(runs, tmp_path / "out", scheduler="tcp://127.0.0.1:1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_it_in_one_sentence_and_goes_on(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    arguments = [files[0], "--sweep", files[1], "--out", str(tmp_path / "out")]
    with monkeypatch.context() as patch:
        stops_at(0, 7, patch, number)
        stopped = CliRunner().invoke(_app, arguments)
    assert stopped.exit_code == 128 + number
    assert re.fullmatch(r"stopped: 0 of 6 runs finished, 1 begun, 5 not begun; .*goes on\.\n", stopped.stderr)
    assert stopped.stdout == ""
    again = CliRunner().invoke(_app, arguments)
    assert again.exit_code == 1  # of those that fail
    assert again.stdout.endswith("4 of 6 runs finished\n")
    failed = [line for line in again.stderr.splitlines() if line.startswith("failed: ")]
    assert [line.partition(" (")[0] for line in failed] == ["failed: seed=0, lr=1e+18", "failed: seed=1, lr=1e+18"]
    runs: list[SweepRun] = expand_grid(files[0], load_grid(files[1]), tmp_path / "out")
    train(runs[0].config, out=tmp_path / "undisturbed")
    assert_same_runs(runs[0].folder, tmp_path / "undisturbed")


LONG = TINY.model_copy(update={"steps": 400, "checkpoints": CheckpointSteps(every=100), "eval_every": None})


SLOW = (
    pytest.mark.slow
)  # more processes import torch and TransformerLens; SIGTERM in the midst of a run is tested above


@pytest.mark.parametrize(
    ("workers", "number", "to_all"),
    [
        pytest.param("1", signal.SIGINT, True, id="Ctrl-C, this process"),
        pytest.param("1", signal.SIGTERM, False, id="SIGTERM, this process", marks=SLOW),
        pytest.param("2", signal.SIGINT, True, id="Ctrl-C at a terminal, two processes", marks=SLOW),
        pytest.param("2", signal.SIGINT, False, id="Ctrl-C to the parent alone, two processes", marks=SLOW),
        pytest.param("2", signal.SIGTERM, False, id="SIGTERM to the parent alone, two processes", marks=SLOW),
    ],
)
def test_signals_reach_a_real_sweep(tmp_path: Path, workers: str, number: signal.Signals, to_all: bool) -> None:
    (tmp_path / "config.yaml").write_text(LONG.to_yaml())
    (tmp_path / "grid.yaml").write_text("seed: [0, 1, 2, 3]\n")
    out, command = tmp_path / "out", "import sys; from icl_interp.cli.train import main; sys.argv[0] = 'x'; main()"
    options = ["--sweep", str(tmp_path / "grid.yaml"), "--workers", workers, "--out", str(out)]
    child = subprocess.Popen(
        [sys.executable, "-c", command, str(tmp_path / "config.yaml"), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        give_up = time.monotonic() + PATIENCE
        while len(list(out.glob("*/resume.pt"))) < 1 or len(list(out.glob("*/metrics.jsonl"))) < int(workers):
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < give_up
            time.sleep(0.01)
        # A terminal sends it to all processes of the command.
        (os.killpg if to_all else os.kill)(child.pid, number)
        sent = time.monotonic()
        said, complained = child.communicate(timeout=PATIENCE)  # the workers hold the pipes: they have ended as well
    finally:
        child.kill()
    assert child.returncode == 128 + number
    assert time.monotonic() - sent < _WRITE_SECONDS  # nobody was waited for in vain
    sentence = complained.splitlines()[-1]
    assert re.fullmatch(r"stopped: \d of 4 runs finished(, \d begun)?(, \d not begun)?; .* goes on\.", sentence)
    assert "Traceback" not in complained
    assert said == ""
    assert [line for line in complained.splitlines()[:-1] if not line.startswith("stopping: waiting for ")] == []
    table = pd.read_csv(out / "sweep.csv")
    assert len(table) == 4
    assert set(table["status"]) <= {"finished", "begun", "not begun"}
    assert list(table["status"]) != ["finished"] * 4
    begun = [run.parent for run in out.glob("*/metrics.jsonl")]
    assert len(begun) >= 1
    for run in begun:  # whatever was logged is in a state that the next start goes on from
        last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])["step"]
        assert torch.load(run / "resume.pt", weights_only=True)["step"] >= last


def test_sigterm_between_two_runs_leaves_the_table(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "train_one_run", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    stopped = CliRunner().invoke(_app, [files[0], "--sweep", files[1], "--out", str(tmp_path / "out")])
    assert stopped.exit_code == 143
    assert list(pd.read_csv(tmp_path / "out" / "sweep.csv")["status"]) == ["not begun"] * 6


def test_a_file_asks_a_worker_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icl_interp.training.stopping.LOOK_SECONDS", 0.0)
    file, record = tmp_path / "stop", Trainer.advance

    def asked(trainer: Trainer) -> StepRecord:
        if trainer.step == 6:
            file.touch()
        return record(trainer)

    monkeypatch.setattr(Trainer, "advance", asked)
    with pytest.raises(RunStoppedError, match="stopped after step 7; go on") as stop:
        train_one_run((TINY, tmp_path / "run"), file)
    assert torch.load(tmp_path / "run" / "resume.pt", weights_only=True)["step"] == 7
    assert str(pickle.loads(pickle.dumps(stop.value))) == str(stop.value)  # as a worker hands it back
