"""icl-probe from a file to a report: the whole path, twice, and what options change."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from icl_interp.cli.probe import _app

FAST = ("--prompts", "8", "--shifts", "label_noise", "--layers", "-1", "--no-controls", "--plotlyjs", "directory")


def probe(*arguments: object):
    result = CliRunner().invoke(_app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr
    return result


@pytest.fixture(scope="module")
def runs(tmp_path_factory, dtsip_folder):
    """The same command twice: folder, and what was printed."""
    found = []
    for name in ("first", "second"):
        folder = tmp_path_factory.mktemp(name)
        options = ("--prompts", "16", "--shifts", "x_scale=3,label_noise")
        result = probe(dtsip_folder, *options, "--out", folder / "r.html", "--json", folder / "r.json")
        found.append((folder, result))
    return found


def numbers(folder: Path) -> dict:
    return json.loads((folder / "r.json").read_text())


def test_the_whole_path_writes_a_report_and_its_numbers(runs):
    folder, _ = runs[0]
    assert sorted(path.name for path in folder.iterdir()) == ["r.html", "r.json"]
    html = (folder / "r.html").read_text()
    assert html.startswith("<!doctype html>") or html.startswith("<!DOCTYPE html>")
    assert len(html) < 10_000_000
    for text in ("What state.pt does in context", "x_scale=3", "label_noise=1", "SHA-256", "dtsip/in-context-learning"):
        assert text in html


def test_it_says_what_it_found_and_where(runs):
    folder, result = runs[0]
    lines = result.stdout.splitlines()
    assert lines[0].startswith("dtsip/in-context-learning run folder: GPT-2 decoder, 3 layers")
    assert lines[-1] == f"report: {folder / 'r.html'}"
    assert sum(line.startswith("Does it learn in context?") for line in lines) == 1


def test_a_trained_model_learns_in_context(runs):
    verdicts = numbers(runs[0][0])["verdicts"]
    # 16 prompts are few, so only what is far beyond the controls is asked for
    assert {verdicts[name]["verdict"] for name in ("under shift", "probe: 10-step GD")} == {"evidence"}
    assert verdicts["in-context learning"]["value"] > 0.8


def test_two_runs_differ_in_provenance_only(runs):
    first, second = (numbers(folder) for folder, _ in runs)
    assert first.pop("provenance").keys() == second.pop("provenance").keys()
    assert first == second


def test_another_seed_gives_other_numbers(tmp_path, dtsip_folder):
    values = []
    for seed in (1, 2):
        probe(dtsip_folder, *FAST, "--seed", seed, "--out", tmp_path / "r.html", "--json", tmp_path / "r.json")
        assert numbers(tmp_path)["study"]["seed"] == seed
        values.append(numbers(tmp_path)["verdicts"]["in-context learning"]["value"])
    assert values[0] != values[1]


def test_without_a_config_the_report_opens_with_what_was_assumed(tmp_path, dtsip_folder):
    shutil.copyfile(dtsip_folder / "state.pt", tmp_path / "state.pt")
    result = probe(tmp_path / "state.pt", "--heads", "2", *FAST, "--out", tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text()
    assumption = "The file does not say what the model was trained on"
    assert html.index(assumption) < html.index("<h1>")
    assert f"assumed: {assumption}" in result.stdout


def test_a_given_task_removes_the_assumption_and_is_in_distribution(tmp_path, dtsip_folder):
    shutil.copyfile(dtsip_folder / "state.pt", tmp_path / "state.pt")
    own = ("--task", "noise_std=0.5", "--task", "n_points=7")
    probe(
        tmp_path / "state.pt", "--heads", "2", *own, *FAST, "--out", tmp_path / "r.html", "--json", tmp_path / "r.json"
    )
    found = numbers(tmp_path)
    np.testing.assert_equal(found["study"]["task"]["noise_std"], 0.5)
    assert found["study"]["families"]["fit"]["n_points"] == 7
    # E[y²] = d + noise²
    moment = found["study"]["families"]["by_label"]["in distribution"]["label_second_moment"]
    np.testing.assert_allclose(moment, 5.25, rtol=1e-12)
    assert found["checkpoint"]["assumptions"] == []
    html = (tmp_path / "r.html").read_text()
    assert "The file does not say" not in html
    assert "label noise of standard deviation 0.5" in html


def test_a_task_may_stand_in_a_file_and_be_overruled(tmp_path, dtsip_folder):
    (tmp_path / "task.yaml").write_text("noise_std: 0.5\nw_cov: [1, 1, 1, 1, 0.5]\n")
    task = ("--task", tmp_path / "task.yaml", "--task", "noise_std=0.25")
    probe(dtsip_folder, *task, *FAST, "--out", tmp_path / "r.html", "--json", tmp_path / "r.json")
    found = numbers(tmp_path)["study"]["task"]
    np.testing.assert_array_equal([found["noise_std"], *found["w_cov"]], [0.25, 1, 1, 1, 1, 0.5])


def test_the_embedded_demo_needs_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    probe(*FAST, "--points", "7", "--threads", "1", "--json", "r.json")
    assert (tmp_path / "icl-report.html").exists()
    assert (tmp_path / "plotly.min.js").exists()
    assert numbers(tmp_path)["checkpoint"]["name"] == "demo.pt"


def test_quiet_prints_nothing(tmp_path, dtsip_folder):
    result = probe(dtsip_folder, *FAST, "--quiet", "--out", tmp_path / "r.html")
    assert (result.stdout, result.stderr) == ("", "")


def test_without_controls_there_are_no_verdicts(tmp_path, dtsip_folder):
    probe(dtsip_folder, *FAST, "--out", tmp_path / "r.html", "--json", tmp_path / "r.json")
    assert {verdict["verdict"] for verdict in numbers(tmp_path)["verdicts"].values()} == {"unknown"}
    assert "Controls were switched off" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize("strength", ["x_mean=-1", "x_scale=1/3", "x_scale=250000.5"])
def test_any_strength_reaches_the_report(tmp_path, dtsip_folder, strength):
    probe(dtsip_folder, *FAST, "--shifts", strength, "--points", "3", "--out", tmp_path / "r.html")
    assert (tmp_path / "r.html").exists()


def test_layers_choose_blocks(tmp_path, dtsip_folder):
    probe(dtsip_folder, *FAST, "--layers", "0, -1", "--out", tmp_path / "r.html", "--json", tmp_path / "r.json")
    labels = [site["label"] for site in numbers(tmp_path)["study"]["sites"]]
    assert labels == ["read-in", "block 0", "block 2", "final norm"]
