"""Runs of a sweep that another process is training: left for the end, waited for, never trained by two."""

import threading
from pathlib import Path

import pytest
from training_cases import TINY, assert_same_runs
from typer.testing import CliRunner

from icl_interp import TrainConfig, train
from icl_interp.cli.train import _app
from icl_interp.runs.folder import RunFolder
from icl_interp.training import sweep as sweep_module
from icl_interp.training.sweep import SweepRun, expand_grid, run_all, sweep, train_one_run

SHORT = TINY.model_copy(update={"steps": 3, "checkpoints": None, "eval_every": None})
PATIENCE = 240.0
"""Seconds until a thread that should have ended is given up."""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[SweepRun]:
    """Two runs, trained in this process, with short looks at locked folders."""
    monkeypatch.setattr("icl_interp.runs.folder.LOOK_SECONDS", 0.01)
    (tmp_path / "config.yaml").write_text(SHORT.to_yaml())
    return expand_grid(str(tmp_path / "config.yaml"), {"seed": [0, 1]}, tmp_path / "out")


def order_of_training(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    trained: list[int] = []
    whole = sweep_module.train

    def noted(config: TrainConfig, **options: object) -> object:
        result = whole(config, **options)
        trained.append(config.seed)
        return result

    monkeypatch.setattr(sweep_module, "train", noted)
    return trained


def test_a_busy_run_comes_last_and_is_gone_on_with(runs: list[SweepRun], monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []
    order = order_of_training(monkeypatch)
    busy = RunFolder(runs[0].folder, config=runs[0].config.to_yaml())

    def let_go(count: int) -> None:
        waited.append(count)
        busy.close()

    rows = list(run_all([(run.config, run.folder) for run in runs], on_wait=let_go))
    assert [(index, row["status"]) for index, row in rows] == [(1, "finished"), (0, "finished")]
    assert (order, waited) == ([1, 0], [1])


def test_nothing_is_waited_for_where_nothing_is_busy(runs: list[SweepRun], tmp_path: Path) -> None:
    waited: list[int] = []
    assert list(sweep(runs, tmp_path / "out", on_wait=waited.append).table["status"]) == ["finished"] * 2
    assert waited == []


def test_a_busy_run_that_ends_meanwhile_is_read_back(runs: list[SweepRun], tmp_path: Path) -> None:
    train(runs[1].config, out=tmp_path / "elsewhere")
    busy = RunFolder(runs[1].folder, config=runs[1].config.to_yaml())
    assert train_one_run((runs[1].config, runs[1].folder), wait=False) is None

    def finish(_: int) -> None:
        busy.close()
        train(runs[1].config, out=runs[1].folder, resume=True)
        times.update({path: path.stat().st_mtime_ns for path in runs[1].folder.rglob("*.pt")})

    times: dict[Path, int] = {}
    result = sweep(runs, tmp_path / "out", on_wait=finish)
    assert list(result.table["status"]) == ["finished"] * 2
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert_same_runs(runs[1].folder, tmp_path / "elsewhere")


def test_a_worker_waits_until_the_other_has_let_go(runs: list[SweepRun]) -> None:
    busy = RunFolder(runs[0].folder, config=runs[0].config.to_yaml())
    rows: list[object] = []
    waiting = threading.Thread(target=lambda: rows.append(train_one_run((runs[0].config, runs[0].folder))), daemon=True)
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive()
    assert not (runs[0].folder / "metrics.jsonl").exists()  # no second writer
    busy.close()
    waiting.join(PATIENCE)
    (row,) = rows
    assert (row["status"], row["step"]) == ("finished", 3)


def test_a_folder_that_goes_while_it_is_waited_for_fails_alone(runs: list[SweepRun], tmp_path: Path) -> None:
    gone = RunFolder(runs[0].folder, config=runs[0].config.to_yaml())

    def replace_by_a_file(_: int) -> None:
        gone.close()
        for path in sorted(runs[0].folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        runs[0].folder.rmdir()
        runs[0].folder.write_text("a file")

    result = sweep(runs, tmp_path / "out", on_wait=replace_by_a_file)
    assert list(result.table["status"]) == ["failed", "finished"]
    assert "InputError: a run needs a folder that can be written" in result.failed["error"].iloc[0]


@pytest.mark.parametrize(("option", "said"), [
    ([], "note: waiting for 1 of the runs, which other processes are training\n"), (["--quiet"], ""),
])  # fmt: skip
def test_the_command_says_that_it_waits(
    runs: list[SweepRun], tmp_path: Path, option: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = RunFolder(runs[1].folder, config=runs[1].config.to_yaml())
    monkeypatch.setattr("icl_interp.runs.folder.RunBusyError.wait", lambda _: busy.close())
    (tmp_path / "grid.yaml").write_text("seed: [0, 1]\n")
    options = ["--sweep", str(tmp_path / "grid.yaml"), "--out", str(tmp_path / "out"), *option]
    result = CliRunner().invoke(_app, [str(tmp_path / "config.yaml"), *options])
    assert (result.exit_code, result.stderr) == (0, said)
