"""How pairs become tokens: which position carries which x or y."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.config import Tokens

__all__ = ["ROLES", "Role", "answering_positions", "interleave", "join", "lay_out", "positions_of", "separate"]

Role = Literal["all", "x", "y", "context", "query"]

_ALTERNATING: dict[Role, slice] = {"all": slice(None), "x": slice(0, None, 2), "y": slice(1, None, 2)}

ROLES: dict[Tokens, dict[Role, slice]] = {
    "interleaved": _ALTERNATING,
    "separate": _ALTERNATING,
    "joint": {"all": slice(None), "context": slice(None, -1), "query": slice(-1, None)},
    "sequence": {"all": slice(None), "x": slice(None)},
}
"""The kinds of positions that each layout has. Joint tokens hold x and y at once, so they are "context" or "query";
in a sequence of values every token is an x, and the label is the next one."""


def interleave(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch pos dim"]:
    """Lay pairs out as x1, y1, x2, y2, ..., with each y in coordinate 0 of a token of its own.

    Args:
        xs: Inputs.
        ys: Labels.

    Returns:
        Tokens, two positions a point.

    Source:
        dtsip/in-context-learning, the code of Garg et al. (2022).

    Example:
        >>> import torch
        >>> xs, ys = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[3.0]])
        >>> torch.testing.assert_close(interleave(xs, ys), torch.tensor([[[1.0, 2.0], [3.0, 0.0]]]))
    """
    batch, point, dim = xs.shape
    tokens = xs.new_zeros(batch, point, 2, dim)
    tokens[:, :, 0] = xs
    tokens[:, :, 1, 0] = ys
    return tokens.flatten(1, 2)


def separate(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch pos d_token"]:
    """Lay pairs out as x1, y1, x2, y2, ..., with coordinate 0 for labels alone: (0, x), (y, 0).

    Args:
        xs: Inputs.
        ys: Labels.

    Returns:
        Tokens one wider than the inputs, two positions a point.

    Source:
        Raventos et al. (2023) and timaeus-research/icl, the code of Hoogland et al. (2024).

    Example:
        >>> xs, ys = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[3.0]])
        >>> torch.testing.assert_close(separate(xs, ys), torch.tensor([[[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]]]))
    """
    return interleave(torch.nn.functional.pad(xs, (1, 0)), ys)


def join(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch point d_token"]:
    """Lay pairs out as [x; y], one position a point; the last is the query, whose label is never read.

    Args:
        xs: Inputs.
        ys: Labels.

    Returns:
        Tokens one wider than the inputs, the label in the last coordinate and 0 in the query's.

    Source:
        Zhang et al. (2024), section 3: the matrix E, transposed.

    Example:
        >>> xs, ys = torch.tensor([[[1.0, 2.0], [4.0, 5.0]]]), torch.tensor([[3.0, 6.0]])
        >>> torch.testing.assert_close(join(xs, ys), torch.tensor([[[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]]]))
    """
    batch, point, _ = xs.shape
    labels = xs.new_zeros(batch, point)
    labels[:, : point - 1] = ys[:, : point - 1]
    return torch.cat([xs, labels[..., None]], dim=-1)


def lay_out(
    tokens: Tokens, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch pos d_token"]:
    """Turn pairs into the tokens that a model reads.

    Args:
        tokens: The layout, as in `ModelConfig`.
        xs: Inputs.
        ys: Labels; a sequence of values does not read them.

    Returns:
        Raw tokens, as `forward_tokens` takes them.

    Example:
        >>> xs, ys = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[2.0, 3.0]])
        >>> lay_out("sequence", xs, ys).shape, lay_out("joint", xs, ys).shape, lay_out("separate", xs, ys).shape
        (torch.Size([1, 2, 1]), torch.Size([1, 2, 2]), torch.Size([1, 4, 2]))
    """
    if tokens == "sequence":
        return xs
    return {"interleaved": interleave, "separate": separate, "joint": join}[tokens](xs, ys)


def answering_positions(tokens: Tokens) -> slice:
    """Select the positions whose output is a prediction.

    Args:
        tokens: The layout.

    Returns:
        The x tokens, or the query of joint tokens.
    """
    return ROLES[tokens]["query" if tokens == "joint" else "x"]


def positions_of(role: Role, *, tokens: Tokens = "interleaved") -> slice:
    """Select the positions of one kind of token.

    Args:
        role: "all" in every layout; "x" or "y" where they alternate ("interleaved", "separate"); "x" in a "sequence";
            "context" or "query" where a token holds both ("joint").
        tokens: The layout, as in `ModelConfig`.

    Returns:
        A slice for the position axis.

    Raises:
        InputError: If the layout has no such role.

    Example:
        >>> list(range(6))[positions_of("y")], list(range(3))[positions_of("query", tokens="joint")]
        ([1, 3, 5], [2])
    """
    if role not in ROLES[tokens]:
        raise InputError(f"{tokens} tokens need a role out of {', '.join(ROLES[tokens])}, got {role!r}.")
    return ROLES[tokens][role]
