"""Run a model on prompts and keep only the named activations, batch by batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.door import ModelLike, as_model, as_prompts_or_tokens
from icl_interp.errors import InputError
from icl_interp.models.hook_names import check_names
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import Prompts, TokenPrompts
from probes._core.results import short_repr


@dataclass(frozen=True, slots=True)
class Batch:
    """A model's predictions and activations for one batch of prompts."""

    prompts: Any
    """The prompts of this batch, on the CPU."""
    predictions: Float[Tensor, "batch point"]
    """The model's predictions, on the CPU."""
    activations: Mapping[str, Tensor]
    """Named activations [batch pos ...] on the model's device; of one point's sequence for a query-only model."""

    __repr__ = short_repr


def stream(
    model: ModelLike, prompts: Any, names: Sequence[str], *, batch_size: int = 256, point: int = -1
) -> Iterator[Batch]:
    """Run a model over prompts in batches and yield the named activations.

    A causal model answers all points in the pass whose activations are kept. A query-only model (joint tokens, linear
    families) reads one sequence per point. Its activations are those of one of these sequences; the predictions of all
    points come from separate passes without hooks.

    Memory: one batch at a time, whatever the number of prompts. Hooks come off after each batch, also when the
    consumer stops early or the model raises. No gradients.

    Args:
        model: The network.
        prompts: Prompts that the model reads.
        names: Hook names, in TransformerLens' spelling.
        batch_size: Number of prompts per forward pass.
        point: Point whose sequence a query-only model reads; counted from the end if negative.

    Yields:
        One `Batch` after the other, in the order of the prompts.

    Raises:
        InputError: If a name is unknown (near names are listed), batch_size is below 1, or a point other than the
            last is asked of a model that answers all points in one pass.
    """
    model, prompts = as_model("stream", model), as_prompts_or_tokens("stream", prompts)
    model.prepare(prompts.xs, prompts.ys)
    _check(model, names, batch_size, point)
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        there = batch.to(model.device)
        with torch.no_grad():
            predictions, kept = _run(model, there, names, point)
            if model.cfg.query_only:
                predictions = _all_points(model, there)
        yield Batch(prompts=batch, predictions=predictions.cpu(), activations=kept)


def collect(
    model: ModelLike, prompts: Any, names: str | Sequence[str], *, batch_size: int = 256, point: int = -1
) -> dict[str, Tensor]:
    """Run a model over prompts and return the named activations of all of them.

    Memory: the named activations of all prompts on the CPU, and one batch on the model's device. To reduce while
    running, use `stream`.

    Args:
        model: The network.
        prompts: Prompts that the model reads.
        names: Hook names, in TransformerLens' spelling.
        batch_size: Number of prompts per forward pass; does not change the result beyond float rounding.
        point: Point whose sequence a query-only model reads; counted from the end if negative.

    Returns:
        Activations by name, [batch pos ...], on the CPU, in the order of the prompts.

    Raises:
        InputError: If a name is unknown (near names are listed), none is given, batch_size is below 1, or a point other
            than the last is asked of a model that answers all points in one pass.

    Example:
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> prompts = LinearRegression(n_dims=2).sample(10, seed=0)
        >>> collect(model, prompts, "blocks.0.hook_resid_post", batch_size=4)["blocks.0.hook_resid_post"].shape
        torch.Size([10, 10, 8])
    """
    model, prompts = as_model("collect", model), as_prompts_or_tokens("collect", prompts)
    names = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    if not names:
        raise InputError("collect needs at least one hook name, got none; print(model.hook_dict.keys()).")
    model.prepare(prompts.xs, prompts.ys)
    _check(model, names, batch_size, point)
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for start in range(0, len(prompts), batch_size):
        with torch.no_grad():
            _, kept = _run(model, prompts[start : start + batch_size].to(model.device), names, point)
        for name in names:
            parts[name].append(kept[name].cpu())
    return {name: torch.cat(chunks) for name, chunks in parts.items()}


def _check(model: HookedModel, names: Sequence[str], batch_size: int, point: int) -> None:
    if batch_size < 1:
        raise InputError(f"batch_size needs at least 1, got {batch_size}.")
    if point != -1 and not model.cfg.query_only:
        raise InputError(
            f"point needs a model that answers one point a pass, got point={point} for one that answers all; leave it "
            "out and select positions."
        )
    check_names(names, model.hook_dict)


def _run(
    model: HookedModel, there: Prompts | TokenPrompts, names: Sequence[str], point: int
) -> tuple[Tensor, dict[str, Tensor]]:
    kept: dict[str, Tensor] = {}
    hooks = [(name, _keeper(kept, name)) for name in names]
    asked = {"points": [point]} if model.cfg.query_only else {}
    with model.hooks(fwd_hooks=hooks) if hooks else nullcontext():
        return model(there.xs, there.ys, **asked), kept


def _all_points(model: HookedModel, there: Any) -> Tensor:
    # A query-only model that somebody else hooked, an ablation say, takes one point after the other.
    if not model.is_listened_to:
        return model(there.xs, there.ys)
    columns = [model(there.xs, there.ys, points=[k]) for k in range(there.n_points)]
    return torch.cat(columns, dim=1)


def _keeper(kept: dict[str, Tensor], name: str):  # type: ignore[no-untyped-def]  # TransformerLens' hook protocol
    def keep(tensor: Tensor, hook: object) -> None:  # noqa: ARG001
        kept[name] = tensor.detach()

    return keep
