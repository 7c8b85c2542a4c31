"""The out-of-distribution suite: a shift is one registry line that turns a task into a source of shifted prompts."""

import fnmatch
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from icl_interp.prompts import PromptSource, stream
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.orthants import RandomOrthants

__all__ = ["SHIFTS", "Shift", "ShiftedTask", "select_shifts", "shifted"]

MOST = 1e6
"""Largest strength; beyond it squares leave the range of float32."""
ROTATION_SEED = 0
"""Seed of the one random rotation behind `x_skewed` and `x_half_subspace` (ours; Garg et al. leave it unseeded)."""


@dataclass(frozen=True, slots=True)
class Shift:
    """One way to move prompts out of distribution."""

    name: str
    """As typed in `--shifts`."""
    values: tuple[float, ...]
    """The strengths that the suite runs; empty for a shift without a parameter."""
    changes: str
    """What is changed: "inputs", "weights" or "labels"."""
    meaning: str
    """One clause for people; {value} stands for the strength."""
    apply: Callable[[LinearRegression, float], PromptSource]
    """Turns a task and a strength into a source of prompts."""
    applies_to: Callable[[LinearRegression], bool] = lambda task: True  # noqa: ARG005
    """Whether the shift changes anything for a task."""
    least_squares_invariant: bool = True
    """Whether the normalised error of noiseless least squares after d points stays at 0."""


@dataclass(frozen=True, slots=True)
class ShiftedTask:
    """A shift at one strength, applied to a task."""

    label: str
    """Name and strength, such as "x_scale=3"."""
    shift: Shift
    """The registry line."""
    value: float | None
    """The strength, or None for a shift without one."""
    source: PromptSource
    """Where shifted prompts come from."""

    @property
    def meaning(self) -> str:
        """One clause for people."""
        return self.shift.meaning.format(value=_fraction(self.value))


def _with(task: LinearRegression, **changes: object) -> LinearRegression:
    plain = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in changes.items()}
    return LinearRegression(**{**task.model_dump(), **plain})


def _scale_inputs(task: LinearRegression, factor: float) -> LinearRegression:
    return _with(task, x_mean=task.input_mean * factor, x_cov=task.input_cov * factor**2)


def _scale_weights(task: LinearRegression, factor: float) -> LinearRegression:
    return _with(task, w_mean=task.weight_mean * factor, w_cov=task.weight_cov * factor**2)


def _shift_input_mean(task: LinearRegression, by: float) -> LinearRegression:
    return _with(task, x_mean=task.input_mean + by)


def _reshape_inputs(task: LinearRegression, scales: Tensor) -> LinearRegression:
    # Multiplies inputs by U diag(scales) U', normalised so that an isotropic x keeps its E|x|^2.
    basis, _ = torch.linalg.qr(
        torch.randn(task.n_dims, task.n_dims, generator=stream(ROTATION_SEED, "rotation"), dtype=torch.float64)
    )
    scales = scales * (task.n_dims / scales.square().sum()).sqrt()
    transform = (basis * scales) @ basis.T
    return _with(task, x_mean=transform @ task.input_mean, x_cov=_symmetric(transform @ task.input_cov @ transform))


def _skew(task: LinearRegression, _: float) -> LinearRegression:
    return _reshape_inputs(task, 1 / torch.arange(1, task.n_dims + 1, dtype=torch.float64))


def _halve(task: LinearRegression, _: float) -> LinearRegression:
    keep = torch.zeros(task.n_dims, dtype=torch.float64)
    keep[: max(1, task.n_dims // 2)] = 1
    return _reshape_inputs(task, keep)


def _add_label_noise(task: LinearRegression, std: float) -> LinearRegression:
    # Rescales by the population's standard deviation, so that E[y^2] stays and no prompt depends on its batch.
    clean = task.label_second_moment()
    factor = (clean / (clean + std**2)) ** 0.5
    noisy = (task.noise_std**2 + std**2) ** 0.5
    return _with(_scale_weights(task, factor), noise_std=noisy * factor)


def _rotate_weights(task: LinearRegression, alpha: float) -> LinearRegression:
    # w' = sqrt(1 - alpha) w + sqrt(alpha) w_out with E|w_out|^2 = E|w|^2 (both about the mean). The law of w' is again
    # Gaussian, so the shift is a change of covariance.
    cov = task.weight_cov
    values, vectors = torch.linalg.eigh(cov)
    outside = vectors[:, values <= 1e-9 * values.max()]
    complement = outside @ outside.T * (cov.trace() / outside.shape[1])
    return _with(task, w_cov=_symmetric((1 - alpha) * cov + alpha * complement))


def _has_weight_subspace(task: LinearRegression) -> bool:
    return 0 < task.weight_rank < task.n_dims


def _symmetric(matrix: Tensor) -> Tensor:
    return (matrix + matrix.T) / 2


def _into_orthants(task: LinearRegression, _: float) -> PromptSource:
    return RandomOrthants(task)


_SCALES = (1 / 3, 1 / 2, 2.0, 3.0)

SHIFTS: dict[str, Shift] = {
    shift.name: shift
    for shift in (
        Shift("x_scale", _SCALES, "inputs", "inputs multiplied by {value}", _scale_inputs),
        Shift("w_scale", _SCALES, "weights", "weights multiplied by {value}", _scale_weights),
        Shift("x_skewed", (), "inputs", "inputs with scales 1, 1/2, 1/3, ... along rotated axes", _skew,
              lambda task: task.n_dims > 1),
        Shift("x_half_subspace", (), "inputs", "inputs confined to a random half-dimensional subspace", _halve,
              lambda task: task.n_dims > 1),
        Shift("x_mean", (1.0,), "inputs", "inputs moved by {value} in every coordinate", _shift_input_mean),
        Shift("label_noise", (1.0,), "labels", "label noise of standard deviation {value}, labels rescaled",
              _add_label_noise, least_squares_invariant=False),
        Shift("random_orthants", (), "inputs", "all inputs of a prompt in one random orthant", _into_orthants),
        Shift("w_rotation", (1 / 4, 1 / 2, 1.0), "weights",
              "weights turned out of the training subspace by {value} of their energy", _rotate_weights,
              _has_weight_subspace),
    )
}  # fmt: skip
"""Every shift by its name."""


def shifted(task: LinearRegression, name: str, value: float | None = None) -> PromptSource:
    """Apply one shift to a task.

    Args:
        task: What is in distribution.
        name: A key of `SHIFTS`.
        value: The strength; only for shifts that have one. Fractions count energy, factors multiply.

    Returns:
        A source with `sample` and `label_second_moment`. Under the same seed its prompts share their random numbers
        with the task's own.

    Raises:
        ValueError: If the name is unknown, the shift does not apply to this task, or a strength is missing,
            superfluous or out of range.

    Example:
        >>> task = LinearRegression(n_dims=3)
        >>> a, b = task.sample(2, seed=0), shifted(task, "x_scale", 3.0).sample(2, seed=0)
        >>> torch.testing.assert_close(b.xs, 3 * a.xs)
    """
    return _build(task, _known(name), value).source


def select_shifts(task: LinearRegression, patterns: Sequence[str] | None = None) -> list[ShiftedTask]:
    """List the shifted tasks that patterns name, in the registry's order.

    Args:
        task: What is in distribution.
        patterns: Names ("x_scale": all its strengths), globs ("x_*") and single strengths ("x_scale=3",
            "w_rotation=1/4"). None means every shift that applies to the task.

    Returns:
        One entry for each shift and strength, none twice.

    Raises:
        ValueError: If a pattern names nothing, or only shifts that do not apply to this task.

    Example:
        >>> [s.label for s in select_shifts(LinearRegression(n_dims=2), ["x_scale=3", "x_m*"])]
        ['x_scale=3', 'x_mean=1']
    """
    if patterns is None:
        return [entry for shift in SHIFTS.values() if shift.applies_to(task) for entry in _all_values(task, shift)]
    chosen: dict[str, ShiftedTask] = {}
    for pattern in patterns:
        for entry in _match(task, pattern.strip()):
            chosen.setdefault(entry.label, entry)
    order = {name: rank for rank, name in enumerate(SHIFTS)}
    return sorted(chosen.values(), key=lambda entry: (order[entry.shift.name], entry.value or 0.0))


def _match(task: LinearRegression, pattern: str) -> list[ShiftedTask]:
    name, equals, text = pattern.partition("=")
    if equals:
        return [_build(task, _known(name), _parse_strength(name, text))]
    shifts = [shift for shift in SHIFTS.values() if fnmatch.fnmatchcase(shift.name, name)]
    if not shifts:
        _known(name)
    fitting = [shift for shift in shifts if shift.applies_to(task)]
    if not fitting:
        _refuse_task(shifts[0])
    return [entry for shift in fitting for entry in _all_values(task, shift)]


def _all_values(task: LinearRegression, shift: Shift) -> list[ShiftedTask]:
    return [_build(task, shift, value) for value in shift.values or (None,)]


def _build(task: LinearRegression, shift: Shift, value: float | None) -> ShiftedTask:
    if (value is None) == bool(shift.values):
        need = "a strength" if shift.values else "no strength"
        raise ValueError(f"the shift {shift.name} takes {need}, got {value}; see SHIFTS[{shift.name!r}].")
    if value is not None and not abs(value) <= MOST:
        raise ValueError(
            f"the shift {shift.name} takes a strength of at most {MOST:g}, got {value}; see SHIFTS[{shift.name!r}]."
        )
    if shift.name == "label_noise" and (value or 0) < 0:
        raise ValueError(f"label_noise takes a standard deviation of at least 0, got {value}.")
    if shift.name == "w_rotation" and not 0 <= (value or 0) <= 1:
        raise ValueError(f"w_rotation takes a share of energy from 0 to 1, got {value}.")
    if not shift.applies_to(task):
        _refuse_task(shift)
    label = shift.name if value is None else f"{shift.name}={_fraction(value)}"
    return ShiftedTask(label=label, shift=shift, value=value, source=shift.apply(task, value or 0.0))


def _refuse_task(shift: Shift) -> None:
    need = "weights confined to a subspace" if shift.name == "w_rotation" else "more than one dimension"
    raise ValueError(f"the shift {shift.name} needs a task with {need}; leave it out or change the task.")


def _known(name: str) -> Shift:
    if name not in SHIFTS:
        raise ValueError(f"unknown shift {name!r}; there are: {', '.join(SHIFTS)}.")
    return SHIFTS[name]


def _parse_strength(name: str, text: str) -> float:
    try:
        numerator, slash, denominator = text.partition("/")
        return float(numerator) / float(denominator) if slash else float(numerator)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"the strength of {name} needs a number such as 3 or 1/3, got {text!r}.") from None


def _fraction(value: float | None) -> str:
    if value is None:
        return ""
    for denominator in (1, 2, 3, 4):
        if abs(value * denominator - round(value * denominator)) < 1e-9:
            return str(round(value * denominator)) + (f"/{denominator}" if denominator > 1 else "")
    return f"{value:g}"
