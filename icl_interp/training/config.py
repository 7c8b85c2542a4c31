"""Configs of training runs in YAML files, and the presets that ship with the package."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from icl_interp.training.train_config import TrainConfig

__all__ = ["TrainConfig", "describe_problems", "load_config", "preset_names"]


def preset_names() -> list[str]:
    """List the presets that ship with the package.

    Returns:
        Names in alphabetical order.
    """
    folder = resources.files("icl_interp.training") / "presets"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(source: str, settings: Sequence[str] = ()) -> TrainConfig:
    """Read a config from a YAML file, or a preset by its name.

    Args:
        source: A path, or one of `preset_names()`.
        settings: "key=value" pairs that overrule the file; dots reach inside ("model.n_layers=2"), values are YAML.

    Returns:
        The config, every value checked.

    Raises:
        ValueError: If there is no such file or preset, it is no YAML mapping, or values are wrong (all of them are
            listed).

    Example:
        >>> load_config("demo", ["steps=7"]).steps
        7
    """
    if source in preset_names():
        text = (resources.files("icl_interp.training") / "presets" / f"{source}.yaml").read_text()
    elif Path(source).is_file():
        text = Path(source).read_text()
    else:
        raise ValueError(f"no config file or preset {source!r}; presets: {', '.join(preset_names())}.")
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{source} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{source} needs a mapping of settings at its top level, got {type(values).__name__}.")
    for setting in settings:
        _overrule(values, setting)
    try:
        return TrainConfig(**values)
    except (ValidationError, TypeError) as error:
        raise ValueError(f"{source}: {describe_problems(error)}") from error


def _overrule(values: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    *folders, key = path.split(".")
    for folder in folders:
        values = values.setdefault(folder, {}) if isinstance(values, dict) else values
    if not equals or not key or not isinstance(values, dict):
        raise ValueError(f"--set needs key=value such as steps=100 or model.n_layers=2, got {setting!r}.")
    try:
        values[key] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"--set needs a YAML value, got {setting!r}: {' '.join(str(error).split())}") from error


def describe_problems(error: Exception) -> str:
    """Put all problems that pydantic found into one line.

    Args:
        error: A ValidationError, or any other error, whose text is then returned.

    Returns:
        "where: what; where: what".
    """
    if not isinstance(error, ValidationError):
        return str(error)
    problems = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"])
        problems.append(f"{where}: {problem['msg']}" if where else problem["msg"])
    return "; ".join(problems)
