"""Checks that every reader makes on its weights."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from icl_interp.errors import CheckpointError, StatedHeadsError

_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.nn.parallel, torch.compile, FSDP and activation checkpoints put into names."""
_HOLDERS = ("model_state_dict", "model", "state_dict", "module")
"""Where training states keep the weights: dtsip's, timaeus's, Lightning's and DeepSpeed's."""
_SHOWN = 5
_MOST_NAMES, _MOST_LEVELS = 100_000, 20


def few(names: Iterable[str]) -> str:
    listed = list(names)
    rest = len(listed) - _SHOWN
    return ", ".join(listed[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def leaf_names(contents: Mapping[Any, Any], *, joint: str = ".") -> dict[str, Any]:
    """Name what nested dictionaries hold by the keys that lead there.

    At most so deep and so much: a few bytes can refer to themselves again and again.
    """
    return dict(islice(_leaves(contents, "", joint, 0), _MOST_NAMES))


def _leaves(contents: Mapping[Any, Any], prefix: str, joint: str, level: int) -> Iterator[tuple[str, Any]]:
    for name, value in contents.items():
        if isinstance(value, Mapping) and value and level < _MOST_LEVELS:
            yield from _leaves(value, f"{prefix}{name}{joint}", joint, level + 1)
        else:
            yield f"{prefix}{name}", value


def plain_names(weights: Mapping[Any, Any]) -> dict[str, Any]:
    """Drop what torch.compile, DataParallel, FSDP and activation checkpoints put into the names of weights."""
    plain = {_WRAPPERS.sub("", str(name)): value for name, value in weights.items()}
    return plain if len(plain) == len(weights) else {str(name): value for name, value in weights.items()}


def without_prefix(weights: Mapping[Any, Any], is_own: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any] | None:
    """Drop what stands before the names of a program's weights, if it is the same before all.

    A LightningModule calls the model that it trains `model`, `net` or whatever its author likes.
    """
    named = plain_names(weights)
    while not is_own(named):
        if len({name.partition(".")[0] for name in named}) != 1 or not all("." in name for name in named):
            return None
        named = {name.partition(".")[2]: value for name, value in named.items()}
    return named


def state_dict_in(contents: object, is_own: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any] | None:
    """Find a program's weights in what a file held: a training state, or a bare state dict."""
    if not isinstance(contents, Mapping):
        return None
    for inner in (*(contents.get(key) for key in _HOLDERS), contents):
        if isinstance(inner, Mapping) and (found := without_prefix(inner, is_own)) is not None:
            return found
    return None


def check_heads(path: Path, width: int, n_heads: int | None, *, absent: str, hint: str) -> int:
    """Refuse a number of heads that the width of a model does not allow."""
    possible = [n for n in range(1, width + 1) if width % n == 0]
    if n_heads not in possible:
        came = absent if n_heads is None else f"{n_heads}"
        raise CheckpointError(
            f"weights of width {width} need a number of heads among {', '.join(map(str, possible))}, which shapes do "
            f"not tell, got {came}: {path}; pass --heads N (n_heads=N){hint}."
        )
    return n_heads


def stated_heads(path: Path, stated: int | None, given: int | None, *, place: str) -> int | None:
    """Refuse another number of heads than the one that a file states, and take what there is."""
    if None not in (stated, given) and stated != given:
        raise StatedHeadsError(
            f"the number of heads needs to be the one {place}, which is {stated}, got {given}: {path}; leave out "
            "--heads (n_heads=)."
        )
    return given if stated is None else stated


def check_names(path: Path, got: Iterable[str], needed: Iterable[str], *, what: str) -> None:
    """Compare the names of weights with those that a model needs."""
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
    """Compare the shapes of weights with those that a model needs."""
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
