"""Name shifts of a task: by registry name, by dtsip's names, by globs, and at single strengths."""

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from icl_interp.errors import InputError, InputTypeError, users_code
from icl_interp.prompts import Prompts, PromptSource
from icl_interp.tasks.base import Task
from icl_interp.tasks.fixed_prompts import REFERENCE, FixedPrompts
from icl_interp.tasks.linear_regression import LinearTask
from icl_interp.tasks.own import check_drawn, check_second_moment
from icl_interp.tasks.shifts.record import Shift, ShiftedTask, fraction, parse_strength
from icl_interp.tasks.shifts.sources import estimate_label_second_moment
from icl_interp.tasks.shifts.suite import ALIASES, NO_NAMES, SHIFTS

Shifts = Sequence[str | Shift]
"""Patterns that name shifts, and shifts of the user's own."""

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
        task: The task in distribution.
        name: A key of `SHIFTS` or `ALIASES`, with its strength or without ("x_scale=3"), or "standard" for the task
            itself.
        value: The strength, if the name has none; only for shifts that have one. Fractions are shares of energy,
            factors multiply.

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
    patterns: Shifts | None = None,
    *,
    n_points: int | None = None,
    max_points: int | None = None,
) -> list[ShiftedTask]:
    """List the shifted tasks that patterns name, in the registry's order, then those of shifts given as objects.

    Args:
        task: The task in distribution.
        patterns: Names ("x_scale": all its strengths), dtsip's names ("scale-x", "noisyLR"), globs ("x_*"), single
            strengths ("x_scale=3", "w_rotation=1/4"), and "all" or "*" for everything that applies; beside them `Shift`
            objects of your own. "standard" adds nothing, since prompts in distribution are always there. None means the
            core suite: every shift whose `core` is set, at its default strengths, that applies to the task. Of
            `FixedPrompts` names and globs of its families.
        n_points: Number of examples per prompt; None takes the task's usual number.
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
    if isinstance(task, FixedPrompts):
        return _saved_families(task, patterns)
    own = _own_among(patterns or ())
    possible = [shift for shift in (*SHIFTS.values(), *own) if _applies(shift, task)]
    if not _has_room(task, n_points, max_points):
        possible = [shift for shift in possible if not shift.lengthens]
    if patterns is None:
        core = [shift for shift in possible if shift.core]
        return [_build(task, shift, value, shift.name) for shift in core for value in shift.default_values or (None,)]
    chosen: dict[str, ShiftedTask] = {}
    for pattern in patterns:
        typed = pattern.name if isinstance(pattern, Shift) else pattern.strip().partition("=")[0]
        named = _named(pattern)
        fitting = [(shift, value) for shift, value in named if shift in possible]
        if named and not fitting:
            first = named[0][0]
            if _applies(first, task):
                _refuse_length(first, task, n_points, max_points)
            _refuse_task(first)
        for shift, value in fitting:
            for strength in (shift.values or (None,)) if value is None else (value,):
                entry = _build(task, shift, strength, typed)
                chosen.setdefault(entry.label, entry)
    order = {name: rank for rank, name in enumerate((*SHIFTS, *(shift.name for shift in own)))}
    return sorted(chosen.values(), key=lambda entry: (order[entry.shift.name], entry.value or 0.0))


def _saved_families(task: FixedPrompts, patterns: Sequence[str | Shift] | None) -> list[ShiftedTask]:
    others = [label for label in task.families if label != REFERENCE]
    chosen = set(others if patterns is None else ())
    for pattern in patterns or ():
        named = [] if pattern == _STANDARD else fnmatch.filter(others, "*" if pattern in _EVERYTHING else str(pattern))
        if not named and pattern not in (_STANDARD, *_EVERYTHING):
            raise InputError(
                f"saved prompts need names of their families as shifts ({', '.join(others) or 'there are none'}), got "
                f"{pattern!r}; other prompts cannot be drawn."
            )
        chosen |= set(named)
    return [_saved_family(task, label) for label in others if label in chosen]


def _saved_family(task: FixedPrompts, label: str) -> ShiftedTask:
    prompts = task.families[label]
    longer = prompts.n_points - task.families[REFERENCE].n_points
    shift = Shift(
        name="saved",
        values=(),
        changes="prompts",
        meaning="prompts that were saved under this name",
        apply=lambda task, _: FixedPrompts({REFERENCE: task.families[label]}),
        applies_to=lambda task: isinstance(task, FixedPrompts) and label in task.families,
        errors_only=longer != 0,
        lengthens=longer > 0,
    )
    return ShiftedTask(label, shift, None, shift.apply(task, 0.0))


def left_out_for_length(
    task: Task,
    patterns: Shifts | None = None,
    *,
    n_points: int | None = None,
    max_points: int | None = None,
) -> tuple[str, ...]:
    """Say which shifts patterns name that `select_shifts` leaves out because the model has no positions for them."""
    if patterns is None or _has_room(task, n_points, max_points):
        return ()
    named = [shift for pattern in patterns for shift, _ in _named(pattern)]
    names = dict.fromkeys(shift.name for shift in named if shift.lengthens and _applies(shift, task))
    return tuple(
        f"{name} is left out: the model has positions for {max_points} points only, and prompts take them all."
        for name in names
    )


def _has_room(task: Task, n_points: int | None, max_points: int | None) -> bool:
    return max_points is None or max_points > (task.default_points if n_points is None else n_points)


def _own_among(patterns: Shifts) -> list[Shift]:
    if isinstance(patterns, str | Shift):
        raise InputTypeError(f"shifts needs a list of names and Shift objects, got one alone, {patterns!r}; add [].")
    own: dict[str, Shift] = {}
    for pattern in patterns:
        if isinstance(pattern, str):
            continue
        if not isinstance(pattern, Shift):
            raise InputTypeError(f"shifts needs names and icl_interp.Shift objects, got {type(pattern).__name__}.")
        taken = SHIFTS.get(pattern.name, own.get(pattern.name, pattern))
        if taken != pattern or pattern.name in NO_NAMES:
            raise InputError(f"shifts needs a name that no other shift has, got {pattern.name!r}; rename yours.")
        if pattern.name not in SHIFTS:
            own[pattern.name] = pattern
    return list(own.values())


def _is_theirs(shift: Shift) -> bool:
    return shift.name in SHIFTS.theirs or shift.name not in SHIFTS


def _applies(shift: Shift, task: Task) -> bool:
    if not _is_theirs(shift):
        return shift.applies_to(task)
    with users_code(f"the shift {shift.name!r}", passing=(InputError,)):
        return bool(shift.applies_to(task))


def _named(pattern: str | Shift) -> list[tuple[Shift, float | None]]:
    # Which shifts a pattern names, each at which strength; None for all of them.
    if isinstance(pattern, Shift):
        return [(pattern, None)]
    pattern = pattern.strip()
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
    if not _applies(shift, task):
        _refuse_task(shift)
    label = shift.name if value is None else f"{shift.name}={fraction(value)}"
    source = _own_source(shift, task, value) if _is_theirs(shift) else shift.apply(task, value or 0.0)
    return ShiftedTask(label, shift, value, source, has_weights=isinstance(task, LinearTask))


@dataclass(frozen=True, eq=False)
class _OwnSource:
    # Prompts of the user's own, looked at as they come.
    shift: Shift
    task: Task
    source: Any

    def sample(self, n_prompts: int, n_points: int | None = None, *, seed: int) -> Prompts:
        who = f"the shift {self.shift.name!r}"
        with users_code(who, passing=(InputError,)):
            prompts = self.source.sample(n_prompts, n_points, seed=seed)
        asked = self.task.default_points if n_points is None else n_points
        asked_length = None if self.shift.errors_only else asked
        check_drawn(who, prompts, n_prompts=n_prompts, n_points=asked_length, n_dims=self.task.n_dims)
        if prompts.query_xs is not None and not self.shift.errors_only:
            raise InputError(f"{who} draws prompts with queries of their own; set errors_only=True in its Shift.")
        return prompts

    def label_second_moment(self) -> float:
        who = f"the shift {self.shift.name!r}"
        if not hasattr(self.source, "label_second_moment"):
            return estimate_label_second_moment(self)
        with users_code(who, passing=(InputError,)):
            return check_second_moment(who, self.source.label_second_moment())


def _own_source(shift: Shift, task: Task, value: float | None) -> _OwnSource:
    who = f"the shift {shift.name!r}"
    with users_code(who, passing=(InputError,)):
        source = shift.apply(task, value or 0.0)
    if not callable(getattr(source, "sample", None)):
        raise InputTypeError(
            f"{who} needs apply to return something with a method sample, such as a task, got {type(source).__name__}."
        )
    return _OwnSource(shift, task, source)


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
