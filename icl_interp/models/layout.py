"""How pairs become tokens: which position carries which x or y."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

__all__ = ["Role", "interleave", "positions_of"]

Role = Literal["all", "x", "y"]


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
    tokens = xs.new_zeros(batch, 2 * point, dim)
    tokens[:, 0::2] = xs
    tokens[:, 1::2, 0] = ys
    return tokens


def positions_of(role: Role) -> slice:
    """Select the positions of one kind of token in the interleaved layout.

    Args:
        role: "all", "x" or "y".

    Returns:
        A slice for the position axis.

    Raises:
        ValueError: If the role is unknown.
    """
    slices = {"all": slice(None), "x": slice(0, None, 2), "y": slice(1, None, 2)}
    if role not in slices:
        raise ValueError(f"tokens needs one of {sorted(slices)}, got {role!r}.")
    return slices[role]
