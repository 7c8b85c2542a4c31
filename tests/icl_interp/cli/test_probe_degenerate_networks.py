"""icl-probe on networks with as little as there can be: a report, with a sentence for what cannot be measured."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from icl_interp import LinearRegression, ModelConfig, build_model, save_checkpoint
from icl_interp.cli.probe import _app

LEAST = {"n_dims": 1, "n_points": 4, "n_layers": 1, "n_heads": 1}
SPANNED = {
    1: "The stream is 1 wide and 1 direction spans it, so",
    2: "The stream is 2 wide and 2 directions span it, so",
}
MODELS = {
    "width 1": ModelConfig(**LEAST, d_model=1),
    "width 1, two points": ModelConfig(n_dims=1, n_points=2, n_layers=1, n_heads=1, d_model=1),
    "width 1, joint tokens": ModelConfig(**LEAST, d_model=1, tokens="joint", attention="full"),
    "width 2, pinned": ModelConfig(**LEAST, d_model=2, tokens="separate", read_out="pinned", final_norm=False),
    "lsa": ModelConfig(family="lsa", n_dims=1, n_points=4),
    "ltb": ModelConfig(family="ltb", n_dims=1, n_points=4),
    "softmax layer": ModelConfig(family="softmax_layer", n_dims=1, n_points=4),
}


LONGER = ("lsa", "ltb")
"""Another family has the same path as the softmax layer; what a study leaves out of each is tested by itself."""


# Untrained networks have the same config, so one case with them is enough; without them the others show the same.
@pytest.mark.parametrize(
    ("name", "controls"),
    [pytest.param(n, n == "width 1", marks=[pytest.mark.slow] if n in LONGER else [], id=n) for n in MODELS],
)
def test_it_reports_and_says_what_cannot_be_measured(name: str, controls: bool, tmp_path: Path) -> None:
    model = build_model(MODELS[name], seed=0)
    task = LinearRegression(1, n_points=model.cfg.n_points)
    path = save_checkpoint(tmp_path / "model.pt", model, task=task)
    options = ["--prompts", "8", "--shifts", "x_scale=3", "--plotlyjs", "directory"]
    options += ["--controls", "5"] if controls else ["--no-controls"]
    out = ["--out", str(tmp_path / "r.html"), "--json", str(tmp_path / "r.json")]
    result = CliRunner().invoke(_app, [str(path), *out, *options])
    assert result.exit_code == 0, result.stderr
    spanned = SPANNED[model.cfg.d_model]
    assert f"note: {spanned} every overlap is 1 and no signature exists." in result.stdout
    assert f"{spanned} there is no signature to remove." in (tmp_path / "r.html").read_text()
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["study"]["conventions"]["k"] == model.cfg.d_model
    assert found["study"]["mechanism"]["absent"]["use"].startswith(spanned)
