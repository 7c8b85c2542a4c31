"""Models of an experiment: trained once, together where that is possible, read back afterwards."""

import json
import time

import pytest
import torch

from icl_interp.experiments import trained
from icl_interp.experiments.trained import checkpoints_of, run_path, train_all, training_seconds
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.training.run import train
from icl_interp.training.schedules import CheckpointSteps
from icl_interp.training.train_config import TrainConfig


def config(seed: int = 0, *, family: str = "ltb", norm: float = 1.0, kept: bool = False) -> TrainConfig:
    shape = {"n_layers": 1, "n_heads": 1, "d_model": 8, "tokens": "joint"} if family == "gpt2" else {}
    return TrainConfig(
        model=ModelConfig(family=family, n_dims=2, n_points=4, **shape),
        task=LinearRegression(2, w_mean=norm, n_points=4),
        steps=4,
        batch_size=8,
        loss_points="last",
        eval_every=None,
        seed=seed,
        checkpoints=CheckpointSteps(linear=3) if kept else None,
    )


PLAN = {
    "a": config(0),
    "b": config(1),
    "c": config(0, norm=2.0),
    "again": config(0),
    "kept": config(2, kept=True),
    "gpt2": config(0, family="gpt2"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("experiment")
    done = []
    models = train_all(PLAN, path, on_done=done.append)
    assert sum(done) == 5  # "again" is "a"
    assert list(models) == list(PLAN)
    return path


@pytest.mark.parametrize("key", PLAN)
def test_each_model_is_what_train_makes(folder, key):
    models = train_all({key: PLAN[key]}, folder)
    alone = train(PLAN[key]).model
    # Together and alone differ in the order of float32 sums.
    torch.testing.assert_close(
        dict(models[key].named_parameters()), dict(alone.named_parameters()), rtol=1e-4, atol=1e-6
    )


def test_alike_models_are_trained_together_and_others_alone():
    jobs = trained._jobs(list(PLAN.values()))
    assert sorted(len(job) for job in jobs) == [1, 1, 4]


def test_what_is_finished_is_read_back(folder, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")}
    monkeypatch.setattr(trained, "_train_job", _refuse)
    time.sleep(0.01)
    train_all(PLAN, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.pt")} == before


def _refuse(job, folder, device):  # noqa: ARG001
    raise AssertionError(f"{len(job)} configs were trained again")


def test_an_unfinished_run_is_trained(folder, monkeypatch):
    monkeypatch.setattr(trained, "_train_job", _refuse)
    with pytest.raises(AssertionError, match="1 configs were trained again"):
        train_all({"new": config(7)}, folder)
    manifest = run_path(folder, PLAN["b"]) / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace("true", "false"))
    with pytest.raises(AssertionError, match="1 configs were trained again"):
        train_all(PLAN, folder)
    manifest.write_text(text)


def test_checkpoints_along_training(folder):
    models = checkpoints_of(folder, PLAN["kept"])
    assert list(models) == [0, 2, 4]
    assert not torch.equal(models[0].blocks[0].mlp.W_in, models[4].blocks[0].mlp.W_in)


def test_a_group_has_a_largest_size(monkeypatch):
    monkeypatch.setattr(trained, "LARGEST_GROUP", 2)
    assert [len(job) for job in trained._jobs([config(seed) for seed in range(5)])] == [2, 2, 1]


@pytest.mark.slow
def test_two_processes_train_the_same(folder, tmp_path):
    plan = {"a": PLAN["a"], "gpt2": PLAN["gpt2"]}
    here, there = train_all(plan, folder), train_all(plan, tmp_path, workers=2)
    for key in plan:
        torch.testing.assert_close(here[key].state_dict(), there[key].state_dict(), rtol=1e-4, atol=1e-6)  # as above


def test_what_training_took_is_added_up_once_a_run(folder):
    took = training_seconds(folder, PLAN.values())
    manifests = [json.loads(path.read_text()) for path in folder.glob("runs/*/manifest.json")]
    assert len(manifests) == 5
    # Each manifest is rounded to a tenth of a second.
    assert took == pytest.approx(sum(manifest["seconds"] for manifest in manifests), abs=0.06)
    path = run_path(folder, PLAN["a"]) / "manifest.json"
    before = path.read_text()
    path.write_text(json.dumps({key: value for key, value in json.loads(before).items() if key != "seconds"}))
    assert training_seconds(folder, PLAN.values()) is None
    path.write_text(before)
