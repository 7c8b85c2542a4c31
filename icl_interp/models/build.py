"""From a config to a model with fresh weights."""

import importlib
from typing import TYPE_CHECKING, Any

from icl_interp.models.config import Family, ModelConfig

if TYPE_CHECKING:
    from icl_interp.models.hooked import HookedModel

__all__ = ["build_model", "model_class"]

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
