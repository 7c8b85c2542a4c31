"""The names and shapes of the weights of the families over joint tokens."""

from icl_interp.models.config import ModelConfig

__all__ = ["block_shapes", "linear_parameter_shapes"]


def block_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Give the shape of each weight of one block.

    Args:
        config: Of family "lsa", "ltb" or "softmax_layer".

    Returns:
        Shapes under the names inside a block, in HookedTransformer's order.
    """
    if config.family == "softmax_layer":
        return {"attn.W_KQ": (config.n_dims, config.n_dims)}
    width, heads = config.d_model, config.n_heads
    shapes: dict[str, tuple[int, ...]] = {
        "attn.W_Q": (heads, width, config.head_width),
        "attn.W_K": (heads, width, config.head_width),
        "attn.W_V": (heads, width, config.value_width),
        "attn.W_O": (heads, config.value_width, width),
    }
    if not config.attn_only:
        shapes |= {"mlp.W_in": (width, config.mlp_width), "mlp.W_out": (config.mlp_width, width)}
    return shapes


def linear_parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Give the shape of every parameter of a model over joint tokens.

    Args:
        config: Of family "lsa", "ltb" or "softmax_layer".

    Returns:
        Shapes under the names of the model. Shared layers have one set, under the names of block 0.

    Example:
        >>> config = ModelConfig(family="lsa", n_dims=2, n_points=5, n_layers=3, share_layers=True)
        >>> len(linear_parameter_shapes(config)), linear_parameter_shapes(config)["blocks.0.attn.W_Q"]
        (4, (1, 3, 3))
    """
    n_sets = 1 if config.share_layers else config.n_layers
    block = block_shapes(config)
    return {f"blocks.{layer}.{name}": shape for layer in range(n_sets) for name, shape in block.items()}
