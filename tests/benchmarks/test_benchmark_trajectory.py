"""The memory of the joint trajectory PCA: rows are streamed from files, and the peak does not grow with them."""

import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fresh import run_fresh

from probes import trajectory
from probes.trajectory import joint_trajectory_pca

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "trajectory.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


def grown(done: subprocess.CompletedProcess[str]) -> float:
    peak, before = re.search(r"peak ([\d.]+) GB \(([\d.]+) GB before", done.stdout).groups()
    return float(peak) - float(before)


@pytest.mark.slow  # a few dozen passes over 400 MB
def test_the_peak_does_not_grow_with_the_stack(tmp_path):
    sizes = ("--runs", 5, "--outputs", 2048)
    small = run(*sizes, "--checkpoints", 440, "--files", tmp_path)
    large = run(*sizes, "--checkpoints", 4 * 2203, "--files", tmp_path)
    assert (small.returncode, large.returncode) == (0, 0), small.stderr + large.stderr
    assert "0.36 GB of rows" in large.stdout
    assert grown(large) < grown(small) + 0.1  # 0.34 GB more rows; allocators keep some tens of MB


def test_repeats_are_done_and_the_best_time_counts(monkeypatch, capsys):
    seconds = iter([0.0, 30.0, 30.0, 50.0, 50.0, 90.0])
    calls = []

    def counting(runs):
        calls.append(len(runs))
        return joint_trajectory_pca(runs)

    sizes = ["--runs", "2", "--checkpoints", "40", "--outputs", "64", "--limit", "100"]
    monkeypatch.setattr(trajectory, "joint_trajectory_pca", counting)
    monkeypatch.setattr(time, "perf_counter", lambda: next(seconds))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *sizes, "--repeats", "3"])
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert stop.value.code == 0
    assert calls == [2, 2, 2]
    assert "20.0 s (best of 3)" in capsys.readouterr().out


def test_its_exit_code_says_how_it_went(tmp_path):
    sizes = ["--runs", 2, "--checkpoints", 40, "--outputs", 64]
    arguments = ["--repeats", 0], sizes, [*sizes, "--limit", 0.01]
    no_repeat, fine, above_the_limit = run_fresh([[SCRIPT, *words] for words in arguments], folder=tmp_path)
    assert (no_repeat.code, fine.code, above_the_limit.code) == (2, 0, 1)
    assert "--repeats needs at least 1, got 0" in no_repeat.complained
