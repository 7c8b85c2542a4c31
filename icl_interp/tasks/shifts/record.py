"""A shift: one entry of the registry, and that entry at one strength on one task."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from icl_interp.errors import InputError
from icl_interp.prompts import PromptSource
from icl_interp.registry import check_callable
from icl_interp.tasks.base import Task
from probes._core.results import short_repr

CHANGES = ("inputs", "weights", "labels", "queries", "length", "prompts")
"""What a shift can change."""


def _any_task(_: Task) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Shift:
    """One way to move prompts out of distribution: one of `icl_interp.SHIFTS`, or your own.

    Give your own to any `shifts=[...]`, beside names, or to `icl_interp.register_shift`. Under one seed its prompts
    should share their random numbers with the task's own, prompt by prompt, since intervals and tests are paired.

    Raises:
        InputError: If the name holds anything but letters, digits, "_" and "-", or a field cannot be used.

    Example:
        >>> from icl_interp.prompts import Prompts
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> from icl_interp.tasks.shifts.select import select_shifts
        >>> class Flipped:
        ...     def __init__(self, task):
        ...         self.task = task
        ...
        ...     def sample(self, n_prompts, n_points=None, *, seed):
        ...         prompts = self.task.sample(n_prompts, n_points, seed=seed)
        ...         return Prompts(xs=prompts.xs, ys=-prompts.ys)
        >>> flip = Shift("y_flipped", (), "labels", "labels with the other sign", lambda task, _: Flipped(task))
        >>> [shifted.label for shifted in select_shifts(LinearRegression(2), ["x_scale=3", flip])]
        ['x_scale=3', 'y_flipped']
    """

    name: str
    """Name, as typed in `--shifts`."""
    values: tuple[float, ...]
    """The strengths that the name alone stands for; empty for a shift without a parameter."""
    changes: str
    """What is changed: "inputs", "weights", "labels", "queries", "length", or "prompts" for several of these."""
    meaning: str
    """Description in one clause; {value} stands for the strength."""
    apply: Callable[[Any, float], PromptSource]
    """Turns a task and a strength (0 where it has none) into a source of prompts: anything with `sample` and
    `label_second_moment`, such as a task. Without the second, E[y²] is estimated."""
    applies_to: Callable[[Task], bool] = _any_task
    """Whether the shift is defined for a task, and changes anything."""
    needs: str = "labels that are functions of inputs"
    """Condition of `applies_to`, in words."""
    least_squares_invariant: bool = True
    """Whether, on a noiseless linear task, the normalised error of least squares after d points stays at 0."""
    core: bool = True
    """Whether it runs by default."""
    core_values: tuple[float, ...] | None = None
    """The strengths that run by default; None means all."""
    takes: str = "a finite strength"
    """Description of the strengths, in words."""
    least: float = -math.inf
    """Smallest strength."""
    most: float = math.inf
    """Largest strength."""
    errors_only: bool = False
    """Whether its prompts have another shape than the task's (queries of their own, more points), so that errors are
    measured on them and activations are not."""
    lengthens: bool = False
    """Whether its prompts have more points, at positions that training may never have shown the model."""
    without_weights: tuple[str, str] | None = None
    """`changes` and `meaning` on tasks whose labels have no weights, where these differ."""

    __repr__ = short_repr

    def __post_init__(self) -> None:
        who = f"the shift {self.name!r}"
        if not isinstance(self.name, str) or not re.fullmatch(r"[A-Za-z][\w-]*", self.name, flags=re.ASCII):
            raise InputError(f'a Shift needs a name of letters, digits, "_" and "-", got {self.name!r}; rename it.')
        for field in ("values", "core_values"):
            if isinstance(given := getattr(self, field), list):
                object.__setattr__(self, field, tuple(given))
        if not all(_is_number(value) for value in (*self.values, *(self.core_values or ()))):
            raise InputError(f"{who} needs finite numbers as values, got {self.values!r}; () is for none.")
        if self.changes not in CHANGES:
            known = ", ".join(CHANGES)
            raise InputError(f"{who} needs changes out of {known}, got {self.changes!r}; pick the nearest.")
        try:
            self.meaning.format(value="1")
        except (AttributeError, LookupError, ValueError):
            raise InputError(
                f"{who} needs a meaning in which only {{value}} stands in braces, got {self.meaning!r}."
            ) from None
        check_callable(who, "apply", self.apply, "task", "value")
        check_callable(who, "applies_to", self.applies_to, "task")

    @property
    def default_values(self) -> tuple[float, ...]:
        """The strengths that run by default."""
        return self.values if self.core_values is None else self.core_values


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, slots=True)
class ShiftedTask:
    """A shift at one strength, applied to a task."""

    label: str
    """Name and strength, such as "x_scale=3"."""
    shift: Shift
    """Entry of the registry."""
    value: float | None
    """The strength, or None for a shift without one."""
    source: PromptSource
    """Source of the shifted prompts."""
    has_weights: bool = True
    """Whether the labels of the task are products with weights."""

    @property
    def changes(self) -> str:
        """What is changed: "inputs", "weights", "labels", "queries", "length" or "prompts"."""
        return self._words[0]

    @property
    def meaning(self) -> str:
        """Description in one clause."""
        return self._words[1].format(value=fraction(self.value))

    @property
    def _words(self) -> tuple[str, str]:
        if self.shift.without_weights is not None and not self.has_weights:
            return self.shift.without_weights
        return self.shift.changes, self.shift.meaning


def fraction(value: float | None) -> str:
    """Write a strength as people type it.

    Args:
        value: Any number; None for none.

    Returns:
        "3", "1/3", "0.45", or nothing.

    Example:
        >>> fraction(1 / 3), fraction(2.0), fraction(0.45)
        ('1/3', '2', '0.45')
    """
    if value is None:
        return ""
    for denominator in (1, 2, 3, 4):
        if abs(value * denominator - round(value * denominator)) < 1e-9:
            return str(round(value * denominator)) + (f"/{denominator}" if denominator > 1 else "")
    return f"{value:g}"


def parse_strength(name: str, text: str) -> float:
    """Read a strength as people type it.

    Args:
        name: Name of the shift, for the error message.
        text: A number or a fraction; thirds cut or rounded to three digits or more are thirds, since dtsip types 0.333.

    Returns:
        The number.

    Raises:
        InputError: If it is none.

    Example:
        >>> fraction(parse_strength("x_scale", "0.333")), parse_strength("x_scale", "0.33")
        ('1/3', 0.33)
    """
    try:
        numerator, slash, denominator = text.partition("/")
        return float(numerator) / float(denominator) if slash else _third(numerator, float(numerator))
    except (ValueError, ZeroDivisionError):
        raise InputError(f"the strength of {name} needs a number such as 3 or 1/3, got {text!r}.") from None


def _third(text: str, value: float) -> float:
    digits = len(text.strip().partition(".")[2])
    for third in (1 / 3, 2 / 3):
        cut = math.floor(third * 10**digits) / 10**digits
        if digits >= 3 and value in (cut, round(third, digits)):
            return third
    return value
