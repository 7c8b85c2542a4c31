"""Checks that every reader makes on its weights."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from icl_interp.checkpoints.errors import CheckpointError

__all__ = ["check_names", "check_shapes", "few", "plain_names", "to_float32"]

_COMPILED = "_orig_mod."
_SHOWN = 5


def few(names: Iterable[str]) -> str:
    """List names for a sentence.

    Args:
        names: Any number.

    Returns:
        The first five, and how many there are besides.

    Example:
        >>> few(["a", "b", "c", "d", "e", "f", "g"])
        'a, b, c, d, e and 2 more'
    """
    listed = list(names)
    rest = len(listed) - _SHOWN
    return ", ".join(listed[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def plain_names(weights: Mapping[Any, Any]) -> dict[str, Any]:
    """Drop the prefix that torch.compile puts before the names of a wrapped model.

    Args:
        weights: A state dict.

    Returns:
        The same values.

    Example:
        >>> plain_names({"_orig_mod.embed.W_E": 1})
        {'embed.W_E': 1}
    """
    return {str(name).replace(_COMPILED, ""): value for name, value in weights.items()}


def check_names(path: Path, got: Iterable[str], needed: Iterable[str], *, what: str) -> None:
    """Compare the names of weights with those that a model needs.

    Args:
        path: The file, for the sentence.
        got: Names in the file.
        needed: Names of the model.
        what: Whose weights these are, for the sentence.

    Raises:
        CheckpointError: If any is missing or unexpected; both kinds are named.
    """
    got, needed = dict.fromkeys(got), dict.fromkeys(needed)
    missing = [name for name in needed if name not in got]
    unexpected = [name for name in got if name not in needed]
    parts = [f"missing: {few(missing)}"] * bool(missing) + [f"unexpected: {few(unexpected)}"] * bool(unexpected)
    if parts:
        raise CheckpointError(
            f"{what} need exactly the names of its model, got a file with other names ({'; '.join(parts)}): "
            f"{path}; check which program wrote it."
        )


def check_shapes(
    path: Path, weights: Mapping[str, Tensor], needed: Mapping[str, tuple[int, ...]], *, what: str
) -> None:
    """Compare the shapes of weights with those that a model needs.

    Args:
        path: The file, for the sentence.
        weights: Weights by name; every name of `needed` is there.
        needed: Shapes by name.
        what: Whose weights these are, for the sentence.

    Raises:
        CheckpointError: If any shape differs; each is named with both shapes.
    """
    wrong = [
        f"{name} is {list(weights[name].shape)} instead of {list(shape)}"
        for name, shape in needed.items()
        if tuple(weights[name].shape) != shape
    ]
    if wrong:
        raise CheckpointError(
            f"{what} need shapes that fit together, got a file where {few(wrong)}: {path}; check which "
            "program wrote it."
        )


def to_float32(path: Path, weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """Turn weights into what models are built in.

    Args:
        path: The file, for the sentence.
        weights: By name.

    Returns:
        float32 tensors by name.

    Raises:
        CheckpointError: If any is not a tensor of real floating-point numbers, or holds NaN or infinity; they
            are named.
    """
    strange = [name for name, weight in weights.items() if not _is_dense_float(weight)]
    if strange:
        raise CheckpointError(
            f"weights need to be dense floating-point tensors, got something else under {few(strange)}: "
            f"{path}; check which program wrote it."
        )
    converted = {name: weight.detach().to(torch.float32) for name, weight in weights.items()}
    broken = [name for name, weight in converted.items() if not weight.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"weights need to be finite, got NaN or infinity in {few(broken)}: {path}; the training has "
            "diverged, take an earlier checkpoint."
        )
    return converted


def _is_dense_float(weight: object) -> bool:
    return (
        isinstance(weight, Tensor)
        and weight.is_floating_point()
        and weight.layout is torch.strided
        and weight.device.type == "cpu"  # a "meta" tensor has a shape and no numbers
        # A few bytes with strides of 0 may claim any shape, and a copy would then fill the memory.
        and weight.numel() * weight.element_size() <= weight.untyped_storage().nbytes()
    )
