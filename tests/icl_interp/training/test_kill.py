"""SIGKILL at random moments: whatever was being written, the run resumes to the same bits."""

import multiprocessing
import random
import signal
import time
from pathlib import Path

import pytest
from training_cases import TINY, assert_same_runs

from icl_interp import train
from icl_interp.training.schedules import CheckpointSteps

CONFIG = TINY.model_copy(update={"steps": 120, "log_every": 1, "checkpoints": CheckpointSteps(every=20, log=9)})
PATIENCE = 60.0
"""Seconds until a process that should be training is given up."""


def _train(folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    train(CONFIG, out=folder, resume=True, resume_seconds=0.01)


def _lines(folder: Path) -> int:
    path = folder / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def _kill_after(process: multiprocessing.process.BaseProcess, folder: Path, lines: int, wait: float) -> int | None:
    process.start()
    give_up = time.monotonic() + PATIENCE
    while _lines(folder) < lines and process.is_alive() and time.monotonic() < give_up:
        time.sleep(0.001)
    time.sleep(wait)  # so that the moment falls between two lines, too
    process.kill()
    process.join(PATIENCE)
    return process.exitcode


def check_kills(tmp_path: Path, seed: int, *, kills: int) -> None:
    """Kill a run several times, let it finish, and compare it with one that nobody touched."""
    chance, folder = random.Random(seed), tmp_path / "killed"
    context = multiprocessing.get_context(
        "forkserver"
    )  # a server that has imported everything, so that starts are cheap
    context.set_forkserver_preload(["icl_interp.training.run", "icl_interp.training.config"])
    targets = sorted(chance.randrange(0, 110) for _ in range(kills))
    codes = [
        _kill_after(context.Process(target=_train, args=(folder,)), folder, lines, chance.uniform(0, 0.005))
        for lines in targets
    ]
    assert codes.count(-signal.SIGKILL) >= 1
    assert (folder / "manifest.json").exists()
    last = context.Process(target=_train, args=(folder,))
    last.start()
    last.join(PATIENCE)
    assert last.exitcode == 0
    train(CONFIG, out=tmp_path / "undisturbed")
    assert_same_runs(folder, tmp_path / "undisturbed")


def test_three_kills(tmp_path: Path) -> None:
    check_kills(tmp_path, seed=0, kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 6))
def test_twenty_kills(tmp_path: Path, seed: int) -> None:
    check_kills(tmp_path, seed=seed, kills=4)
