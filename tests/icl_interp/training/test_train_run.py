import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from icl_interp import (
    LinearRegression,
    ModelConfig,
    TrainConfig,
    build_model,
    load_checkpoint,
    reference_predictors,
    train,
)
from icl_interp.training.configs import load_config
from icl_interp.training.loop import StepRecord
from icl_interp.training.schedules import CheckpointSteps

MODEL = ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8)
TINY = TrainConfig(model=MODEL, task=LinearRegression(2), steps=7, batch_size=4, lr=0.01)


def assert_same_weights(actual: nn.Module, expected: nn.Module) -> None:
    for name, weight in expected.named_parameters():
        torch.testing.assert_close(actual.get_parameter(name), weight, rtol=0, atol=0)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def steps_on_disk(folder: Path) -> list[int | None]:
    return [load_checkpoint(path).step for path in sorted((folder / "checkpoints").iterdir())]


def test_the_largest_seed_trains() -> None:
    assert train(TINY.model_copy(update={"seed": 2**63 - 1})).history[-1].step == 7


def test_the_manifest_has_the_commit_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr("icl_interp.training.run.provenance", lambda: calls.append("asked") or {"git_commit": "abc"})
    train(TINY, out=tmp_path, on_step=lambda record: calls.append(f"step {record.step}"))
    assert calls[:2] == ["asked", "step 1"]
    assert calls.count("asked") == 1
    assert json.loads((tmp_path / "manifest.json").read_text())["git_commit"] == "abc"


def test_a_manifest_without_a_checkout_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icl_interp.training.run.provenance", lambda: {"torch": "2"})
    train(TINY, out=tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["git_commit"], manifest["git_dirty"], manifest["torch"]) == (None, None, "2")


def test_the_same_config_gives_the_same_weights() -> None:
    first, again = train(TINY), train(TINY)
    assert first.history == again.history
    assert_same_weights(again.model, first.model)
    other = train(TINY.model_copy(update={"seed": 1}))
    assert other.history[0].loss != first.history[0].loss


def test_history_has_the_first_fifty_steps_then_every_nth_and_the_last() -> None:
    seen: list[StepRecord] = []
    config = TINY.model_copy(update={"steps": 57, "log_every": 4})
    result = train(config, on_step=seen.append)
    assert [record.step for record in result.history] == [*range(1, 51), 52, 56, 57]
    assert [record.step for record in seen] == list(range(1, 58))
    assert result.checkpoint is None
    assert repr(result) == f"TrainResult(57 steps, last loss {seen[-1].loss:.4g}, checkpoint=None)"


def test_the_run_folder_tells_the_whole_story(tmp_path: Path) -> None:
    result = train(TINY, out=tmp_path / "run")
    folder = tmp_path / "run"
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock", "checkpoints", "config.yaml", "manifest.json", "metrics.jsonl", "resume.pt",
    ]  # fmt: skip
    assert load_config(str(folder / "config.yaml")) == TINY
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": r.step, "loss": r.loss, "lr": r.lr} for r in result.history]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {"command", "time", "threads", "torch", "icl_interp", "seed", "seconds"} <= set(manifest)
    assert (manifest["seed"], manifest["device"], manifest["dtype"]) == (0, "cpu", "float32")
    assert manifest["config_sha256"] == sha256(folder / "config.yaml")
    assert manifest["checkpoint"] == "step_00000007.pt"
    assert manifest["checkpoint_sha256"] == sha256(folder / "checkpoints" / "step_00000007.pt")
    assert result.checkpoint == folder / "checkpoints" / "step_00000007.pt"
    loaded = load_checkpoint(folder)
    assert (loaded.step, loaded.task, loaded.model.cfg, loaded.assumptions) == (7, TINY.task, MODEL, ())
    assert_same_weights(loaded.model, result.model)


@pytest.mark.parametrize(
    ("every", "steps"), [(None, [7]), (3, [0, 3, 6, 7]), (7, [0, 7]), (100, [0, 7])], ids=["None", "3", "7", "100"]
)
def test_checkpoints_are_kept_as_asked(tmp_path: Path, every: int | None, steps: list[int]) -> None:
    train(TINY.model_copy(update={"checkpoints": CheckpointSteps(every=every)}), out=tmp_path)
    assert steps_on_disk(tmp_path) == steps


def test_the_checkpoint_of_step_0_is_the_fresh_model(tmp_path: Path) -> None:
    train(TINY.model_copy(update={"checkpoints": CheckpointSteps(log=2, every=7)}), out=tmp_path)
    assert_same_weights(load_checkpoint(tmp_path / "checkpoints/step_00000000.pt").model, build_model(MODEL, seed=0))


def test_a_folder_that_is_in_use_is_refused_before_the_first_step(tmp_path: Path) -> None:
    train(TINY, out=tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    seen: list[StepRecord] = []
    with pytest.raises(ValueError, match=r"a new run needs an empty folder, .* holds files; choose another --out"):
        train(TINY, out=tmp_path, on_step=seen.append)
    assert seen == []
    assert (tmp_path / "metrics.jsonl").read_text() == before


def test_a_run_that_diverges_keeps_its_metrics_and_no_broken_weights(tmp_path: Path) -> None:
    config = TINY.model_copy(update={"task": LinearRegression(2, x_mean=1e30)})
    message = (
        r"the loss was (nan|inf) at step 1; lower lr .* grad_clip; there is no checkpoint before it; .* remove it or "
        "choose another --out"
    )
    with pytest.raises(FloatingPointError, match=message) as caught:
        train(config, out=tmp_path)
    assert f"; {tmp_path} keeps what was logged" in str(caught.value)
    with pytest.raises(FloatingPointError, match=r"at step 1; lower lr [^;]*grad_clip\.$"):  # without a folder
        train(config)
    assert load_config(str(tmp_path / "config.yaml")) == config
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_training_beats_the_zero_predictor_and_comes_near_the_best() -> None:
    # Weights that are nearly the same in all prompts are learned in seconds; the demo shows learning in context.
    config = TrainConfig(
        model=ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=32),
        task=LinearRegression(2, w_mean=[1.0, -1.0], w_cov=0.01),
        steps=200,
        batch_size=64,
        lr=3e-3,
        warmup=20,
        schedule="cosine",
    )
    prompts = config.task.sample(1000, seed=1)
    predictors = {"trained": train(config).model, **reference_predictors(config.task)}
    with torch.no_grad():
        errors = {n: float((f(prompts.xs, prompts.ys) - prompts.ys).square().mean()) for n, f in predictors.items()}
    # Bayes is near 0.01, zero near 2: a model that learned the shared weights is twenty times better than zero.
    assert errors["Bayes"] <= errors["trained"] < errors["zero"] / 20
