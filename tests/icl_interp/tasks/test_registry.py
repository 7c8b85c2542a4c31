"""Families by name: configs in, tasks out, and sentences for what is wrong."""

import pytest
from task_cases import FAMILY_CASES

from icl_interp import LinearRegression, TaskPool
from icl_interp.tasks.registry import TASKS, changed_task, task_class, task_fields, task_from_config, task_to_config


def test_names_are_those_that_files_hold() -> None:
    assert TASKS["linear_regression"] is LinearRegression
    assert TASKS["task_pool"] is TaskPool
    assert all(kind.model_fields["family"].default == name for name, kind in TASKS.items())


def test_a_config_without_a_family_is_linear_regression() -> None:
    assert task_from_config({"n_dims": 3, "noise_std": 0.5}) == LinearRegression(3, noise_std=0.5)


def test_linear_regression_is_written_as_before() -> None:
    assert task_to_config(LinearRegression(2, w_cov=[1.0, 0.0])) == {
        "family": "linear_regression",
        "n_dims": 2,
        "noise_std": 0.0,
        "x_mean": 0.0,
        "x_cov": None,
        "w_mean": 0.0,
        "w_cov": [1.0, 0.0],
        "n_points": None,
    }


@pytest.mark.parametrize("task", FAMILY_CASES.values(), ids=FAMILY_CASES)
def test_fields_are_all_but_the_family(task: LinearRegression) -> None:
    assert set(task_fields(type(task))) == set(task_to_config(task)) - {"family"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"family": "cubic", "n_dims": 2}, "needs a family among linear_regression, task_pool, .*, got 'cubic'; check"),
        ({"family": ["task_pool"]}, r"needs a family among .*, got \['task_pool'\]"),
        ({"family": "task_pool", "n_dims": 2}, "TaskPool needs n_tasks, got no such field; add it"),
        ({}, "LinearRegression needs n_dims, got no such field"),
        ({"family": "task_pool", "n_dims": 2, "m": 3}, "TaskPool needs fields among n_dims, .*n_tasks.*, got m; check"),
        ({"family": "task_pool", "n_dims": 2, "n_tasks": 0}, "n_tasks\n.*greater than or equal to 1"),
        ({"family": "sine_regression", "n_dims": 2}, "n_dims needs to be 1, since inputs .* are numbers, got 2"),
    ],
    ids=str,
)
def test_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        task_from_config(config)


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(ValueError, match="got 'linear'"):
        task_class("linear")


def test_changes_keep_the_rest() -> None:
    task = TaskPool(3, 8, noise_std=0.5, pool_seed=2)
    assert changed_task(task, {"n_tasks": 4}) == TaskPool(3, 4, noise_std=0.5, pool_seed=2)
    assert changed_task(task, {"family": "task_pool", "noise_std": 0.0}) == TaskPool(3, 8, pool_seed=2)


def test_another_family_keeps_dimensions_and_points_only() -> None:
    task = LinearRegression(3, noise_std=0.5, n_points=4)
    assert changed_task(task, {"family": "task_pool", "n_tasks": 2}) == TaskPool(3, 2, n_points=4)
