"""Does a module answer as a predictor must? Checked once, on its first prompts."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.prompts import derive_seed

_TOLERANCE = 1e-4
"""Of differences that rounding may make, relative to the largest prediction."""
_ROUNDINGS = 16
"""How often the last digit may be rounded otherwise where prompts are read alone; what matters in 16 bits."""
_MOST_ROWS = 256
"""Prompts per batch of the search for leaks."""


def check_answers(answer: Callable[[Tensor, Tensor], Any], xs: Tensor, ys: Tensor, *, query_only: bool) -> None:
    """Ask a module a few prompts several times over.

    Raises:
        InputError: If predictions have another shape, change from call to call, read labels that they must not read,
            or depend on other prompts.
    """

    def ask(some_xs: Tensor, some_ys: Tensor) -> Tensor:
        with torch.no_grad():
            said = answer(some_xs, some_ys)
        _check_shape(said, some_ys, query_only=query_only)
        return said[:, None] if query_only else said

    said = ask(xs, ys)
    scale = float(said.abs().max())
    if not torch.isfinite(said).all():
        raise InputError("the wrapped module needs to give finite predictions, got NaN or infinity; check its weights.")
    allowed = _TOLERANCE * scale + 1e-12
    if _differ(ask(xs, ys), said, allowed):
        raise InputError(
            "the wrapped module gives other predictions when it is asked the same again; switch off what is random in "
            "it, or fix a seed in call."
        )
    alone = max(allowed, _ROUNDINGS * torch.finfo(said.dtype).eps * scale)
    if len(xs) > 1 and _differ(ask(xs[:1], ys[:1]), said[:1], alone):
        raise InputError(
            "the wrapped module's prediction for a prompt depends on the other prompts of its batch; ask it in a way "
            "that keeps prompts apart (check axes, and norms over the batch)."
        )
    _check_leaks(ask, xs, ys, allowed, query_only=query_only)


def check_equal(again: Tensor, first: Tensor, *, check_equal_alone: Tensor) -> None:
    """Refuse a language model whose activations change from call to call, or with the other sequences of a batch."""
    allowed = _TOLERANCE * float(first.abs().max()) + 1e-12
    if _differ(again, first, allowed):
        raise InputError(
            "the wrapped module holds other activations when it reads the same again; switch off what is random in it."
        )
    if _differ(check_equal_alone, first[:1], allowed):
        raise InputError(
            "the wrapped module's activations for a sequence depend on the other sequences of its batch; check axes."
        )


def _check_shape(said: Any, ys: Tensor, *, query_only: bool) -> None:
    needed = (len(ys),) if query_only else tuple(ys.shape)
    if not isinstance(said, Tensor) or not said.is_floating_point():
        kind = f"one of {said.dtype}" if isinstance(said, Tensor) else type(said).__name__
        raise InputError(
            f"the wrapped module needs to give a tensor of predictions (real numbers), got {kind}; take it out in call."
        )
    if tuple(said.shape) != needed:
        axes = "[batch]" if query_only else "[batch point]"
        hint = "pass query_only=True" if tuple(said.shape) == (len(ys),) else "select the predictions in call"
        raise InputError(
            f"the wrapped module needs to give predictions {axes} = {list(needed)}, got {list(said.shape)}; {hint}."
        )


def _check_leaks(
    ask: Callable[[Tensor, Tensor], Tensor], xs: Tensor, ys: Tensor, allowed: float, *, query_only: bool
) -> None:
    """Change labels from each point on, and look whether the prediction of that point changes."""
    n_points = ys.shape[1]
    asked = range(n_points - 1, n_points) if query_only else range(n_points)
    generator = torch.Generator().manual_seed(derive_seed(0, "first look: other labels"))
    spread = float(ys.float().std()) if ys.numel() > 1 else 1.0
    noise = torch.randn(ys.shape, generator=generator).to(ys)
    other = 3 * (spread or 1.0) * noise - ys
    n_prompts = max(1, min(len(xs), _MOST_ROWS // n_points))
    same = ask(xs[:n_prompts], ys[:n_prompts])
    for point in asked:
        changed = ys[:n_prompts].clone()
        changed[:, point:] = other[:n_prompts, point:]
        found = ask(xs[:n_prompts], changed)
        column = -1 if query_only else point
        if _differ(found[:, column], same[:, column], allowed):
            raise InputError(
                f"the wrapped module reads labels that it must predict: its prediction for point {point} (counted from "
                f"0) changes with ys[:, {point}:]; mask them, or shift predictions by one in call."
            )


def _differ(first: Tensor, second: Tensor, allowed: float) -> bool:
    return bool(((first.double() - second.double()).abs() > allowed).any())
