import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from icl_interp.checkpoints.load import _as_dictionary, load_checkpoint
from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.checkpoints.safe_load import choose_file
from icl_interp.errors import CheckpointError
from icl_interp.models.hooked import HookedModel
from icl_interp.models.softmax.transformer import HookedICLTransformer
from icl_interp.tasks.linear_regression import LinearRegression

# Formats that are not known.

UNKNOWN: dict[str, tuple[object, str]] = {
    "vision network": (
        {"conv1.weight": torch.ones(1), "bn1.bias": torch.ones(1)},
        r"format that is known, got a dictionary with the keys conv1\.weight, bn1\.bias: .*other\.pt; it is like none "
        r"of checkpoints of icl-interp, state\.pt or model_N\.pt of dtsip/in-context-learning, .* Three ways on: "
        r"--model my_model\.py:load .* activations that you saved as \.npz .* docs/checkpoints\.md lists what "
        r"opens, and icl_interp\.register_reader adds a format of your own\.$",
    ),
    "half a dtsip": (
        {"backbone": {"wpe.weight": 0, "h.0.attn.c_attn.weight": 0}, "_read_out.weight": 0},
        r"; nearest are state dicts of nanoGPT .*, which have h\.0\.mlp\.c_fc\.weight, h\.0\.ln_1\.weight, ln_f",
    ),
    "nested": (
        {"model": {"a": {"b": 1}, "c": 2}, "optimizer": {}},
        r"the keys model\.a\.b, model\.c, optimizer: ",
    ),
    "many": ({f"w{i}": 0 for i in range(9)}, "the keys w0, w1, w2, w3, w4 and 4 more: "),
    "empty": ({}, r"the keys \(none\): "),
    "tensor": (torch.ones(1), "got one Tensor: "),
    "list": ([1], "got one list: "),
}


@pytest.mark.parametrize(("contents", "message"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_unknown_format(tmp_path: Path, contents: object, message: str) -> None:
    torch.save(contents, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path / "other.pt")


def test_a_dictionary_that_refers_to_another_again_and_again(tmp_path: Path) -> None:
    contents: dict[str, Any] = {}
    for _ in range(60):
        contents = {"a": contents, "b": contents}
    torch.save(contents, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"a dictionary with the keys a\.a\.a\.a\.a.* and 99995 more: "):
        load_checkpoint(tmp_path / "other.pt")


def test_errors_are_value_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a file that exists"):
        load_checkpoint(tmp_path / "missing.pt")
    assert list(tmp_path.iterdir()) == []


def test_device_that_is_not_there(dtsip: Path) -> None:
    with pytest.raises(CheckpointError, match=r"needs a device that this machine has, got 'nonsense' .*; pass cpu\.$"):
        load_checkpoint(dtsip, device="nonsense")


def test_device_without_float64(dtsip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = torch.zeros

    def as_on_mps(*sizes: int, dtype: torch.dtype | None = None, **options: Any) -> torch.Tensor:
        if dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return zeros(*sizes, dtype=dtype, **options)

    monkeypatch.setattr(torch, "zeros", as_on_mps)
    with pytest.raises(
        CheckpointError, match=r"a device with float64, got 'cpu' \(Cannot convert a MPS .*; pass cpu\.$"
    ):
        load_checkpoint(dtsip)


def test_a_layout_that_is_no_dictionary() -> None:
    with pytest.raises(CheckpointError, match=r"needs to be a dictionary such as .*, got 'tokens=joint'; pass one\."):
        _as_dictionary("tokens=joint")


def test_path_and_checksum(dtsip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(dtsip.parent))
    checkpoint = load_checkpoint("~/dtsip_tiny/model_4000.pt")
    assert checkpoint.path == dtsip / "model_4000.pt"
    assert checkpoint.sha256 == hashlib.sha256(checkpoint.path.read_bytes()).hexdigest()


# Folders.


def test_own_run_folder_takes_the_newest(tmp_path: Path, small_model: HookedICLTransformer) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text("anything: of our own\n")
    for step in (9, 100, 20):
        save_checkpoint(tmp_path / "checkpoints" / f"step_{step:08d}.pt", small_model, step=step)
    (tmp_path / "checkpoints" / "step_final.pt").write_text("not numbered")
    checkpoint = load_checkpoint(tmp_path)
    assert checkpoint.step == 100
    assert checkpoint.notes[0] == "Of 3 checkpoints in the folder the newest was taken, step_00000100.pt."
    assert load_checkpoint(tmp_path / "checkpoints").step == 100


def test_folder_of_bare_weights_takes_the_newest(tmp_path: Path, dtsip: Path) -> None:
    for step in (900, 1000):
        shutil.copyfile(dtsip / "model_4000.pt", tmp_path / f"model_{step}.pt")
    checkpoint = load_checkpoint(tmp_path, n_heads=2)
    assert (checkpoint.step, checkpoint.path.name) == (1000, "model_1000.pt")
    assert "the newest was taken, model_1000.pt" in checkpoint.notes[0]


def test_folder_without_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    message = r"checkpoints/step_N\.pt, model\.safetensors, .*\), got a folder without one: .*; name the weight"
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)


def test_folder_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "glob", refuse)  # permission bits do not stop root, which tests may run as
    with pytest.raises(CheckpointError, match=r"needs to be readable, got .* \(Permission denied\)"):
        choose_file(tmp_path)


# The task that a person names.


def test_given_fields_change_the_task(dtsip: Path) -> None:
    checkpoint = load_checkpoint(dtsip, task={"noise_std": 0.5})
    assert checkpoint.task == LinearRegression(5, noise_std=0.5, n_points=11)
    assert checkpoint.notes[-1].startswith("The task was given: linear regression in 5 dimensions")
    assert checkpoint.notes[-1].endswith("11 points per prompt.")


def test_given_task_ends_its_assumption_but_not_that_of_the_points(run: Path) -> None:
    (run / "config.yaml").unlink()
    assert len(load_checkpoint(run, n_heads=2).assumptions) == 2
    given = load_checkpoint(run, n_heads=2, task=LinearRegression(5, noise_std=0.1))
    assert len(given.assumptions) == 1
    assert "11 are assumed" in given.assumptions[0]
    with_points = load_checkpoint(run, n_heads=2, task={"n_points": 8})
    assert with_points.assumptions == ()
    assert (with_points.n_points_trained, with_points.task.n_points) == (8, 8)


def test_given_task_is_cut_to_the_points_of_training(tmp_path: Path, small_model: HookedICLTransformer) -> None:
    path = save_checkpoint(tmp_path / "a.pt", small_model, task=LinearRegression(3), n_points_trained=5)
    assert load_checkpoint(path, task=LinearRegression(3, noise_std=1)).task.default_points == 5
    longer = load_checkpoint(path, task={"n_points": 9})
    assert (longer.task.n_points, longer.n_points_trained) == (9, 5)
    assert longer.notes[-1].endswith("9 points per prompt, of which training had 5.")


WRONG_TASKS: dict[str, tuple[Any, str]] = {
    "width": (
        LinearRegression(4),
        "needs n_dims=5, the width of the model's inputs, got n_dims=4; change the task",
    ),
    "width as field": ({"n_dims": 4}, "needs n_dims=5"),
    "points": (
        {"n_points": 12},
        "n_points of at most 11, for which the model has positions, got 12; lower n_points",
    ),
    "points of a task": (LinearRegression(5, n_points=12), "n_points of at most 11"),
    "field": ({"noise": 1}, "needs fields among n_dims, .*noise_std, .*, got noise; check the spelling"),
    "value": (
        {"noise_std": -1},
        r"needs possible values, got \{'noise_std': -1\} \(noise_std: .*\); change them",
    ),
    "covariance": ({"w_cov": [1.0, 2.0]}, "needs possible values.*w_cov needs None, one number"),
}


@pytest.mark.parametrize(("task", "message"), WRONG_TASKS.values(), ids=WRONG_TASKS.keys())
def test_given_task_that_does_not_fit(dtsip: Path, task: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(dtsip, task=task)
    assert "\n" not in str(caught.value)


WRAPPERS = {
    "DataParallel": "module.{}",
    "compiled": "_orig_mod.{}",
    "compiled in DataParallel": "module._orig_mod.{}",
    "DataParallel, compiled": "_orig_mod.module.{}",
    "Lightning": "model.{}",
    "Lightning, compiled": "net._orig_mod.{}",
    "compiled Lightning": "_orig_mod.net.{}",
    "all of them": "module._orig_mod.learner.module.net._orig_mod.{}",
}


def wrapped(weights: dict[str, Any], pattern: str) -> dict[str, Any]:
    return {pattern.format(name): weight for name, weight in weights.items()}


HOLDERS = ("model_state_dict", "state_dict", "model", "module", None)


@pytest.mark.parametrize(
    ("pattern", "holder"),
    [*((pattern, "state_dict") for pattern in WRAPPERS.values()), *(("module.{}", holder) for holder in HOLDERS)],
)
def test_wrappers_and_holders_of_foreign_weights(
    tmp_path: Path, state: dict[str, Any], pattern: str, holder: str | None
) -> None:
    weights = state["model_state_dict"]
    named = wrapped(weights, pattern)
    contents = named if holder is None else {holder: named, "global_step": np.int64(7), "loss": np.float64(0.5)}
    torch.save(contents, tmp_path / "a.ckpt")
    found = load_checkpoint(tmp_path / "a.ckpt", n_heads=2)
    torch.testing.assert_close(found.model.embed.W_E, weights["_read_in.weight"].T)
    assert found.step == (None if holder is None else 7)


@pytest.mark.parametrize("pattern", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_of_own_weights(tmp_path: Path, small_model: HookedModel, pattern: str) -> None:
    path = save_checkpoint(tmp_path / "a.pt", small_model)
    contents = torch.load(path, weights_only=True)
    torch.save({**contents, "weights": wrapped(contents["weights"], pattern), "step": np.int64(3)}, path)
    found = load_checkpoint(path)
    assert found.step == 3
    for name, weight in small_model.state_dict().items():
        torch.testing.assert_close(found.model.state_dict()[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    "names",
    [("model.", "ema_model."), ("module.", ""), ("a.module.", "a.")],
    ids=["two prefixes", "one wrapped and one not", "inside a prefix"],
)
def test_two_networks_in_one_file_are_not_mixed(tmp_path: Path, state: dict[str, Any], names: tuple[str, str]) -> None:
    weights = state["model_state_dict"]
    both = {f"{prefix}{name}": weight for prefix in names for name, weight in weights.items()}
    torch.save({"state_dict": both}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a format that is known|exactly the names|those of one network"):
        load_checkpoint(tmp_path / "a.pt", n_heads=2)
