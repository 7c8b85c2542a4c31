"""What a softmax model looks like to TransformerLens: fields of its config, and a complete set of weights."""

from operator import attrgetter
from typing import Any

from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.models.shapes import parameter_shapes

# What HookedTransformer always has. Models of ours keep zeros, or the identity, under the names that they lack.
_COMPLETE = {
    "read_out": "free",
    "positional_embedding_type": "standard",
    "attn_out_proj": True,
    "bias_qkv": True,
    "bias_attn_out": True,
    "bias_mlp": True,
    "bias_read_out": True,
}


def check_convertible(config: ModelConfig, *, who: str) -> None:
    """Refuse what TransformerLens' own classes cannot express."""
    if config.family != "gpt2":
        reasons = [f"family={config.family!r} (its attention is not softmax over separate queries and keys)"]
    else:
        norms = config.normalization_type is not None
        found = {
            "doubled_residual=True (their blocks add their input once)": config.doubled_residual,
            "mask_query=True (their attention masks nothing but the future)": config.mask_query,
            "final_norm=False where blocks have norms (theirs norm the stream before the unembedding as well)": (
                norms and not config.final_norm
            ),
        }
        reasons = [reason for reason, true in found.items() if true]
    if reasons:
        raise InputError(
            f"{who} needs a model that TransformerLens' classes can express, got {'; '.join(reasons)}; use the model "
            "as it is: it has the same hooks."
        )


def lens_fields(config: ModelConfig) -> dict[str, Any]:
    """Give the fields that HookedTransformerConfig and TransformerBridgeConfig share."""
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

    Absent biases and positions become zeros, an absent output projection the identity, pinned ends the maps that they
    are. The bias of the read-in has no place in a token table and is left out.
    """
    config, positions = model.cfg, "pos_embed.W_pos"
    complete = config.model_copy(update={**_COMPLETE, "n_positions": config.n_ctx})
    shapes = {name: shape for name, shape in parameter_shapes(complete).items() if name != "embed.b_E"}
    with_positions = config.positional_embedding_type == "standard"
    found = {n: attrgetter(n)(model).detach().clone() for n in shapes if with_positions or n != positions}
    return {positions: found["embed.W_E"].new_zeros(shapes[positions])} | found
