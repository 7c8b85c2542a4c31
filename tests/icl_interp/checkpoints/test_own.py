from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.errors import CheckpointError
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.models.shapes import parameter_shapes
from icl_interp.tasks.linear_regression import LinearRegression


def _rewrite(path: Path, **changes: Any) -> None:
    torch.save({**torch.load(path, weights_only=True), **changes}, path)


def test_round_trip_is_bit_identical(tmp_path: Path, small_model: HookedModel) -> None:
    task = LinearRegression(3, noise_std=0.1, x_mean=[0.1, 0.2, 0.3], w_cov=[[2, 1, 0], [1, 2, 0], [0, 0, 0]])
    extra = {"seed": 3, "losses": [1.0, 0.1], "versions": {"torch": "2"}, "note": None}
    path = save_checkpoint(tmp_path / "a.pt", small_model, task=task, step=7, n_points_trained=5, extra=extra)
    loaded = load_checkpoint(path)
    state = loaded.model.state_dict()
    for name, weight in small_model.state_dict().items():
        torch.testing.assert_close(state[name], weight, rtol=0, atol=0)
    prompts = task.sample(4, n_points=6, seed=0)
    torch.testing.assert_close(
        loaded.model(prompts.xs, prompts.ys), small_model(prompts.xs, prompts.ys), rtol=0, atol=0
    )
    assert loaded.model.cfg == small_model.cfg
    assert not loaded.model.training
    assert (loaded.step, loaded.n_points_trained, loaded.extra) == (7, 5, extra)
    assert loaded.task == task.model_copy(update={"n_points": 5})  # its 7 points, capped at those of training
    assert loaded.assumptions == ()
    assert loaded.origin == "icl-interp checkpoint, format 1"
    assert any("noise of standard deviation 0.1" in note for note in loaded.notes)
    assert repr(loaded).startswith("Checkpoint(a.pt, icl-interp checkpoint, format 1, step 7, GPT-2 decoder")


def test_task_that_fits_comes_back_equal(tmp_path: Path, small_model: HookedModel) -> None:
    loaded = load_checkpoint(save_checkpoint(tmp_path / "a.pt", small_model, task=LinearRegression(3)))
    assert (loaded.task, loaded.n_points_trained, loaded.step) == (LinearRegression(3), 7, None)


def test_without_a_task_it_is_assumed(tmp_path: Path, small_model: HookedModel) -> None:
    loaded = load_checkpoint(save_checkpoint(tmp_path / "a.pt", small_model))
    assert (loaded.task, loaded.n_points_trained) == (LinearRegression(3), 7)
    assert len(loaded.assumptions) == 2
    assert "`--task noise_std=0.5` or `task=`" in loaded.assumptions[0]
    assert "7 are assumed" in loaded.assumptions[1]


def test_points_of_training_are_at_most_those_of_the_model(tmp_path: Path, small_model: HookedModel) -> None:
    path = save_checkpoint(tmp_path / "a.pt", small_model, task=LinearRegression(3))
    _rewrite(path, n_points_trained=50)
    loaded = load_checkpoint(path)
    assert (loaded.n_points_trained, small_model.cfg.n_points) == (9, 9)


def test_file_is_plain_data(tmp_path: Path, small_model: HookedModel) -> None:
    path = save_checkpoint(tmp_path / "a.pt", small_model, task=LinearRegression(3))
    contents = torch.load(path, weights_only=True)
    assert contents["format"] == "icl-interp"
    assert contents["format_version"] == 1
    assert contents["task"]["family"] == "linear_regression"
    assert contents["model"] == small_model.cfg.model_dump()
    assert set(contents["weights"]) == set(small_model.state_dict())
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_views_do_not_drag_their_storage_along(tmp_path: Path, small_model: HookedModel) -> None:
    plain = save_checkpoint(tmp_path / "a.pt", small_model).stat().st_size
    small_model.embed.W_E.data = torch.zeros(1000, 1000)[:3, :8]
    assert save_checkpoint(tmp_path / "a.pt", small_model).stat().st_size == pytest.approx(plain, rel=0.1)


def test_compiled_model_is_saved_under_plain_names(tmp_path: Path, small_model: HookedModel) -> None:
    class Wrapped(torch.nn.Module):  # what torch.compile returns, without the wait
        def __init__(self) -> None:
            super().__init__()
            self._orig_mod = small_model
            self.cfg = small_model.cfg

    save: Any = getattr(save_checkpoint, "__wrapped__", save_checkpoint)
    loaded = load_checkpoint(save(tmp_path / "a.pt", Wrapped()))
    torch.testing.assert_close(loaded.model.embed.W_E, small_model.embed.W_E, rtol=0, atol=0)


def test_failed_save_leaves_the_old_file(
    tmp_path: Path, small_model: HookedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_checkpoint(tmp_path / "a.pt", small_model, step=1)
    before = path.read_bytes()

    def fail(_: object, file: Any) -> None:
        file.write(b"half")
        raise RuntimeError("halfway")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(RuntimeError, match="halfway"):
        save_checkpoint(path, small_model, step=2)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]


def test_place_that_cannot_be_written(tmp_path: Path, small_model: HookedModel) -> None:
    message = r"needs a folder that exists and can be written, got .*a\.pt \(No such file or directory\)"
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(tmp_path / "missing" / "a.pt", small_model)
    assert list(tmp_path.iterdir()) == []


SAVE_ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "task of another width": (
        {"task": LinearRegression(4)},
        "needs n_dims=3 and at most 9 points.*got n_dims=4",
    ),
    "task too long": ({"task": LinearRegression(3, n_points=10)}, "at most 9 points.*n_points=10"),
    "numpy in extra": (
        {"extra": {"a": [np.float64(1)]}},
        r"got float64 at extra\['a'\]\[0\]; convert it first",
    ),
    "tensor key": ({"extra": {"a": {torch.ones(1): 1}}}, r"got Tensor at extra\['a'\]'s keys"),
    "no points": ({"n_points_trained": 0}, "int of at least 1 or None for n_points_trained, got 0"),
    "negative step": ({"step": -1}, "int of at least 0 or None for step, got -1"),
    "boolean step": ({"step": True}, "for step, got True"),
}


@pytest.mark.parametrize(("arguments", "message"), SAVE_ERRORS.values(), ids=SAVE_ERRORS.keys())
def test_save_refuses(tmp_path: Path, small_model: HookedModel, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        save_checkpoint(tmp_path / "a.pt", small_model, **arguments)
    assert list(tmp_path.iterdir()) == []


READ_ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "newer": (
        {"format_version": 2},
        r"reads format_version 1 at most, got 2: .*a\.pt; upgrade icl-interp\.$",
    ),
    "newer with other keys": ({"format_version": 3, "what": 1}, "at most, got 3"),
    "no version": ({"format_version": None}, "missing, unknown or misshapen format_version: "),
    "unknown key": ({"colour": 1}, "missing, unknown or misshapen colour: "),
    "two misshapen": ({"weights": [], "step": "x"}, "missing, unknown or misshapen weights, step: "),
    "no points": ({"n_points_trained": 0}, "missing, unknown or misshapen n_points_trained"),
    "config": (
        {"model": {"n_dims": 0}},
        "the model of a checkpoint needs the fields of ModelConfig, got n_dims: ",
    ),
    "task": ({"task": {"family": "linear_regression"}}, "the task of a checkpoint needs the fields.*n_dims"),
    "task value": (
        {"task": {"family": "linear_regression", "n_dims": 3, "noise_std": -1}},
        "the task of a checkpoint needs the fields of LinearRegression, got noise_std: ",
    ),
    "task family": (
        {"task": {"family": "sparse"}},
        "needs a family among .*task_pool, .*, got 'sparse'",
    ),
    "task of another width": ({"task": {"family": "linear_regression", "n_dims": 4}}, "needs n_dims=3"),
    "no blocks": ({"weights": {"a": torch.ones(1)}}, r"a block for each of the n_layers=2 .* states, got 0: "),
    "names": (
        {"weights": {"a": torch.ones(1), "blocks.0.b": torch.ones(1), "blocks.1.c": torch.ones(1)}},
        r"\(missing: embed\.W_E, .* and \d+ more; unexpected: a, blocks\.0\.b, blocks\.1\.c\)",
    ),
    "task of an enormous width": (
        {"task": {"family": "linear_regression", "n_dims": 10**9}},
        "the task of a checkpoint needs n_dims=3, as its model has, got n_dims=1000000000: ",
    ),
}


@pytest.mark.parametrize(("changes", "message"), READ_ERRORS.values(), ids=READ_ERRORS.keys())
def test_read_refuses(tmp_path: Path, small_model: HookedModel, changes: dict[str, Any], message: str) -> None:
    path = save_checkpoint(tmp_path / "a.pt", small_model, task=LinearRegression(3))
    _rewrite(path, **changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


ENORMOUS: dict[str, tuple[dict[str, int], str]] = {
    "n_layers": ({"n_layers": 10**9}, "a block for each of the n_layers=1000000000 that the file states, got 2: "),
    "n_dims": ({"n_dims": 10**9}, r"embed\.W_E is \[3, 8\] instead of \[1000000000, 8\]"),
    "n_points": ({"n_points": 10**12}, r"pos_embed\.W_pos is \[18, 8\] instead of \[2000000000000, 8\]"),
    "d_model": ({"d_model": 10**9}, r"embed\.W_E is \[3, 8\] instead of \[3, 1000000000\]"),
    "d_head": ({"d_head": 10**9}, r"attn\.W_Q is \[2, 8, 4\] instead of \[2, 8, 1000000000\]"),
    "d_mlp": ({"d_mlp": 10**30}, r"mlp\.W_in is \[8, 32\] instead of \[8, 10{30}\]"),
    "n_heads": ({"n_heads": 10**9, "d_head": 4}, r"attn\.W_Q is \[2, 8, 4\] instead of \[1000000000, 8, 4\]"),
}


@pytest.mark.parametrize("with_task", [True, False], ids=["task", "no task"])
@pytest.mark.parametrize(("changes", "message"), ENORMOUS.values(), ids=ENORMOUS.keys())
def test_sizes_of_a_config_are_not_believed(
    tmp_path: Path, small_model: HookedModel, changes: dict[str, int], message: str, with_task: bool
) -> None:
    # Believing any of them would hang, or ask for terabytes: that the test ends is the test.
    path = save_checkpoint(tmp_path / "a.pt", small_model, task=LinearRegression(3) if with_task else None)
    _rewrite(path, model={**torch.load(path, weights_only=True)["model"], **changes})
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)


def test_a_tensor_that_claims_more_than_it_stores_is_refused(tmp_path: Path, small_model: HookedModel) -> None:
    path = save_checkpoint(tmp_path / "a.pt", small_model)
    contents = torch.load(path, weights_only=True)
    _rewrite(path, weights={**contents["weights"], "embed.W_E": torch.ones(1, 1).expand(10**7, 10**7)})
    with pytest.raises(CheckpointError, match=r"dense floating-point tensors, got something else under embed\.W_E"):
        load_checkpoint(path)


CONFIGS = [
    ModelConfig(n_dims=3, n_points=9, n_layers=2, n_heads=2, d_model=8),
    ModelConfig(n_dims=1, n_points=1, n_layers=1, n_heads=1, d_model=2),
    ModelConfig(n_dims=2, n_points=4, n_layers=3, n_heads=3, d_model=8, d_head=5, d_mlp=7),
]


@pytest.mark.parametrize("config", CONFIGS, ids=ModelConfig.describe)
def test_shapes_known_beforehand_are_those_of_the_built_model(config: ModelConfig) -> None:
    built = {name: tuple(weight.shape) for name, weight in build_model(config, seed=0).state_dict().items()}
    assert parameter_shapes(config) == built


def test_read_refuses_wrong_shapes_heads_and_values(tmp_path: Path, small_model: HookedModel) -> None:
    path = save_checkpoint(tmp_path / "a.pt", small_model)
    assert load_checkpoint(path, n_heads=2).model.cfg.n_heads == 2
    with pytest.raises(CheckpointError, match=r"the one in the file, which is 2, got 4: .*leave out --heads"):
        load_checkpoint(path, n_heads=4)
    weights = torch.load(path, weights_only=True)["weights"]
    _rewrite(path, weights={**weights, "embed.b_E": torch.ones(3)})
    with pytest.raises(CheckpointError, match=r"embed\.b_E is \[3\] instead of \[8\]"):
        load_checkpoint(path)
    _rewrite(path, weights={**weights, "embed.b_E": torch.full((8,), torch.inf)})
    with pytest.raises(CheckpointError, match=r"got NaN or infinity in embed\.b_E: "):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "weight", [torch.ones(8, dtype=torch.long), torch.ones(8).to_sparse(), torch.ones(8, device="meta"), 3.0]
)
def test_read_refuses_strange_tensors(tmp_path: Path, small_model: HookedModel, weight: object) -> None:
    path = save_checkpoint(tmp_path / "a.pt", small_model)
    weights = torch.load(path, weights_only=True)["weights"]
    _rewrite(path, weights={**weights, "embed.b_E": weight})
    with pytest.raises(CheckpointError, match=r"dense floating-point tensors, got something else under embed\.b_E"):
        load_checkpoint(path)


def test_other_precisions_become_float32(tmp_path: Path, small_model: HookedModel) -> None:
    path = save_checkpoint(tmp_path / "a.pt", small_model.double())
    loaded = load_checkpoint(path)
    assert loaded.model.embed.W_E.dtype == torch.float32


FOREIGN = {
    "text": lambda path: path.write_text("mine"),
    "empty": lambda path: path.touch(),
    "weights": lambda path: torch.save({"weights": torch.zeros(1)}, path),
    "state to resume from": lambda path: torch.save({"format": "icl-interp resume"}, path),
}


@pytest.mark.parametrize("link", [False, True], ids=["file", "link"])
@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_only_own_checkpoints_are_replaced(tmp_path: Path, small_model: HookedModel, make: Any, link: bool) -> None:
    make(tmp_path / "target")
    before = (tmp_path / "target").read_bytes()
    path = tmp_path / "target"
    if link:
        path = tmp_path / "link"
        path.symlink_to("target")
    with pytest.raises(CheckpointError, match=r"a checkpoint is written over nothing but an older one .*; choose"):
        save_checkpoint(path, small_model)
    assert (tmp_path / "target").read_bytes() == before


@pytest.mark.parametrize("name", ["a.pt", "a.safetensors"])
def test_an_own_checkpoint_is_replaced(tmp_path: Path, small_model: HookedModel, name: str) -> None:
    for step in (1, 2):
        save_checkpoint(tmp_path / name, small_model, step=step)
    assert load_checkpoint(tmp_path / name).step == 2
