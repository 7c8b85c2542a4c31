"""How examples become tokens: which position carries which x or y."""

from collections import Counter
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.architecture import Layout, OwnRoles, Tokens

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
    """Lay examples out as x1, y1, x2, y2, ..., with each y in coordinate 0 of a token of its own."""
    batch, point, dim = xs.shape
    tokens = xs.new_zeros(batch, point, 2, dim)
    tokens[:, :, 0] = xs
    tokens[:, :, 1, 0] = ys
    return tokens.flatten(1, 2)


def separate(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch pos d_token"]:
    """Lay examples out as x1, y1, x2, y2, ..., with coordinate 0 for labels alone: (0, x), (y, 0)."""
    return _interleave(torch.nn.functional.pad(xs, (1, 0)), ys)


def join(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch point d_token"]:
    """Lay examples out as [x; y], one position per point; the last is the query, whose label is never read."""
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
    """Turn examples into the tokens that a model reads."""
    if tokens == "sequence":
        return xs
    return {"interleaved": _interleave, "separate": separate, "joint": join}[tokens](xs, ys)


Positions = slice | list[int]
"""Which positions of a sequence, as an index."""


def answering_positions(tokens: Layout, n_positions: int | None = None) -> Positions:
    """Select the positions whose output is a prediction."""
    roles = tokens.of(_length(n_positions)) if isinstance(tokens, OwnRoles) else _ROLES[tokens]
    return positions_of("query" if "query" in roles else "x", tokens=tokens, n_positions=n_positions)


def positions_of(role: Role, *, tokens: Layout = "interleaved", n_positions: int | None = None) -> Positions:
    """Select the positions of one kind of token; only a user's own roles need the length of the sequence."""
    if not isinstance(tokens, OwnRoles):
        check_role(role, tokens=tokens)
        return _ROLES[tokens][role]
    roles = tokens.of(_length(n_positions))
    if role != "all" and role not in roles:
        raise InputError(f"these positions have the roles all, {', '.join(dict.fromkeys(roles))}, got {role!r}.")
    return [i for i, given in enumerate(roles) if role in ("all", given)]


def position_names(tokens: Layout, n_positions: int) -> tuple[str, ...]:
    """Name each position by what it holds and its number: x1, y1, x2, ... or xy1, xy2, ..., query."""
    roles = roles_of(tokens, n_positions)
    counts, names = Counter(roles), []
    met: Counter[str] = Counter()
    for role in roles:
        met[role] += 1
        word = "xy" if role == "context" and tokens == "joint" else role
        names.append(word if role == "query" and counts[role] == 1 else f"{word}{met[role]}")
    return tuple(names)


def roles_of(tokens: Layout, n_positions: int) -> list[str]:
    """List the role of each position."""
    if isinstance(tokens, OwnRoles):
        return tokens.of(n_positions)
    found = [""] * n_positions
    for role, chosen in _ROLES[tokens].items():
        if role != "all":
            for i in range(n_positions)[chosen]:
                found[i] = role
    return found


def check_role(role: Role, *, tokens: Layout) -> None:
    """Refuse a role that a layout lacks, as far as that is known before anything runs."""
    if not isinstance(tokens, OwnRoles) and role not in _ROLES[tokens]:
        raise InputError(f"{tokens} tokens need a role out of {', '.join(_ROLES[tokens])}, got {role!r}.")


def _length(n_positions: int | None) -> int:
    assert n_positions is not None, "a user's own roles need the length of the sequence"
    return n_positions
