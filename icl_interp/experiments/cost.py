"""What a preset would cost: the first steps of each kind of run, timed."""

import json
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from icl_interp.errors import InputError
from icl_interp.experiments.stored import complete, read_stored, write_stored
from icl_interp.training.ensemble import MAY_DIFFER
from icl_interp.training.loop import Trainer
from icl_interp.training.train_config import TrainConfig

__all__ = ["Cost", "PresetCost", "first_steps", "read_cost", "write_cost"]

FORMAT = "icl-interp cost 1"

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Cost:
    """One kind of run: equal but for seed, learning rate and task."""

    what: str
    """Which network, and how long its prompts are."""
    n_runs: int
    """How many of them the preset trains."""
    steps: int
    """Optimiser steps of each."""
    seconds_per_step: float
    """Processor time on the CPU, where other work on the machine must not count; wall time on other devices."""
    loss: float
    """At the last step that was taken, in squared units of y."""

    @property
    def hours(self) -> float:
        """Of all runs, one after the other."""
        return self.n_runs * self.steps * self.seconds_per_step / 3600

    def __repr__(self) -> str:
        return (
            f"{self.what}: {self.n_runs} runs of {self.steps:,} steps, {self.seconds_per_step:.3g} s a step, "
            f"{self.hours:.3g} h"
        )


@dataclass(frozen=True, slots=True)
class PresetCost:
    """What all runs of one preset would take."""

    paper: str
    """Its name, as icl-reproduce takes it."""
    preset: str
    """At which size."""
    n_steps: int
    """How many steps of each kind were timed."""
    costs: tuple[Cost, ...]
    """One a kind."""

    @property
    def hours(self) -> float:
        """Of all runs, one after the other, for training alone."""
        return sum(cost.hours for cost in self.costs)

    def __repr__(self) -> str:
        return f"PresetCost({self.paper}, {self.preset}, {self.hours:.3g} h)"


def _kinds_of(plan: Mapping[Key, TrainConfig]) -> list[list[TrainConfig]]:
    """Group configs that cost the same."""
    groups: dict[str, list[TrainConfig]] = {}
    for config in plan.values():
        groups.setdefault(config.model_dump_json(exclude=set(MAY_DIFFER)), []).append(config)
    return list(groups.values())


def first_steps(
    plan: Mapping[Key, TrainConfig],
    n_steps: int,
    *,
    device: str = "cpu",
    on_kind: Callable[[Cost], None] | None = None,
) -> list[Cost]:
    """Train the first run of each kind for some steps, keep nothing, and say what training all of it would take.

    Prompts have their full length from the first step on; measuring comes on top.
    """
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


def write_cost(found: PresetCost, path: str | Path, provenance: Mapping[str, str | int | float]) -> Path:
    """Write what a preset would cost, completely or not at all."""
    contents = {"format": FORMAT, **asdict(found), "hours": found.hours, "provenance": dict(provenance)}
    text = json.dumps(contents, indent=2, ensure_ascii=False) + "\n"
    return write_stored(path, text, FORMAT, what="a cost")


def read_cost(path: str | Path) -> PresetCost:
    """Read what a preset would cost."""
    by = "icl-reproduce --first-steps"
    contents = read_stored(path, FORMAT, what="a cost", written_by=by)
    with complete(path, what="a cost", written_by=by):
        costs = tuple(Cost(**cost) for cost in contents["costs"])
        found = PresetCost(contents["paper"], contents["preset"], contents["n_steps"], costs)
        if not found.hours >= 0:
            raise InputError(f"{found.hours} hours")
    return found
