"""SIGKILL at random moments: whatever was being written, the run resumes to the same bits."""

import json
import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from training_cases import TINY, assert_same_runs

from icl_interp import train
from icl_interp.training.loop import StepRecord
from icl_interp.training.schedules import CheckpointSteps

CONFIG = TINY.model_copy(update={"steps": 80, "log_every": 1, "checkpoints": CheckpointSteps(every=20, log=9)})
LATEST = 70
"""The last step after which a kill is aimed."""
PATIENCE = 240.0
"""Seconds until a process that should be training is given up."""


def _train_to_the_end(folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    train(CONFIG, out=folder, resume=True, resume_seconds=0.1)


def _train_until_killed(folder: Path) -> None:
    import torch

    def wait(record: StepRecord) -> None:
        # A run of milliseconds must not be over before a parent on a busy machine gets round to killing it.
        if record.step > LATEST + 5:
            time.sleep(PATIENCE)

    torch.set_num_threads(1)
    train(CONFIG, out=folder, resume=True, resume_seconds=0.1, on_step=wait)


def _end_at_once(folder: Path) -> None:
    folder.mkdir(exist_ok=True)


def _start(target: Callable[[Path], None], folder: Path) -> multiprocessing.process.BaseProcess:
    # From a server that has imported everything, so that starts are cheap.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["icl_interp.training.run", "icl_interp.training.configs"])
    process = context.Process(target=target, args=(folder,))
    process.start()
    return process


def _lines(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_after(process: multiprocessing.process.BaseProcess, folder: Path, lines: int, wait: float) -> bool:
    """Kill a process so many seconds after so many lines, and say whether there was a state to resume from."""
    give_up = time.monotonic() + PATIENCE
    while _lines(folder) < lines and process.is_alive() and time.monotonic() < give_up:
        time.sleep(0.001)
    time.sleep(wait)  # so that the moment falls between two lines, too
    process.kill()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL, f"it was not killed but ended by itself with {process.exitcode}"
    return (folder / "resume.pt").exists()


def check_kills(tmp_path: Path, seed: int, *, kills: int) -> None:
    """Kill a run several times, let it finish, and compare it with one that nobody touched."""
    chance, folder = random.Random(seed), tmp_path / "killed"
    # One kill in each part of the run: the last one, at least, finds checkpoints.
    targets = [chance.randrange(LATEST * part // kills, LATEST * (part + 1) // kills) for part in range(kills)]
    resumable = [
        kill_after(_start(_train_until_killed, folder), folder, lines, chance.uniform(0, 0.005)) for lines in targets
    ]
    assert resumable[-1]
    assert list((folder / "checkpoints").glob("step_*.pt"))
    assert not json.loads((folder / "manifest.json").read_text())["finished"]
    last = _start(_train_to_the_end, folder)
    last.join(PATIENCE)
    assert last.exitcode == 0
    resumed_after = json.loads((folder / "manifest.json").read_text())["resumed_after_steps"]
    assert resumed_after[-1] > 0  # the run went on where a kill had left it
    train(CONFIG, out=tmp_path / "undisturbed")
    assert_same_runs(folder, tmp_path / "undisturbed")


def test_three_kills(tmp_path: Path) -> None:
    check_kills(tmp_path, seed=0, kills=3)


def test_a_process_that_ends_by_itself_does_not_pass_as_killed(tmp_path: Path) -> None:
    process = _start(_end_at_once, tmp_path / "run")
    process.join(PATIENCE)
    with pytest.raises(AssertionError, match="not killed but ended by itself with 0"):
        kill_after(process, tmp_path / "run", 0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_twenty_kills(tmp_path: Path, seed: int) -> None:
    check_kills(tmp_path, seed=seed, kills=4)
