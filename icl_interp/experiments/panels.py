"""Lines, bands and dots of numbers over seeds, as the figures of all papers draw them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from icl_interp.experiments.claims import Interval
from icl_interp.figures.dots import DotSeries
from icl_interp.figures.lines import Line
from icl_interp.figures.theme import TraceStyle

_MOST_POINTS = 60  # of a curve along training that are drawn


def dotted(style: TraceStyle) -> TraceStyle:
    return TraceStyle(style.colour, "dot", style.symbol)


def dashed(style: TraceStyle) -> TraceStyle:
    return TraceStyle(style.colour, "dash", style.symbol)


def _ends(found: Iterable[Interval]) -> tuple[list[float], list[float], list[float]]:
    known = list(found)
    return [one.value for one in known], [one.low for one in known], [one.high for one in known]


def band(name: str, xs: Sequence[Any], found: Sequence[Interval], style: TraceStyle, *, tenth: bool = False) -> Line:
    """Means over seeds with their intervals; on a logarithmic axis no lower end is below a tenth of its mean."""
    means, low, high = _ends(found)
    low = [max(end, mean / 10) for end, mean in zip(low, means, strict=True)] if tenth else low
    return Line(name, xs, means, style, low, high, markers=True)


def spread(
    name: str, xs: Sequence[Any], curves: Sequence[Sequence[float]], style: TraceStyle
) -> tuple[Line, list[tuple[Any, float, float, float]]]:
    """Mean and range over seeds, one curve each; and the same as rows of x, mean, least and largest."""
    points = list(zip(*curves, strict=True))
    rows = [(x, sum(ys) / len(ys), min(ys), max(ys)) for x, ys in zip(xs, points, strict=True)]
    _, means, low, high = zip(*rows, strict=True)
    return Line(name, xs, means, style, low, high), rows


def thinned(steps: Sequence[int], *always: int) -> list[int]:
    """Choose the indices of a long curve that are drawn: ends, `always`, others spread evenly over log(step + 1)."""
    n = len(steps)
    if n <= _MOST_POINTS:
        return list(range(n))
    kept, at = {0, n - 1, *always}, 0
    for step in ((steps[-1] + 1) ** (j / (_MOST_POINTS - 2)) - 1 for j in range(_MOST_POINTS - 1)):
        while at < n - 1 and steps[at] < step:
            at += 1
        kept.add(at)
    return sorted(kept)


def flat(name: str, xs: Sequence[Any], y: float, style: TraceStyle) -> Line:
    return Line(name, [xs[0], xs[-1]], [y, y], style)


def dots(name: str, found: Mapping[str, Interval], style: TraceStyle) -> DotSeries:
    """Means over seeds with their intervals, one row each."""
    means, low, high = _ends(found.values())
    return DotSeries(name, list(found), means, style, low, high)
