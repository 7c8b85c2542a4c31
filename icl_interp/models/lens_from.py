"""HookedTransformer's config and state dict as ours; nothing of TransformerLens is imported."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.config import ModelConfig, Tokens
from icl_interp.models.lens_cfg import cfg_fields, inexpressible
from icl_interp.models.shapes import parameter_shapes

__all__ = ["from_lens_weights"]

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


def from_lens_weights(
    state_dict: Mapping[str, Tensor],
    cfg: Any,
    *,
    read_in: tuple[Tensor, Tensor | None] | None = None,
    layout: Tokens | None = None,
) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Turn what a HookedTransformer is made of into what a model of ours is made of.

    Args:
        state_dict: As `lens.from_hooked_transformer` takes it, and likewise below.
        cfg: Its config.
        read_in: Weight and bias of the map before the embeddings, or None for the token table.
        layout: How pairs become tokens; None means "interleaved".

    Returns:
        A config, and contiguous weights with exactly the names and shapes that it asks for.

    Raises:
        InputError: If either cannot be expressed, or they do not belong together.
    """
    fields = cfg_fields(cfg)
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
    wrong = inexpressible(fields)
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
