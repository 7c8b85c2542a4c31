"""icl-probe on the families over joint tokens: a report, with what cannot be said in words."""

import json
from pathlib import Path

import pytest
import torch
from golden import page_text
from typer.testing import CliRunner

from icl_interp import (
    HookedLinearAttention,
    HookedLinearTransformerBlock,
    HookedSoftmaxLayer,
    LinearRegression,
    ModelConfig,
    save_checkpoint,
)
from icl_interp.cli.probe import _app

MODELS = {
    "lsa": lambda: HookedLinearAttention.gradient_descent(
        ModelConfig(family="lsa", n_dims=3, n_points=9, n_layers=2, output_sign=-1), 0.3
    ),
    "ltb": lambda: HookedLinearTransformerBlock.gd_learned_init(
        ModelConfig(family="ltb", n_dims=3, n_points=9), torch.zeros(3), 0.5 * torch.eye(3)
    ),
    "softmax": lambda: HookedSoftmaxLayer(ModelConfig(family="softmax_layer", n_dims=3, n_points=9)),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_reports_and_says_what_does_not_apply(name: str, tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "model.pt", MODELS[name](), task=LinearRegression(3, n_points=9))
    options = ["--prompts", "16", "--shifts", "x_scale=3", "--no-controls", "--plotlyjs", "directory"]
    out = [str(path), "--out", str(tmp_path / "r.html"), "--json", str(tmp_path / "r.json")]
    result = CliRunner().invoke(_app, [*out, *options])
    assert result.exit_code == 0, result.stderr
    notes = [line for line in result.stdout.splitlines() if line.startswith("note: ")]
    assert any("spectra are those of the last point's sequence" in note for note in notes)
    html = (tmp_path / "r.html").read_text()
    assert "residual stream at the query token" in page_text(html)
    assert "before the final norm (" not in html
    assert "spectra are those of the last point" in html
    numbers = json.loads((tmp_path / "r.json").read_text())
    assert numbers["study"]["ood_final"] is None
    assert numbers["study"]["conventions"]["layout"] == "joint"
