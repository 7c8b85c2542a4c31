"""Name shifts of a task: by registry name, by dtsip's names, by globs, and at single strengths."""

import fnmatch
import math
from collections.abc import Sequence

from icl_interp.errors import InputError, InputTypeError
from icl_interp.prompts import PromptSource
from icl_interp.tasks.base import Task
from icl_interp.tasks.linear_regression import LinearTask
from icl_interp.tasks.shifts.record import Shift, ShiftedTask, fraction, parse_strength
from icl_interp.tasks.shifts.suite import ALIASES, SHIFTS

_EVERYTHING = ("all", "*")
"""Patterns that name every shift that applies."""
_STANDARD = "standard"
"""dtsip's name for no shift at all."""
_OPEN_ALIASES = ("noisyLR",)
"""Other names whose own strength may be replaced."""
MOST = 1e6
"""Largest strength; beyond it squares leave the range of float32."""


def shifted(task: Task, name: str, value: float | None = None) -> PromptSource:
    """Apply one shift to a task.

    Args:
        task: What is in distribution.
        name: A key of `SHIFTS` or `ALIASES`, with its strength or without ("x_scale=3"), or "standard" for the task
            itself.
        value: The strength, where the name has none; only for shifts that have one. Fractions count energy, factors
            multiply.

    Returns:
        A source with `sample` and `label_second_moment`. Under the same seed its prompts share their random numbers
        with the task's own.

    Raises:
        InputTypeError: If the strength is no number.
        InputError: If the name is unknown, the shift does not apply to this task, or a strength is missing,
            superfluous or out of range.

    Example:
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> import torch
        >>> task = LinearRegression(n_dims=3)
        >>> a, b = task.sample(2, seed=0), shifted(task, "x_scale", 3.0).sample(2, seed=0)
        >>> torch.testing.assert_close(b.xs, 3 * a.xs)
    """
    _check_strength(name, value)
    typed, equals, text = name.partition("=")
    if equals and value is not None:
        raise InputError(f"the shift {name} has its strength already, got {value} as well; leave one of them out.")
    if typed == _STANDARD:
        _refuse_strength_of_standard(text if equals else value)
        return task
    shift, strength = _at(typed, parse_strength(typed, text) if equals else value)
    return _build(task, shift, strength, typed).source


def select_shifts(
    task: Task,
    patterns: Sequence[str] | None = None,
    *,
    n_points: int | None = None,
    max_points: int | None = None,
) -> list[ShiftedTask]:
    """List the shifted tasks that patterns name, in the registry's order.

    Args:
        task: What is in distribution.
        patterns: Names ("x_scale": all its strengths), dtsip's names ("scale-x", "noisyLR"), globs ("x_*"), single
            strengths ("x_scale=3", "w_rotation=1/4"), and "all" or "*" for everything that applies. "standard" adds
            nothing, since prompts in distribution are always there. None means the core suite: every shift whose
            `core` is set, at its default strengths, that applies to the task.
        n_points: Pairs a prompt; None takes the task's usual number.
        max_points: Points that the model has positions for; None where there is no such limit. Longer prompts need
            room.

    Returns:
        One entry for each shift and strength, none twice.

    Raises:
        InputError: If a pattern names nothing, or only shifts that do not apply to this task, or longer prompts than
            the model has positions for.

    Example:
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> [s.label for s in select_shifts(LinearRegression(n_dims=2), ["x_scale=3", "x_me*"])]
        ['x_scale=3', 'x_mean=1']
    """
    possible = [shift for shift in SHIFTS.values() if shift.applies_to(task)]
    if not _has_room(task, n_points, max_points):
        possible = [shift for shift in possible if not shift.lengthens]
    if patterns is None:
        core = [shift for shift in possible if shift.core]
        return [_build(task, shift, value, shift.name) for shift in core for value in shift.default_values or (None,)]
    chosen: dict[str, ShiftedTask] = {}
    for pattern in (text.strip() for text in patterns):
        typed = pattern.partition("=")[0]
        named = _named(pattern)
        fitting = [(shift, value) for shift, value in named if shift in possible]
        if named and not fitting:
            first = named[0][0]
            if first.applies_to(task):
                _refuse_length(first, task, n_points, max_points)
            _refuse_task(first)
        for shift, value in fitting:
            for strength in (shift.values or (None,)) if value is None else (value,):
                entry = _build(task, shift, strength, typed)
                chosen.setdefault(entry.label, entry)
    order = {name: rank for rank, name in enumerate(SHIFTS)}
    return sorted(chosen.values(), key=lambda entry: (order[entry.shift.name], entry.value or 0.0))


def left_out_for_length(
    task: Task,
    patterns: Sequence[str] | None = None,
    *,
    n_points: int | None = None,
    max_points: int | None = None,
) -> tuple[str, ...]:
    """Say which shifts patterns name that `select_shifts` leaves out because the model has no positions for them."""
    if patterns is None or _has_room(task, n_points, max_points):
        return ()
    named = [shift for pattern in patterns for shift, _ in _named(pattern.strip())]
    names = dict.fromkeys(shift.name for shift in named if shift.lengthens and shift.applies_to(task))
    return tuple(
        f"{name} is left out: the model has positions for {max_points} points only, and prompts take them all."
        for name in names
    )


def _has_room(task: Task, n_points: int | None, max_points: int | None) -> bool:
    return max_points is None or max_points > (task.default_points if n_points is None else n_points)


def _named(pattern: str) -> list[tuple[Shift, float | None]]:
    # Which shifts a pattern names, each at which strength; None for all of them.
    if pattern in _EVERYTHING:
        return [(shift, None) for shift in SHIFTS.values()]
    if pattern == _STANDARD:
        return []
    name, equals, text = pattern.partition("=")
    if equals and name == _STANDARD:
        _refuse_strength_of_standard(text)
    if equals and name not in SHIFTS and any(sign in name for sign in "*?["):
        raise InputError(f"the glob {name!r} takes no strength, got {text!r}; name one shift, as in x_scale=3.")
    if equals:
        return [_at(name, parse_strength(name, text))]
    named: list[tuple[Shift, float | None]] = [
        (shift, None) for shift in SHIFTS.values() if fnmatch.fnmatchcase(shift.name, name)
    ]
    named += [(SHIFTS[kind], value) for alias, (kind, value) in ALIASES.items() if fnmatch.fnmatchcase(alias, name)]
    return named or [(_known(name), None)]


def _at(typed: str, value: float | None) -> tuple[Shift, float | None]:
    # The shift that a name stands for, at the strength given or at the name's own.
    name, usual = ALIASES.get(typed, (typed, None))
    if usual is None:
        return _known(name), value
    if value not in (None, usual) and typed not in _OPEN_ALIASES:
        raise InputError(
            f"{typed} is {name}={fraction(usual)} and takes no other strength, got {value}; type {name}=...."
        )
    return _known(name), usual if value is None else value


def _check_strength(name: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputTypeError(
            f"the shift {name} needs a number as strength, got {value!r}; pass 3.0, or the name 'x_scale=3'."
        )


def _refuse_strength_of_standard(value: object) -> None:
    if value is not None:
        raise InputError(f"{_STANDARD} is the task itself and takes no strength, got {value!r}; leave it out.")


def _build(task: Task, shift: Shift, value: float | None, typed: str) -> ShiftedTask:
    name = f"{typed} ({shift.name})" if typed in ALIASES else shift.name
    if (value is None) == bool(shift.values):
        need = "a strength" if shift.values else "no strength"
        raise InputError(f"the shift {name} takes {need}, got {value}; see SHIFTS[{shift.name!r}].")
    if value is not None and math.isnan(value):
        raise InputError(f"the shift {name} takes a number as strength, got nan; see SHIFTS[{shift.name!r}].")
    if value is not None and not abs(value) <= MOST:
        raise InputError(f"the shift {name} takes a strength of at most {MOST:g}, got {value}.")
    whole = "whole number" not in shift.takes or value == round(value or 0.0)
    if value is not None and not (shift.least <= value <= shift.most and whole):
        raise InputError(f"{name} takes {shift.takes}, got {value}.")
    if not shift.applies_to(task):
        _refuse_task(shift)
    label = shift.name if value is None else f"{shift.name}={fraction(value)}"
    source = shift.apply(task, value or 0.0)
    return ShiftedTask(label, shift, value, source, has_weights=isinstance(task, LinearTask))


def _refuse_task(shift: Shift) -> None:
    raise InputError(f"the shift {shift.name} needs a task with {shift.needs}; leave it out or change the task.")


def _refuse_length(shift: Shift, task: Task, n_points: int | None, max_points: int | None) -> None:
    asked = task.default_points if n_points is None else n_points
    raise InputError(
        f"the shift {shift.name} needs a model with positions for more than {asked} points, got {max_points}; leave it "
        "out or ask for fewer points."
    )


def _known(name: str) -> Shift:
    if name not in SHIFTS:
        raise InputError(f"unknown shift {name!r}; there are: {', '.join(SHIFTS)}; and {', '.join(ALIASES)}.")
    return SHIFTS[name]
