"""The task in distribution: stated by a file, assumed, or given."""

from collections.abc import Mapping
from dataclasses import replace

from icl_interp.checkpoints.record import Reading
from icl_interp.errors import GivenTaskError, one_line
from icl_interp.tasks.base import Task
from icl_interp.tasks.registry import changed_task, task_class, task_fields

TASK_UNKNOWN = (
    "The file does not say what the model was trained on: linear regression with standard Gaussian inputs "
    "and weights and no label noise is taken as in distribution; say otherwise with `--task noise_std=0.5` "
    "or `task=`."
)
POINTS_UNKNOWN = (
    "The file does not say how many points prompts had in training: {n_points} are assumed (2 n_dims + 1, or "
    "what the model has positions for if that is less); say otherwise with `--task n_points={n_points}` or "
    "`task=`."
)


def assumed_points(n_dims: int, n_positions: int) -> int:
    """Guess how many points prompts had in training.

    Formula: min(2 n_dims + 1, n_positions).
    """
    return min(2 * n_dims + 1, n_positions)


def fit_points(task: Task, n_points: int) -> Task:
    """Cap the usual number of points of a task."""
    return task if task.default_points <= n_points else task.model_copy(update={"n_points": n_points})


def with_given_task(reading: Reading, given: Task | Mapping[str, object]) -> Reading:
    """Put the task that a person named in the place of the file's."""
    n_dims, n_positions = reading.config.n_dims, reading.config.max_points
    fields = given.model_dump(exclude_unset=True) if isinstance(given, Task) else dict(given)
    if fields.get("n_dims", n_dims) != n_dims:
        raise GivenTaskError(
            f"the task needs n_dims={n_dims}, the width of the model's inputs, got "
            f"n_dims={fields['n_dims']}; change the task."
        )
    task = given if isinstance(given, Task) else _changed(reading.task, fields)
    if n_positions is not None and (task.n_points or 0) > n_positions:
        raise GivenTaskError(
            f"the task needs n_points of at most {n_positions}, for which the model has positions, got "
            f"{task.n_points}; lower n_points."
        )
    says_points = fields.get("n_points") is not None
    if says_points and reading.points_assumption and task.n_points is not None:
        reading = replace(reading, n_points_trained=task.n_points, points_assumption=None)
    task = task if says_points else fit_points(task, reading.n_points_trained)
    note = f"The task was given: {task.describe()}, {task.default_points} points per prompt."
    if task.default_points > reading.n_points_trained:
        note = f"{note[:-1]}, of which training had {reading.n_points_trained}."
    return replace(reading, task=task, notes=(*reading.notes, note), task_assumptions=())


def _changed(task: Task, fields: Mapping[str, object]) -> Task:
    try:
        kind = type(task) if fields.get("family", task.family) == task.family else task_class(fields["family"])
    except ValueError as error:
        raise GivenTaskError(str(error)) from error
    unknown = [name for name in fields if name not in (*task_fields(kind), "family")]
    if unknown:
        raise GivenTaskError(
            f"the task needs fields among {', '.join(task_fields(kind))}, got {', '.join(unknown)}; check the spelling."
        )
    try:
        return changed_task(task, fields)
    except ValueError as error:
        raise GivenTaskError(
            f"the task needs possible values, got {dict(fields)} ({one_line(error)}); change them."
        ) from error
