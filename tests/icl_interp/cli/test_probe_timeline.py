"""icl-probe on run folders and on several checkpoints: the timeline chapter, its numbers, and what is left alone."""

import json
from pathlib import Path

import pytest
from development_runs import make_run
from typer.testing import CliRunner

from icl_interp.cli.probe import _app
from icl_interp.cli.probe_job import _probed_path

FAST = ("--prompts", "8", "--shifts", "w_fresh", "--no-controls", "--plotlyjs", "directory", "--quiet")


def probe(*arguments: object) -> None:
    result = CliRunner().invoke(_app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("timeline")
    make_run(place / "a")
    make_run(place / "b", n_tasks=None)
    return place


def test_a_run_folder_gets_a_report_of_its_newest_checkpoint_and_a_timeline(folder, tmp_path):
    short = ("--llc", "1", "--llc-set", "num_draws=6", "--llc-set", "num_burnin_steps=2", "--llc-set", "lr=1e-4")
    probe(folder / "a", *FAST, *short, "--out", tmp_path / "r.html", "--json", tmp_path / "r.json")
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["checkpoint"]["step"] == 6
    assert [record["step"] for record in found["development"]["runs"][0]["checkpoints"]] == [0, 2, 4, 6]
    assert [record["step"] for record in found["development"]["runs"][0]["learning_coefficients"]] == [6]
    html = (tmp_path / "r.html").read_text()
    for text in ("How it developed", "log steps", "linear steps", "timeline-trajectory", "timeline-complexity"):
        assert text in html
    assert "lr 0.0001, localization 6.67, 3 chains of 2 + 6 steps, batches of 128" in html
    assert (folder / "a" / "development" / "development.json").exists()


def test_several_runs_get_the_task_diversity_view(folder, tmp_path):
    probe(folder / "a", folder / "b", *FAST, "--llc", "0", "--out", tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text()
    for text in ("M = 2", "M = ∞", "timeline-diversity", "transience"):
        assert text in html
    assert "timeline-complexity" not in html


def test_without_a_timeline_one_checkpoint_is_probed(folder):
    refused = CliRunner().invoke(_app, [str(folder / "a"), str(folder / "b"), "--no-timeline"])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--no-timeline probes one checkpoint, got 2 paths" in refused.stderr


def test_of_several_files_the_newest_is_probed():
    files = [Path("run/step_00000010.pt"), Path("run/step_00000002.pt"), Path("other/step_00000099.pt")]
    assert _probed_path(files) == files[0]
    assert _probed_path(files[1:]) == files[1]
    assert _probed_path([files[1], files[0]]) == files[0]
    assert _probed_path([Path("a.pt")]) == Path("a.pt")
