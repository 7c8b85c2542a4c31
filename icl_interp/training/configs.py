"""Configs of training runs in YAML files, and the presets that ship with the package."""

import difflib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from icl_interp.errors import InputError, said
from icl_interp.settings import parse_yaml, read_yaml
from icl_interp.training.schedules import KEPT_BY_DEFAULT
from icl_interp.training.train_config import TrainConfig


def _preset_names() -> list[str]:
    folder = resources.files("icl_interp.training") / "presets"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(source: str, settings: Sequence[str] = ()) -> TrainConfig:
    """Read a config from a YAML file, or a preset by its name.

    Where it does not say which checkpoints are kept, twelve are, so that the run has a timeline.
    """
    if source in _preset_names():
        preset = resources.files("icl_interp.training") / "presets" / f"{source}.yaml"
        values = parse_yaml(preset.read_text(encoding="utf-8"), where=source)
    elif Path(source).is_file():
        values = read_yaml(source)
    else:
        raise InputError(f"no config file or preset {source!r}; presets: {', '.join(_preset_names())}.")
    if not isinstance(values, dict):
        raise InputError(f"{source} needs a mapping of settings at its top level, got {type(values).__name__}.")
    for setting in settings:
        _overrule(values, setting)
    if "checkpoint_every" not in values:  # an older name
        values.setdefault("checkpoints", KEPT_BY_DEFAULT)
    try:
        return TrainConfig(**values)
    except (ValidationError, TypeError) as error:
        raise InputError(f"{source}: {_describe_problems(error)}") from error


def _overrule(values: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    *folders, key = path.split(".")
    for folder in folders:
        values = values.setdefault(folder, {}) if isinstance(values, dict) else values
    if not equals or not key or not isinstance(values, dict):
        raise InputError(f"--set needs key=value such as steps=100 or model.n_layers=2, got {setting!r}.")
    values[key] = parse_yaml(text, where=f"the value of --set {setting!r}")


def _describe_problems(error: Exception) -> str:
    """Put all problems that pydantic found in a config into one line."""
    if not isinstance(error, ValidationError):
        return str(error)
    return "; ".join(map(_describe, error.errors()))


def _describe(problem: Any) -> str:
    location = problem["loc"]
    where = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        return f"{where} is no setting; {_near_names(location)}"
    if problem["type"] in _WRONG_KINDS and where in _KINDS:
        return f"{where} needs {_KINDS[where]}, got {problem['input']!r}"
    return f"{where}: {said(problem)}" if where else said(problem)


_WRONG_KINDS = ("model_type", "tuple_type")
_KINDS = {
    "model": "a mapping such as {n_dims: 5, n_points: 11, n_layers: 2, n_heads: 2, d_model: 32}",
    "task": "a mapping such as {family: linear_regression, n_dims: 5}",
    "checkpoints": "a mapping such as {every: 100}",
    "curriculum": "a mapping such as {dims: {start: 2, end: 5, interval: 1000}}",
    "curriculum.dims": "a mapping such as {start: 2, end: 5, interval: 1000}",
    "curriculum.points": "a mapping such as {start: 3, end: 11, interval: 1000}",
    "eval_shifts": "a list of names such as [x_skewed, x_scale=3]",
    "betas": "a list of two numbers such as [0.9, 0.999]",
}
_NEAR = 0.7  # how alike two names must be, by difflib's measure: stepss means steps, dropout does not mean d_out


def _near_names(location: Sequence[int | str]) -> str:
    *folders, wrong = map(str, location)
    names = _valid_names(folders)
    near = difflib.get_close_matches(wrong, names, n=1, cutoff=_NEAR)
    shown = [".".join([*folders, name]) for name in near or names]
    if near:
        return f"did you mean {shown[0]}?"
    return f"there are {', '.join(shown)}" if shown else "leave it out"


def _valid_names(folders: Sequence[str]) -> list[str]:
    model: type[BaseModel] = TrainConfig
    for folder in folders:
        field = model.model_fields.get(folder)
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)
