"""HookedTransformer's config and state dict as ours, or why not; nothing of TransformerLens is imported."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from icl_interp.errors import InputError, InputTypeError
from icl_interp.models.architecture import Tokens
from icl_interp.models.config import ModelConfig
from icl_interp.models.shapes import parameter_shapes

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
_BUFFER = re.compile(r"\.attn\.(mask|IGNORE)$")  # what HookedTransformer writes into state dicts besides weights
_BLOCK = re.compile(r"blocks\.(\d+)\.")
_BIASES = {
    "bias_qkv": re.compile(r"\.attn\.b_[QKV]$"),
    "bias_attn_out": re.compile(r"\.attn\.b_O$"),
    "bias_mlp": re.compile(r"\.mlp\.b_(in|out)$"),
    "bias_read_out": re.compile(r"^unembed\.b_U$"),
}
_NORM = re.compile(r"^(blocks\.\d+\.ln[12]|ln_final)\.[wb]$")
_WHO = "from_hooked_transformer"


def _cfg_fields(cfg: Any) -> dict[str, Any]:
    if isinstance(cfg, Mapping):
        return dict(cfg)
    if callable(getattr(cfg, "to_dict", None)):
        return dict(cfg.to_dict())
    raise InputTypeError(
        "from_hooked_transformer needs a HookedTransformerConfig or a mapping of its fields for cfg, got "
        f"{type(cfg).__name__}; pass model.cfg."
    )


def _inexpressible(fields: Mapping[str, Any]) -> list[str]:
    """List what a config asks for that our models cannot express."""
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


def from_lens_weights(
    state_dict: Mapping[str, Tensor],
    cfg: Any,
    *,
    read_in: tuple[Tensor, Tensor | None] | None = None,
    layout: Tokens | None = None,
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Turn what a HookedTransformer is made of into what a model of ours is made of."""
    fields = _cfg_fields(cfg)
    _check_fields(fields)
    weights = {name: weight for name, weight in state_dict.items() if not _BUFFER.search(name)}
    weights |= _read_in(weights, read_in)
    config = _config(fields, weights, layout or "interleaved")
    _check_depth(weights, config)
    shapes = parameter_shapes(config)
    absent = [n for n in shapes if n not in weights and any(bias.search(n) for bias in _BIASES.values())]
    _check_weights(weights, {name: shape for name, shape in shapes.items() if name not in absent})
    # Only now are the cfg's sizes those of tensors that are there.
    weights |= {name: weights["embed.W_E"].new_zeros(shapes[name]) for name in absent}
    return config, {name: weights[name].detach().contiguous() for name in shapes}


def _check_fields(fields: Mapping[str, Any]) -> None:
    sizes = ("d_model", "d_head", "n_layers", "n_ctx")
    missing = [n for n in sizes if type(fields.get(n)) is not int or fields[n] < 1]
    if missing:
        raise InputError(
            f"{_WHO} needs a cfg with positive integers for {', '.join(sizes)}, got none for {', '.join(missing)}; "
            "pass the config of the model."
        )
    wrong = _inexpressible(fields)
    if wrong:
        raise InputError(
            f"{_WHO} needs a cfg that our models can express, got {', '.join(wrong)}; keep such a model in "
            "TransformerLens."
        )


def _read_in(weights: Mapping[str, Tensor], read_in: tuple[Tensor, Tensor | None] | None) -> dict[str, Tensor]:
    if read_in is None:
        table = weights.get("embed.W_E")
        if table is not None and table.ndim == 2 and table.shape[0] == 1:
            raise InputError(
                f"{_WHO} needs the map from numbers to embeddings, got a token table of one row and no read_in; pass "
                "read_in=(weight, bias)."
            )
        return {}
    weight, bias = read_in
    if weight.ndim != 2:
        raise InputError(
            f"{_WHO} needs a read_in weight [d_model d_token], got shape {list(weight.shape)}; pass nn.Linear's weight."
        )
    return {"embed.W_E": weight.T} if bias is None else {"embed.W_E": weight.T, "embed.b_E": bias}


def _config(fields: Mapping[str, Any], weights: Mapping[str, Tensor], layout: Tokens) -> ModelConfig:
    missing = [name for name in ("embed.W_E", "unembed.W_U") if name not in weights or weights[name].ndim != 2]
    if missing:
        raise InputError(
            f"{_WHO} needs the matrices embed.W_E and unembed.W_U, got none for {', '.join(missing)}; pass the whole "
            "state dict."
        )
    n_ctx, d_token = fields["n_ctx"], weights["embed.W_E"].shape[0]
    in_pairs = layout in ("interleaved", "separate")
    attn_only, heads = bool(fields.get("attn_only")), fields.get("n_heads") or -1
    norm = fields.get("normalization_type", "LN")
    if norm == "LN" and not any(_NORM.search(name) for name in weights):
        norm = "LNPre"
    options: dict[str, Any] = {
        "n_dims": d_token - 1 if layout in ("separate", "joint") else d_token,
        "n_points": n_ctx // 2 if in_pairs else n_ctx,
        "n_layers": fields["n_layers"],
        "n_heads": heads if heads > 0 else max(fields["d_model"] // fields["d_head"], 1),
        "d_model": fields["d_model"],
        "d_head": fields["d_head"],
        "d_mlp": None if attn_only else fields.get("d_mlp"),
        "tokens": layout,
        "attention": "full" if fields.get("attention_dir", "causal") == "bidirectional" else "causal",
        "d_out": weights["unembed.W_U"].shape[1],
        "attn_only": attn_only,
        "normalization_type": norm,
        "n_positions": n_ctx if in_pairs and n_ctx % 2 else None,
        "act_fn": "gelu_new" if attn_only else fields.get("act_fn", "relu"),
        "eps": fields.get("eps", 1e-5),
        "bias_read_in": "embed.b_E" in weights,
        **{option: any(bias.search(name) for name in weights) for option, bias in _BIASES.items()},
        "init": "transformer_lens",
    }
    try:
        return ModelConfig(**options)
    except ValueError as error:
        raise InputError(
            f"{_WHO} needs a cfg, weights and a layout that go together, got layout={layout!r} with n_ctx={n_ctx}, "
            f"tokens of width {d_token} and attention_dir={fields.get('attention_dir', 'causal')!r} "
            f"({' '.join(str(error).split())}); pass another layout."
        ) from error


def _check_depth(weights: Mapping[str, Tensor], config: ModelConfig) -> None:
    # The one size that costs time: a config may speak of 10**9 layers.
    n_blocks = len({match.group(1) for name in weights if (match := _BLOCK.match(name))})
    if n_blocks != config.n_layers:
        raise InputError(
            f"{_WHO} needs a block for each of the n_layers={config.n_layers} of the cfg, got {n_blocks}; pass config "
            "and weights of one model."
        )


def _check_weights(weights: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    wrong = [f"no {name}" for name in shapes if name not in weights]
    wrong += [f"unexpected {name}" for name in weights if name not in shapes]
    wrong += [
        f"{name} {list(weights[name].shape)} instead of {list(shape)}"
        for name, shape in shapes.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise InputError(
            f"{_WHO} needs exactly the weights that the cfg asks for, got {', '.join(wrong[:5])}{more}; pass config "
            "and weights of one model."
        )
