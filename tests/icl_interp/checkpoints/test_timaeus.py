from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.timaeus import drop_unused, sizes_of, timaeus_weights
from icl_interp.errors import CheckpointError
from icl_interp.tasks.linear_regression import LinearRegression

_DATA = Path(__file__).parents[2] / "data" / "timaeus_icl"
_ROOT = "token_sequence_transformer."
Contents = dict[str, Any]


@pytest.fixture
def contents() -> Contents:
    return torch.load(_DATA / "checkpoint.pt", weights_only=True)


@pytest.fixture
def weights(contents: Contents) -> dict[str, torch.Tensor]:
    return drop_unused(contents["model"])


def _error(path: Path, n_heads: int = 4) -> float:
    """Largest difference to the predictions that timaeus-research/icl made, in units of the largest of those."""
    expected = np.load(_DATA / "checkpoint_expected.npz")
    model = load_checkpoint(path, n_heads=n_heads).model
    with torch.no_grad():
        ours = model(torch.from_numpy(expected["xs"]), torch.from_numpy(expected["ys"])).numpy()
    return float(np.abs(ours - expected["predictions"]).max() / max(1, np.abs(expected["predictions"]).max()))


def test_predictions_are_those_of_the_code_that_wrote_the_file() -> None:
    assert _error(_DATA / "checkpoint.pt") <= 1e-5  # the bound that comes with the data


def test_other_heads_or_another_weight_give_other_predictions(tmp_path: Path, contents: Contents) -> None:
    assert _error(_DATA / "checkpoint.pt", n_heads=2) > 1e-3
    contents["model"][f"{_ROOT}blocks.0.attention.output.weight"][0, 0] += 0.1
    torch.save(contents, tmp_path / "a.pt")
    assert _error(tmp_path / "a.pt") > 1e-4


def test_bare_state_dict_will_do(tmp_path: Path, contents: Contents) -> None:
    torch.save({f"_orig_mod.{name}": weight for name, weight in contents["model"].items()}, tmp_path / "a.pt")
    assert _error(tmp_path / "a.pt") <= 1e-5  # as above
    assert load_checkpoint(tmp_path / "a.pt", n_heads=4).step is None


def test_what_was_understood_and_what_was_assumed() -> None:
    checkpoint = load_checkpoint(_DATA / "checkpoint.pt", n_heads=4)
    config = checkpoint.model.cfg
    assert checkpoint.model.n_params == 51_717  # as computed from the paper's sizes
    assert (config.tokens, config.d_out, config.doubled_residual, config.attn_out_proj) == ("separate", 5, True, True)
    assert (config.n_dims, config.n_points, config.n_ctx, config.mlp_width) == (4, 8, 16, 64)
    assert checkpoint.task == LinearRegression(4, n_points=8)
    assert (checkpoint.step, checkpoint.n_points_trained) == (60, 8)
    assert checkpoint.origin == "timaeus-research/icl checkpoint"
    assert "The number of heads, 4, was given." in checkpoint.notes
    (task,) = checkpoint.assumptions
    assert "does not say what the model was trained on" in task
    assert load_checkpoint(_DATA / "checkpoint.pt", n_heads=4, task={"noise_std": 0.35}).assumptions == ()


def test_heads_are_asked_for() -> None:
    with pytest.raises(
        CheckpointError, match="among 1, 2, 4, 8, 16, 32, 64, which shapes do not tell, got no"
    ) as error:
        load_checkpoint(_DATA / "checkpoint.pt")
    assert str(error.value).endswith("pass --heads N (n_heads=N) (Hoogland et al. use 4 for width 64).")
    with pytest.raises(CheckpointError, match=r"a number of heads among .*, got 3: "):
        load_checkpoint(_DATA / "checkpoint.pt", n_heads=3)


def test_without_output_projection(tmp_path: Path, contents: Contents) -> None:
    # An identity written out and an absent projection are the same network.
    outputs = [name for name in contents["model"] if name.endswith("attention.output.weight")]
    identity = {name: torch.eye(64) for name in outputs}
    torch.save({"model": contents["model"] | identity}, tmp_path / "identity.pt")
    torch.save({"model": {n: w for n, w in contents["model"].items() if n not in outputs}}, tmp_path / "without.pt")
    identity_model, without = (load_checkpoint(tmp_path / f, n_heads=4).model for f in ("identity.pt", "without.pt"))
    assert not without.cfg.attn_out_proj
    expected = np.load(_DATA / "checkpoint_expected.npz")
    xs, ys = torch.from_numpy(expected["xs"]), torch.from_numpy(expected["ys"])
    torch.testing.assert_close(without(xs, ys), identity_model(xs, ys), rtol=1e-4, atol=1e-5)  # float32, other sums


@pytest.mark.parametrize(
    ("optimizer", "step"),
    [
        ({"state": {0: {"step": torch.tensor(7.0)}}}, 7),
        ({"state": {0: {"step": 3}}}, 3),
        ({"state": {}}, None),
        ({"state": {0: {}}}, None),
        (None, None),
        ({"state": {0: {"step": "seven"}}}, None),
    ],
)
def test_step_is_what_the_optimizer_counted(
    tmp_path: Path, contents: Contents, optimizer: object, step: int | None
) -> None:
    torch.save({**contents, "optimizer": optimizer}, tmp_path / "a.pt")
    assert load_checkpoint(tmp_path / "a.pt", n_heads=4).step == step


def _with(name: str, value: object) -> Callable[[Contents], Contents]:
    return lambda w: {**w, _ROOT + name: value}


def _without(name: str) -> Callable[[Contents], Contents]:
    return lambda w: {n: weight for n, weight in w.items() if n != _ROOT + name}


NAN = torch.full((64,), torch.nan)
REFUSED: dict[str, tuple[Callable[[Contents], Contents], str]] = {
    "no anchor": (_without("token_embedding.weight"), rf"got a file without {_ROOT}token_embedding\.weight: "),
    "vector for a matrix": (_with("postn_embedding.weight", torch.ones(64)), r"without \S*postn_embedding\.weight"),
    "odd positions": (_with("postn_embedding.weight", torch.ones(64, 15)), "got 15 positions and tokens of width 5"),
    "tokens without x": (_with("token_embedding.weight", torch.ones(64, 1)), "tokens of width 1"),
    "missing": (_without("blocks.1.compute.2.bias"), r"\(missing: \S*blocks\.1\.compute\.2\.bias\)"),
    "half an output projection": (_without("blocks.1.attention.output.weight"), r"missing: \S*1\.attention\.output"),
    "unexpected": (_with("blocks.0.gate", torch.ones(1)), r"\(unexpected: \S*blocks\.0\.gate\)"),
    "shape": (_with("unembedding.1.bias", torch.ones(4)), r"unembedding\.1\.bias is \[4\] instead of \[5\]"),
    "nan": (_with("unembedding.0.bias", NAN), r"got NaN or infinity in \S*unembedding\.0\.bias"),
    "no tensor": (_with("unembedding.0.bias", 1.0), r"something else under \S*unembedding\.0\.bias"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(tmp_path: Path, contents: Contents, change: Callable[[Contents], Contents], message: str) -> None:
    torch.save({**contents, "model": change(contents["model"])}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(tmp_path / "a.pt", n_heads=4)
    assert "\n" not in str(caught.value)


def test_weights_of_other_programs_are_not_taken(weights: dict[str, torch.Tensor]) -> None:
    assert timaeus_weights({"model": weights}) is not None
    assert timaeus_weights({"model": [1]}) is None
    assert timaeus_weights({"conv1.weight": torch.ones(1)}) is None
    assert timaeus_weights(torch.ones(1)) is None
    assert repr(sizes_of(Path("a.pt"), weights)) == "TimaeusSizes(2 layers, width 64, tokens of width 5)"
