"""Checks that all probes share: who needs what, what came, what to do.

They take plain tensors, so that their messages can be tested while the type-check hook guards the public functions.
"""

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from probes._core.errors import InputError, InputTypeError


def floating(who: str, name: str, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise InputTypeError(f"{who} needs a torch.Tensor as {name}, got {type(value).__name__}; use torch.as_tensor.")
    if not value.is_floating_point():
        raise InputTypeError(
            f"{who} needs floating-point {name}, got {value.dtype}; convert with .float() or .double()."
        )


def ids(who: str, name: str, ids: Tensor, n: int) -> None:
    axes(who, name, ids, "sample")
    same_length(who, ("samples", name), n, len(ids))
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise InputTypeError(f"{who} needs integers as {name}, got {ids.dtype}; number the {name} from 0.")


def finite(who: str, name: str, value: Tensor) -> None:
    # One pass without a copy; both extremes of a tensor with NaN are NaN.
    if not value.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(value))).all()):
        return
    bad = int((~torch.isfinite(value)).sum())
    raise InputError(
        f"{who} needs finite {name}, got {bad} NaN or infinite of {value.numel()} entries; "
        "look for a diverged model or drop those samples."
    )


def no_nan(who: str, name: str, value: Tensor) -> None:
    """Refuse NaN, which has no rank; infinity has one."""
    bad = int(value.isnan().sum())
    if bad:
        raise InputError(
            f"{who} needs {name} without NaN, got {bad} NaN of {value.numel()}; "
            "look for a diverged model or drop those samples."
        )


def axes(who: str, name: str, value: Tensor, axes: str) -> None:
    named = [axis for axis in axes.split() if not axis.startswith("*")]
    open_ended = axes.startswith("*")
    wrong = value.ndim < len(named) if open_ended else value.ndim != len(named)
    if wrong:
        raise InputError(
            f"{who} needs {name} with axes [{axes}], got shape {tuple(value.shape)}; add, remove or reorder axes."
        )
    lengths = tuple(value.shape)[value.ndim - len(named) :]
    empty = [axis for axis, length in zip(named, lengths, strict=True) if length == 0]
    if empty:
        raise InputError(
            f"{who} needs at least one entry along {', '.join(empty)} of {name}, "
            f"got shape {tuple(value.shape)}; check the selection that made it."
        )


def activations(who: str, name: str, value: Tensor, named: str) -> None:
    """Refuse what is no finite floating-point tensor with the named axes."""
    floating(who, name, value)
    axes(who, name, value, named)
    finite(who, name, value)


def k(who: str, k: int, limit: int, what: str) -> None:
    if not 1 <= k <= limit:
        raise InputError(f"{who} needs 1 <= k <= {limit} ({what}), got k={k}; choose a k in that range.")


def option(who: str, name: str, value: object, valid: Collection[str]) -> None:
    if value not in valid:
        raise InputError(f"{who} needs {name} to be one of {', '.join(map(repr, valid))}, got {value!r}; pick one.")


def same_shape(who: str, names: tuple[str, str], a: Tensor, b: Tensor) -> None:
    """Refuse two tensors that would only fit by broadcasting."""
    if a.shape != b.shape:
        raise InputError(
            f"{who} needs {names[0]} and {names[1]} of one shape, got {tuple(a.shape)} and {tuple(b.shape)}; "
            "expand one of them yourself if that is what you mean."
        )


def same_length(who: str, names: tuple[str, str], a: int, b: int) -> None:
    if a != b:
        raise InputError(f"{who} needs as many {names[0]} as {names[1]}, got {a} and {b}; align the two.")


def nonzero(who: str, name: str, lengths: Tensor) -> None:
    zeros = int((lengths == 0).sum())
    if zeros:
        raise InputError(f"{who} needs non-zero directions in {name}, got {zeros} zero vectors; drop them.")


def orthonormal(who: str, name: str, directions: Tensor) -> None:
    """Refuse rows that are not orthonormal, since overlaps of such rows mean nothing."""
    rows, dims = directions.shape[-2:]
    exact = directions.double()
    identity = torch.eye(rows, dtype=exact.dtype, device=exact.device)
    worst = float((exact @ exact.mT - identity).abs().max()) if exact.numel() else 0.0
    if rows > dims or not worst <= _half_of_the_digits(directions):
        raise InputError(
            f"{who} needs orthonormal rows in {name}, got {rows} rows of {dims} dimensions whose Gram matrix "
            f"is off the identity by {worst:.1e}; take them from leading_directions or torch.linalg.qr."
        )


# Of float32 at most: what passed through it is fine, what was never normalised is not.
def _half_of_the_digits(value: Tensor) -> float:
    return math.sqrt(max(torch.finfo(value.dtype).eps, torch.finfo(torch.float32).eps))


def trace(who: str, name: str, projector: Tensor, k: int) -> None:
    """Refuse what is no mean of projectors onto k directions each, such as a sum of them."""
    same_length(who, (f"rows of {name}", "columns"), *projector.shape)
    trace = float(projector.double().trace())
    # As in orthonormal, for each of the k directions.
    if not abs(trace - k) <= k * _half_of_the_digits(projector):
        raise InputError(
            f"{who} needs a mean projector with trace k={k} as {name}, got trace {trace:.6g}; "
            "divide the sum over samples by their number."
        )


def share(who: str, name: str, share: float) -> None:
    """Refuse what is no share of a whole, up to float32 rounding."""
    slack = math.sqrt(torch.finfo(torch.float32).eps)
    if not -slack <= share <= 1.0 + slack:
        raise InputError(f"{who} needs {name} in [0, 1], got {share:.6g}; divide a sum by the number of its terms.")


def count(who: str, name: str, value: int, least: int) -> None:
    if value < least:
        raise InputError(f"{who} needs {name} of at least {least}, got {value}; give more.")


def confidence(who: str, confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise InputError(f"{who} needs 0 < confidence < 1, got {confidence}; 0.95 is usual.")


def bootstrap(who: str, seed: int, n_bootstrap: int, level: float) -> None:
    count(who, "a seed", seed, 0)
    count(who, "an n_bootstrap", n_bootstrap, 1)
    confidence(who, level)


def score_sets(who: str, scores_in: Tensor, scores_out: Tensor, *, paired: bool) -> None:
    for name, scores in (("scores_in", scores_in), ("scores_out", scores_out)):
        floating(who, name, scores)
        axes(who, name, scores, "sample")
        no_nan(who, name, scores)
    if paired:
        same_length(who, ("paired scores_in", "scores_out"), len(scores_in), len(scores_out))


def is_constant(values: Tensor, dim: int = 0, dtype: torch.dtype | None = None) -> Tensor:
    # Whether values are equal along an axis, up to rounding of their dtype or of the one they came in: eight units in
    # the last place, what a constant suffers in a few operations.
    spread = values.amax(dim=dim) - values.amin(dim=dim)
    return spread <= 8 * torch.finfo(dtype or values.dtype).eps * values.abs().amax(dim=dim)


def varies(who: str, name: str, columns: Tensor) -> None:
    constant = is_constant(columns)
    if bool(constant.any()):
        index = int(constant.nonzero()[0])
        raise InputError(
            f"{who} needs every {name} to vary, got {name} {index} constant at "
            f"{float(columns[0, index]):.3g}; leave it out and report it as constant."
        )


def folds(who: str, units: str, n: int, n_folds: int) -> None:
    count(who, "an n_folds", n_folds, 2)
    count(who, f"a number of {units}", n, n_folds)


# None chooses penalties that suit the features.
def penalties(who: str, penalties: Sequence[float] | None) -> None:
    if penalties is not None and not (len(penalties) and all(0.0 < penalty < math.inf for penalty in penalties)):
        raise InputError(
            f"{who} needs positive finite penalties, got {list(penalties)}; use a small one such as 1e-8 for none."
        )
