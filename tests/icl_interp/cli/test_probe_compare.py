"""icl-probe --compare: one report for several models, and what it refuses in one sentence."""

import json
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.cli.probe import _app
from icl_interp.cli.probe_compare import _load_each, name_models
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression


def save(path, n_dims=2, n_layers=1, **task):
    config = ModelConfig(n_dims=n_dims, n_points=6, n_layers=n_layers, n_heads=1, d_model=8)
    return save_checkpoint(path, build_model(config, seed=n_layers), task=LinearRegression(n_dims, n_points=5, **task))


def test_two_models_of_different_depth_share_one_report(tmp_path):
    paths = [save(tmp_path / f"{name}.pt", n_layers=depth) for name, depth in (("one", 1), ("two", 2))]
    out, numbers = tmp_path / "both.html", tmp_path / "both.json"
    few = ["--prompts", "8", "--shifts", "x_scale=3", "--no-controls", "--plotlyjs", "directory"]
    result = CliRunner().invoke(_app, [*map(str, paths), "--compare", "--out", str(out), "--json", str(numbers), *few])
    assert result.exit_code == 0, result.output
    assert "Do one.pt and two.pt differ in distribution?" in result.stdout
    html = out.read_text(encoding="utf-8")
    for wanted in (
        "one.pt and two.pt side by side",
        "inputs standard Gaussian",
        "Answers side by side",
        'id="layers-of-models"',
        'id="errors"',
    ):
        assert wanted in html
    told = json.loads(numbers.read_text(encoding="utf-8"))
    assert list(told["models"]) == told["comparison"]["models"] == ["one.pt", "two.pt"]
    late = told["comparison"]["differences"][0]
    by_model = [told["models"][name]["study"]["errors"]["families"]["in distribution"] for name in told["models"]]
    first, second = (family["curves"]["model"]["late"]["value"] for family in by_model)
    assert late["difference"]["value"] == pytest.approx(second - first)


def test_what_cannot_be_compared_is_refused(tmp_path, refuses):
    one = save(tmp_path / "one.pt")
    wide, noisy = save(tmp_path / "wide.pt", n_dims=3), save(tmp_path / "noisy.pt", noise_std=0.5)
    assert refuses(_app, one, "--compare") == "--compare needs two models or more, got 1; name their files."
    assert "needs different models" in refuses(_app, one, one, "--compare")
    assert "has no timeline, so it takes no --llc" in refuses(_app, one, wide, "--compare", "--llc", 2)
    assert "got 2 dimensions for one.pt and 3 for wide.pt" in refuses(_app, one, wide, "--compare")
    assert "name one distribution for both by --task" in refuses(_app, one, noisy, "--compare")


def test_heads_are_given_to_the_files_that_do_not_state_them(tmp_path, refuses):
    one, two = save(tmp_path / "one.pt"), save(tmp_path / "two.pt", n_layers=2)
    assert "which is 1, got 4" in refuses(_app, one, two, "--compare", "--heads", 4)
    silent = Path(__file__).parents[2] / "data" / "timaeus_icl" / "checkpoint.pt"
    found = _load_each([one, silent], partial(load_checkpoint, n_heads=4))
    assert {name: one.model.cfg.n_heads for name, one in found.items()} == {"one.pt": 1, "checkpoint.pt": 4}


def test_models_are_named_as_short_as_they_can_be_told_apart():
    assert name_models([Path("runs/a.pt"), Path("runs/b.pt")]) == ["a.pt", "b.pt"]
    assert name_models([Path("runs/a/state.pt"), Path("runs/b/state.pt")]) == ["a/state.pt", "b/state.pt"]
