"""Interventions, and running a model under one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.door import ModelLike, PromptsLike, as_model, as_prompts
from icl_interp.errors import InputError
from icl_interp.models.architecture import Architecture
from icl_interp.models.hook_names import check_names
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import Role, positions_of
from icl_interp.prompts import Prompts
from icl_interp.query import predict

Positions = Role | Sequence[int]
"""A role of the model's layout, or positions, counting from the end if negative."""


@dataclass(frozen=True, slots=True, eq=False)
class Edit:
    """One change at one hook."""

    name: str
    """Hook name, as TransformerLens spells it."""
    change: Callable[[Tensor, list[int]], Tensor]
    """Function of the values at the chosen positions [batch pos ...] and of these positions that returns the new
    values; it gets all prompts of the batch."""
    positions: Positions = "all"
    """Positions that it changes."""

    def hook(self, config: Architecture) -> Callable[..., Tensor]:
        """Turn the edit into a hook function."""

        def apply(activation: Tensor, hook: object) -> Tensor:  # noqa: ARG001
            chosen = chosen_positions(self.positions, activation.shape[1], config)
            edited = activation.clone()
            edited[:, chosen] = self.change(activation[:, chosen], chosen)
            return edited

        return apply


@dataclass(frozen=True, slots=True, eq=False)
class Intervention:
    """Changes that hold together while `on` is open; `&` joins two."""

    edits: tuple[Edit, ...]
    """Changes; those of one hook act in this order."""
    description: str
    """Description in one clause."""

    @contextmanager
    def on(self, model: HookedModel) -> Iterator[HookedModel]:
        """Keep the changes in place for the length of a `with` block.

        Args:
            model: Model of any family.

        Yields:
            The same model; its hooks come off at the end, also after an exception.

        Raises:
            InputError: If the model lacks a hook; near names are listed.
        """
        config = model.cfg  # of a wrapped module, known once it has seen prompts, as its hook points are
        check_names([edit.name for edit in self.edits], model.hook_dict)
        hooks: list[tuple[str, Callable[..., Tensor | None]]]
        hooks = [(edit.name, edit.hook(config)) for edit in self.edits]
        # Somebody always listens, so that with and without edits the model takes one and the same path.
        hooks.append((next(iter(model.hook_dict)), _listen))
        with model.hooks(fwd_hooks=hooks):
            yield model

    def __and__(self, other: "Intervention") -> "Intervention":
        return Intervention((*self.edits, *other.edits), f"{self.description}; {other.description}")

    def __repr__(self) -> str:
        return f"Intervention({self.description})"


def _listen(activation: Tensor, hook: object) -> None:  # noqa: ARG001
    return None


def answered_points(config: Architecture, n_points: int) -> list[int]:
    """Say which points a model answers while it is hooked.

    Args:
        config: Configuration of the model.
        n_points: Number of examples per prompt.

    Returns:
        All points, or only the last for a model that answers only its query.
    """
    return [n_points - 1] if config.query_only else list(range(n_points))


def predict_under(
    model: ModelLike, prompts: PromptsLike, intervention: Intervention | None = None, *, batch_size: int = 256
) -> Float[Tensor, "sample asked"]:
    """Let a model predict while an intervention holds.

    Args:
        model: Model of any family.
        prompts: Prompts to read. A swap exchanges between the prompts of one batch, so its result depends on the batch
            size.
        intervention: Intervention; None leaves the model alone.
        batch_size: Number of prompts per forward pass.

    Returns:
        Predictions on the CPU, one column for each of `answered_points`, with and without an intervention.

    Raises:
        InputError: If the model lacks a hook, or prompts with queries meet a model that answers only its query.
    """
    model, prompts = as_model("predict_under", model), as_prompts("predict_under", prompts)
    model.prepare(prompts.xs, prompts.ys)
    there = prompts.to(model.device)
    asked = answered_points(model.cfg, prompts.n_points)
    points = asked if model.cfg.query_only else None

    def answer(part: Prompts) -> Tensor:
        if points is None:
            return predict(model, part)
        if part.query_xs is not None:
            raise InputError(
                "a model that answers only its query needs plain prompts here, got prompts with queries of their own; "
                "put the query into the last point."
            )
        return model(part.xs, part.ys, points=points)

    with torch.no_grad(), (intervention or Intervention((), "nothing")).on(model):
        parts = [answer(there[start : start + batch_size]).cpu() for start in range(0, len(there), batch_size)]
    return torch.cat(parts)


def chosen_positions(positions: Positions, n_positions: int, config: Architecture) -> list[int]:
    """Resolve roles and negative numbers."""
    if isinstance(positions, str):
        return _numbers(positions_of(positions, tokens=config.tokens, n_positions=n_positions), n_positions)
    wrong = [p for p in positions if not -n_positions <= p < n_positions]
    if wrong:
        raise InputError(
            f"an intervention needs positions from {-n_positions} to {n_positions - 1} in a sequence of {n_positions}, "
            f"got {wrong[0]}."
        )
    return [p % n_positions for p in positions]


def _numbers(chosen: slice | list[int], n_positions: int) -> list[int]:
    return list(range(n_positions))[chosen] if isinstance(chosen, slice) else chosen
