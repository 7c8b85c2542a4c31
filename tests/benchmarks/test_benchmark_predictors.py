"""The benchmark of the predictors runs at tiny sizes, and says by its exit code when something wanted is missed."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from fresh import run_fresh

FILE = Path(__file__).parents[2] / "benchmarks" / "predictors.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_predictors", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_it_runs_at_tiny_sizes(tmp_path: Path) -> None:
    sizes = ["--prompts", "20", "--tasks", "8", "--memory-tasks", "64", "--repeats", "1"]
    written = tmp_path / "rows.json"
    (done,) = run_fresh([[FILE, *sizes, "--json", written]], folder=tmp_path)
    record = json.loads(written.read_text())
    rows = {row["name"]: row for row in record["rows"]}
    assert set(rows) == {
        "least squares, no noise",
        "least squares, noise",
        "least squares, half subspace, noise",
        "least squares, half subspace, noise, right loop",
        "ridge",
        *(f"dMMSE, 8 tasks, {n} points, {dtype} loop" for n in (16, 41) for dtype in ("float32", "float64")),
    }
    assert all(name in done.said for name in rows)
    # Sizes are too small for ratios, but never for errors.
    assert all(row["our_error"] <= row["most_error"] == 1e-6 for row in rows.values())
    assert 2**24 < record["dmmse_peak_bytes"] < 2**31
    missed = [name for name, row in rows.items() if row["ratio"] < row["wanted_ratio"]]
    assert done.code == (1 if missed else 0)
    assert all(f"missed: {name}" in done.complained for name in missed)


def test_a_missed_ratio_an_error_and_too_much_memory_are_failures(benchmark: ModuleType) -> None:
    good = benchmark.Row("good", 1.0, 10.0, 10.0, 10.0, 0.0, 0.0)
    slow = benchmark.Row("slow", 1.0, 9.9, 9.9, 10.0, 0.0, 0.0)
    assert benchmark.failures([good], 2**31) == []
    assert benchmark.failures([good, slow], 0) == ["slow: 9.9 times as fast, wanted 10"]
    wrong = benchmark.Row("wrong", 1.0, 10.0, 10.0, 10.0, 2e-6, 0.0)
    unknown = benchmark.Row("unknown", 1.0, 10.0, 10.0, 10.0, float("nan"), 0.0)
    assert benchmark.failures([wrong, good, unknown], 0) == [
        "wrong: an error of 2.0e-06, wanted at most 1e-06",
        "unknown: an error of nan, wanted at most 1e-06",
    ]
    assert benchmark.failures([good], 3 * 2**30) == ["dMMSE takes 3.0 GiB, wanted at most 2"]
