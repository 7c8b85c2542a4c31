"""First weights of the families over joint tokens."""

import math

import torch
from torch import nn

from icl_interp.models.config import ModelConfig

__all__ = ["INIT_STD", "initialise_linear"]

INIT_STD = 0.2
"""Of "normal" where a config says nothing: it reproduces Figure 1 of Zhang et al., who do not state theirs."""

_VON_OSWALD_SCALE = 0.002
# Standard deviation of a unit normal that is truncated at +-2, which the initialisation makes up for.
_TRUNCATED_STD = 0.87962566103423978


def initialise_linear(model: nn.Module, config: ModelConfig, *, seed: int) -> None:
    """Fill a model's weights in place, as `config.init` says.

    "normal": every entry from N(0, init_std^2). "von_oswald": a normal truncated at two standard deviations, of
    variance (0.002 / n_layers) / fan_in, where fan_in is the number of inputs that one output sums over. "zeros":
    zeros.

    Args:
        model: Of that config.
        config: Names the initialisation.
        seed: The only source of randomness; the global generator is untouched.

    Source:
        von Oswald et al. (2023), arXiv 2212.07677, appendix; reading its scale as that of a variance, as the library
        of their code does, is our choice. Huang et al. (2024) for "zeros".
    """
    generator = torch.Generator().manual_seed(seed)
    fan_in = {"W_O": config.n_heads * config.value_width, "W_out": config.mlp_width, "W_KQ": config.n_dims}
    std = INIT_STD if config.init_std is None else config.init_std
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if config.init == "zeros":
                weight.zero_()
            elif config.init == "normal":
                weight.normal_(0.0, std, generator=generator)
            else:
                inputs = fan_in.get(name.rpartition(".")[2], config.d_model)
                std = math.sqrt(_VON_OSWALD_SCALE / config.n_layers / inputs) / _TRUNCATED_STD
                nn.init.trunc_normal_(weight, 0.0, std, -2 * std, 2 * std, generator=generator)
