"""What a softmax model looks like to TransformerLens: fields of its config, and a complete set of weights."""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.models.shapes import parameter_shapes

__all__ = ["check_convertible", "lens_fields", "lens_weights"]

# What HookedTransformer always has; where a model of ours lacks it, zeros (the identity for W_O) change nothing.
_COMPLETE = {
    "positional_embedding_type": "standard",
    "attn_out_proj": True,
    "bias_qkv": True,
    "bias_attn_out": True,
    "bias_mlp": True,
    "bias_read_out": True,
}


def check_convertible(config: ModelConfig, *, who: str) -> None:
    """Refuse what TransformerLens' own classes cannot express.

    Args:
        config: Of the model.
        who: The converting function, for the sentence.

    Raises:
        ValueError: If the model is not a softmax decoder of the plain residual form; every reason is named.
    """
    if config.family != "gpt2":
        reasons = [f"family={config.family!r} (its attention is not softmax over separate queries and keys)"]
    else:
        norms = config.normalization_type is not None
        found = {
            "doubled_residual=True (their blocks add their input once)": config.doubled_residual,
            "mask_query=True (their attention masks nothing but the future)": config.mask_query,
            "read_out='pinned' (their unembedding is a free map)": config.read_out == "pinned",
            "final_norm=False where blocks have norms (theirs norm the stream before the unembedding as well)": (
                norms and not config.final_norm
            ),
        }
        reasons = [reason for reason, true in found.items() if true]
    if reasons:
        raise ValueError(
            f"{who} needs a model that TransformerLens' classes can express, got {'; '.join(reasons)}; use the model "
            "as it is: it has the same hooks."
        )


def lens_fields(config: ModelConfig) -> dict[str, Any]:
    """Give the fields that HookedTransformerConfig and TransformerBridgeConfig share.

    Args:
        config: Of a convertible model.

    Returns:
        Fields by TransformerLens' names. The vocabulary is the coordinates of a token, so that the token table is the
        read-in; weights are not initialised.
    """
    return {
        "d_model": config.d_model,
        "d_head": config.head_width,
        "n_heads": config.n_heads,
        "n_layers": config.n_layers,
        "n_ctx": config.n_ctx,
        "d_mlp": config.mlp_width,
        "d_vocab": config.d_token,
        "d_vocab_out": config.d_out,
        "act_fn": config.act_fn,
        "eps": config.eps,
        "normalization_type": config.normalization_type,
        "attn_only": config.attn_only,
        "attention_dir": "causal" if config.attention == "causal" else "bidirectional",
        "positional_embedding_type": "standard",
        "init_weights": False,
    }


def lens_weights(model: HookedModel) -> dict[str, Tensor]:
    """Complete a model's weights to those that a HookedTransformer always has.

    Absent biases and positions become zeros, an absent output projection the identity. The bias of the read-in has no
    place in a token table and is left out.

    Args:
        model: A convertible model.

    Returns:
        Copies by HookedTransformer's names, on the model's device.
    """
    config, weights = model.cfg, model.state_dict()
    complete = config.model_copy(update={**_COMPLETE, "n_positions": config.n_ctx})
    shapes = {name: shape for name, shape in parameter_shapes(complete).items() if name != "embed.b_E"}
    return {
        name: weights[name].detach().clone() if name in weights else _neutral(name, shape, like=weights["embed.W_E"])
        for name, shape in shapes.items()
    }


def _neutral(name: str, shape: tuple[int, ...], *, like: Tensor) -> Tensor:
    if name.endswith("W_O"):
        side_by_side = torch.eye(shape[2], dtype=like.dtype, device=like.device)
        return rearrange(side_by_side, "(h c) m -> h c m", h=shape[0])
    return like.new_zeros(shape)
