"""icl-probe that is killed in the middle of a timeline, and run folders with damaged files."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from development_runs import FEW, make_run
from typer.testing import CliRunner

from icl_interp.cli.probe import _app
from icl_interp.cli.probe_job import _load_probed
from icl_interp.errors import CheckpointError
from icl_interp.measure.development.run import development
from icl_interp.report.assemble import build_page

FAST = ("--prompts", "8", "--shifts", "w_fresh", "--no-controls", "--plotlyjs", "directory", "--quiet", "--llc", "2")
COMMAND = "import sys; from icl_interp.cli.probe import main; sys.argv[0] = 'icl-probe'; main()"
PATIENCE = 120.0
"""Seconds: each process imports torch and TransformerLens first."""


def probe(*arguments: object) -> str:
    result = CliRunner().invoke(_app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def start(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", COMMAND, *map(str, arguments)])


def kill_after_records(process: subprocess.Popen[bytes], folder: Path, n_records: int) -> None:
    give_up = time.monotonic() + PATIENCE
    while len(list(folder.glob("*"))) < n_records:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < give_up, "waited in vain for records"
        time.sleep(0.001)
    process.kill()
    process.wait()


def damage(run: Path, step: int) -> None:
    file = run / "checkpoints" / f"step_{step:08d}.pt"
    file.write_bytes(file.read_bytes()[:300])


def numbers(file: Path) -> dict:
    found = json.loads(file.read_text())
    del found["provenance"]
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("interrupted") / "run")


@pytest.mark.slow  # three studies of a network
def test_a_probe_that_is_killed_goes_on_and_gives_the_same_numbers(folder, tmp_path):
    def arguments(run: Path, name: str) -> tuple[object, ...]:
        return (run, *FAST, "--out", tmp_path / f"{name}.html", "--json", tmp_path / f"{name}.json")

    runs = {name: shutil.copytree(folder, tmp_path / name / "run") for name in ("killed", "undisturbed")}
    records = runs["killed"] / "development"
    child = start(*arguments(runs["killed"], "killed"))
    kill_after_records(child, records, 2)
    assert child.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed.json").exists()
    kept = {path: path.stat().st_mtime_ns for path in records.glob("*.pt")}
    assert 1 <= len(kept) < 4  # in the middle
    probe(*arguments(runs["killed"], "killed"))
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # nothing was measured twice
    probe(*arguments(runs["undisturbed"], "undisturbed"))
    assert numbers(tmp_path / "killed.json") == numbers(tmp_path / "undisturbed.json")
    files = [run / "development" / "development.json" for run in runs.values()]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_of_a_folder_with_damaged_files_the_newest_that_can_be_read_is_probed(folder, tmp_path):
    run = shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("development"))
    assert _load_probed(run).step == 6
    for step in (4, 6):
        damage(run, step)
    found = _load_probed(run)
    assert found.step == 2
    for step, words in zip((6, 4), found.assumptions[:2], strict=True):
        assert words.startswith(f"Step {step} could not be read (")
        assert words.endswith("); step 2 is the newest that can.")
    with pytest.raises(CheckpointError, match="step_00000006"):  # what is named as a file is meant
        _load_probed(run / "checkpoints" / "step_00000006.pt")


def test_the_page_warns_of_checkpoints_that_could_not_be_read(folder, tmp_path, small_study, small_checkpoint):
    run = shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("development"))
    damage(run, 2)
    page = build_page(small_study, small_checkpoint, {}, timeline=development(run, settings=FEW, llc=None))
    (warning,) = page.warnings
    assert warning.startswith("Step 2 could not be read: ")
    assert warning in page.sections[-1].lead


@pytest.mark.slow  # a whole study
def test_damaged_checkpoints_are_named_and_the_rest_is_reported(folder, tmp_path):
    run = shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("development"))
    for step in (2, 6):
        damage(run, step)
    loud = [word for word in FAST if word != "--quiet"]
    said = probe(run, *loud, "--out", tmp_path / "r.html", "--json", tmp_path / "r.json")
    assert "assumed: Step 6 could not be read (" in said
    assert "note: Step 2 could not be read: " in said
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["checkpoint"]["step"] == 4
    (only,) = found["development"]["runs"]
    assert [record["step"] for record in only["checkpoints"]] == [0, 4]
    assert list(only["unreadable"]) == ["2", "6"]
    html = (tmp_path / "r.html").read_text()
    assert "Step 2 could not be read: " in html
    assert "step 4 is the newest that can" in html


def test_a_folder_whose_only_checkpoint_is_damaged_is_refused(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / "step_00000002.pt").touch()
    result = CliRunner().invoke(_app, [str(run), "--quiet", "--out", str(tmp_path / "r.html")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "step_00000002.pt" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "wanted"),
    [(("--workers", "3"), (3, None)), (("--scheduler", "tcp://127.0.0.1:1"), (1, "tcp://127.0.0.1:1"))],
    ids=["workers", "scheduler"],
)
def test_workers_and_scheduler_are_handed_on(folder, tmp_path, monkeypatch, options, wanted):
    from icl_interp.cli import probe_timeline

    asked = []

    def refuse(*_: object, workers: int, scheduler: str | None, **__: object) -> None:
        asked.append((workers, scheduler))
        raise ChildProcessError("development needs workers that live")

    monkeypatch.setattr(probe_timeline, "development", refuse)
    monkeypatch.setattr("icl_interp.measure.study.run.run_study", lambda *_: None)  # what comes before it takes longer
    result = CliRunner().invoke(_app, [str(folder), *FAST, *options, "--out", str(tmp_path / "r")])
    assert asked == [wanted]
    assert (result.exit_code, result.stderr) == (2, "error: development needs workers that live\n")
    assert not (tmp_path / "r").exists()
