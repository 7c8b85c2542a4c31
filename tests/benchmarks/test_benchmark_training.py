"""The benchmark of training runs at its smallest, and says by its exit code when something wanted is missed."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow  # half a minute
def test_it_runs_at_its_smallest(tmp_path: Path) -> None:
    written = tmp_path / "rows.json"
    smallest = ["--sizes", "tiny", "--parts", "published", "--repeats", "1", "--json", str(written)]
    done = subprocess.run(
        [sys.executable, str(FOLDER / "training.py"), *smallest], capture_output=True, text=True, timeout=120
    )
    assert done.returncode in (0, 1), done.stderr
    speed, data = json.loads(written.read_text())
    assert [speed["name"], data["name"]] == ["steps/s, tiny, published loop", "data share of a step, tiny"]
    assert all(row["name"] in done.stdout for row in (speed, data))
    assert speed["ratio"] == pytest.approx(speed["ours"] / speed["other"])
    assert (speed["wanted"], data["wanted"]) == (1.45, 0.05)
    assert done.returncode == (0 if speed["reached"] and data["reached"] else 1)


@pytest.mark.parametrize(("ratio", "reached"), [(1.15, True), (1.149, False), (float("nan"), False)])
def test_a_row_needs_its_ratio(ratio: float, reached: bool) -> None:
    at_least = runpy.run_path(str(FOLDER / "training_rows" / "row.py"))["at_least"]
    assert at_least("speed", 1.0, 1.0, ratio, 1.15).reached is reached


def test_sides_take_turns_and_the_best_of_each_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    best_of = runpy.run_path(str(FOLDER / "training_rows" / "row.py"))["best_of"]
    calls: list[str] = []
    clock = iter([0, 8, 10, 14, 20, 24, 30, 36])  # first 8 and 4 seconds, then 4 and 6, two calls each
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    sides = [lambda: calls.append("ours"), lambda: calls.append("theirs")]
    assert best_of(sides, calls=2, repeats=2) == [2.0, 2.0]
    assert calls == ["ours", "theirs", *(["ours"] * 2 + ["theirs"] * 2) * 2]
