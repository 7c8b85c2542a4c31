"""Checks of the user's own tasks and shifts, before anything rests on them."""

import math
from typing import Any

import torch
from torch import Tensor

from icl_interp.errors import InputError, InputTypeError, users_code
from icl_interp.prompts import Prompts
from icl_interp.tasks.base import FunctionTask, Labels, Task
from icl_interp.tasks.registry import TASKS

_FEW = 3


def check_drawn(who: str, prompts: object, *, n_prompts: int, n_points: int | None, n_dims: int) -> None:
    """Refuse what is no prompts of the asked size; no number of points means any."""
    if not isinstance(prompts, Prompts):
        raise InputTypeError(
            f"{who} needs to return Prompts, got {type(prompts).__name__}; return icl_interp.Prompts(xs=xs, ys=ys)."
        )
    asked = prompts.n_points if n_points is None else n_points
    _check_tensor(who, "xs", prompts.xs, (n_prompts, asked, n_dims))
    _check_tensor(who, "ys", prompts.ys, (n_prompts, asked))


def _check_tensor(who: str, name: str, value: object, shape: tuple[int, ...]) -> None:
    if not isinstance(value, Tensor):
        raise InputTypeError(f"{who} needs {name} as a tensor, got {type(value).__name__}; use torch.as_tensor.")
    if value.dtype != torch.float32 or tuple(value.shape) != shape:
        raise InputError(
            f"{who} needs {name} of shape {list(shape)} in float32, got {list(value.shape)} in "
            f"{str(value.dtype).removeprefix('torch.')}; change what it returns."
        )
    if not bool(value.isfinite().all()):
        raise InputError(f"{who} needs finite numbers in {name}, got NaN or infinity; change what it returns.")


def check_second_moment(who: str, value: Any) -> float:
    """Refuse what is no E[y^2]."""
    number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < math.inf:
        raise InputError(
            f"{who} needs to give E[y²] as a finite number of at least 0, got {value!r}; where no formula is known, "
            "average over many prompts."
        )
    return float(number)


def try_out(task: Task) -> None:
    """Refuse a task of the user's own whose prompts nothing could be measured on."""
    if type(task) in TASKS.values() and type(task) not in TASKS.theirs.values():
        return
    name = f"the task {type(task).__name__}"
    with users_code(name, passing=(InputError,)):
        n_points, n_dims = task.default_points, task.n_dims
        if isinstance(task, FunctionTask):
            xs = task.draw_inputs(_FEW, n_points, seed=0)
            _check_tensor(f"draw_inputs of {name}", "inputs", xs, (_FEW, n_points, n_dims))
            labels = task.draw_labels(xs, seed=0)
            if not isinstance(labels, Labels):
                raise InputTypeError(
                    f"draw_labels of {name} needs to return Labels, got {type(labels).__name__}; return "
                    "icl_interp.Labels(ys), with the weights where labels are linear."
                )
            _check_tensor(f"draw_labels of {name}", "labels", labels.ys, (_FEW, n_points))
        first, again = task.sample(_FEW, seed=0), task.sample(_FEW, n_points, seed=0)
        for prompts in (first, again):
            check_drawn(f"sample of {name}", prompts, n_prompts=_FEW, n_points=n_points, n_dims=n_dims)
        if not (torch.equal(first.xs, again.xs) and torch.equal(first.ys, again.ys)):
            raise InputError(
                f"sample of {name} needs to draw equal prompts for equal seeds, got two draws that differ for seed 0; "
                "take every random number from torch.Generator().manual_seed(seed)."
            )
        check_second_moment(f"label_second_moment of {name}", task.label_second_moment())
        if not isinstance(said := task.describe(), str):
            raise InputTypeError(f"describe of {name} needs to return a clause, got {type(said).__name__}.")
