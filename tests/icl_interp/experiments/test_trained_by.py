"""What runs were trained with, from their manifests; older ones say less."""

import json

import pytest

from icl_interp.experiments import trained
from icl_interp.experiments.trained import run_path, train_all, trained_by
from icl_interp.models.config import ModelConfig
from icl_interp.provenance import machine
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.training.train_config import TrainConfig

BARE = TrainConfig(
    model=ModelConfig(family="ltb", n_dims=2, n_points=4),
    task=LinearRegression(2, n_points=4),
    steps=2,
    batch_size=4,
    loss_points="last",
    eval_every=None,
)
CONFIGS = [BARE.model_copy(update={"seed": seed}) for seed in range(5)]


def keep(folder, config, **manifest):
    path = run_path(folder, config)
    path.mkdir(parents=True)
    (path / "manifest.json").write_text(json.dumps({"finished": True, **manifest}))


def test_commits_machines_and_seconds_are_collected(tmp_path):
    old = {"platform": "Linux x86_64", "processor": "A"}
    keep(tmp_path, CONFIGS[0], git_commit="aa", git_dirty=False, seconds=1.5, **old)
    keep(tmp_path, CONFIGS[1], git_commit="bb", git_dirty=True, seconds=2.0, sessions=[{"machine": "B"}] * 2)
    keep(tmp_path, CONFIGS[2], git_commit="aa", git_dirty=False, seconds=0.5, sessions=[{"machine": m} for m in "BC"])
    keep(tmp_path, CONFIGS[3], git_commit=None, git_dirty=None, seconds=1.0)
    assert trained_by(tmp_path, [*CONFIGS[:4], CONFIGS[0]]) == {
        "trained_by_commits": "aa (2 runs); bb changed (1 run); not recorded (1 run)",
        "trained_on": "B (2 runs); C (1 run); Linux x86_64, A (1 run); not recorded (1 run)",
        "seconds_of_training": 5.0,
    }


def test_an_older_run_leaves_the_seconds_open(tmp_path):
    keep(tmp_path, CONFIGS[0], seconds=1.0)
    keep(tmp_path, CONFIGS[1])
    assert trained_by(tmp_path, CONFIGS[:2]) == {
        "trained_by_commits": "not recorded (2 runs)",
        "trained_on": "not recorded (2 runs)",
        "seconds_of_training": "not recorded",
    }


def test_models_that_are_trained_together_say_it(tmp_path, monkeypatch):
    monkeypatch.setattr(trained, "provenance", lambda: {"git_commit": "aa", "git_dirty": True})
    train_all(dict(enumerate(CONFIGS[:2])), tmp_path)
    found = trained_by(tmp_path, CONFIGS[:2])
    assert (found["trained_by_commits"], found["trained_on"]) == ("aa changed (2 runs)", f"{machine()} (2 runs)")
    assert found["seconds_of_training"] == pytest.approx(0.0, abs=60)  # a number; how large is the machine's affair
