"""What changes while a run goes on: its curriculum, and when checkpoints are kept."""

import math
from collections.abc import Callable
from typing import Any

from pydantic import Field, model_serializer, model_validator

from icl_interp.errors import InputError
from icl_interp.settings import Settings

_ROOM = 1e-12  # powers that are whole numbers come out a few float64 roundings too small, and floor would lose one


class CheckpointSteps(Settings):
    """Which steps are kept: the union of linear and logarithmic grids, and always the last step.

    Formula: {0, every, 2 every, ...} U {floor(T j / (linear - 1))} U {floor(T^(j / (log - 1)))}, j from 0, as far as
    the run goes. With `decades` = D the logarithmic grid goes from max(1, T / 10^D) to T instead of from 1.
    """

    every: int | None = Field(default=None, ge=1)
    linear: int | None = Field(default=None, ge=2)
    log: int | None = Field(default=None, ge=2)
    decades: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    horizon: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _check_decades(self) -> "CheckpointSteps":
        if self.decades is not None and self.log is None:
            raise InputError("decades says where the grid of log begins, and there is no log; add log or leave it out.")
        return self

    @model_serializer(mode="wrap")
    def _stored(self, fields: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        # Runs are named after their configs: those of before `decades` keep their names.
        return {name: value for name, value in fields(self).items() if name != "decades" or value is not None}

    def steps(self, last: int) -> tuple[int, ...]:
        horizon = last if self.horizon is None else self.horizon
        kept = {last}
        if self.every is not None:
            kept |= set(range(0, horizon + 1, self.every))
        if self.linear is not None:
            kept |= {horizon * j // (self.linear - 1) for j in range(self.linear)}
        if self.log is not None:
            ratio = horizon if self.decades is None else min(horizon, 10**self.decades)
            kept |= {math.floor(horizon / ratio * ratio ** (j / (self.log - 1)) * (1 + _ROOM)) for j in range(self.log)}
        return tuple(sorted(step for step in kept if step <= last))


KEPT_BY_DEFAULT = CheckpointSteps(log=12, decades=3)
"""What a run keeps whose config says nothing of checkpoints (our choice): enough for a timeline."""


class Ramp(Settings):
    """A number that grows by equal amounts at equal distances.

    Formula: min(end, start + inc * floor((step - 1) / interval)), steps counting from 1.
    """

    start: int = Field(ge=1)
    end: int = Field(ge=1)
    inc: int = Field(default=1, ge=1)
    interval: int = Field(ge=1)

    @model_validator(mode="after")
    def _check_order(self) -> "Ramp":
        if self.start > self.end:
            raise InputError(f"a curriculum needs start of at most end, got {self.start} and {self.end}; swap them.")
        return self

    def at(self, step: int) -> int:
        return min(self.end, self.start + self.inc * ((step - 1) // self.interval))


class Curriculum(Settings):
    """Easy prompts first: few coordinates of x that are not zero, few points."""

    dims: Ramp | None = None
    points: Ramp | None = None
