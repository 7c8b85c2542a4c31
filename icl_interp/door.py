"""Arguments of public functions: models, tasks and prompts in every form that is understood; the rest is refused.

Each public function that takes one of these calls its `as_...` first.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.errors import InputTypeError
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import Prompts, TokenPrompts
from icl_interp.query import Callee
from icl_interp.tasks.base import Task
from icl_interp.tasks.own import try_out

if TYPE_CHECKING:
    ModelLike = HookedModel | Checkpoint
    CalleeLike = Callee | Checkpoint
    TaskLike = Task | None
    PromptsLike = Prompts | TokenPrompts | Tensor
    PathsLike = str | Path | Sequence[str | Path]
else:  # any object, so that this file says what is wrong and no type checker before it
    ModelLike = CalleeLike = TaskLike = PromptsLike = PathsLike = object


def as_model(who: str, model: object) -> HookedModel:
    """Take a model, or that of a checkpoint."""
    found = model.model if isinstance(model, Checkpoint) else model
    if isinstance(found, HookedModel):
        return found
    raise InputTypeError(f"{who} needs a model, got {_came(model)}; {_remedy_for_a_model(model)}.")


def as_model_and_task(who: str, model: object, task: object) -> tuple[HookedModel, Task]:
    """Take both; the task of a checkpoint is its own unless another is given."""
    if isinstance(model, Task) and not isinstance(task, Task):
        raise InputTypeError(f"{who} needs the model first and then the task, got them the other way; swap the two.")
    return as_model(who, model), as_task(who, model, task)


def as_callee_and_task(who: str, f: object, task: object) -> tuple[Callee, Task]:
    """Take any callable f(xs, ys) where a model may stand, and the task."""
    if callable(f) and not isinstance(f, type | Task | Checkpoint):
        return f, as_task(who, f, task)
    return as_model_and_task(who, f, task)


def as_task(who: str, model: object, task: object) -> Task:
    """Take a task, or that of the checkpoint that was given as a model."""
    if task is None and isinstance(model, Checkpoint):
        return model.task
    if not isinstance(task, Task):
        raise InputTypeError(f"{who} needs a task, got {_came(task)}; {_remedy_for_a_task(task)}.")
    try_out(task)
    return task


def as_prompts(who: str, prompts: object, name: str = "prompts") -> Prompts:
    """Take prompts."""
    if isinstance(prompts, Prompts):
        return prompts
    raise InputTypeError(f"{who} needs {name}, got {_came(prompts)}; {_remedy_for_prompts(prompts)}.")


def as_prompts_or_tokens(who: str, given: object) -> Any:
    """Take prompts, or the tokens [batch pos] that a wrapped language model reads."""
    if isinstance(given, TokenPrompts):
        return given
    if isinstance(given, Tensor) and given.ndim == 2 and not given.is_floating_point():
        return TokenPrompts(given)
    return as_prompts(who, given)


def as_paths(who: str, run: object) -> list[str | Path]:
    """Take one path or several."""
    several = [run] if not isinstance(run, Sequence) or isinstance(run, str) else list(run)
    paths = [each for each in several if isinstance(each, str | Path)]
    if wrong := [each for each in several if not isinstance(each, str | Path)]:
        raise InputTypeError(
            f"{who} needs paths of run folders or checkpoint files, got {_came(wrong[0])}; pass where they are."
        )
    return paths


def trained_points(model: object, given: int | None) -> int | None:
    """Take the number of points of training, or what a checkpoint says of it."""
    return model.n_points_trained if given is None and isinstance(model, Checkpoint) else given


def _came(thing: object) -> str:
    if thing is None:
        return "none"
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    if isinstance(thing, str | Path):
        return f"the path {str(thing)!r}"
    if n := _count_paths(thing):
        return f"a list of {n} path{'s' * (n > 1)}"
    if isinstance(thing, tuple):
        return f"a tuple of {len(thing)}"
    return f"the task {type(thing).__name__}" if isinstance(thing, Task) else type(thing).__name__


def _count_paths(thing: object) -> int:
    if not isinstance(thing, Sequence) or isinstance(thing, str):
        return 0
    return len(thing) if all(isinstance(path, str | Path) for path in thing) else 0


def _remedy_for_a_model(thing: object) -> str:
    if isinstance(thing, str | Path):
        return "pass icl_interp.load_checkpoint(path)"
    if _count_paths(thing):
        return (
            "pass icl_interp.load_checkpoint(path), one after the other; icl_interp.development(paths) follows "
            "checkpoints over training"
        )
    if isinstance(thing, ModelConfig):
        return "pass icl_interp.build_model(config, seed=0)"
    if isinstance(thing, nn.Module):
        return "wrap the module first: icl_interp.wrap(module)"
    if isinstance(getattr(thing, "model", None), HookedModel):
        return "pass its .model"
    if isinstance(thing, Prompts | TokenPrompts):
        return "the model comes first, then the prompts"
    return "pass what icl_interp.load_checkpoint or build_model returns"


def _remedy_for_a_task(thing: object) -> str:
    if isinstance(thing, nn.Module | Checkpoint):
        return "the model comes first, then the task"
    if isinstance(thing, dict):
        return "pass icl_interp.task_from_config(...)"
    if isinstance(thing, Prompts):
        return "pass what such prompts are drawn from, such as icl_interp.LinearRegression(n_dims=5)"
    return "pass one such as icl_interp.LinearRegression(n_dims=5)"


def _remedy_for_prompts(thing: object) -> str:
    if isinstance(thing, tuple) and len(thing) == 2:
        return "pass icl_interp.Prompts(xs=xs, ys=ys)"
    if isinstance(thing, Task):
        return "pass task.sample(256, seed=0)"
    if isinstance(thing, Tensor):
        return "pass icl_interp.Prompts(xs=xs, ys=ys), labels included"
    return "pass task.sample(256, seed=0), or icl_interp.Prompts(xs=xs, ys=ys)"
