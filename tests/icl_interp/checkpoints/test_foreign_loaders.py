"""The loaders of examples/foreign: files as their authors wrote them, and look-alikes of our own."""

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import icl_interp as icl
from icl_interp.cli.probe import _app

FILE = Path(__file__).parents[3] / "examples" / "foreign" / "joint_attention.py"


@pytest.fixture(scope="module")
def loader() -> Any:
    return runpy.run_path(str(FILE))


@pytest.mark.parametrize("name", ["shouyue-lsa-2layer/lsa_2layer", "shouyue-softmax-1layer-old/softmax_1layer"])
def test_files_of_others(foreign: Path, loader: Any, name: str) -> None:
    path = foreign / f"{name}_checkpoint.pt"
    expected = {key: torch.from_numpy(value) for key, value in np.load(path.parent / "expected.npz").items()}
    model = icl.load_checkpoint(path, loader=loader["load"], task=icl.LinearRegression(20)).model
    xs = torch.cat([expected["xs"], expected["query_x"]], dim=1)
    ys = torch.cat([expected["ys"], torch.zeros(32, 1)], dim=1)
    answer, cache = model.run_with_cache(xs, ys)
    torch.testing.assert_close(answer[:, 0], expected["pred"], rtol=1e-5, atol=1e-5)
    for block in range(model.cfg.n_layers):
        torch.testing.assert_close(cache[f"block {block}"], expected[f"resid_post_{block}"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cache["read-in"], expected["tokens"], rtol=0, atol=0)


@pytest.mark.parametrize("kind", ["lsa", "softmax"])
def test_a_look_alike_gets_its_report(loader: Any, kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = loader["Net"](2, 2, kind).state_dict()
    path = tmp_path / "theirs.pt"
    torch.save({"model_state_dict": weights, "num_layers": 2, "d": 2, "hidden_dim": None, "model_type": kind}, path)
    task = ("--task", "family=linear_regression", "--task", "n_dims=2", "--task", "n_points=4")
    places = ("--out", tmp_path / "r.html", "--json", tmp_path / "r.json", "--plotlyjs", "directory", "--quiet")
    arguments = (
        path,
        "--model",
        f"{FILE}:load",
        *task,
        *places,
        "--prompts",
        "8",
        "--controls",
        "2",
        "--shifts",
        "x_scale=3",
    )
    done = CliRunner().invoke(_app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "r.json").read_text())["study"]
    assert {"errors", "ood", "detectors", "probes"} <= set(found)

    assert {"heads", "attention"} <= set(found["mechanism"]["absent"])


OPENED = {
    "gfouilhe-width1": (),
    "siroten-lsa1/params.pkl": (),
    "siroten-curriculum-easy2hard/params.pkl": (),
    "spinglass-W2/W-2.npy": (),
    "shouyue-lsa-2layer/lsa_2layer_checkpoint.pt": ("--model", f"{FILE}:load", "--task", "family=linear_regression"),
}


@pytest.mark.parametrize("name", OPENED)
def test_files_of_others_get_their_reports(foreign: Path, name: str, tmp_path: Path) -> None:
    task = ("--task", "n_dims=20") if OPENED[name] else ()
    places = ("--out", tmp_path / "r.html", "--json", tmp_path / "r.json", "--plotlyjs", "directory", "--quiet")
    few = ("--prompts", "8", "--shifts", "x_scale=3", "--no-controls", "--no-timeline")
    done = CliRunner().invoke(_app, [str(word) for word in (foreign / name, *OPENED[name], *task, *places, *few)])
    assert done.exit_code == 0, done.stderr
    found = json.loads((tmp_path / "r.json").read_text())["study"]
    assert found["errors"]["families"]["in distribution"]["curves"]
    assert {"survey", "ood", "detectors", "probes"} <= set(found)
