"""Task families by name, so that YAML files and checkpoints can hold all of them, the user's own too."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, PlainSerializer

from icl_interp.errors import InputError, InputTypeError, UserCodeError
from icl_interp.registry import Registry, place_of
from icl_interp.tasks.base import Task
from icl_interp.tasks.categorical import CategoricalRegression
from icl_interp.tasks.decision_tree import DecisionTreeRegression
from icl_interp.tasks.fixed_prompts import FixedPrompts
from icl_interp.tasks.ill_conditioned import IllConditionedRegression
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.quadratic import QuadraticRegression
from icl_interp.tasks.recurrence import AffineRecurrence
from icl_interp.tasks.relu_network import ReluNetworkRegression
from icl_interp.tasks.sine import SineRegression
from icl_interp.tasks.sparse import SparseLinearRegression
from icl_interp.tasks.task_pool import TaskPool
from icl_interp.tasks.uniform import UniformRegression

_DEFAULT_FAMILY = "linear_regression"
"""What a config without a family means."""

_OURS = (
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
TASKS = Registry[type[Task]](__name__, "TASKS", {kind.model_fields["family"].default: kind for kind in _OURS})
"""Every task class by the name that files hold."""
_DEFINED_IN = "defined_in"
"""The key by which files say where a task that is not ours comes from."""

_TaskKind = TypeVar("_TaskKind")


def register_task(kind: _TaskKind) -> _TaskKind:
    """Let configs and checkpoints hold a task class of your own, by the name in its field `family`.

    A file that holds such a task says where its class was defined. Whoever reads the file has to register the class
    first, in a notebook by importing the module that does so.

    Args:
        kind: A subclass of `Task`, or of any family, with its own name: `family: str = "my_family"`. A class of the
            same module and name replaces the one before, so that a notebook's cell can run again.

    Returns:
        The same class, so that this works as a decorator.

    Raises:
        InputTypeError: If it is no subclass of Task, or an abstract one.
        InputError: If it has no name, or one that another class has.

    Example:
        >>> @register_task
        ... class Doubled(LinearRegression):
        ...     family: str = "doubled"
        ...
        ...     def draw_labels(self, xs, *, seed):
        ...         labels = super().draw_labels(xs, seed=seed)
        ...         return type(labels)(2 * labels.ys, 2 * labels.ws)
        >>> task_from_config(task_to_config(Doubled(3))) == Doubled(3)
        True
        >>> del TASKS["doubled"]  # for the examples that follow
    """
    if not (isinstance(kind, type) and issubclass(kind, Task)) or inspect.isabstract(kind):
        raise InputTypeError(f"register_task needs a subclass of Task that defines all its methods, got {kind!r}.")
    own: type[Task] = kind
    family = own.model_fields["family"].default
    if not isinstance(family, str) or not family:
        raise InputError(
            f"register_task needs a name for files in the field family, got none in {own.__name__}; write "
            f"family: str = {own.__name__.lower()!r} in the class."
        )
    TASKS.add(family, own, who="register_task", what="family that no other class has", code=_itself)
    return kind


def _itself(kind: type[Task]) -> type[Task]:
    return kind


@contextmanager
def code_of(task: Task) -> Iterator[None]:
    """Say that errors come from code that the user brought along, where the methods of a task of their own raise them.

    What these say of an input is said as it stands.
    """
    kinds = [kind for kind in type(task).__mro__ if issubclass(kind, Task)]
    theirs = {kind.__module__ for kind in kinds if not kind.__module__.startswith("icl_interp.")}
    try:
        yield
    except (InputError, UserCodeError):
        raise
    except Exception as error:
        caller = error.__traceback__.tb_next if error.__traceback__ is not None else None
        frames = caller.tb_next if caller is not None else None
        while frames is not None and frames.tb_frame.f_globals.get("__name__") not in theirs:
            frames = frames.tb_next
        if frames is None:
            raise
        raise UserCodeError(f"the task {type(task).__name__}", error, frames) from error


def task_class(family: object) -> type[Task]:
    """Look up a family."""
    if not isinstance(family, str) or family not in TASKS:
        raise InputError(f"a task needs a family among {', '.join(TASKS)}, got {family!r}; check the spelling.")
    return TASKS[family]


def class_in(fields: dict[str, Any], *, default: str | None = None) -> type[Task]:
    """Take the class out of what a file holds."""
    family, place = fields.pop("family", default), fields.pop(_DEFINED_IN, None)
    if place is None or family in TASKS:
        return task_class(family)
    module, _, name = str(place).rpartition(".")
    script = module == "__main__"
    where = "run the code that defines it" if script else f"import {module}"
    file = "FILE.py" if script else f"{module.rpartition('.')[2]}.py"
    raise InputError(
        f"a task of the family {family!r} needs its class {name}, which is not ours and was defined in {module}; "
        f"{where} first, and call icl_interp.register_task({name}) there; commands take --import {file}."
    )


def task_fields(kind: type[Task]) -> list[str]:
    """List what the config of a family may hold besides its name."""
    return [name for name in kind.model_fields if name != "family"]


def task_from_config(config: Mapping[str, Any]) -> Task:
    """Make a task from what a file holds.

    Args:
        config: `{"family": ..., ...}`; without a family it is linear regression.

    Returns:
        The task, every value checked.

    Raises:
        InputError: If the family or a key is unknown (the sentence names the valid ones), a key is missing, or values
            are impossible.

    Example:
        >>> task_from_config({"family": "task_pool", "n_dims": 8, "n_tasks": 64}).n_tasks
        64
    """
    fields = {str(name): value for name, value in config.items()}
    return _make(class_in(fields, default=_DEFAULT_FAMILY), fields)


def _make(kind: type[Task], fields: Mapping[str, Any]) -> Task:
    known = task_fields(kind)
    unknown = [name for name in fields if name not in known]
    if unknown:
        raise InputError(
            f"{kind.__name__} needs fields among {', '.join(known)}, got {', '.join(unknown)}; check the spelling."
        )
    missing = [name for name in known if kind.model_fields[name].is_required() and name not in fields]
    if missing:
        raise InputError(f"{kind.__name__} needs {', '.join(missing)}, got no such field; add it.")
    return kind(**fields)


def task_to_config(task: Task) -> dict[str, Any]:
    """Write a task as plain data.

    Args:
        task: Any task.

    Returns:
        `{"family": ..., ...}`, which `task_from_config` turns back into an equal task.

    Raises:
        InputError: If its class is not known, so that it would come back as another.

    Example:
        >>> task = LinearRegression(n_dims=2, noise_std=0.5)
        >>> task_from_config(task_to_config(task)) == task
        True
    """
    if isinstance(task, FixedPrompts):
        raise InputError(
            f"a file cannot hold saved prompts as its task, got {task.describe()}; leave the task out, and give it "
            "when the file is read (task=, --task prompts.npz)."
        )
    if TASKS.get(task.family) is not type(task):
        kind = type(task).__name__
        raise InputError(
            f"a file can hold a task of a class that is known, got {kind}, which would be read back as "
            f"{TASKS[task.family].__name__ if task.family in TASKS else 'nothing'}; give {kind} a family of "
            f"its own and call icl_interp.register_task({kind})."
        )
    return describe_task(task)


def describe_task(task: Task) -> dict[str, Any]:
    """Write a task as plain data that nobody reads back."""
    place = {} if type(task) in _OURS else {_DEFINED_IN: place_of(type(task))}
    return {**task.model_dump(mode="json"), **place}


def changed_task(task: Task, changes: Mapping[str, Any]) -> Task:
    """Change some fields of a task, or its family."""
    if changes.get("family", task.family) != task.family:
        return task_from_config({"n_dims": task.n_dims, "n_points": task.n_points, **changes})
    fields = {**task.model_dump(mode="json"), **changes}
    fields.pop("family", None)
    return _make(type(task), fields)


def _from_mapping(value: object) -> object:
    return task_from_config(value) if isinstance(value, Mapping) else value


AnyTask = Annotated[Task, BeforeValidator(_from_mapping), PlainSerializer(describe_task)]
"""A pydantic field that holds any task, and reads and writes its config."""
