"""Small models with weights large enough that every part of them matters."""

import torch

from icl_interp import HookedICLTransformer, ModelConfig, build_model

SMALL = ModelConfig(n_dims=3, n_points=7, n_layers=3, n_heads=2, d_model=8)


def large_weights(config: ModelConfig = SMALL, *, seed: int = 0) -> HookedICLTransformer:
    """Fill every parameter with N(0, 0.5^2), LayerNorm scales around 1: initial weights would hide mistakes."""
    model = build_model(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.normal_(1.0 if name.endswith(".w") else 0.0, 0.5, generator=generator)
    return model


def pairs(batch: int = 5, n_points: int = 7, n_dims: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, n_points, n_dims, generator=generator), torch.randn(batch, n_points, generator=generator)


def listeners(model: HookedICLTransformer) -> list[str]:
    return [name for name, point in model.hook_dict.items() if point._forward_hooks or point._backward_hooks]


_SIZES = {"n_dims": 3, "n_points": 7, "n_layers": 2, "n_heads": 2, "d_model": 8}
_JOINT = {**_SIZES, "tokens": "joint"}
_NO_BIAS = {"bias_read_in": False, "bias_qkv": False, "bias_attn_out": False, "bias_mlp": False, "bias_read_out": False}

OPTIONS = {
    name: ModelConfig(**fields)
    for name, fields in {
        "defaults": _SIZES,
        "separate": {**_SIZES, "tokens": "separate"},
        "joint": _JOINT,
        "joint, full": {**_JOINT, "attention": "full"},
        "joint, query masked": {**_JOINT, "mask_query": True},
        "joint, full, query masked": {**_JOINT, "attention": "full", "mask_query": True},
        "joint, pinned": {**_JOINT, "read_out": "pinned", "positional_embedding_type": "none"},
        "sequence": {**_SIZES, "n_dims": 1, "tokens": "sequence"},
        "pinned": {**_SIZES, "tokens": "separate", "read_out": "pinned"},
        "d_out": {**_SIZES, "d_out": 4},
        "attention only": {**_SIZES, "attn_only": True},
        "parameter-free norms": {**_SIZES, "normalization_type": "LNPre"},
        "no norms": {**_SIZES, "normalization_type": None},
        "no final norm": {**_SIZES, "final_norm": False},
        "no positions": {**_SIZES, "positional_embedding_type": "none"},
        "more positions": {**_SIZES, "n_positions": 20},
        "gelu": {**_SIZES, "act_fn": "gelu"},
        "relu": {**_SIZES, "act_fn": "relu"},
        "eps": {**_SIZES, "eps": 0.5},
        "d_head and d_mlp": {**_SIZES, "d_head": 5, "d_mlp": 6},
        "no output projection": {**_SIZES, "attn_out_proj": False},
        "doubled residual": {**_SIZES, "doubled_residual": True},
        "doubled residual, attention only": {**_SIZES, "doubled_residual": True, "attn_only": True},
        **{f"no {flag}": {**_SIZES, flag: False} for flag in _NO_BIAS},
        "no biases": {**_SIZES, **_NO_BIAS},
        "timaeus": {
            **_SIZES, **_NO_BIAS, "tokens": "separate", "d_out": 4, "act_fn": "relu", "doubled_residual": True,
            "attn_out_proj": False, "bias_mlp": True, "bias_read_out": True,
        },
    }.items()
}  # fmt: skip
"""One small model for each option of the softmax family, and some pairs."""


def prompts_for(config: ModelConfig, batch: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    return pairs(batch=batch, n_points=config.n_points, n_dims=config.n_dims)


def with_the_weights_of(model: HookedICLTransformer, config: ModelConfig) -> HookedICLTransformer:
    """A model of another config, with every parameter that both have in one shape."""
    other = large_weights(config)
    shared = {name: weight for name, weight in model.state_dict().items() if name in other.state_dict()}
    shapes = {name: weight.shape for name, weight in other.state_dict().items()}
    other.load_state_dict({n: w for n, w in shared.items() if w.shape == shapes[n]}, strict=False)
    return other
