"""The names and shapes of the weights that a config asks for, known without building the model."""

from icl_interp.models.config import LINEAR_FAMILIES, ModelConfig


def block_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Give the shape of each weight of one block."""
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
    """Give the shape of every parameter of a model over joint tokens."""
    n_sets = 1 if config.share_layers else config.n_layers
    block = block_shapes(config)
    return {f"blocks.{layer}.{name}": shape for layer in range(n_sets) for name, shape in block.items()}


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Give the shape of every parameter of a model."""
    if config.family in LINEAR_FAMILIES:
        return linear_parameter_shapes(config)
    width, affine = config.d_model, config.normalization_type == "LN"
    free, block = config.read_out == "free", _block_shapes(config)
    shapes: dict[str, tuple[int, ...] | None] = {
        "embed.W_E": (config.d_token, width) if free else None,
        "embed.b_E": (width,) if config.bias_read_in else None,
        "pos_embed.W_pos": (config.n_ctx, width) if config.positional_embedding_type == "standard" else None,
        **{f"blocks.{layer}.{name}": shape for layer in range(config.n_layers) for name, shape in block.items()},
        "ln_final.w": (width,) if affine and config.final_norm else None,
        "ln_final.b": (width,) if affine and config.final_norm else None,
        "unembed.W_U": (width, config.d_out) if free else None,
        "unembed.b_U": (config.d_out,) if config.bias_read_out else None,
    }
    return {name: shape for name, shape in shapes.items() if shape is not None}


def _block_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    width, heads, d_head, d_mlp = config.d_model, config.n_heads, config.head_width, config.mlp_width
    mlp, affine = not config.attn_only, config.normalization_type == "LN"
    norms = [1, 2] if mlp else [1]
    shapes: dict[str, tuple[int, ...] | None] = {
        **{f"attn.W_{letter}": (heads, width, d_head) for letter in "QKV"},
        "attn.W_O": (heads, d_head, width) if config.attn_out_proj else None,
        **{f"attn.b_{letter}": (heads, d_head) if config.bias_qkv else None for letter in "QKV"},
        "attn.b_O": (width,) if config.bias_attn_out else None,
        "mlp.W_in": (width, d_mlp) if mlp else None,
        "mlp.b_in": (d_mlp,) if mlp and config.bias_mlp else None,
        "mlp.W_out": (d_mlp, width) if mlp else None,
        "mlp.b_out": (width,) if mlp and config.bias_mlp else None,
        **{f"ln{norm}.{part}": (width,) if affine else None for norm in norms for part in "wb"},
    }
    return {name: shape for name, shape in shapes.items() if shape is not None}
