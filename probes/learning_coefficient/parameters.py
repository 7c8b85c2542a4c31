"""Named parameters as one row of numbers, so that a step of all chains takes few tensor operations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from probes._core.errors import InputError, InputTypeError
from probes._core.results import short_repr, widened

ParamMasks = Sequence[str] | Mapping[str, Tensor] | None
"""Which entries move: None (all), name patterns, or name patterns with boolean masks."""


@dataclass(frozen=True, eq=False)
class ParameterRow:
    """The sampled parameters side by side in one row; the others are held fixed."""

    shapes: Mapping[str, torch.Size]
    """Names of the sampled parameters, in the order of the row."""
    center: Tensor
    """Their values at w*, one row of n entries."""
    mask: Tensor | None
    """1 where an entry may move and 0 elsewhere; None if all may."""
    frozen: Mapping[str, Tensor]
    """Parameters of which no entry moves."""

    __repr__ = short_repr

    @property
    def n_free(self) -> int:
        """Number of entries that may move."""
        return self.center.numel() if self.mask is None else int(self.mask.sum())

    def named(self, rows: Tensor) -> dict[str, Tensor]:
        """Cut rows into the parameters that the loss knows; leading axes (chains) stay in front."""
        pieces = torch.split(rows, [shape.numel() for shape in self.shapes.values()], dim=-1)
        named = zip(self.shapes.items(), pieces, strict=True)
        return {name: piece.view(*rows.shape[:-1], *shape) for (name, shape), piece in named}

    def held(self, row: Tensor) -> Tensor:
        """Zero the entries that must not move."""
        return row if self.mask is None else row * self.mask


def parameter_row(who: str, params: Mapping[str, Tensor], param_masks: ParamMasks = None) -> ParameterRow:
    """Lay parameters out in one row."""
    _check_parameters(who, params)
    masks = _match_masks(who, params, param_masks)
    sampled = {name: params[name].detach() for name in params if name in masks}
    if not any(bool(mask.any()) for mask in masks.values()):
        raise InputError(f"{who} needs an entry that may move, got masks without any; set some entry to True.")
    full = all(bool(mask.all()) for mask in masks.values())
    center = widened(torch.cat([value.reshape(value.numel()) for value in sampled.values()]))
    flat_masks = [masks[name].expand(value.shape).reshape(value.numel()) for name, value in sampled.items()]
    return ParameterRow(
        shapes={name: value.shape for name, value in sampled.items()},
        center=center,
        mask=None if full else torch.cat(flat_masks).to(center),
        frozen={name: widened(value.detach()) for name, value in params.items() if name not in masks},
    )


def _check_parameters(who: str, params: Mapping[str, Tensor]) -> None:
    if not params:
        raise InputError(f"{who} needs parameters, got an empty mapping; pass dict(model.named_parameters()).")
    for name, value in params.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise InputTypeError(
                f"{who} needs floating-point tensors as parameters, got {type(value).__name__} "
                f"{getattr(value, 'dtype', '')} for {name!r}; leave integers and buffers to the loss."
            )
        if not bool(torch.isfinite(value).all()):
            raise InputError(
                f"{who} needs finite parameters, got NaN or infinity in {name!r}; take a sound checkpoint."
            )
    kinds = sorted({f"{value.dtype} on {value.device}" for value in params.values()})
    if len(kinds) > 1:
        raise InputError(f"{who} needs parameters of one dtype and device, got {', '.join(kinds)}; convert them.")


def _match_masks(who: str, params: Mapping[str, Tensor], param_masks: ParamMasks) -> dict[str, Tensor]:
    some = next(iter(params.values()))
    whole = torch.ones((), dtype=torch.bool, device=some.device)
    if param_masks is None:
        return dict.fromkeys(params, whole)
    if isinstance(param_masks, str):
        raise InputTypeError(
            f"{who} needs a list of patterns as param_masks, got the string {param_masks!r}; wrap it in []."
        )
    by_pattern = param_masks if isinstance(param_masks, Mapping) else dict.fromkeys(param_masks, whole)
    found: dict[str, Tensor] = {}
    for pattern, mask in by_pattern.items():
        names = [name for name in params if fnmatchcase(name, pattern)]
        if not names:
            raise InputError(
                f"{who} needs patterns that match a parameter, got {pattern!r}, which matches none of "
                f"{', '.join(params)}; * stands for any characters."
            )
        for name in names:
            _check_mask(who, name, mask, params[name])
            found[name] = found[name] | mask if name in found else mask
    if not found:
        raise InputError(f"{who} needs at least one pattern in param_masks, got none; pass None for all parameters.")
    return found


def _check_mask(who: str, name: str, mask: Tensor, value: Tensor) -> None:
    if mask.dtype != torch.bool:
        raise InputTypeError(f"{who} needs boolean masks, got {mask.dtype} for {name!r}; compare with != 0.")
    lengths = zip(reversed(mask.shape), reversed(value.shape), strict=False)
    if mask.ndim > value.ndim or not all(length in {1, wanted} for length, wanted in lengths):
        raise InputError(
            f"{who} needs masks that broadcast to their parameter, got {tuple(mask.shape)} for {name!r} of shape "
            f"{tuple(value.shape)}; add axes of length 1."
        )
