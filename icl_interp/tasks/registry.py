"""Task families by name, so that YAML files and checkpoints can hold any of them."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from icl_interp.tasks.base import Task
from icl_interp.tasks.categorical import CategoricalRegression
from icl_interp.tasks.decision_tree import DecisionTreeRegression
from icl_interp.tasks.ill_conditioned import IllConditionedRegression
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.quadratic import QuadraticRegression
from icl_interp.tasks.recurrence import AffineRecurrence
from icl_interp.tasks.relu_network import ReluNetworkRegression
from icl_interp.tasks.sine import SineRegression
from icl_interp.tasks.sparse import SparseLinearRegression
from icl_interp.tasks.task_pool import TaskPool
from icl_interp.tasks.uniform import UniformRegression

__all__ = ["FAMILIES", "AnyTask", "changed_task", "task_class", "task_fields", "task_from_config", "task_to_config"]

DEFAULT_FAMILY = "linear_regression"
"""What a config without a family means."""

FAMILIES: dict[str, type[Task]] = {
    kind.model_fields["family"].default: kind
    for kind in (
        LinearRegression,
        TaskPool,
        SparseLinearRegression,
        CategoricalRegression,
        AffineRecurrence,
        UniformRegression,
        IllConditionedRegression,
        SineRegression,
        ReluNetworkRegression,
        DecisionTreeRegression,
        QuadraticRegression,
    )
}
"""Every task class by the name that files hold."""


def task_class(family: object) -> type[Task]:
    """Look up a family.

    Args:
        family: A key of `FAMILIES`.

    Returns:
        Its class.

    Raises:
        ValueError: If the name is unknown; the sentence names the valid ones.
    """
    if not isinstance(family, str) or family not in FAMILIES:
        raise ValueError(f"a task needs a family among {', '.join(FAMILIES)}, got {family!r}; check the spelling.")
    return FAMILIES[family]


def task_fields(kind: type[Task]) -> list[str]:
    """List what the config of a family may hold besides its name.

    Args:
        kind: The class.

    Returns:
        Names of fields.
    """
    return [name for name in kind.model_fields if name != "family"]


def task_from_config(config: Mapping[str, Any]) -> Task:
    """Make a task from what a file holds.

    Args:
        config: `{"family": ..., ...}`; without a family it is linear regression.

    Returns:
        The task, every value checked.

    Raises:
        ValueError: If the family or a key is unknown (the sentence names the valid ones), a key is missing, or values
            are impossible.

    Example:
        >>> task_from_config({"family": "task_pool", "n_dims": 8, "n_tasks": 64}).n_tasks
        64
    """
    fields = {str(name): value for name, value in config.items()}
    kind = task_class(fields.pop("family", DEFAULT_FAMILY))
    known = task_fields(kind)
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise ValueError(
            f"{kind.__name__} needs fields among {', '.join(known)}, got {', '.join(unknown)}; check the spelling."
        )
    missing = [name for name in known if kind.model_fields[name].is_required() and name not in fields]
    if missing:
        raise ValueError(f"{kind.__name__} needs {', '.join(missing)}, got no such field; add it.")
    return kind(**fields)


def task_to_config(task: Task) -> dict[str, Any]:
    """Write a task as plain data.

    Args:
        task: Any.

    Returns:
        `{"family": ..., ...}`, which `task_from_config` turns back into an equal task.

    Example:
        >>> task = LinearRegression(n_dims=2, noise_std=0.5)
        >>> task_from_config(task_to_config(task)) == task
        True
    """
    return task.model_dump(mode="json")


def changed_task(task: Task, changes: Mapping[str, Any]) -> Task:
    """Change some fields of a task, or its family.

    Args:
        task: Where the others come from. Another family keeps the number of dimensions and points only.
        changes: New values.

    Returns:
        Another task.

    Raises:
        ValueError: As `task_from_config`.
    """
    config = task_to_config(task)
    if changes.get("family", task.family) != task.family:
        config = {"n_dims": task.n_dims, "n_points": task.n_points}
    return task_from_config({**config, **changes})


def _from_mapping(value: object) -> object:
    return task_from_config(value) if isinstance(value, Mapping) else value


AnyTask = Annotated[SerializeAsAny[Task], BeforeValidator(_from_mapping)]
"""A pydantic field that holds any task, and reads and writes its config."""
