"""What the config of a HookedTransformer asks for, and which of it our models cannot express."""

import math
from collections.abc import Mapping
from typing import Any

from icl_interp.errors import InputTypeError

__all__ = ["cfg_fields", "inexpressible"]

# Fields that change what the network computes, with the values under which it is one of ours.
_EXPRESSIBLE: dict[str, tuple[Any, ...]] = {
    "normalization_type": ("LN", "LNPre", None),
    "positional_embedding_type": ("standard",),
    "attention_dir": ("causal", "bidirectional"),
    "use_attn_scale": (True,),
    "gated_mlp": (False,),
    "uses_rms_norm": (False,),
    "final_rms": (False,),
    "num_experts": (None,),
    "use_qk_norm": (False,),
    "clip_qkv": (None,),
    "use_logn_attn": (False,),
    "use_local_attn": (False,),
    "attn_types": (None,),
    "scale_attn_by_inverse_layer_idx": (False,),
    "parallel_attn_mlp": (False,),
    "post_embedding_ln": (False,),
    "use_normalization_before_and_after": (False,),
    "use_attention_sinks": (False,),
    "relative_attention_max_distance": (None,),
    "relative_attention_num_buckets": (None,),
    "load_in_4bit": (False,),
    "quantization_method": (None,),
}
_ACTIVATIONS = ("gelu_new", "gelu", "relu")
_SOFT_CAPS = ("attn_scores_soft_cap", "output_logits_soft_cap")  # off where not above 0
_SIZES = ("d_model", "d_head", "n_layers", "n_ctx", "n_heads", "d_mlp", "d_vocab", "d_vocab_out", "eps")

# Fields that say how to run, initialise, name or tokenise, and those that only rotary positions, experts or local
# attention read: without influence on what one of our networks computes.
_HARMLESS = frozenset({
    "model_name", "device", "n_devices", "dtype", "seed", "init_mode", "init_weights", "initializer_range", "n_params",
    "use_attn_result", "use_split_qkv_input", "use_hook_mlp_in", "use_attn_in", "use_hook_tokens",
    "ungroup_grouped_query_attention", "original_architecture", "from_checkpoint", "checkpoint_index",
    "checkpoint_label_type", "checkpoint_value", "tokenizer_name", "default_prepend_bos", "tokenizer_prepends_bos",
    "trust_remote_code", "decoder_start_token_id", "tie_word_embeddings", "layer_norm_folding", "window_size",
    "experts_per_token", "norm_topk_prob", "train_seq_length", "rotary_dim", "rotary_base", "rotary_base_local",
    "rotary_scaling_factor", "rotary_adjacent_pairs", "use_dynamic_ntk_rope", "use_NTK_by_parts_rope",
    "NTK_by_parts_low_freq_factor", "NTK_by_parts_high_freq_factor", "NTK_by_parts_factor", "NTK_original_ctx_len",
    "use_yarn_rope", "yarn_factor", "yarn_attention_factor", "yarn_beta_fast", "yarn_beta_slow",
    "yarn_original_max_position_embeddings", "yarn_truncate", "yarn_global_attn_only",
})  # fmt: skip


def cfg_fields(cfg: Any) -> dict[str, Any]:
    """Take a config as a mapping of its fields.

    Args:
        cfg: A mapping, or an object with `to_dict` (as TransformerLens' configs are) or with attributes.

    Returns:
        Fields by name.

    Raises:
        InputTypeError: If it is none of these.
    """
    if isinstance(cfg, Mapping):
        return dict(cfg)
    if callable(getattr(cfg, "to_dict", None)):
        return dict(cfg.to_dict())
    raise InputTypeError(
        "from_hooked_transformer needs a HookedTransformerConfig or a mapping of its fields for cfg, got "
        f"{type(cfg).__name__}; pass model.cfg."
    )


def inexpressible(fields: Mapping[str, Any]) -> list[str]:
    """List what a config asks for that our models cannot express.

    Args:
        fields: By TransformerLens' names; absent ones have its defaults.

    Returns:
        A clause for each such field, "name=value"; unknown fields are listed unless they are off.
    """
    wrong = [name for name, values in _EXPRESSIBLE.items() if name in fields and fields[name] not in values]
    wrong += [name for name in _SOFT_CAPS if (fields.get(name) or -1) > 0]
    if not fields.get("attn_only") and fields.get("act_fn", "relu") not in _ACTIVATIONS:
        wrong.append("act_fn")
    if fields.get("n_key_value_heads") not in (None, fields.get("n_heads")):
        wrong.append("n_key_value_heads")
    scale = fields.get("attn_scale") or -1
    if scale > 0 and not math.isclose(scale, math.sqrt(fields["d_head"]), rel_tol=1e-6):
        wrong.append("attn_scale")
    known = {*_EXPRESSIBLE, *_HARMLESS, *_SOFT_CAPS, *_SIZES, "act_fn", "attn_only", "n_key_value_heads", "attn_scale"}
    wrong += [name for name, value in fields.items() if name not in known and value not in (None, False)]
    return [f"{name}={fields.get(name)!r}" for name in wrong]
