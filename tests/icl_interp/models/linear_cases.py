"""Small models over joint tokens with weights of order 0.4, so that every part of them matters."""

import torch
from torch import Tensor

from icl_interp import ModelConfig, build_model
from icl_interp.models.hooked import HookedModel

CASES = {
    "lsa": {"family": "lsa"},
    "lsa, sum, sign -1": {"family": "lsa", "normalise": "sum", "output_sign": -1},
    "lsa, 3 layers, 2 heads": {"family": "lsa", "n_layers": 3, "n_heads": 2, "d_head": 2, "d_v": 3},
    "lsa, 3 shared layers, fixed": {
        "family": "lsa",
        "n_layers": 3,
        "share_layers": True,
        "normalise": "fixed",
        "normalise_by": 4,
    },
    "lsa, no skip": {"family": "lsa", "n_layers": 2, "attn_skip": False},
    "lsa, positions, another channel": {"family": "lsa", "d_position": 3, "answer_channel": 6, "output_sign": -1},
    "lsa, 2 layers, the query a key, positions": {
        "family": "lsa",
        "n_layers": 2,
        "mask_query": False,
        "normalise": "tokens",
        "d_position": 4,
        "answer_channel": 5,
        "n_heads": 2,
        "d_head": 3,
    },
    "lsa, no skip, the query a key": {
        "family": "lsa",
        "attn_skip": False,
        "mask_query": False,
        "normalise": "tokens",
        "answer_channel": 1,
    },
    "ltb": {"family": "ltb"},
    "ltb, 2 heads": {"family": "ltb", "n_heads": 2, "d_mlp": 3},
    "ltb, 2 shared layers": {"family": "ltb", "n_layers": 2, "share_layers": True},
    "ltb, no skip": {"family": "ltb", "attn_skip": False},
    "softmax": {"family": "softmax_layer", "init": "normal"},
}


def linear_config(case: str) -> ModelConfig:
    return ModelConfig(n_dims=3, n_points=7, **{"init": "normal", "init_std": 0.4, **CASES[case]})


def linear_model(case: str, dtype: torch.dtype = torch.float64) -> HookedModel:
    return build_model(linear_config(case), seed=3).to(dtype)


def prompts(n_points: int = 7, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    xs = torch.randn(5, n_points, 3, generator=generator, dtype=torch.float64)
    return xs.to(dtype), torch.randn(5, n_points, generator=generator, dtype=torch.float64).to(dtype)
