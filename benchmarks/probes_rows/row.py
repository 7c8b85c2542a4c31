"""One comparison, and how it is timed."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    prompts: int
    many: int
    repeats: int
    layers: int
    """Layers that ridge probes are fitted to."""
    ridge_prompts: int
    """Prompts in each of them."""


@dataclass(frozen=True)
class Row:
    """Ours against a rival; ratio = rival / ours, so larger is better for us."""

    name: str
    ours: float
    """Milliseconds per matrix or layer, or MiB for memory."""
    rival: float
    wanted_ratio: float
    error: float | None = None
    """Ours against the truth (for ridge probes, the rival), in the unit of the row's name."""
    allowed_error: float | None = None

    @property
    def ratio(self) -> float:
        """Rival / ours."""
        return self.rival / self.ours

    @property
    def passed(self) -> bool:
        """Whether both wanted numbers were reached."""
        exact = self.error is None or self.allowed_error is None or self.error <= self.allowed_error
        return exact and self.ratio >= self.wanted_ratio


def best_times(sides: list[Callable[[], Tensor]], repeats: int) -> tuple[list[float], list[Tensor]]:
    """Time all sides in turn.

    Returns:
        The least processor seconds of each side, and its answer.
    """
    best, answers = [float("inf")] * len(sides), [side() for side in sides]
    for _ in range(repeats):
        for index, side in enumerate(sides):
            start = time.process_time()
            side()
            best[index] = min(best[index], time.process_time() - start)
    return best, answers
