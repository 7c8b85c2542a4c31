"""The configuration of a training run, as it stands in a YAML file."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from icl_interp.models.config import ModelConfig
from icl_interp.tasks.registry import AnyTask

__all__ = ["TrainConfig", "load_config", "preset_names"]


class TrainConfig(BaseModel):
    """Everything that a run's weights depend on.

    Args:
        model: Shape and initialisation.
        task: What prompts are drawn from; fresh ones at every step. In a file `family` names its kind; without one
            it is linear regression.
        steps: Optimiser steps.
        batch_size: Prompts a step.
        lr: Peak learning rate of Adam (betas 0.9 and 0.999, no weight decay).
        schedule: "constant", or "cosine" (down to 0 at the last step).
        warmup: Steps over which the learning rate rises linearly from 0 to its peak.
        grad_clip: Largest gradient norm; None leaves gradients alone.
        checkpoint_every: Steps between checkpoints; None keeps the last one only. Step 0 is kept as well where set.
        log_every: Steps between lines of metrics.
        seed: Seeds the first weights and, by separate streams, every batch; from 0 to 2**63 - 1.

    Raises:
        ValueError: If a value is out of range, a key is unknown, or model and task do not fit each other.

    Example:
        >>> load_config("demo").model.d_model
        64
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: ModelConfig
    task: AnyTask
    steps: int = Field(ge=1)
    batch_size: int = Field(default=64, ge=1)
    lr: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = Field(default=0, ge=0)
    grad_clip: float | None = Field(default=None, gt=0)
    checkpoint_every: int | None = Field(default=None, ge=1)
    log_every: int = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _check_fit(self) -> "TrainConfig":
        problems = []
        if self.model.n_dims != self.task.n_dims:
            problems.append(
                f"model and task need the same n_dims, got {self.model.n_dims} and {self.task.n_dims}; change one."
            )
        if self.task.default_points > self.model.n_points:
            problems.append(
                f"prompts of {self.task.default_points} points do not fit a model with positions for "
                f"{self.model.n_points}; raise model.n_points or lower task.n_points."
            )
        if problems:
            raise ValueError(" ".join(problems))
        return self

    def to_yaml(self) -> str:
        """Write the resolved config, defaults included.

        Returns:
            YAML that `load_config` reads back to an equal config.
        """
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


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
