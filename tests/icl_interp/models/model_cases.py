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
