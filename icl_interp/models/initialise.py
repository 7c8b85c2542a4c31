"""First weights, by name."""

import math

import torch
from torch import Tensor, nn

from icl_interp.models.attention import Attention
from icl_interp.models.components import MLP
from icl_interp.models.config import ModelConfig

__all__ = ["initialise"]

_STD = 0.02  # Hugging Face's GPT-2, initializer_range
_ENDS = ("embed.W_E", "embed.b_E", "unembed.W_U", "unembed.b_U")


def initialise(model: nn.Module, config: ModelConfig, *, seed: int) -> None:
    """Fill a model's weights in place, as `config.init` says.

    "gpt2": weights and positions from N(0, 0.02^2), projections back into the residual stream (W_O, W_out) from
    N(0, 0.02^2 / (2 n_layers)), biases 0. "dtsip": the same, but read-in and read-out as torch.nn.Linear starts them.
    "zhang": as "dtsip", but W_V and W_out from N(0, 0.02^2 / R) with R residual connections, one or two a layer;
    read-in, read-out and W_O are not in the paper's words and are our reading of "GPT-2 after Garg et al.".
    "transformer_lens": all weights and positions from N(0, 0.64 / d_model), biases 0. "torch": all weights and biases
    from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), which is what torch.nn.Linear starts from; positions are a linear map of
    one-hot positions, hence U(-1/sqrt(n_ctx), 1/sqrt(n_ctx)), as in timaeus-research/icl. LayerNorm starts at scale 1
    and shift 0 everywhere. What is fixed (a pinned end, an absent weight) stays as it is.

    Args:
        model: Of that config.
        config: Names the initialisation.
        seed: The only source of randomness; the global generator is untouched.

    Source:
        Radford et al. (2019), section 2.3, for the residual scaling; dtsip/in-context-learning for "dtsip"; Zhang et
        al. (2024), experiments of Table 1; TransformerLens 3.9, init_mode "gpt2"; timaeus-research/icl for "torch".
    """
    generator = torch.Generator().manual_seed(seed)
    scheme = {"torch": _torch_linear, "transformer_lens": _transformer_lens}.get(config.init, _gpt2)
    with torch.no_grad():
        for name, weight in _weights_in_order(model):
            scheme(name, weight, config, generator)


def _gpt2(name: str, weight: Tensor, config: ModelConfig, generator: torch.Generator) -> None:
    # "gpt2", "dtsip" and "zhang", which differ in the ends and in W_V.
    if name in _ENDS and config.init != "gpt2":
        _torch_linear(name, weight, config, generator)
        return
    kind = name.rsplit(".", 1)[-1]
    stds = {"W_O": _STD / math.sqrt(2 * config.n_layers), "W_out": _STD / math.sqrt(2 * config.n_layers)}
    if config.init == "zhang":
        n_residual = config.n_layers * (1 if config.attn_only else 2)
        stds |= {"W_V": _STD / math.sqrt(n_residual), "W_out": _STD / math.sqrt(n_residual)}
    _normal_or_zero(kind, weight, stds.get(kind, _STD), generator)


def _transformer_lens(name: str, weight: Tensor, config: ModelConfig, generator: torch.Generator) -> None:
    _normal_or_zero(name.rsplit(".", 1)[-1], weight, 0.8 / math.sqrt(config.d_model), generator)


def _normal_or_zero(kind: str, weight: Tensor, std: float, generator: torch.Generator) -> None:
    if kind.startswith("W_"):
        weight.normal_(0.0, std, generator=generator)
    else:
        weight.zero_()


def _torch_linear(name: str, weight: Tensor, config: ModelConfig, generator: torch.Generator) -> None:
    fan_in = {
        "E": config.d_token,
        "pos": config.n_ctx,
        "O": config.n_heads * config.head_width,
        "out": config.mlp_width,
    }.get(name.rsplit("_", 1)[-1], config.d_model)
    bound = 1 / math.sqrt(fan_in)
    weight.uniform_(-bound, bound, generator=generator)


def _weights_in_order(model: nn.Module) -> list[tuple[str, Tensor]]:
    # What is learned, the blocks first: the order in which weights have been drawn from a seed since the first version.
    weights: list[tuple[str, Tensor]] = []
    for module_name, module in model.named_modules():
        if isinstance(module, Attention | MLP):
            weights += [(f"{module_name}.{name}", weight) for name, weight in module.named_parameters()]
    for module_name in ("pos_embed", "embed", "unembed"):
        end: nn.Module | None = getattr(model, module_name, None)
        if end is not None:
            weights += [(f"{module_name}.{name}", weight) for name, weight in end.named_parameters()]
    return weights
