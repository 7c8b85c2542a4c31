"""Weights that a config may leave out: fixed values in their place, so that whoever reads them finds a tensor."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["add_weight", "split_identity"]


def add_weight(
    module: nn.Module, name: str, shape: tuple[int, ...], *, learned: bool, value: Tensor | None = None
) -> None:
    """Give a module a parameter, or a fixed tensor under the same name.

    A fixed tensor is no parameter, is not saved, and moves with its module; TransformerLens' cache methods and
    whoever converts the model read it as they would read a parameter.

    Args:
        module: Gets the weight.
        name: As HookedTransformer spells it.
        shape: Of the weight.
        learned: Whether it is a parameter.
        value: What stands there, or what a parameter starts at; None means zeros.

    Example:
        >>> module = nn.Module()
        >>> add_weight(module, "b_O", (3,), learned=False)
        >>> len(list(module.parameters())), len(module.state_dict()), module.b_O.shape
        (0, 0, torch.Size([3]))
    """
    start = torch.zeros(shape) if value is None else value
    if learned:
        module.register_parameter(name, nn.Parameter(start))
    else:
        module.register_buffer(name, start, persistent=False)


def split_identity(n_heads: int, d_head: int) -> Float[Tensor, "head d_head d_model"]:
    """Give the output projection that lays heads side by side.

    Args:
        n_heads: Number of heads.
        d_head: Width of each; d_model is n_heads * d_head.

    Returns:
        The identity of d_model, cut into heads.

    Example:
        >>> torch.testing.assert_close(split_identity(2, 3).flatten(0, 1), torch.eye(6))
    """
    return torch.eye(n_heads * d_head).unflatten(0, (n_heads, d_head))
