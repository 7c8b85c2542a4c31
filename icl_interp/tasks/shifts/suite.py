"""The out-of-distribution suite: each shift turns a task into a source of shifted prompts."""

from typing import Any

import torch
from torch import Tensor

from icl_interp.errors import InputError, InputTypeError
from icl_interp.prompts import PromptSource, stream
from icl_interp.registry import Registry
from icl_interp.tasks.base import FunctionTask, Task
from icl_interp.tasks.linear_regression import LinearRegression, LinearTask
from icl_interp.tasks.quadratic import QuadraticRegression
from icl_interp.tasks.recurrence import AffineRecurrence
from icl_interp.tasks.shifts import gaussian
from icl_interp.tasks.shifts.record import Shift
from icl_interp.tasks.shifts.sources import (
    LongerPrompts,
    MixedWeights,
    MovedInputs,
    MovedWeights,
    NoisyLabels,
    QueryShift,
    RandomOrthants,
    ScaledLabels,
    fold_context,
    orthogonal_queries,
    repeated_queries,
    student_scales,
)
from icl_interp.tasks.sparse import SparseLinearRegression
from icl_interp.tasks.task_pool import TaskPool

_MIX_SCALE = 3.0
"""Factor of the shifted inputs in `x_mixed` (our choice)."""


def _is_function(task: Task) -> bool:
    return isinstance(task, FunctionTask)


def _is_linear(task: Task) -> bool:
    return isinstance(task, LinearTask)


def _has_dims(task: Task) -> bool:
    return isinstance(task, FunctionTask) and task.n_dims > 1


def _has_directions(task: Task) -> bool:
    return isinstance(task, FunctionTask) and task.continuous_inputs and task.input_rank > 1


def _move(task: FunctionTask, name: str, transform: Tensor | float, offset: float = 0.0) -> PromptSource:
    if isinstance(task, LinearRegression):
        return gaussian.transform_inputs(task, transform, offset)
    matrix = transform if isinstance(transform, Tensor) else torch.eye(task.n_dims, dtype=torch.float64) * transform
    second = task.input_second_moment
    if second is not None:
        mean = matrix @ task.input_mean
        cross = torch.outer(mean, torch.full_like(mean, offset))
        second = matrix @ second @ matrix + cross + cross.T + offset**2
    return MovedInputs(task, name, lambda xs, _: xs @ matrix.float() + offset, second)


def _scale_inputs(task: Task, factor: float) -> PromptSource:
    if isinstance(task, AffineRecurrence):  # a scaled sequence is a sequence with another start and offset
        scaled = ("start_std", "offset_std", "noise_std")
        return task.model_copy(update={name: abs(factor) * getattr(task, name) for name in scaled})
    assert isinstance(task, FunctionTask)
    return _move(task, "scaled inputs", factor)


def _scale_weights(task: FunctionTask, factor: float) -> PromptSource:
    if isinstance(task, LinearRegression):
        return gaussian.transform_weights(task, factor)
    return MovedWeights(task, factor) if isinstance(task, LinearTask) else ScaledLabels(task, factor)


def _skew(task: FunctionTask, _: float) -> PromptSource:
    scales = 1 / torch.arange(1, task.n_dims + 1, dtype=torch.float64)
    return _move(task, "skewed inputs", gaussian.reshaping(scales, _second_moment(task)))


def _halve(task: FunctionTask, _: float) -> PromptSource:
    keep = torch.zeros(task.n_dims, dtype=torch.float64)
    keep[: max(1, task.n_dims // 2)] = 1
    return _move(task, "inputs in a half-dimensional subspace", gaussian.reshaping(keep, _second_moment(task)))


def _second_moment(task: FunctionTask) -> Tensor | None:
    return task.input_second_moment if isinstance(task, LinearTask) else None  # the others' inputs are isotropic


def _move_weights(task: LinearTask, by: float) -> PromptSource:
    if isinstance(task, LinearRegression):
        return gaussian.transform_weights(task, 1.0, by)
    return MovedWeights(task, 1.0, by)


def _add_noise(task: FunctionTask, std: float) -> PromptSource:
    return gaussian.add_label_noise(task, std) if isinstance(task, LinearRegression) else NoisyLabels(task, std)


def _heavy_inputs(task: FunctionTask, degrees: float) -> PromptSource:
    mean = task.input_mean.float()

    def stretch(xs: Tensor, seed: int) -> Tensor:
        return mean + (xs - mean) * student_scales(tuple(xs.shape[:2]), int(degrees), seed)[..., None]

    return MovedInputs(task, "heavy-tailed inputs", stretch, task.input_second_moment)


def _mix_inputs(task: FunctionTask, share: float) -> PromptSource:
    def mix(xs: Tensor, seed: int) -> Tensor:
        mixed = torch.rand(xs.shape[:2], generator=stream(seed, "mix")) < share
        return xs * (1 + (_MIX_SCALE - 1) * mixed)[..., None]

    second = task.input_second_moment
    mixed_second = None if second is None else second * (1 - share + share * _MIX_SCALE**2)
    return MovedInputs(task, "mixed inputs", mix, mixed_second)


def _mix_weights(task: LinearTask, share: float) -> PromptSource:
    other = _fresh_weights(task) if _has_special_weights(task) else gaussian.other_weights(_gaussian(task))
    return MixedWeights(task, other, share)


def _gaussian(task: Task) -> LinearRegression:
    assert isinstance(task, LinearRegression)
    return task


def _has_special_weights(task: Task) -> bool:
    return isinstance(task, TaskPool | SparseLinearRegression)


def _fresh_weights(task: LinearTask, _: float = 0.0) -> LinearRegression:
    # The pool's own prior, N(0, I), for a pool; the energy of sparse weights, spread over all coordinates.
    w_cov = task.n_nonzero / task.n_dims if isinstance(task, SparseLinearRegression) else None
    return LinearRegression(
        task.n_dims,
        noise_std=task.noise_std,
        x_cov=task.input_second_moment.tolist(),
        w_cov=w_cov,
        n_points=task.n_points,
    )


def _ask_orthogonally(task: FunctionTask, _: float) -> PromptSource:
    return QueryShift(task, "orthogonal queries", orthogonal_queries, task.input_rank, keeps_energy=False)


_SCALES, _CORE_SCALES = (1 / 4, 1 / 3, 1 / 2, 2.0, 3.0, 4.0), (1 / 3, 1 / 2, 2.0, 3.0)
_SHARES = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1.0)
_DIMS = "more than one dimension"
_SHARE: dict[str, Any] = {"takes": "a share of energy from 0 to 1", "least": 0.0, "most": 1.0}
_MIX: dict[str, Any] = {"takes": "a share of examples from 0 to 1", "least": 0.0, "most": 1.0}
_FACTOR: dict[str, Any] = {"takes": "a factor of at least 0", "least": 0.0}
_STD: dict[str, Any] = {"takes": "a standard deviation of at least 0", "least": 0.0}

SHIFTS = Registry[Shift](__name__, "SHIFTS", {
    shift.name: shift
    for shift in (
        Shift("x_scale", _SCALES, "inputs", "inputs multiplied by {value}", _scale_inputs,
              lambda task: _is_function(task) or isinstance(task, AffineRecurrence), core_values=_CORE_SCALES,
              **_FACTOR),
        Shift("w_scale", _SCALES, "weights", "weights multiplied by {value}", _scale_weights, _is_function,
              core_values=_CORE_SCALES,
              without_weights=("labels", "labels multiplied by {value}, before noise"), **_FACTOR),
        Shift("x_skewed", (), "inputs", "inputs with scales 1, 1/2, 1/3, ... along rotated axes", _skew, _has_dims,
              _DIMS),
        Shift("x_half_subspace", (), "inputs", "inputs confined to a random half-dimensional subspace", _halve,
              _has_dims, _DIMS),
        Shift("x_mean", (1.0,), "inputs", "inputs moved by {value} in every coordinate",
              lambda task, by: _move(task, "moved inputs", 1.0, by), _is_function),
        Shift("label_noise", (1.0,), "labels", "label noise of standard deviation {value}, labels rescaled",
              _add_noise, _is_function, least_squares_invariant=False, **_STD),
        Shift("random_orthants", (), "inputs", "all inputs of a prompt in one random orthant",
              lambda task, _: RandomOrthants(task), _is_function),
        Shift("w_rotation", _SHARES, "weights",
              "weights turned out of the training subspace by {value} of their energy", gaussian.rotate_weights,
              gaussian.has_weight_subspace, "weights confined to a subspace", core_values=(1 / 4, 1 / 2, 1.0),
              **_SHARE),
        Shift("w_fresh", (), "weights", "weights from a Gaussian, not from the pool or the sparse law of training",
              _fresh_weights, _has_special_weights, "weights from a pool, or sparse ones"),
        Shift("w_mean", (1.0,), "weights", "weights moved by {value} in every coordinate", _move_weights, _is_linear,
              "linear labels", core=False),
        Shift("x_complement", (), "inputs", "inputs in the complement of the training subspace, energy kept",
              lambda task, _: gaussian.complement_inputs(task), gaussian.has_input_subspace,
              "inputs confined to a subspace", core=False),
        Shift("x_heavy_tails", (3.0,), "inputs", "inputs with the tails of Student's t, {value} degrees of freedom",
              _heavy_inputs, lambda task: _is_function(task) and not isinstance(task, QuadraticRegression),
              "labels that grow no faster than inputs: E[x^4], and with it E[y^2] of quadratic functions, is infinite "
              "below 5 degrees of freedom", core=False, takes="a whole number of at least 3", least=3.0),
        Shift("noise_heavy_tails", (1.0,), "labels",
              "label noise of standard deviation {value} with the tails of Student's t, labels rescaled",
              lambda task, std: NoisyLabels(task, std, heavy_tailed=True), _is_function,
              least_squares_invariant=False, core=False, **_STD),
        Shift("x_mixed", _SHARES[:-1], "inputs", "a share {value} of the inputs of a prompt multiplied by 3",
              _mix_inputs, _is_function, core=False, **_MIX),
        Shift("w_mixed", _SHARES[:-1], "labels",
              "a share {value} of the examples of a prompt labelled by other weights: from outside the training "
              "subspace, or from a Gaussian where training had a pool or sparse weights", _mix_weights,
              lambda task: gaussian.has_weight_subspace(task) or _has_special_weights(task),
              "weights confined to a subspace, from a pool, or sparse", least_squares_invariant=False, core=False,
              **_MIX),
        Shift("random_quadrants", (), "queries", "the pairs of a prompt in one random orthant, the query free",
              lambda task, _: QueryShift(task, "random quadrants", fold_context), _is_function, core=False,
              errors_only=True),
        Shift("orthogonal_train_test", (), "queries", "each query orthogonal to the inputs before it",
              _ask_orthogonally, _has_directions, "continuous inputs of more than one dimension",
              least_squares_invariant=False, core=False, errors_only=True),
        Shift("overlapping_train_test", (), "queries", "each query is one of the inputs before it",
              lambda task, _: QueryShift(task, "overlapping queries", repeated_queries), _is_function, core=False,
              errors_only=True),
        Shift("longer_prompts", (3 / 2, 2.0), "length",
              "{value} times as many points as usual",
              LongerPrompts, lambda _: True, core=False, errors_only=True, lengthens=True,
              takes="a factor above 1, at most 64", least=1.0 + 1e-9, most=64.0),
    )
})  # fmt: skip
"""Every shift by its name."""

ALIASES: dict[str, tuple[str, float | None]] = {
    "half_subspace": ("x_half_subspace", None),
    "skewed": ("x_skewed", None),
    "scale-x": ("x_scale", None),
    "scale-y": ("w_scale", None),
    "noisyLR": ("label_noise", 1.0),
    "w_complement": ("w_rotation", 1.0),
}
"""Other names: dtsip's where they say the same as ours, and the end of the rotation; with the strength they stand for,
which only noisyLR leaves open.
dtsip scales labels by scaling weights, so `scale-y` is `w_scale`."""

DTSIP_EVALUATIONS = (
    "standard", "random_quadrants", "orthogonal_train_test", "overlapping_train_test", "half_subspace", "skewed",
    "scale-x=0.333", "scale-x=0.5", "scale-x=2", "scale-x=3", "scale-y=0.333", "scale-y=0.5", "scale-y=2",
    "scale-y=3", "noisyLR",
)  # fmt: skip
"""The 15 evaluations of dtsip/in-context-learning's linear regression, by its names, all of which `--shifts` takes;
"standard" is in distribution."""

NO_NAMES = ("standard", "all", *ALIASES)
"""Words that patterns of shifts read otherwise."""


def register_shift(shift: Shift) -> Shift:
    """Let patterns and `--shifts` name a shift of your own; it runs by default if its `core` is set.

    Args:
        shift: Shift with its own name. One whose `apply` has the same module and name replaces the one before, so that
            a notebook's cell can run again.

    Returns:
        The same shift.

    Raises:
        InputTypeError: If it is no `Shift`.
        InputError: If another shift has its name.

    Example:
        >>> from icl_interp.tasks.shifts.select import shifted
        >>> halved = register_shift(Shift("halved", (), "inputs", "half the inputs", lambda task, _: task))
        >>> shifted(LinearRegression(2), "halved").label_second_moment()
        2.0
        >>> del SHIFTS["halved"]  # for the examples that follow
    """
    if not isinstance(shift, Shift):
        raise InputTypeError(f"register_shift needs an icl_interp.Shift, got {type(shift).__name__}.")
    if shift.name in NO_NAMES:
        raise InputError(f"register_shift needs a name without another meaning, got {shift.name!r}; rename it.")
    SHIFTS.add(shift.name, shift, who="register_shift", what="name that no other shift has", code=_code)
    return shift


def _code(shift: Shift) -> object:
    return shift.apply
