"""The base of all predictors: inputs checked once, float64 by chunks, answers in the input's dtype."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError, InputTypeError
from probes._core.arrays import takes_arrays

# An int is no float to beartype, and users type ridge(1).
Number = float | int
# Products of many inputs must stay finite in float64, whose largest number is 1.8e308.
_LARGEST_INPUT = 1e50
# 2 million float64 numbers (16 MB) of work space for one chunk of prompts: larger ones leave the cache.
_CHUNK_FLOATS = 2**21


@runtime_checkable
class Predictor(Protocol):
    """A reference predictor, called like a model: ``f(xs, ys)`` or ``f(xs, ys, points=[-1])``.

    Entry k of the answer predicts ``ys[:, k]`` from ``xs[:, k]`` and the k examples before it. It never
    reads ``ys[:, k]`` or anything after point k, so an unknown last label may be any finite number.

    Example:
        >>> from icl_interp.predictors import zero
        >>> assert isinstance(zero(), Predictor)
        >>> assert not isinstance(torch.zeros, Predictor)
    """

    @property
    def name(self) -> str:
        """Short label for tables and figures, with the hyperparameters that matter."""
        ...

    def __call__(
        self,
        xs: Float[Tensor, "batch point dim"],
        ys: Float[Tensor, "batch point"],
        *,
        points: Sequence[int] | None = None,
    ) -> Float[Tensor, "batch asked"]:
        """Predict the labels of the asked points (all by default) from the examples before each."""
        ...


def check_prompts(name: str, xs: Tensor, ys: Tensor) -> None:
    """Refuse prompts that no predictor can read."""
    for label, tensor in (("xs", xs), ("ys", ys)):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise InputTypeError(f"{name} needs floating-point tensors, got {label} of {kind}; call .float() on it.")
    if xs.ndim != 3 or ys.ndim != 2 or xs.shape[:2] != ys.shape:
        raise InputError(
            f"{name} needs xs of shape [batch point dim] and ys of shape [batch point], "
            f"got {list(xs.shape)} and {list(ys.shape)}; add the missing axis or match the sizes."
        )
    if 0 in xs.shape:
        raise InputError(f"{name} needs at least one prompt, point and dimension, got xs of shape {list(xs.shape)}.")
    if xs.dtype != ys.dtype:
        raise InputTypeError(
            f"{name} needs xs and ys of one dtype, got {xs.dtype} and {ys.dtype}; "
            "the dtype sets the rank tolerance, so convert one of them."
        )
    for label, tensor in (("xs", xs), ("ys", ys)):
        largest = max(-float(tensor.detach().amin()), float(tensor.detach().amax()))
        if not largest <= _LARGEST_INPUT:  # written so that NaN is refused as well
            raise InputError(
                f"{name} needs finite numbers up to {_LARGEST_INPUT:g} in {label}, got {largest:g}; "
                "put 0 where a label is unknown: entry k never reads it."
            )


def resolve_points(name: str, points: Sequence[int] | None, n_points: int) -> list[int]:
    """Turn the ``points`` option into indices from 0 to ``n_points - 1``."""
    if points is None:
        return list(range(n_points))
    if len(points) == 0:
        raise InputError(f"{name} needs at least one point, got an empty list; leave points out to ask for all.")
    for point in points:
        if isinstance(point, bool) or not isinstance(point, int):
            raise InputTypeError(f"{name} needs whole numbers as points, got {point!r}.")
        if not -n_points <= point < n_points:
            raise InputError(
                f"{name} needs points from {-n_points} to {n_points - 1} for prompts of {n_points} points, "
                f"got {point}; the query counts as a point."
            )
    return [point % n_points for point in points]


def check_number(
    owner: str,
    option: str,
    value: Number,
    *,
    least: Number = -math.inf,
    above: Number = -math.inf,
    below: Number = math.inf,
) -> None:
    """Refuse an option that is no finite number or lies outside its range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InputTypeError(f"{owner} needs a number as {option}, got {value!r}.")
    if not (math.isfinite(value) and value >= least and above < value < below):
        wanted = [
            text
            for text, stated in (
                (f"at least {least:g}", math.isfinite(least)),
                (f"above {above:g}", math.isfinite(above)),
                (f"below {below:g}", math.isfinite(below)),
            )
            if stated
        ]
        raise InputError(f"{owner} needs {option} to be {' and '.join(wanted) or 'finite'}, got {value!r}.")


def check_count(owner: str, option: str, value: int, *, least: int = 0) -> None:
    """Refuse an option that is no whole number or is too small."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputTypeError(f"{owner} needs a whole number as {option}, got {value!r}.")
    if value < least:
        raise InputError(f"{owner} needs {option} to be at least {least}, got {value}.")


def check_parameter(owner: str, option: str, tensor: Tensor, n_axes: int) -> None:
    """Refuse a parameter tensor of the wrong kind."""
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        kind = str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise InputTypeError(f"{owner} needs {option} as a floating-point tensor, got {kind}.")
    if tensor.ndim != n_axes or tensor.numel() == 0:
        raise InputError(f"{owner} needs {option} with {n_axes} non-empty axes, got shape {list(tensor.shape)}.")
    if not bool(torch.isfinite(tensor).all()):
        raise InputError(f"{owner} needs finite numbers in {option}, got NaN or infinity.")


def check_dims(name: str, option: str, n_dims: int, xs: Tensor) -> None:
    """Refuse prompts whose dimension is not the one of a parameter."""
    if xs.shape[-1] != n_dims:
        raise InputError(
            f"{name} needs inputs of {n_dims} dimensions as its {option} has, got {xs.shape[-1]}; "
            "build it for this task's dimension."
        )


class PrefixPredictor(ABC):
    """A predictor that answers for every prefix of a prompt; subclasses hold only the mathematics."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short label for tables and figures, with the hyperparameters that matter."""

    @abstractmethod
    def _predict(
        self, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], asked: list[int], eps: float
    ) -> Float[Tensor, "batch asked"]:
        """Predict the asked points of a chunk in float64; ``eps`` is the precision of the caller's dtype."""

    def _check(self, xs: Tensor) -> None:  # noqa: ARG002
        """Refuse inputs that do not fit this predictor's parameters; by default there is nothing to fit."""
        return

    def _floats_per_prompt(self, n_points: int, n_dims: int) -> int:
        # How much work space one prompt takes, for the size of the chunks.
        return 4 * n_points * (n_points + n_dims)

    @takes_arrays
    def __call__(
        self,
        xs: Float[Tensor, "batch point dim"],
        ys: Float[Tensor, "batch point"],
        *,
        points: Sequence[int] | None = None,
    ) -> Float[Tensor, "batch asked"]:
        """Predict the labels of the asked points (all by default) from the examples before each."""
        check_prompts(self.name, xs, ys)
        self._check(xs)
        asked = resolve_points(self.name, points, xs.shape[1])
        n_read = max(asked) + 1
        info = torch.finfo(xs.dtype)
        size = max(1, _CHUNK_FLOATS // self._floats_per_prompt(n_read, xs.shape[2]))
        chunks = zip(torch.split(xs[:, :n_read], size), torch.split(ys[:, :n_read], size), strict=True)
        answers = [self._predict(x.double(), y.double(), asked, info.eps) for x, y in chunks]
        return torch.cat(answers).clamp(info.min, info.max).to(xs.dtype)
