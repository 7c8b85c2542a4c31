"""The names and shapes that a config asks of its weights, known without building the model."""

from icl_interp.models.config import ModelConfig
from icl_interp.models.families import LINEAR_FAMILIES
from icl_interp.models.linear_shapes import linear_parameter_shapes

__all__ = ["parameter_shapes"]


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Give the shape of every parameter of a model.

    Args:
        config: Of the model; time and memory grow with n_layers alone.

    Returns:
        Shapes under the names of the model.

    Example:
        >>> shapes = parameter_shapes(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8))
        >>> shapes["pos_embed.W_pos"], shapes["blocks.0.attn.W_Q"]
        ((10, 8), (2, 8, 4))
    """
    if config.family in LINEAR_FAMILIES:
        return linear_parameter_shapes(config)
    width, heads, d_head, d_mlp = config.d_model, config.n_heads, config.head_width, config.mlp_width
    block: dict[str, tuple[int, ...]] = {
        **{f"attn.W_{letter}": (heads, width, d_head) for letter in "QKV"},
        **{f"attn.b_{letter}": (heads, d_head) for letter in "QKV"},
        "attn.W_O": (heads, d_head, width),
        "attn.b_O": (width,),
        "mlp.W_in": (width, d_mlp),
        "mlp.b_in": (d_mlp,),
        "mlp.W_out": (d_mlp, width),
        "mlp.b_out": (width,),
        **{f"ln{norm}.{part}": (width,) for norm in (1, 2) for part in "wb"},
    }
    return {
        "embed.W_E": (config.n_dims, width),
        "embed.b_E": (width,),
        "pos_embed.W_pos": (config.n_ctx, width),
        **{f"blocks.{layer}.{name}": shape for layer in range(config.n_layers) for name, shape in block.items()},
        "ln_final.w": (width,),
        "ln_final.b": (width,),
        "unembed.W_U": (width, 1),
        "unembed.b_U": (1,),
    }
