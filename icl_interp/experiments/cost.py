"""What a preset would cost by the first steps of each kind of run, and how long measuring took."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic.dataclasses import dataclass

from icl_interp.errors import InputError
from icl_interp.experiments.files import Kept, Provenance, read_kept
from icl_interp.files import write_atomically
from icl_interp.training.ensemble import MAY_DIFFER
from icl_interp.training.loop import Trainer
from icl_interp.training.train_config import TrainConfig


@dataclass(frozen=True, slots=True, config={"extra": "forbid"})
class Cost:
    """One kind of run: equal but for seed, learning rate and task."""

    what: str  # which network, and how long its prompts are
    n_runs: NonNegativeInt  # how many of them the preset trains
    steps: NonNegativeInt  # optimiser steps of each
    seconds_per_step: NonNegativeFloat
    """Processor time on the CPU, where other work on the machine must not count; wall time on other devices."""
    loss: float  # at the last step that was taken, in squared units of y

    @property
    def hours(self) -> float:
        return self.n_runs * self.steps * self.seconds_per_step / 3600

    def __repr__(self) -> str:
        return (
            f"{self.what}: {self.n_runs} runs of {self.steps:,} steps, {self.seconds_per_step:.3g} s a step, "
            f"{self.hours:.3g} h"
        )


class PresetCost(Kept):
    """What all runs of one preset would take."""

    WHAT, BY = "a cost", "icl-reproduce --first-steps"
    format: Literal["icl-interp cost 1"] = "icl-interp cost 1"
    paper: str  # its name, as icl-reproduce takes it
    preset: str  # at which size
    n_steps: int  # how many steps of each kind were timed
    costs: tuple[Cost, ...]  # one per kind
    provenance: Provenance = Field(default_factory=dict)  # what it was made with

    @property
    def hours(self) -> float:
        return sum(cost.hours for cost in self.costs)

    @model_validator(mode="before")
    @classmethod
    def _without_hours(cls, stored: Any) -> Any:
        # They are computed again.
        return {name: stored[name] for name in stored if name != "hours"} if isinstance(stored, dict) else stored

    @model_serializer(mode="wrap")
    def _with_hours(self, fields: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        said = fields(self)
        made_with = said.pop("provenance")
        return said | {"hours": self.hours, "provenance": made_with}

    def __repr__(self) -> str:
        return f"PresetCost({self.paper}, {self.preset}, {self.hours:.3g} h)"


def read_cost(path: str | Path) -> PresetCost:
    return read_kept(PresetCost, path)


def _kinds_of(plan: Mapping[Any, TrainConfig]) -> list[list[TrainConfig]]:
    """Group configs that cost the same: they differ in seed, learning rate and task only."""
    groups: dict[str, list[TrainConfig]] = {}
    for config in plan.values():
        groups.setdefault(config.model_dump_json(exclude=set(MAY_DIFFER)), []).append(config)
    return list(groups.values())


def first_steps(
    plan: Mapping[Any, TrainConfig], n_steps: int, *, device: str = "cpu", on_kind: Callable[[Cost], None] | None = None
) -> list[Cost]:
    """Train the first run of each kind for some steps, and estimate the cost of training (not measuring) all runs."""
    if n_steps < 1:
        raise InputError(f"--first-steps needs at least one step, got {n_steps}.")
    costs = []
    clock = time.process_time if device == "cpu" else time.perf_counter
    for configs in _kinds_of(plan):
        config, losses = configs[0], []
        # Easy prompts come first in a curriculum, and would make the rest look cheap.
        trainer = Trainer(config.model_copy(update={"curriculum": None}), device=device)
        start = clock()
        for _ in range(min(n_steps, config.steps)):
            losses.append(trainer.advance().loss)
        seconds = (clock() - start) / len(losses)
        what = f"{config.model.describe()}, {config.task.default_points} points"
        costs.append(Cost(what, len(configs), config.steps, seconds, losses[-1]))
        if on_kind is not None:
            on_kind(costs[-1])
    return costs


class _Measuring(BaseModel, extra="forbid"):
    seconds: float


@contextmanager
def measuring(folder: str | Path) -> Iterator[None]:
    """Add the wall time of a block to what all commands, which share measurements, have measured in a folder."""
    before, started = seconds_of_measuring(folder), time.monotonic()
    try:
        yield
    finally:
        took = _Measuring(seconds=round(before + time.monotonic() - started, 1)).model_dump_json() + "\n"
        write_atomically(Path(folder) / "measuring.json", lambda file: file.write(took.encode()))


def seconds_of_measuring(folder: str | Path) -> float:
    """Wall time of all commands that measured in a folder; versions that kept no time count as 0."""
    path = Path(folder) / "measuring.json"
    if not path.is_file():
        return 0.0
    try:
        return _Measuring.model_validate_json(path.read_bytes()).seconds
    except ValidationError as error:
        raise InputError(
            f"the time of measuring needs a file with a number of seconds, got {path}; remove it."
        ) from error
