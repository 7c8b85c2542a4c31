"""Load a checkpoint of any format that is known."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from icl_interp.checkpoints.distribution import with_given_task
from icl_interp.checkpoints.own_code import Loader, load_by
from icl_interp.checkpoints.record import Checkpoint, Reading
from icl_interp.checkpoints.registry import open_file, read_file
from icl_interp.checkpoints.safe_load import WeightFile, choose_file
from icl_interp.checkpoints.weights import check_names, check_shapes
from icl_interp.errors import CheckpointError, one_line
from icl_interp.tasks.base import Task


def check_device(device: str | torch.device) -> None:
    """Refuse a device before minutes are spent on it."""
    try:
        torch.zeros(1, device=device).item()  # "meta" makes tensors, but none that hold anything
    except Exception as error:  # torch raises RuntimeError, AssertionError and more
        raise CheckpointError(
            f"the model needs a device that this machine has, got {str(device)!r} ({one_line(error)[:100]}); pass cpu."
        ) from error
    try:
        torch.zeros(1, device=device, dtype=torch.float64).item()
    except Exception as error:  # TypeError on "mps"
        raise CheckpointError(
            f"the measures need a device with float64, got {str(device)!r} ({one_line(error)[:100]}); pass cpu."
        ) from error


def load_checkpoint(
    path: str | os.PathLike[str],
    *,
    n_heads: int | None = None,
    task: Task | Mapping[str, object] | None = None,
    layout: Mapping[str, object] | None = None,
    loader: Loader | None = None,
    device: str | torch.device = "cpu",
) -> Checkpoint:
    """Load a model, its task, and the list of what had to be assumed.

    Nothing in the file is executed. The file is checked completely before TransformerLens is imported.

    Args:
        path: A checkpoint file, or a run folder (its current or newest checkpoint is taken).
        n_heads: Attention heads per block, for foreign weights without a config.
        task: The task in distribution, if the file does not say it or is wrong: a whole task, or only the fields that
            differ, as in `{"noise_std": 0.5}`.
        layout: What a foreign file does not say, as in `{"sign": -1, "channel": "last"}`; docs/checkpoints.md lists the
            keys of each format.
        loader: Your own function from the path to a module or a wrapped one (`icl_interp.wrap`), for other networks
            than ours. It needs `task`; `n_heads` and `layout` have no effect then.
        device: Device of the model.

    Returns:
        The model in evaluation mode, its task, and what was understood and assumed.

    Raises:
        CheckpointError: A ValueError whose text is one sentence: the path is missing, unreadable, damaged or
            holds code; the format is unknown; names, shapes or values of weights are wrong; the number of
            heads is unknown; the layout or the task does not fit; the device is not there or has no float64.
    """
    check_device(device)
    said = _as_dictionary(layout)
    if loader is not None:
        return load_by(loader, Path(path).expanduser(), task=task, device=device)
    choice = choose_file(Path(path).expanduser())
    file = open_file(choice.path)
    reading = read_file(file, n_heads=n_heads, layout=said)
    if choice.note is not None:
        reading = replace(reading, notes=(choice.note, *reading.notes))
    if task is not None:
        reading = with_given_task(reading, task)
    return _build(file, reading, device)


def _as_dictionary(layout: object) -> Mapping[str, object]:
    if not isinstance(layout, Mapping | None):
        raise CheckpointError(
            f"the layout of a file needs to be a dictionary such as {{'tokens': 'separate'}}, got {layout!r}; pass one."
        )
    return layout or {}


def _build(file: WeightFile, reading: Reading, device: str | torch.device) -> Checkpoint:
    from icl_interp.models.build import build_model  # seconds, spent on a good file only

    model = build_model(reading.config, seed=0)
    needed = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    check_names(file.path, reading.weights, needed, what="weights")
    check_shapes(file.path, reading.weights, needed, what="weights")
    model.load_state_dict(dict(reading.weights))
    points = () if reading.points_assumption is None else (reading.points_assumption,)
    return Checkpoint(
        model=model.to(device).eval(),
        task=reading.task,
        step=reading.step,
        n_points_trained=reading.n_points_trained,
        origin=reading.origin,
        notes=reading.notes,
        assumptions=(*reading.task_assumptions, *points, *reading.other_assumptions),
        path=file.path,
        sha256=file.sha256,
        extra=reading.extra,
    )
