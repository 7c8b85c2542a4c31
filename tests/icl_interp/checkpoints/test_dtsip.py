import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from icl_interp.checkpoints.dtsip import dtsip_weights
from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.errors import CheckpointError
from icl_interp.models.softmax.transformer import HookedICLTransformer
from icl_interp.tasks.linear_regression import LinearRegression

Weights = dict[str, Any]


def assert_as_expected(ours: torch.Tensor, expected: np.ndarray) -> None:
    # float32 noise grows with the residual stream: an exact float64 forward pass already differs by 1.3e-5 on
    # its large values, hence a bound relative to the largest.
    bound = 1e-5 * max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=0, atol=bound)


def _predict(model: HookedICLTransformer, expected: Any) -> torch.Tensor:
    return model(torch.from_numpy(expected["xs"]), torch.from_numpy(expected["ys"]))


# What the files hold. expected.npz has 8 of the 64 prompts that were recorded, at every site and position in float32:
# each weight takes part in each prompt, so more prompts show no other error.


def test_state_reproduces_the_original_activations(dtsip: Path) -> None:
    expected = np.load(dtsip / "expected.npz")
    model = load_checkpoint(dtsip / "state.pt").model
    predictions, cache = model.run_with_cache(torch.from_numpy(expected["xs"]), torch.from_numpy(expected["ys"]))
    assert_as_expected(predictions, expected["predictions"])
    for layer in range(3):
        assert_as_expected(cache[f"blocks.{layer}.hook_resid_pre"], expected[f"block_input_{layer}"])
    assert_as_expected(cache["ln_final.hook_out"], expected["final_norm"])


def test_bare_weights_reproduce_the_original_predictions(dtsip: Path) -> None:
    expected = np.load(dtsip / "model_4000_expected.npz")
    checkpoint = load_checkpoint(dtsip / "model_4000.pt")
    assert_as_expected(_predict(checkpoint.model, expected), expected["predictions"])
    assert checkpoint.step == 4000


@pytest.mark.parametrize(
    "name",
    [
        "embed.W_E",
        "pos_embed.W_pos",
        "blocks.0.attn.W_Q",
        "blocks.1.attn.b_V",
        "blocks.2.mlp.W_in",
        "unembed.b_U",
    ],
)
def test_a_perturbed_weight_is_noticed(dtsip: Path, name: str) -> None:
    expected = np.load(dtsip / "expected.npz")
    model = load_checkpoint(dtsip / "state.pt").model
    with torch.no_grad():
        # A factor: a constant added to all of d_model is removed by every LayerNorm and changes nothing.
        model.get_parameter(name)[0] *= 1.05
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_as_expected(_predict(model, expected), expected["predictions"])


def test_wrong_number_of_heads_is_noticed(dtsip: Path, tmp_path: Path) -> None:
    expected = np.load(dtsip / "expected.npz")
    shutil.copyfile(dtsip / "state.pt", tmp_path / "state.pt")
    assert_as_expected(_predict(load_checkpoint(tmp_path, n_heads=2).model, expected), expected["predictions"])
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_as_expected(_predict(load_checkpoint(tmp_path, n_heads=4).model, expected), expected["predictions"])


def test_run_folder_tells_everything(run: Path) -> None:
    checkpoint = load_checkpoint(run)
    assert checkpoint.path == run / "state.pt"
    assert checkpoint.task == LinearRegression(5, n_points=11)
    assert (checkpoint.step, checkpoint.n_points_trained, checkpoint.assumptions) == (12000, 11, ())
    assert checkpoint.origin == "dtsip/in-context-learning run folder"
    assert checkpoint.model.cfg.init == "dtsip"
    assert (checkpoint.model.cfg.n_heads, checkpoint.model.cfg.n_points) == (2, 11)
    assert any("_backbone.wte.weight" in note for note in checkpoint.notes)
    assert load_checkpoint(run, n_heads=2).model.cfg == checkpoint.model.cfg


def test_without_config_heads_are_asked_for_and_the_task_is_assumed(run: Path) -> None:
    (run / "config.yaml").unlink()
    with pytest.raises(
        CheckpointError, match=r"among 1, 2, 4, 8, 16, 32, 64, .*got no config\.yaml that says so: "
    ) as e:
        load_checkpoint(run)
    assert str(e.value).endswith("pass --heads N (n_heads=N) (Garg et al. use 2 for that width).")
    checkpoint = load_checkpoint(run, n_heads=2)
    assert checkpoint.task == LinearRegression(5, n_points=11)
    assert (checkpoint.n_points_trained, checkpoint.step) == (11, 12000)
    assert "does not say what the model was trained on" in checkpoint.assumptions[0]
    assert "11 are assumed" in checkpoint.assumptions[1]
    assert any("number of heads, 2, was given" in note for note in checkpoint.notes)


@pytest.mark.parametrize("n_heads", [0, 3, 128])
def test_impossible_number_of_heads(run: Path, n_heads: int) -> None:
    (run / "config.yaml").unlink()
    with pytest.raises(CheckpointError, match=f"number of heads among 1, 2, .*, got {n_heads}: "):
        load_checkpoint(run, n_heads=n_heads)


def test_heads_may_not_contradict_the_config(run: Path) -> None:
    with pytest.raises(CheckpointError, match=r"beside the weights, which is 2, got 4: .*leave out --heads"):
        load_checkpoint(run, n_heads=4)


# Names and shapes.


def _with_legacy_buffers(w: Weights) -> Weights:
    for layer in range(3):
        w[f"_backbone.h.{layer}.attn.bias"] = torch.ones(1, 1, 22, 22, dtype=torch.bool).tril()
        w[f"_backbone.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    return w


def _with_full_token_table(w: Weights) -> Weights:
    return {**w, "_backbone.wte.weight": torch.randn(7, 64)}


def _as_compiled(w: Weights) -> Weights:
    return {f"_orig_mod.{name}": weight for name, weight in w.items()}


@pytest.mark.parametrize("change", [_with_legacy_buffers, _with_full_token_table, _as_compiled])
def test_harmless_differences(run: Path, dtsip: Path, state: Any, change: Callable[[Weights], Weights]) -> None:
    torch.save({**state, "model_state_dict": change(state["model_state_dict"])}, run / "state.pt")
    expected = np.load(dtsip / "expected.npz")
    assert_as_expected(_predict(load_checkpoint(run).model, expected), expected["predictions"])


def _without(name: str) -> Callable[[Weights], Weights]:
    return lambda w: {n: weight for n, weight in w.items() if n != name}


def _with(name: str, value: object) -> Callable[[Weights], Weights]:
    return lambda w: {**w, name: value}


NAN = torch.full((64,), torch.nan)
WRONG_WEIGHTS: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "missing": (
        _without("_backbone.h.1.attn.c_attn.bias"),
        r"\(missing: _backbone\.h\.1\.attn\.c_attn\.bias\): ",
    ),
    "unexpected": (
        _with("_backbone.h.0.attn.rotary", torch.ones(1)),
        r"\(unexpected: _backbone\.h\.0\.attn\.rotary\)",
    ),
    "a block far out": (
        _with("_backbone.h.9999999999.ln_1.weight", torch.ones(64)),
        r"\(missing: _backbone\.h\.3\..* more; unexpected: _backbone\.h\.9999999999\.ln_1\.weight\)",
    ),
    "no anchor": (_without("_backbone.wpe.weight"), r"got a file without _backbone\.wpe\.weight: "),
    "vector for a matrix": (
        _with("_read_in.weight", torch.ones(64)),
        r"got a file without _read_in\.weight: ",
    ),
    "odd positions": (_with("_backbone.wpe.weight", torch.ones(21, 64)), "got a position table of 21 rows"),
    "shape": (
        _with("_backbone.ln_f.bias", torch.ones(63)),
        r"_backbone\.ln_f\.bias is \[63\] instead of \[64\]",
    ),
    "two outputs": (
        _with("_read_out.weight", torch.ones(2, 64)),
        r"_read_out\.weight is \[2, 64\] instead of \[1, 64\]",
    ),
    "nan": (
        _with("_backbone.h.2.ln_1.weight", NAN),
        r"got NaN or infinity in _backbone\.h\.2\.ln_1\.weight: ",
    ),
    "no tensor": (_with("_read_in.bias", [0.0] * 64), r"something else under _read_in\.bias"),
    "another depth": (
        lambda w: {n: v for n, v in w.items() if ".h.2." not in n},
        r"the config\.yaml beside them states, got n_layer is 3 there and 2 here: .*move config\.yaml away",
    ),
    "another width of x": (_with("_read_in.weight", torch.ones(64, 7)), "n_dims is 5 there and 7 here"),
    "another table": (
        _with("_backbone.wpe.weight", torch.ones(24, 64)),
        "n_positions is 11 there and 12 here",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS.keys())
def test_wrong_weights_are_named(run: Path, state: Any, change: Callable[[Weights], Weights], message: str) -> None:
    torch.save({**state, "model_state_dict": change(state["model_state_dict"])}, run / "state.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(run)
    assert "\n" not in str(caught.value)


def test_weights_of_other_programs_are_not_taken(state: Any) -> None:
    assert dtsip_weights(state) is not None
    assert dtsip_weights(state["model_state_dict"]) is not None
    assert dtsip_weights({"model_state_dict": [1]}) is None
    assert dtsip_weights({"conv1.weight": torch.ones(1)}) is None
    assert dtsip_weights(torch.ones(1)) is None


def test_a_run_folder_of_others(foreign: Path) -> None:
    expected = np.load(foreign / "gfouilhe-width1" / "expected.npz")
    found = load_checkpoint(foreign / "gfouilhe-width1")
    answers, cache = found.model.run_with_cache(torch.from_numpy(expected["xs"]), torch.from_numpy(expected["ys"]))
    np.testing.assert_allclose(answers.detach(), expected["pred"], rtol=1e-5)
    np.testing.assert_allclose(cache["resid_post", 0].detach(), expected["resid_post_0"], rtol=1e-5, atol=1e-6)
    assert (found.step, found.model.cfg.d_model) == (500_000, 1)
    assert "trained on polynomial_regression" in found.assumptions[0]
