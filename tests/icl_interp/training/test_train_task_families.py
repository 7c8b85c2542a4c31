"""Configs of training hold tasks of every family."""

from pathlib import Path

import pytest
import yaml

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.task_pool import TaskPool
from icl_interp.training.configs import TrainConfig, load_config
from icl_interp.training.run import train

MODEL = ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=4)


@pytest.mark.parametrize("task", [LinearRegression(2, noise_std=0.5), TaskPool(2, 3, n_points=4)], ids=repr)
def test_a_config_survives_yaml(tmp_path: Path, task: LinearRegression) -> None:
    config = TrainConfig(model=MODEL, task=task, steps=2, batch_size=4)
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert yaml.safe_load(path.read_text())["task"]["family"] == task.family
    assert load_config(str(path)) == config


def test_a_pool_is_trained_on_and_stays_in_the_checkpoint(tmp_path: Path) -> None:
    task = TaskPool(2, 3)
    result = train(TrainConfig(model=MODEL, task=task, steps=2, batch_size=4), out=tmp_path / "run")
    assert load_checkpoint(result.checkpoint).task == task


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("{family: cubic, n_dims: 2}", "task: .*needs a family among linear_regression, .*got 'cubic'"),
        ("{family: task_pool, n_dims: 2}", "task: .*TaskPool needs n_tasks"),
        ("{family: task_pool, n_dims: 2, n_tasks: 0}", "task.n_tasks: .*greater than or equal to 1"),
        ("7", "task needs a mapping such as .*, got 7"),
    ],
    ids=str,
)
def test_refused_in_one_line(tmp_path: Path, task: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"model: {MODEL.model_dump(mode='json')}\ntask: {task}\nsteps: 2\n")
    with pytest.raises(ValueError, match=message) as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)
