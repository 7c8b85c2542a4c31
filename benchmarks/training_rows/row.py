"""One comparison of training, and how it is timed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One number, with the least (or, for data, the most) that is wanted; 0 where nothing is."""

    name: str
    ours: float
    other: float
    ratio: float
    wanted: float
    reached: bool


def at_least(name: str, ours: float, other: float, ratio: float, wanted: float = 0.0) -> Row:
    """Make a row whose ratio should be at least what is wanted.

    Returns:
        The row, reached or not.
    """
    return Row(name, ours, other, ratio, wanted, ratio >= wanted)


def best_of(sides: Sequence[Callable[[], object]], *, calls: int, repeats: int) -> list[float]:
    """Time sides in turn, after one call of each that does not count.

    Returns:
        Seconds of processor time per call, the best of the repeats, by side.
    """
    best = [float("inf")] * len(sides)
    for side in sides:
        side()
    for _ in range(repeats):
        for number, side in enumerate(sides):
            start = time.process_time()
            for _ in range(calls):
                side()
            best[number] = min(best[number], (time.process_time() - start) / calls)
    return best
