"""icl-probe from a file to a report: the whole path, twice, and what options change."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from golden import page_text
from typer.testing import CliRunner

from icl_interp import LinearRegression, select_shifts
from icl_interp.cli.probe import _app

FEW = ("--prompts", "8", "--no-controls", "--plotlyjs", "directory")
FAST = (*FEW, "--shifts", "label_noise", "--layers", "-1")


def probe(*arguments: object):
    result = CliRunner().invoke(_app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return result


def numbers(folder: Path) -> dict:
    return json.loads((folder / "r.json").read_text())


def page(folder: Path) -> str:
    return (folder / "r.html").read_text()


def ran(folder: Path, *arguments: object):
    """A folder with a report and its numbers, and what was printed."""
    return folder, probe(*arguments, "--out", folder / "r.html", "--json", folder / "r.json")


@pytest.fixture(scope="module")
def controlled(tmp_path_factory, dtsip_folder):
    folder = tmp_path_factory.mktemp("controlled")
    options = ("--prompts", "16", "--controls", "10", "--plotlyjs", "embed")
    return ran(folder, dtsip_folder, *options, "--shifts", "x_scale=3,label_noise")


STRENGTHS = ("x_mean=-1", "x_scale=1/3", "x_scale=250000.5")


@pytest.fixture(scope="module")
def twice(tmp_path_factory, dtsip_folder):
    """One command, the second time quietly."""
    options = (dtsip_folder, *FEW, "--seed", "1", "--shifts", ",".join(STRENGTHS), "--layers", "0, -1")
    return [ran(tmp_path_factory.mktemp("twice"), *options, *quiet) for quiet in ((), ("--quiet",))]


@pytest.fixture(scope="module")
def assumed(tmp_path_factory, dtsip_folder):
    """A file without a config beside it."""
    folder = tmp_path_factory.mktemp("assumed")
    shutil.copyfile(dtsip_folder / "state.pt", folder / "state.pt")
    return ran(folder, folder / "state.pt", "--heads", "2", *FAST)


def test_the_whole_path_writes_a_report_and_its_numbers(controlled):
    folder, _ = controlled
    assert sorted(path.name for path in folder.iterdir()) == ["r.html", "r.json"]
    html = page(folder)
    assert html.startswith("<!doctype html>") or html.startswith("<!DOCTYPE html>")
    assert len(html) < 10_000_000
    for text in ("What state.pt does in context", "x_scale=3", "label_noise=1", "SHA-256", "dtsip/in-context-learning"):
        assert text in html


def test_the_words_of_a_trained_network_s_report(controlled, golden):
    golden("report-trained.txt", page_text(page(controlled[0])))


def test_it_says_what_it_found_and_where(controlled):
    folder, result = controlled
    lines = result.stdout.splitlines()
    assert lines[0].startswith("dtsip/in-context-learning run folder: GPT-2 decoder, 3 layers")
    assert lines[-1] == f"report: {folder / 'r.html'}"
    assert sum(line.startswith("Does it learn in context?") for line in lines) == 1


def test_a_trained_model_learns_in_context(controlled):
    verdicts = numbers(controlled[0])["verdicts"]
    assert {len(verdict["controls"]) for verdict in verdicts.values()} == {10}
    # 16 prompts are few, so only what is far beyond the controls is asked for
    assert {verdicts[name]["verdict"] for name in ("under shift", "probe: 10-step GD")} == {"evidence"}
    assert verdicts["in-context learning"]["value"] > 0.8


def test_two_runs_differ_in_provenance_only(twice):
    first, second = (numbers(folder) for folder, _ in twice)
    assert first.pop("provenance").keys() == second.pop("provenance").keys()
    assert first == second
    assert "development" not in first  # one checkpoint has no timeline


def test_quiet_prints_nothing(twice):
    (_, loud), (_, quiet) = twice
    assert (quiet.stdout, quiet.stderr) == ("", "")
    assert "report: " in loud.stdout


def test_without_controls_there_are_no_verdicts(twice):
    folder, _ = twice[0]
    assert {verdict["verdict"] for verdict in numbers(folder)["verdicts"].values()} == {"not applicable"}
    assert "Controls were switched off" in page(folder)


@pytest.mark.parametrize("strength", STRENGTHS)
def test_any_strength_reaches_the_report(twice, strength):
    (label,) = select_shifts(LinearRegression(5), [strength])
    assert label.label in page(twice[0][0])
    assert label.label in numbers(twice[0][0])["study"]["families"]["by_label"]


def test_layers_choose_blocks(twice):
    labels = [site["label"] for site in numbers(twice[0][0])["study"]["sites"]]
    assert labels == ["read-in", "block 0", "block 2", "final norm"]


def test_another_seed_gives_other_numbers(twice, assumed):
    one, other = (numbers(folder)["study"] for folder, _ in (twice[0], assumed))
    assert (one["seed"], other["seed"]) == (1, 0)
    # The same weights and law: only the prompts differ.
    assert one["families"]["fit"] == other["families"]["fit"]
    late = [found["errors"]["families"]["in distribution"]["curves"]["model"]["late"] for found in (one, other)]
    assert late[0] != late[1]


def test_without_a_config_the_report_opens_with_what_was_assumed(assumed):
    folder, result = assumed
    assumption = "The file does not say what the model was trained on"
    assert page(folder).index(assumption) < page(folder).index("<h1>")
    assert f"assumed: {assumption}" in result.stdout


def test_a_given_task_removes_the_assumption_and_is_in_distribution(tmp_path, dtsip_folder):
    shutil.copyfile(dtsip_folder / "state.pt", tmp_path / "state.pt")
    (tmp_path / "task.yaml").write_text("noise_std: 0.25\nw_cov: [1, 1, 1, 1, 0.5]\n")
    own = ("--task", tmp_path / "task.yaml", "--task", "noise_std=0.5", "--task", "n_points=7")
    ran(tmp_path, tmp_path / "state.pt", "--heads", "2", *own, *FAST)
    found = numbers(tmp_path)
    task = found["study"]["task"]
    np.testing.assert_array_equal([task["noise_std"], *task["w_cov"]], [0.5, 1, 1, 1, 1, 0.5])
    assert found["study"]["families"]["fit"]["n_points"] == 7
    # E[y²] = tr(w_cov) + noise²
    moment = found["study"]["families"]["by_label"]["in distribution"]["label_second_moment"]
    np.testing.assert_allclose(moment, 4.75, rtol=1e-12)
    assert found["checkpoint"]["assumptions"] == []
    assert "The file does not say" not in page(tmp_path)
    assert "label noise of standard deviation 0.5" in page(tmp_path)


def test_the_embedded_demo_needs_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    probe(*FAST, "--points", "7", "--threads", "1", "--json", "r.json")
    assert (tmp_path / "icl-report.html").exists()
    assert (tmp_path / "plotly.min.js").exists()
    assert numbers(tmp_path)["checkpoint"]["name"] == "demo.pt"
