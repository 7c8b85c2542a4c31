"""Build a model with fresh weights from a config or the name of a published model."""

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from icl_interp.errors import InputError
from icl_interp.models.config import Family, ModelConfig

if TYPE_CHECKING:
    from icl_interp.models.hooked import HookedModel

_CLASSES = {
    "gpt2": ("softmax.transformer", "HookedICLTransformer"),
    "lsa": ("linear.attention", "HookedLinearAttention"),
    "ltb": ("linear.attention", "HookedLinearTransformerBlock"),
    "softmax_layer": ("softmax.softmax_layer", "HookedSoftmaxLayer"),
}


def build_model(config: ModelConfig, *, seed: int) -> "HookedModel":
    """Build a model with fresh weights.

    Args:
        config: Shape and initialisation; its family chooses the class.
        seed: Seed of the first weights; the global generator is untouched.

    Returns:
        A model in evaluation mode (these models have no dropout).

    Example:
        >>> import torch
        >>> config = ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8)
        >>> a, b = build_model(config, seed=1), build_model(config, seed=1)
        >>> torch.testing.assert_close(a.pos_embed.W_pos, b.pos_embed.W_pos, rtol=0, atol=0)
    """
    model: HookedModel = model_class(config.family)(config, seed=seed)
    return model.eval()


def model_class(family: Family) -> Any:
    """Look up the class of a family."""
    module, name = _CLASSES[family]
    return getattr(importlib.import_module(f"icl_interp.models.{module}"), name)


# timaeus-research/icl: separate tokens of width D + 1 in and out, no biases but the MLP's and the read-out's, ReLU.
_TIMAEUS: dict[str, Any] = {
    "n_layers": 2,
    "n_heads": 4,
    "tokens": "separate",
    "act_fn": "relu",
    "doubled_residual": True,
    "bias_read_in": False,
    "bias_qkv": False,
    "bias_attn_out": False,
    "init": "torch",
}

# mansheej/icl-task-diversity: separate tokens, bias-free ends.
_RAVENTOS: dict[str, Any] = {
    "n_dims": 8,
    "n_points": 16,
    "n_heads": 2,
    "tokens": "separate",
    "bias_read_in": False,
    "bias_read_out": False,
    "init": "gpt2",
}

_ZHANG: dict[str, Any] = {
    "n_dims": 20,
    "n_points": 41,
    "n_layers": 6,
    "n_heads": 4,
    "d_model": 128,
    "tokens": "joint",
    "init": "zhang",
}

MODEL_PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType({
    "garg2022": {"n_dims": 20, "n_points": 101, "n_layers": 12, "n_heads": 8, "d_model": 256},
    "carroll2025": {
        **_TIMAEUS, "n_dims": 8, "n_points": 16, "d_model": 512, "d_mlp": 512, "d_out": 9, "attn_out_proj": False,
    },
    "hoogland2024": {**_TIMAEUS, "n_dims": 4, "n_points": 8, "d_model": 64, "d_mlp": 64, "d_out": 5},
    "raventos2023": {**_RAVENTOS, "n_layers": 8, "d_model": 128},
    "raventos2023_small": {**_RAVENTOS, "n_layers": 4, "d_model": 64},
    "zhang2024": _ZHANG,
    "zhang2024_attn_only": {**_ZHANG, "attn_only": True},
})  # fmt: skip
"""Fields of `ModelConfig` by name of the paper that trained the model."""


def model_preset(name: str, **changes: Any) -> ModelConfig:
    """Give the configuration of a published model.

    "garg2022": 9,534,977 parameters; dtsip's file has 22,400,769, of which 12,865,792 are a token table that GPT-2
    never reads. "carroll2025": 2,654,217; identified by that number, and the 4 heads, the doubled residual and the
    missing output projection are the code's defaults and not in the paper. "hoogland2024": 51,717. "raventos2023":
    1,591,808, and "raventos2023_small": 202,752. "zhang2024" and "zhang2024_attn_only": the GPT-2 of their Table 1;
    width 128, positions and the causal mask are not in the paper and follow Garg et al.'s small model.

    Args:
        name: Name of the preset.
        changes: Fields to change.

    Returns:
        A config for `build_model`.

    Raises:
        InputError: If the name is unknown, or the changes make no valid config.

    Source:
        Garg et al. (2022), appendix A; Carroll et al. (2025), section 3; Hoogland et al. (2024), linear regression;
        Raventos et al. (2023), section 2; Zhang et al. (2024), Table 1.

    Example:
        >>> model_preset("hoogland2024").n_ctx, model_preset("hoogland2024", n_points=16).n_ctx
        (16, 32)
    """
    if name not in MODEL_PRESETS:
        raise InputError(f"model_preset needs one of {', '.join(MODEL_PRESETS)}, got {name!r}.")
    return ModelConfig(**{**MODEL_PRESETS[name], **changes})
