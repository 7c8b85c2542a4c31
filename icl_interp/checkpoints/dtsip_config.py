"""What a config.yaml of dtsip/in-context-learning says about the model and its training distribution."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from icl_interp.checkpoints.distribution import POINTS_UNKNOWN, TASK_UNKNOWN, assumed_points
from icl_interp.checkpoints.errors import CheckpointError, one_line
from icl_interp.checkpoints.weights import few
from icl_interp.tasks.linear_regression import LinearRegression

__all__ = ["DtsipConfig", "TrainingDistribution", "read_dtsip_config", "training_distribution"]

_SIZES = ("n_dims", "n_embd", "n_head", "n_layer", "n_positions")
_LINEAR = ("linear_regression", "noisy_linear_regression")
_SAY = "say otherwise with `--task {}` or `task=`"
_RENORMALISED = (
    "Training rescaled the labels of each batch to standard deviation sqrt(n_dims): the expected factor "
    "{factor:.4g} is applied to weights and noise; say otherwise with `--task noise_std=0.5` or `task=`."
)


@dataclass(frozen=True, slots=True)
class DtsipConfig:
    """The parts of a config.yaml that matter here."""

    sizes: Mapping[str, int]
    """n_dims, n_embd, n_head, n_layer and n_positions, under dtsip's names."""
    training: Mapping[str, Any]
    """The block `training` as it stands; empty where the file has none."""

    def __repr__(self) -> str:
        return f"DtsipConfig({', '.join(f'{name}={size}' for name, size in self.sizes.items())})"


@dataclass(slots=True)
class TrainingDistribution:
    """What a model was trained on, filled in step by step."""

    fields: dict[str, Any]
    """Fields of the task in distribution."""
    n_points: int
    """Points that prompts had in training."""
    notes: list[str] = field(default_factory=list)
    """What was understood."""
    assumptions: list[str] = field(default_factory=list)
    """What was assumed of the task."""
    points_assumption: str | None = None
    """What was assumed of `n_points`."""

    @property
    def task(self) -> LinearRegression:
        """The task in distribution."""
        return LinearRegression(**self.fields, n_points=self.n_points)


def read_dtsip_config(path: Path) -> DtsipConfig:
    """Read and check a config.yaml."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:  # ValueError: not UTF-8, or no date
        raise CheckpointError(
            f"config.yaml needs to be readable YAML, got {path} ({one_line(error)}); mend it or move it away."
        ) from error
    model = _block(raw, "model")
    problems = [
        f"model.{name} is {model[name]!r}" if name in model else f"model.{name} is missing"
        for name in _SIZES
        if not _is_count(model.get(name))
    ]
    if model.get("family", "gpt2") != "gpt2":
        problems.append(f"model.family is {model['family']!r}")
    if problems:
        raise CheckpointError(
            f"config.yaml of dtsip/in-context-learning needs model.family gpt2 and positive integers for "
            f"{', '.join(_SIZES)}, got {path} where {'; '.join(problems)}; mend it, or move it away if it "
            "belongs to something else."
        )
    return DtsipConfig(sizes={name: model[name] for name in _SIZES}, training=_block(raw, "training"))


def training_distribution(
    config: DtsipConfig | None, *, n_dims: int, n_positions: int, step: int | None
) -> TrainingDistribution:
    """Say what counts as in distribution, and what had to be assumed for that.

    Label scale s turns into w_cov = s^2. With `renormalize_ys`, dtsip divides the labels by their standard
    deviation over the batch and multiplies by sqrt(n_dims); the expectation of that factor, sqrt(n_dims /
    (n_dims s^2 + noise_std^2)), is applied to weights and noise.
    """
    guess = assumed_points(n_dims, n_positions)
    found = TrainingDistribution(fields={"n_dims": n_dims}, n_points=guess)
    training = {} if config is None else config.training
    _read_task(training, n_dims, found)
    _read_sampling(training, found)
    curriculum = _block(training, "curriculum")
    _read_points(_block(curriculum, "points"), n_positions, step, found)
    _read_dims(_block(curriculum, "dims"), n_dims, step, found)
    return found


def _read_task(training: Mapping[str, Any], n_dims: int, found: TrainingDistribution) -> None:
    name = training.get("task")
    if name is None:
        found.assumptions.append(TASK_UNKNOWN)
        return
    if name not in _LINEAR:
        found.assumptions.append(
            f"The file was trained on {name}: linear regression with standard Gaussian inputs and weights "
            f"and no label noise is taken as in distribution; {_SAY.format('noise_std=0.5')}."
        )
        return
    found.notes.append(f"config.yaml names the task {name}.")
    kwargs, known = _block(training, "task_kwargs"), {"scale"}
    scale, noise_std = _number(kwargs, "scale", default=1.0), 0.0
    if scale == 0:
        raise CheckpointError("config.yaml needs training.task_kwargs.scale above 0, got 0; mend it.")
    if name == "noisy_linear_regression":
        known |= {"noise_std", "renormalize_ys"}
        noise_std = _number(kwargs, "noise_std", default=0.0)
        if kwargs.get("renormalize_ys"):
            factor = math.sqrt(n_dims / (n_dims * scale**2 + noise_std**2))
            scale, noise_std = scale * factor, noise_std * factor
            found.assumptions.append(_RENORMALISED.format(factor=factor))
    found.fields["noise_std"] = noise_std
    if scale != 1:
        found.fields["w_cov"] = scale**2
    if strange := sorted(set(map(str, kwargs)) - known):
        found.assumptions.append(
            f"The task's settings {few(strange)} are not understood and were passed over; "
            f"{_SAY.format('noise_std=0.5')}."
        )


def _read_sampling(training: Mapping[str, Any], found: TrainingDistribution) -> None:
    say = _SAY.format("w_cov=2")
    if (data := training.get("data", "gaussian")) != "gaussian":
        found.assumptions.append(
            f"Inputs of training came from {data!r}: standard Gaussian ones are taken as in distribution; "
            f"{_SAY.format('x_cov=2')}."
        )
    if (n_tasks := training.get("num_tasks")) is not None:
        found.assumptions.append(
            f"Training drew from a fixed pool of {n_tasks} weight vectors, which the file does not hold: "
            f"fresh weights of the same law are taken as in distribution; {say}."
        )
    if (n_examples := training.get("num_training_examples")) is not None:
        found.assumptions.append(
            f"Training drew from {n_examples} fixed prompts, which the file does not hold: fresh prompts of "
            f"the same law are taken as in distribution; {say}."
        )


def _read_points(part: Mapping[str, Any], n_positions: int, step: int | None, found: TrainingDistribution) -> None:
    if not _is_count(part.get("end")):
        found.points_assumption = POINTS_UNKNOWN.format(n_points=found.n_points)
        return
    found.n_points = min(_reached(part, step), n_positions)
    found.notes.append(f"Prompts of training had up to {found.n_points} points.")
    if found.n_points < min(part["end"], n_positions):
        found.notes.append(f"The curriculum was on its way to {part['end']} points.")


def _read_dims(part: Mapping[str, Any], n_dims: int, step: int | None, found: TrainingDistribution) -> None:
    if not _is_count(part.get("end")):
        return
    end, reached = min(part["end"], n_dims), _reached(part, step)
    if end < n_dims:
        found.fields["x_cov"] = [1.0] * end + [0.0] * (n_dims - end)
        found.notes.append(f"Inputs of training had {end} non-zero coordinates of {n_dims}.")
    if reached < end:
        active = [1] * reached + [0] * (n_dims - reached)
        found.assumptions.append(
            f"At step {step} the curriculum had reached {reached} of {end} coordinates of x, and the others "
            f"were zero: all {end} are taken as in distribution; "
            f"{_SAY.format('x_cov=' + str(active).replace(' ', ''))}."
        )


def _reached(part: Mapping[str, Any], step: int | None) -> int:
    if step is None or not all(_is_count(part.get(name)) for name in ("start", "inc", "interval")):
        return int(part["end"])
    return min(int(part["end"]), int(part["start"] + part["inc"] * (step // part["interval"])))


def _block(parent: object, name: str) -> Mapping[str, Any]:
    block = parent.get(name) if isinstance(parent, Mapping) else None
    return block if isinstance(block, Mapping) else {}


def _number(kwargs: Mapping[str, Any], name: str, *, default: float) -> float:
    value = kwargs.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise CheckpointError(
            f"config.yaml needs a number of at least 0 under training.task_kwargs.{name}, got {value!r}; mend it."
        )
    return float(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
