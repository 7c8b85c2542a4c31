import json
import sys
from pathlib import Path

import joblib
import pandas as pd
import pytest
from fake_parallel import FakeParallel
from joblib.externals.loky.process_executor import TerminatedWorkerError
from training_cases import TINY, assert_same_runs

from icl_interp import train
from icl_interp.training import sweep as sweep_module
from icl_interp.training.sweep import (
    ParquetWarning,
    SweepRun,
    expand_grid,
    load_grid,
    row_on_disk,
    run_row,
    sweep,
    write_table,
)

GRID = {"seed": [0, 1], "task.noise_std": [0.0, 0.5]}


@pytest.fixture
def config_file(tmp_path: Path) -> str:
    (tmp_path / "config.yaml").write_text(TINY.to_yaml())
    return str(tmp_path / "config.yaml")


def test_a_grid_is_the_product_of_its_values(config_file: str, tmp_path: Path) -> None:
    runs = expand_grid(config_file, GRID, tmp_path / "out", ["steps=7"])
    assert [(run.config.seed, run.config.task.noise_std) for run in runs] == [(0, 0.0), (0, 0.5), (1, 0.0), (1, 0.5)]
    assert {run.config.steps for run in runs} == {7}
    assert [run.values for run in runs[:2]] == [
        {"seed": 0, "task.noise_std": 0.0}, {"seed": 0, "task.noise_std": 0.5},
    ]  # fmt: skip
    assert repr(runs[1]) == "SweepRun(seed=0, task.noise_std=0.5)"
    again = expand_grid(config_file, GRID, tmp_path / "out", ["steps=7"])
    assert [run.folder for run in again] == [run.folder for run in runs]
    assert {run.folder for run in expand_grid(config_file, GRID, tmp_path / "out")}.isdisjoint(
        run.folder for run in runs
    )


def test_values_may_be_lists_and_mappings(config_file: str, tmp_path: Path) -> None:
    values = [None, {"log": 3}, {"every": 2}]
    runs = expand_grid(config_file, {"checkpoints": values, "betas": [[0.5, 0.9]]}, tmp_path)
    assert [run.config.checkpoint_steps for run in runs] == [(12,), (1, 3, 12), (0, 2, 4, 6, 8, 10, 12)]
    assert runs[0].config.betas == (0.5, 0.9)


def test_numbers_that_are_typed_as_text_are_numbers(config_file: str, tmp_path: Path) -> None:
    (tmp_path / "grid.yaml").write_text('lr: ["1e-3", 0.01]\nsteps: [1]\n')
    grid = load_grid(tmp_path / "grid.yaml")
    assert grid["lr"] == ["1e-3", 0.01]
    result = sweep(expand_grid(config_file, grid, tmp_path / "out"), tmp_path / "out")
    assert list(result.table["lr"]) == [0.001, 0.01]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out/sweep.parquet"), result.table)
    assert list(pd.read_csv(result.path)["lr"]) == [0.001, 0.01]


def test_columns_of_several_kinds_are_text_in_parquet(tmp_path: Path) -> None:
    table = pd.DataFrame({"betas": ["(0.5, 0.9)", 3, None, True], "seed": [0, 1, 2, 3]})
    write_table(table, tmp_path)
    stored = pd.read_parquet(tmp_path / "sweep.parquet")
    assert [*stored["betas"].dropna()] == ["(0.5, 0.9)", "3", "True"]
    assert list(stored["seed"]) == [0, 1, 2, 3]


@pytest.mark.parametrize("error", [TypeError, ValueError, NotImplementedError, KeyError, OSError])
def test_a_table_is_not_lost_with_its_parquet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error("no such type")

    (tmp_path / "sweep.parquet").write_text("of the sweep before")
    monkeypatch.setattr(pd.DataFrame, "to_parquet", fails)
    with pytest.warns(ParquetWarning, match=r"sweep.parquet could not be written .*no such type.*sweep.csv holds it"):
        path = write_table(pd.DataFrame({"seed": [0, 1]}), tmp_path)
    assert list(pd.read_csv(path)["seed"]) == [0, 1]
    assert [file.name for file in tmp_path.iterdir()] == ["sweep.csv"]


def test_combinations_that_are_equal_are_refused(config_file: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a sweep needs combinations that differ, got some twice"):
        expand_grid(config_file, {"lr": [0.1, 0.1]}, tmp_path)


@pytest.mark.parametrize("text", ["", "- seed", "seed: 3", "seed: []", "seed: [", None], ids=repr)
def test_grids_that_are_none(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "grid.yaml"
    (path if text is not None else tmp_path / "other").write_text(text or "")
    with pytest.raises(ValueError, match=r"grid.yaml"):
        load_grid(path)
    path.write_text("seed: [0, 1]\nlr: [0.1]\n")
    assert load_grid(path) == {"seed": [0, 1], "lr": [0.1]}


def test_a_sweep_trains_each_run_and_tells_which_failed(config_file: str, tmp_path: Path) -> None:
    runs = expand_grid(config_file, {"lr": [0.01, 1e18], "seed": [0, 1]}, tmp_path / "out", ["optimizer=sgd"])
    ended: list[tuple[str, str]] = []
    result = sweep(runs, tmp_path / "out", on_run=lambda run, status: ended.append((repr(run), status)))
    assert len(ended) == 4
    assert list(result.table["status"]) == ["finished", "finished", "failed", "failed"]
    assert list(result.failed["lr"]) == [1e18, 1e18]
    assert "DivergedError: the loss" in result.failed["error"].iloc[0]
    assert not result.failed["error"].str.contains("--out").any()  # a sweep names the folders itself
    for _, row in result.failed.iterrows():
        last = json.loads((tmp_path / "out" / row["run"] / "metrics.jsonl").read_text().splitlines()[-1])
        assert (row["step"], row["loss"]) == (last["step"], last["loss"])
        assert row["seconds"] >= 0
    assert repr(result).startswith("SweepResult(4 runs, 2 failed, ")
    stored = pd.read_csv(result.path)
    assert list(stored.columns) == ["lr", "seed", "run", "status", "step", "loss", "seconds", "error"]
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out/sweep.parquet"), result.table)
    train(runs[0].config, out=tmp_path / "alone")
    assert_same_runs(runs[0].folder, tmp_path / "alone")
    assert stored["loss"][0] == pytest.approx(train(runs[0].config).history[-1].loss)


def test_a_sweep_trains_nothing_twice(config_file: str, tmp_path: Path) -> None:
    runs = expand_grid(config_file, {"seed": [0, 1]}, tmp_path / "out")
    first = sweep(runs, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for run in runs for path in run.folder.rglob("*.pt")}
    more = expand_grid(config_file, {"seed": [0, 1, 2]}, tmp_path / "out")
    second = sweep(more, tmp_path / "out")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    pd.testing.assert_frame_equal(second.table[:2], first.table)


def test_without_pyarrow_there_is_the_csv(config_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", _no_pyarrow)
    result = sweep(expand_grid(config_file, {"seed": [3]}, tmp_path / "out"), tmp_path / "out")
    assert result.path.exists()
    assert sorted(path.name for path in (tmp_path / "out").glob("*.*")) == ["sweep.csv"]


def _no_pyarrow(*_: object, **__: object) -> None:
    raise ImportError("Missing optional dependency 'pyarrow'.")


def test_runs_whose_worker_died_again_and_again_fail_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [(TINY, tmp_path / str(index)) for index in range(3)]
    monkeypatch.setattr(sweep_module, "train_one_run", lambda job, _, *, wait: {"status": job[1].name, "wait": wait})
    monkeypatch.setattr(joblib, "Parallel", FakeParallel)
    monkeypatch.setattr(FakeParallel, "deaths", [(after, TerminatedWorkerError("")) for after in (1, 1, 0, 0)])
    rows = dict(sweep_module.run_all(jobs, workers=2))
    assert (rows[0]["status"], rows[1]["status"]) == ("0", "1")
    assert rows[2] == run_row("failed", error="its worker died 3 times, perhaps for want of memory")


@pytest.mark.slow  # two processes import torch and TransformerLens
def test_processes_of_this_machine(config_file: str, tmp_path: Path) -> None:
    runs: list[SweepRun] = expand_grid(config_file, {"seed": [0, 1]}, tmp_path / "out")
    result = sweep(runs, tmp_path / "out", workers=2)
    assert list(result.table["status"]) == ["finished", "finished"]
    train(runs[1].config, out=tmp_path / "alone")
    assert_same_runs(runs[1].folder, tmp_path / "alone")


@pytest.mark.parametrize("name", ["sweep.csv", "sweep.parquet"])
def test_a_foreign_table_is_refused_before_anything_is_trained(
    config_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("icl_interp.training.sweep.run_all", lambda *_, **__: pytest.fail("trained"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("run,mine\n1,2\n")
    runs = expand_grid(config_file, {"seed": [0]}, tmp_path / "out")
    with pytest.raises(ValueError, match=rf"the table of a sweep is written over nothing but .*{name}"):
        sweep(runs, tmp_path / "out")
    assert (tmp_path / "out" / name).read_text() == "run,mine\n1,2\n"


def test_an_older_table_is_replaced(config_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icl_interp.training.sweep.run_all", lambda *_, **__: [])
    runs = expand_grid(config_file, {"seed": [0, 1]}, tmp_path)
    for some in (runs, runs[:1]):
        assert len(pd.read_csv(sweep(some, tmp_path).path)) == len(some)
    assert len(pd.read_parquet(tmp_path / "sweep.parquet")) == 1


def test_a_damaged_run_has_a_row_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").touch()
    row = row_on_disk(tmp_path)
    assert row["status"] == "begun"
    assert "got a damaged one" in row["error"]
