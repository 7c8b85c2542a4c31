"""What changes while a run goes on: its curriculum, and when checkpoints are kept."""

import math

from pydantic import Field, model_validator

from icl_interp.errors import InputError
from icl_interp.settings import Settings

__all__ = ["CheckpointSteps", "Curriculum", "Ramp"]

_ROOM = 1e-12
"""Powers that are whole numbers come out a few float64 roundings too small, and floor would lose one."""


class CheckpointSteps(Settings):
    """Which steps are kept: the union of linear and logarithmic grids, and always the last step.

    Formula: {0, every, 2 every, ...} U {floor(T j / (linear - 1))} U {floor(T^(j / (log - 1)))}, j from 0, as far as
    the run goes.

    Args:
        every: Distance of a linear grid that starts at 0.
        linear: Number of steps in a linear grid from 0 to T.
        log: Number of steps in a logarithmic grid from 1 to T; small ones coincide.
        horizon: T; None takes the run's number of steps.

    Raises:
        ValueError: If a number is too small.

    Source:
        arXiv 2501.17745, appendix A.4 (every 100, log 1000, T = 150,000: 2203 steps); the configs of arXiv 2402.02364
        (linear 100, log 100, T = 500,000, and a run that ends one step before T: 190 steps).

    Example:
        >>> len(CheckpointSteps(every=100, log=1000).steps(150_000))
        2203
        >>> len(CheckpointSteps(linear=100, log=100, horizon=500_000).steps(499_999))
        190
    """

    every: int | None = Field(default=None, ge=1)
    linear: int | None = Field(default=None, ge=2)
    log: int | None = Field(default=None, ge=2)
    horizon: int | None = Field(default=None, ge=1)

    def steps(self, last: int) -> tuple[int, ...]:
        """List the steps of a run.

        Args:
            last: The run's number of steps, which is kept in any case.

        Returns:
            In ascending order, each once.
        """
        horizon = last if self.horizon is None else self.horizon
        kept = {last}
        if self.every is not None:
            kept |= set(range(0, horizon + 1, self.every))
        if self.linear is not None:
            kept |= {horizon * j // (self.linear - 1) for j in range(self.linear)}
        if self.log is not None:
            kept |= {math.floor(horizon ** (j / (self.log - 1)) * (1 + _ROOM)) for j in range(self.log)}
        return tuple(sorted(step for step in kept if step <= last))


class Ramp(Settings):
    """A number that grows by equal amounts at equal distances.

    Formula: min(end, start + inc * floor((step - 1) / interval)), steps counting from 1.

    Args:
        start: At the first step.
        end: Where it stays.
        inc: Growth.
        interval: Steps between two growths.

    Raises:
        ValueError: If a number is below 1 or the ramp falls.

    Source:
        The curriculum of dtsip/in-context-learning, with its names.

    Example:
        >>> ramp = Ramp(start=5, end=20, inc=1, interval=2000)
        >>> ramp.at(2000), ramp.at(2001), ramp.at(10**6)
        (5, 6, 20)
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
        """Give the number of a step.

        Args:
            step: Counting from 1.

        Returns:
            From `start` to `end`.
        """
        return min(self.end, self.start + self.inc * ((step - 1) // self.interval))


class Curriculum(Settings):
    """Easy prompts first: few coordinates of x that are not zero, few points.

    Args:
        dims: Coordinates of x in use; the others are 0 and count for nothing in the labels. None: all, always.
        points: Pairs a prompt. None: the task's usual number, always.

    Source:
        Garg et al. (2022), appendix A.2.
    """

    dims: Ramp | None = None
    points: Ramp | None = None
