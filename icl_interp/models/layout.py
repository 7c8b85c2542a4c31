"""How pairs become tokens: which position carries which x or y."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.config import Tokens

Role = Literal["all", "x", "y", "context", "query"]

_ALTERNATING: dict[Role, slice] = {"all": slice(None), "x": slice(0, None, 2), "y": slice(1, None, 2)}

_ROLES: dict[Tokens, dict[Role, slice]] = {
    "interleaved": _ALTERNATING,
    "separate": _ALTERNATING,
    "joint": {"all": slice(None), "context": slice(None, -1), "query": slice(-1, None)},
    "sequence": {"all": slice(None), "x": slice(None)},
}
"""The kinds of positions that each layout has. Joint tokens hold x and y at once, so they are "context" or "query";
in a sequence of values every token is an x, and the label is the next one."""


def _interleave(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch pos dim"]:
    """Lay pairs out as x1, y1, x2, y2, ..., with each y in coordinate 0 of a token of its own."""
    batch, point, dim = xs.shape
    tokens = xs.new_zeros(batch, point, 2, dim)
    tokens[:, :, 0] = xs
    tokens[:, :, 1, 0] = ys
    return tokens.flatten(1, 2)


def separate(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch pos d_token"]:
    """Lay pairs out as x1, y1, x2, y2, ..., with coordinate 0 for labels alone: (0, x), (y, 0)."""
    return _interleave(torch.nn.functional.pad(xs, (1, 0)), ys)


def join(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch point d_token"]:
    """Lay pairs out as [x; y], one position a point; the last is the query, whose label is never read."""
    batch, point, _ = xs.shape
    labels = xs.new_zeros(batch, point)
    labels[:, : point - 1] = ys[:, : point - 1]
    return torch.cat([xs, labels[..., None]], dim=-1)


def with_positions(
    tokens: Float[Tensor, "batch token d_pair"], width: int, *, places: list[int] | None = None
) -> Float[Tensor, "batch token d_token"]:
    """Append sines and cosines of each token's place, by default 0, 1, ...; see `ModelConfig.d_position`."""
    if width == 0:
        return tokens
    counted = torch.tensor([*range(tokens.shape[1])] if places is None else places, dtype=torch.float64)
    pairs = torch.arange((width + 1) // 2, dtype=torch.float64)
    angles = counted[:, None] / 10_000 ** (2 * pairs / width)
    waves = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)[:, :width].to(tokens)
    return torch.cat([tokens, waves.expand(tokens.shape[0], -1, -1)], dim=2)


def lay_out(
    tokens: Tokens, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch pos d_token"]:
    """Turn pairs into the tokens that a model reads."""
    if tokens == "sequence":
        return xs
    return {"interleaved": _interleave, "separate": separate, "joint": join}[tokens](xs, ys)


def answering_positions(tokens: Tokens) -> slice:
    """Select the positions whose output is a prediction."""
    return _ROLES[tokens]["query" if tokens == "joint" else "x"]


def positions_of(role: Role, *, tokens: Tokens = "interleaved") -> slice:
    """Select the positions of one kind of token."""
    if role not in _ROLES[tokens]:
        raise InputError(f"{tokens} tokens need a role out of {', '.join(_ROLES[tokens])}, got {role!r}.")
    return _ROLES[tokens][role]
