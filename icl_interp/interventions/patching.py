"""Activation patching: put activations of clean prompts into a run on corrupted ones."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.door import ModelLike, PromptsLike, as_model, as_prompts
from icl_interp.errors import InputError
from icl_interp.interventions.record import Edit, Intervention, Positions, chosen_positions, predict_under
from icl_interp.models.hook_names import check_names
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import Prompts
from probes.bootstrap import bootstrap_counts, percentile_interval

_PatchAxis = Literal["layer", "pos", "head"]
_ORDER: tuple[_PatchAxis, ...] = ("layer", "pos", "head")
_ROUNDING = 8.0
"""Units in the last place by which predictions of the same prompts may differ (our choice)."""
_HEAD_AXIS = ("hook_q", "hook_k", "hook_v", "hook_z")


@dataclass(frozen=True, slots=True, eq=False)
class PatchResult:
    """How much of the clean prediction each patch recovers."""

    axes: tuple[_PatchAxis, ...]
    """Axes of the entries; empty if one patch replaced everything."""
    labels: tuple[tuple[int, ...], ...]
    """Layers, positions or heads along each axis."""
    recovered: Float64[Tensor, "*axes"]
    """1 - |patched - clean|^2 / |corrupted - clean|^2 of the predictions: 0 if the patch changes nothing, 1 if it
    recovers everything, negative if it increases the distance. NaN if the corruption changed no prediction."""
    low: Float64[Tensor, "*axes"]
    """Lower end of the 95 % bootstrap interval over prompts."""
    high: Float64[Tensor, "*axes"]
    """Upper end of the 95 % bootstrap interval over prompts."""
    name: str
    """The hook, with {layer} where the layer varies."""
    corruption: float
    """Mean squared difference that corruption made to the predictions, in squared units of y."""

    def to_frame(self) -> pd.DataFrame:
        """Lay the entries out, one per row.

        Returns:
            One column per axis, then recovered, low, high.
        """
        index = itertools.product(*self.labels)
        values = zip(self.recovered.flatten(), self.low.flatten(), self.high.flatten(), strict=True)
        rows = [(*place, *map(float, triple)) for place, triple in zip(index, values, strict=True)]
        return pd.DataFrame(rows, columns=[*self.axes, "recovered", "low", "high"])

    def __repr__(self) -> str:
        shape = " x ".join(f"{len(labels)} {axis}s" for axis, labels in zip(self.axes, self.labels, strict=True))
        return f"PatchResult({self.name}, {shape or 'one patch'}, most recovered {float(self.recovered.max()):.3f})"


def patch(
    model: ModelLike,
    clean: PromptsLike,
    corrupted: PromptsLike,
    name: str,
    axes: Sequence[_PatchAxis] = ("pos",),
    *,
    positions: Positions = "all",
    batch_size: int = 256,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> PatchResult:
    """Patch an activation from clean prompts into corrupted ones, one place at a time.

    The prompts come in pairs: prompt i of both is the same except for what was corrupted (a label, the task, an input).
    A patch replaces the activation at one layer, position or head by its clean value. The predictions of all points
    that the model answers under hooks are compared. Each entry of the result costs one forward pass.

    Args:
        model: Model of any family.
        clean: Prompts that the activations come from.
        corrupted: Equally many prompts with equally many points.
        name: Hook name; with "layer" among the axes it holds `{layer}`, as in "blocks.{layer}.hook_resid_pre".
        axes: Any of "layer", "pos", "head", in this order; axes that are not named are patched whole.
        positions: Positions to patch, one by one if "pos" is an axis.
        batch_size: Number of prompts per forward pass.
        n_bootstrap: Number of bootstrap resamples of the prompt pairs.
        seed: Seed of the bootstrap.

    Returns:
        The share of the clean prediction that each patch recovers, with its interval.

    Raises:
        InputError: If the prompts do not match, an axis is unknown or does not fit the name, or the model lacks the
            hook.

    Source:
        Meng et al. (2022), "Locating and editing factual associations in GPT". The share is taken of squared
        differences to the clean prediction, so that no label is needed; this is our choice.

    Example:
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=4, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> clean, other = (LinearRegression(n_dims=2).sample(8, 4, seed=seed) for seed in (0, 1))
        >>> everything = patch(model, clean, other, "blocks.0.hook_resid_post", axes=())
        >>> torch.testing.assert_close(everything.recovered, torch.ones((), dtype=torch.float64))
    """
    model = as_model("patch", model)
    clean, corrupted = as_prompts("patch", clean, "clean prompts"), as_prompts("patch", corrupted, "corrupted prompts")
    model.prepare(clean.xs, clean.ys)
    layers = _check(model, clean, corrupted, name, axes)
    names = {layer: name.format(layer=layer) for layer in layers}
    held = collect(model, clean, list(names.values()), batch_size=batch_size)
    width = next(iter(held.values())).shape
    walked = chosen_positions(positions, width[1], model.cfg)
    labels = {"layer": layers, "pos": tuple(walked), "head": tuple(range(width[2]))}
    kept = tuple(axis for axis in _ORDER if axis in axes)

    clean_said, lost = _baseline(model, clean, corrupted, batch_size)
    errors = []
    for place in itertools.product(*(labels[axis] for axis in kept)):
        at = dict(zip(kept, place, strict=True))
        hook = names[at["layer"]] if "layer" in at else names[layers[0]]
        where = [at["pos"]] if "pos" in at else walked
        said = _patched(model, corrupted, hook, held[hook], where, at.get("head"), batch_size)
        errors.append((said - clean_said).square().mean(1))
    shape = tuple(len(labels[axis]) for axis in kept)
    value, low, high = _recovered(torch.stack(errors, dim=1), lost, n_bootstrap=n_bootstrap, seed=seed)
    return PatchResult(
        kept,
        tuple(labels[axis] for axis in kept),
        value.reshape(shape),
        low.reshape(shape),
        high.reshape(shape),
        name,
        float(lost.mean()),
    )


def _baseline(model: HookedModel, clean: Prompts, corrupted: Prompts, batch_size: int) -> tuple[Tensor, Tensor]:
    said = [predict_under(model, prompts, batch_size=batch_size) for prompts in (clean, corrupted)]
    rounding = _ROUNDING * torch.finfo(said[0].dtype).eps * said[0].abs().amax().double()
    first, second = (part.double() for part in said)
    lost = (second - first).square().mean(1)
    return first, torch.where(lost > rounding.square(), lost, 0.0)


def _patched(
    model: HookedModel,
    corrupted: Prompts,
    hook: str,
    held: Tensor,
    positions: list[int],
    head: int | None,
    batch_size: int,
) -> Tensor:
    # Batch by batch, so that each corrupted prompt meets its own clean activation.
    parts = []
    for start in range(0, len(corrupted), batch_size):
        source = held[start : start + batch_size]
        part = corrupted[start : start + batch_size]
        parts.append(predict_under(model, part, put(hook, source, positions, head), batch_size=batch_size))
    return torch.cat(parts).double()


def put(hook: str, held: Tensor, positions: list[int], head: int | None = None) -> Intervention:
    """Put activations of other prompts where they stood, for one batch of as many prompts."""
    return Intervention((Edit(hook, partial(_put, held, head), positions),), "patch")


def _put(source: Tensor, head: int | None, activation: Tensor, positions: list[int]) -> Tensor:
    clean = source[:, positions].to(activation)
    if head is None:
        return clean
    mixed = activation.clone()
    mixed[:, :, head] = clean[:, :, head]
    return mixed


def _recovered(errors: Tensor, lost: Tensor, *, n_bootstrap: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    counts = bootstrap_counts(len(lost), seed=seed, n_bootstrap=n_bootstrap).double()
    replicates = 1 - (counts @ errors) / (counts @ lost)[:, None]
    ends = [
        percentile_interval(column)
        for column in replicates.nan_to_num(nan=torch.nan, posinf=torch.nan, neginf=torch.nan).T
    ]
    value = 1 - errors.mean(0) / lost.mean()
    value = torch.where(value.isfinite(), value, torch.nan)
    low, high = (torch.tensor([end[i] for end in ends], dtype=torch.float64) for i in (0, 1))
    return value, low, high


def _check(model: HookedModel, clean: Prompts, corrupted: Prompts, name: str, axes: Sequence[str]) -> tuple[int, ...]:
    if clean.xs.shape != corrupted.xs.shape:
        raise InputError(
            f"patch needs clean and corrupted prompts of one shape, got {tuple(clean.xs.shape)} and "
            f"{tuple(corrupted.xs.shape)}; corrupt a copy of the clean ones."
        )
    _check_axes(axes, name)
    layers = tuple(range(model.cfg.n_layers)) if "layer" in axes else (0,)
    check_names([name.format(layer=layer) for layer in layers], model.hook_dict)
    return layers


def _check_axes(axes: Sequence[str], name: str) -> None:
    """Refuse axes that do not fit a hook name."""
    unknown = [axis for axis in axes if axis not in _ORDER]
    if unknown:
        raise InputError(f"patch needs axes out of {', '.join(_ORDER)}, got {unknown[0]!r}.")
    if ("layer" in axes) != ("{layer}" in name):
        raise InputError(
            f"patch needs {{layer}} in the name exactly where 'layer' is an axis, got {name!r} with axes {tuple(axes)}."
        )
    if "head" in axes and not name.endswith(_HEAD_AXIS):
        raise InputError(f"patch along heads needs a hook with heads ({', '.join(_HEAD_AXIS)}), got {name!r}.")
