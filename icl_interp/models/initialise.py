"""First weights, by name."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from icl_interp.models.components import MLP, Attention, LayerNorm
from icl_interp.models.config import ModelConfig

if TYPE_CHECKING:
    from icl_interp.models.transformer import HookedICLTransformer

__all__ = ["initialise"]

_STD = 0.02  # Hugging Face's GPT-2, initializer_range


def initialise(model: "HookedICLTransformer", config: ModelConfig, *, seed: int) -> None:
    """Fill a model's weights in place, as `config.init` says.

    "gpt2": weights and positions from N(0, 0.02^2), projections back into the residual stream (W_O, W_out) from
    N(0, 0.02^2 / (2 n_layers)), biases 0, LayerNorm scale 1. "dtsip": the same, but read-in and read-out weights and
    biases from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), which is what torch.nn.Linear starts from.

    Args:
        model: Of that config.
        config: Names the initialisation.
        seed: The only source of randomness; the global generator is untouched.

    Source:
        Radford et al. (2019), section 2.3, for the residual scaling; dtsip/in-context-learning for "dtsip".
    """
    generator = torch.Generator().manual_seed(seed)
    residual_std = _STD / math.sqrt(2 * config.n_layers)

    def normal(weight: Tensor, std: float = _STD) -> None:
        weight.normal_(0.0, std, generator=generator)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LayerNorm):
                module.w.fill_(1.0)
                module.b.zero_()
            elif isinstance(module, Attention):
                for weight in (module.W_Q, module.W_K, module.W_V):
                    normal(weight)
                normal(module.W_O, residual_std)
                _zero(module.b_Q, module.b_K, module.b_V, module.b_O)
            elif isinstance(module, MLP):
                normal(module.W_in)
                normal(module.W_out, residual_std)
                _zero(module.b_in, module.b_out)
        normal(model.pos_embed.W_pos)
        for weight, bias in ((model.embed.W_E, model.embed.b_E), (model.unembed.W_U, model.unembed.b_U)):
            if config.init == "gpt2":
                normal(weight)
                _zero(bias)
            else:
                bound = 1 / math.sqrt(weight.shape[0])
                weight.uniform_(-bound, bound, generator=generator)
                bias.uniform_(-bound, bound, generator=generator)


def _zero(*biases: Tensor) -> None:
    for bias in biases:
        bias.zero_()
