"""Scales of axes: labels of a logarithmic one, ranges in the units of what is drawn."""

import math
from collections.abc import Iterable
from typing import Any

from icl_interp.figures.theme import AxisKind

__all__ = ["axis_range", "log_labels"]

_FEW_DECADES, _FEW_DIGITS = 2.0, 0.4
"""Below the first a label a decade would be one or none; below the second 1, 2 and 5 may be so (ours)."""


def log_labels(values: Iterable[float | int | None]) -> dict[str, Any]:
    """Choose the labels of a logarithmic axis by the decades that it covers.

    Args:
        values: All that is drawn; zeros, negative, infinite and missing ones have no place on it and are passed over.

    Returns:
        For `update_xaxes` or `update_yaxes`: a label a decade; at 1, 2 and 5 below two decades; where plotly finds
        room for some where the largest is not 2.5 times the least.

    Example:
        >>> log_labels([0.001, 10])["dtick"], log_labels([1.2, 7.1])["dtick"], log_labels([2.0, 2.5])["dtick"]
        (1, 'D2', None)
    """
    known = [value for value in values if value is not None and value > 0 and math.isfinite(value)]
    span = math.log10(max(known) / min(known)) if known else math.inf
    dtick = 1 if span >= _FEW_DECADES else "D2" if span >= _FEW_DIGITS else None
    return {"dtick": dtick, "tickformat": "~g"}


def axis_range(limits: tuple[float | int, float | int], kind: AxisKind) -> list[float]:
    """Give the range of an axis as plotly takes it.

    Args:
        limits: Both ends, in units of what is drawn; positive on a logarithmic axis.
        kind: Of the axis.

    Returns:
        Logarithms for a logarithmic axis.

    Example:
        >>> axis_range((0.01, 10), "log"), axis_range((0.01, 10), "linear")
        ([-2.0, 1.0], [0.01, 10.0])
    """
    return [math.log10(limit) for limit in limits] if kind == "log" else [float(limit) for limit in limits]
