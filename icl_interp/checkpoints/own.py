"""Our own format: one dictionary of tensors and plain data, readable with `weights_only=True`, or .safetensors.

Keys: "format" ("icl-interp"), "format_version" (1), "model" (fields of ModelConfig), "task" ("family" and the
fields of the task, or None), "step", "n_points_trained", "weights" (by HookedTransformer's names), "extra"
(plain provenance). In .safetensors all but the weights is JSON in the header.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch import Tensor

from icl_interp.checkpoints.distribution import POINTS_UNKNOWN, TASK_UNKNOWN, assumed_points, fit_points
from icl_interp.checkpoints.record import Checkpoint, Layout, Reader, Reading
from icl_interp.checkpoints.safe_load import WeightFile, load_weight_file, to_safetensors
from icl_interp.checkpoints.weights import (
    check_names,
    check_shapes,
    plain_names,
    stated_heads,
    to_float32,
    without_prefix,
)
from icl_interp.errors import CheckpointError, InputError, one_line
from icl_interp.files import refuse_foreign, write_atomically
from icl_interp.models.config import ModelConfig
from icl_interp.models.shapes import parameter_shapes
from icl_interp.tasks.base import Task
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.registry import class_in, task_to_config

if TYPE_CHECKING:
    import icl_interp.models.hooked  # TransformerLens comes with it

_BLOCK = re.compile(r"blocks\.(\d+)\.")
FORMAT = "icl-interp"
_FORMAT_VERSION = 1
_KEYS = ("format", "format_version", "model", "task", "step", "n_points_trained", "weights", "extra")
_PLAIN = (type(None), bool, int, float, str)


def _check_own_layout(path: Path, weights: Mapping[str, Tensor], config: ModelConfig) -> None:
    """Check that weights are those of their config, before anything of the config's size is made."""
    # First the one size that costs time: a config may speak of 10**9 layers.
    n_blocks = len({match.group(1) for name in weights if (match := _BLOCK.match(name))})
    if n_blocks != (1 if config.share_layers else config.n_layers):
        asked = "one block, shared by" if config.share_layers else "a block for each of"
        raise CheckpointError(
            f"weights need {asked} the n_layers={config.n_layers} that the file states, got {n_blocks}: "
            f"{path}; check which program wrote it."
        )
    shapes = parameter_shapes(config)
    check_names(path, weights, shapes, what="weights")
    check_shapes(path, weights, shapes, what="weights")


def save_checkpoint(
    path: str | os.PathLike[str],
    model: "icl_interp.models.hooked.HookedModel | Checkpoint",
    *,
    task: Task | None = None,
    step: int | None = None,
    n_points_trained: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model and its task, completely or not at all.

    Args:
        path: Path of the file. The folder must exist; a checkpoint of this format is replaced, but no other file. A
            name that ends in .safetensors chooses that format, in which tuples of `extra` become lists and keys
            strings.
        model: The model, on any device. A `Checkpoint` brings its own task, step and number of points, unless they are
            given.
        task: Task that the model was trained on; None leaves it out of the file.
        step: Number of training steps taken.
        n_points_trained: Number of examples per prompt in training; None means the task's usual number, if there is a
            task.
        extra: Provenance: numbers, strings, None, lists and dictionaries of these.

    Returns:
        The path.

    Raises:
        CheckpointError: If the task does not fit the model, a count is no int or too small, `extra` holds
            anything else, the place cannot be written, or there is another file.

    Example:
        >>> import tempfile
        >>> from icl_interp.checkpoints.load import load_checkpoint
        >>> from icl_interp.models.build import build_model
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8), seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_checkpoint(f"{folder}/model.pt", model, task=LinearRegression(2), step=10)
        ...     checkpoint = load_checkpoint(path)
        >>> checkpoint.task == LinearRegression(2), checkpoint.step, checkpoint.assumptions
        (True, 10, ())
    """
    try:
        refuse_foreign(path, _is_own_file, what="a checkpoint")
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    if isinstance(model, Checkpoint):
        task, step = task or model.task, model.step if step is None else step
        n_points_trained = model.n_points_trained if n_points_trained is None else n_points_trained
        model = model.model
    return write_checkpoint(path, model, task=task, step=step, n_points_trained=n_points_trained, extra=extra)


def _is_own_file(path: Path) -> bool:
    try:
        return is_own(load_weight_file(path).contents)
    except CheckpointError:
        return False


def write_checkpoint(
    path: str | os.PathLike[str],
    model: "icl_interp.models.hooked.HookedModel",
    *,
    task: Task | None = None,
    step: int | None = None,
    n_points_trained: int | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Do what `save_checkpoint` does under a name that is known to be free or ours, damaged as it may be."""
    config: ModelConfig = model.cfg
    _check_classes(model, config)
    if task is not None:
        _check_task(task, config)
        if n_points_trained is None:
            n_points_trained = min(task.default_points, config.n_points)
    _check_count(step, "step", least=0)
    _check_count(n_points_trained, "n_points_trained", least=1)
    extra = dict(extra or {})
    _check_plain(extra, "extra")
    contents = {
        "format": FORMAT,
        "format_version": _FORMAT_VERSION,
        "model": config.model_dump(mode="json"),
        "task": None if task is None else _stored(task),
        "step": step,
        "n_points_trained": n_points_trained,
        # Copies: a view would drag its whole storage into the file.
        "weights": {n: w.detach().cpu().clone() for n, w in plain_names(model.state_dict()).items()},
        "extra": extra,
    }
    try:
        return write_atomically(path, lambda file: _write(contents, file, Path(path).suffix))
    except OSError as error:
        raise CheckpointError(str(error)) from error


def _check_classes(model: "icl_interp.models.hooked.HookedModel", config: ModelConfig) -> None:
    from icl_interp.models.build import model_class  # it is there: so is the model

    came, kind = type(getattr(model, "_orig_mod", model)), model_class(config.family)  # torch.compile wraps
    for given, known in ((type(config), ModelConfig), (came, kind)):
        if given is not known:
            raise CheckpointError(
                f"a checkpoint holds a {known.__name__} exactly, got {given.__name__}, which would be read back as "
                f"{known.__name__}; store its state_dict with torch.save, or build the model with build_model."
            )


def _stored(task: Task) -> dict[str, Any]:
    try:
        return task_to_config(task)
    except InputError as error:
        raise CheckpointError(str(error)) from error


def _write(contents: dict[str, Any], file: BinaryIO, suffix: str) -> None:
    if suffix == ".safetensors":
        file.write(to_safetensors(contents))
    else:
        torch.save(contents, file)


def is_own(contents: object) -> bool:
    """Tell whether a file is in this format, of whatever version."""
    return isinstance(contents, Mapping) and contents.get("format") == FORMAT


def read_own(file: WeightFile, *, n_heads: int | None = None) -> Reading:
    contents, path = file.contents, file.path
    _check_keys(path, contents)
    config = _parse(path, ModelConfig, contents["model"], "model")
    stated_heads(path, config.n_heads, n_heads, place="in the file")
    stored = contents["weights"]
    weights = to_float32(path, without_prefix(stored, _are_own) or plain_names(stored))
    _check_own_layout(path, weights, config)  # from here on the config's sizes are those of tensors in the file
    task, n_points = _task(path, contents["task"], config), contents["n_points_trained"]
    if task is not None:
        _check_task(task, config)
    guess = assumed_points(config.n_dims, config.n_points) if task is None else task.default_points
    trained = min(n_points or guess, config.n_points)
    return Reading(
        config=config,
        weights=weights,
        task=fit_points(task or LinearRegression(config.n_dims), trained),
        n_points_trained=trained,
        origin=f"icl-interp checkpoint, format {contents['format_version']}",
        step=contents["step"],
        notes=() if task is None else (f"The file names the task: {task.describe()}.",),
        task_assumptions=(TASK_UNKNOWN,) if task is None else (),
        points_assumption=None if n_points else POINTS_UNKNOWN.format(n_points=trained),
        extra=contents["extra"],
    )


class Own(Reader):
    """Our own format."""

    name = "checkpoints of icl-interp"
    signs = ("format", "format_version", "weights*")

    def recognises(self, contents: Any) -> bool:
        return is_own(contents)

    def read(self, file: WeightFile, *, n_heads: int | None, layout: Layout) -> Reading:  # noqa: ARG002
        return read_own(file, n_heads=n_heads)


def _are_own(names: Iterable[str]) -> bool:
    return any(name.startswith(("embed.", "blocks.")) for name in names)


def _check_keys(path: Path, contents: Mapping[str, Any]) -> None:
    version = contents.get("format_version")
    if isinstance(version, int) and version > _FORMAT_VERSION:
        raise CheckpointError(
            f"this icl-interp reads format_version {_FORMAT_VERSION} at most, got {version}: {path}; upgrade "
            "icl-interp."
        )
    kinds: dict[str, Any] = {"format_version": int, "model": Mapping, "weights": Mapping, "extra": Mapping}
    kinds |= {"task": Mapping | None, "step": int | None, "n_points_trained": int | None}
    wrong = [k for k, kind in kinds.items() if k not in contents or not isinstance(contents[k], kind)]
    wrong += [str(key) for key in contents if key not in _KEYS]
    if not wrong and contents["n_points_trained"] is not None and contents["n_points_trained"] < 1:
        wrong.append("n_points_trained")
    if wrong:
        raise CheckpointError(
            f"an icl-interp checkpoint needs exactly the keys {', '.join(_KEYS)}, got missing, unknown or "
            f"misshapen {', '.join(wrong)}: {path}; write it with save_checkpoint."
        )


def _task(path: Path, stored: Mapping[str, Any] | None, config: ModelConfig) -> Task | None:
    if stored is None:
        return None
    fields = dict(stored)
    try:
        kind = class_in(fields)
    except InputError as error:
        newer = "" if "defined_in" in stored else "; or upgrade icl-interp"
        raise CheckpointError(f"{path}: {one_line(error)}{newer}.") from error
    # Before the task is made, whose covariances have n_dims x n_dims entries.
    if (n_dims := fields.get("n_dims", config.n_dims)) != config.n_dims:
        raise CheckpointError(
            f"the task of a checkpoint needs n_dims={config.n_dims}, as its model has, got n_dims={n_dims!r}: {path}; "
            "write it with save_checkpoint."
        )
    task: Task = _parse(path, kind, fields, "task")
    return task


def _parse(path: Path, kind: Any, fields: Mapping[str, Any], what: str) -> Any:
    try:
        return kind(**fields)
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"the {what} of a checkpoint needs the fields of {kind.__name__}, got {one_line(error)}: {path}; "
            "write it with save_checkpoint."
        ) from error


def _check_task(task: Task, config: ModelConfig) -> None:
    if task.n_dims != config.n_dims or (task.n_points or 0) > config.n_points:
        raise CheckpointError(
            f"the task of a checkpoint needs n_dims={config.n_dims} and at most {config.n_points} points, as "
            f"its model has, got n_dims={task.n_dims} and n_points={task.n_points}; store the task that the "
            "model was trained on."
        )


def _check_count(value: object, name: str, *, least: int) -> None:
    # The exact type: numpy's integers pickle as code, which our own reader would refuse.
    if value is not None and (type(value) is not int or value < least):
        raise CheckpointError(
            f"save_checkpoint needs an int of at least {least} or None for {name}, got {value!r}; convert it."
        )


def _check_plain(value: object, where: str) -> None:
    # Exact types: numpy's float64 is a float, and pickles as code.
    if type(value) is dict:
        for key, item in value.items():
            _check_plain(key, f"{where}'s keys")
            _check_plain(item, f"{where}[{key!r}]")
    elif type(value) in (list, tuple):
        for index, item in enumerate(value):  # type: ignore[arg-type]
            _check_plain(item, f"{where}[{index}]")
    elif type(value) not in _PLAIN:
        raise CheckpointError(
            f"save_checkpoint needs numbers, strings, None, lists and dictionaries in extra, got "
            f"{type(value).__name__} at {where}; convert it first."
        )
