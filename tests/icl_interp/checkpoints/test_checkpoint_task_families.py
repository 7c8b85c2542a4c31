"""Checkpoints hold tasks of every family, and `task=` names any."""

from pathlib import Path

import pytest

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.errors import CheckpointError
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.tasks.base import Task
from icl_interp.tasks.categorical import CategoricalRegression
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.sparse import SparseLinearRegression
from icl_interp.tasks.task_pool import TaskPool


@pytest.fixture(scope="module")
def model() -> HookedModel:
    return build_model(ModelConfig(n_dims=3, n_points=9, n_layers=1, n_heads=1, d_model=4), seed=0)


TASKS = [
    TaskPool(3, 8, noise_std=0.5, pool_seed=2),
    SparseLinearRegression(n_dims=3, n_nonzero=1, x_correlation=0.25),
    CategoricalRegression(n_dims=3, dominant_share=0.5),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.family)
def test_a_task_comes_back_equal(tmp_path: Path, model: HookedModel, task: Task) -> None:
    loaded = load_checkpoint(save_checkpoint(tmp_path / "a.pt", model, task=task))
    assert loaded.task == task
    assert task.describe() in loaded.notes[0]


def test_fields_of_the_files_family_can_be_changed(tmp_path: Path, model: HookedModel) -> None:
    path = save_checkpoint(tmp_path / "a.pt", model, task=TASKS[0])
    assert load_checkpoint(path, task={"n_tasks": 4}).task == TaskPool(3, 4, noise_std=0.5, pool_seed=2)


def test_another_family_starts_afresh(tmp_path: Path, model: HookedModel) -> None:
    path = save_checkpoint(tmp_path / "a.pt", model, task=LinearRegression(3, noise_std=0.5))
    assert load_checkpoint(path, task={"family": "task_pool", "n_tasks": 4}).task == TaskPool(3, 4)
    assert load_checkpoint(path, task=TASKS[1]).task == TASKS[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"family": "cubic"}, "needs a family among linear_regression, .*, got 'cubic'"),
        ({"family": "task_pool"}, "needs possible values, .*TaskPool needs n_tasks, got no such field"),
        ({"family": "task_pool", "m": 3}, "needs fields among n_dims, .*n_tasks.*, got m; check the spelling"),
        ({"n_tasks": 3}, "needs fields among n_dims, .*w_cov, got n_tasks"),
        (TaskPool(2, 3), "needs n_dims=3, the width of the model's inputs, got n_dims=2"),
    ],
    ids=str,
)
def test_refused(tmp_path: Path, model: HookedModel, given: object, message: str) -> None:
    path = save_checkpoint(tmp_path / "a.pt", model, task=LinearRegression(3))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path, task=given)
