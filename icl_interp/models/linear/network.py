"""What the linear families share: first weights, the passes over tokens, and the shortcut by cumulative sums."""

import math
from collections.abc import Mapping
from typing import ClassVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from icl_interp.errors import InputError
from icl_interp.models.accessors import WeightAccessors
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import join, with_positions
from icl_interp.models.linear.components import HOOK_MEANINGS, LinearBlock
from icl_interp.models.linear.moments import answer_points

_INIT_STD = 0.2
"""Of "normal" where a config says nothing: it reproduces Figure 1 of Zhang et al., who do not state theirs."""

_VON_OSWALD_SCALE = 0.002
# Standard deviation of a unit normal that is truncated at +-2, which the initialisation makes up for.
_TRUNCATED_STD = 0.87962566103423978


def initialise_linear(model: nn.Module, config: ModelConfig, *, seed: int) -> None:
    """Fill a model's weights in place, as `config.init` says.

    "normal": every entry from N(0, init_std^2). "von_oswald": a normal truncated at two standard deviations, of
    variance (0.002 / n_layers) / fan_in, where fan_in is the number of inputs that one output sums over. "zeros":
    zeros.
    """
    generator = torch.Generator().manual_seed(seed)
    fan_in = {"W_O": config.n_heads * config.value_width, "W_out": config.mlp_width, "W_KQ": config.n_dims}
    std = _INIT_STD if config.init_std is None else config.init_std
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


class HookedLinearNetwork(WeightAccessors, HookedModel):
    """Blocks of linear attention over joint tokens, whose residual stream is the token matrix itself.

    Of the stacked weights (`W_Q`, ..., `QK`, `OV`), biases are zeros, `W_E` is the identity, and `W_U` reads the label
    entry with the output sign, as those of a pinned softmax model.
    """

    hook_meanings: ClassVar[Mapping[str, tuple[str, str]]] = HOOK_MEANINGS
    family: ClassVar[str] = ""
    """Of the configs that this class is built from."""

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__(config)
        if config.family != self.family:
            raise InputError(
                f"{type(self).__name__} needs a config of family {self.family!r}, got {config.family!r}; "
                "build_model(config, seed=0) chooses the class."
            )
        self.hook_embed = HookPoint()  # [batch pos d_model]
        first = LinearBlock(config)
        lender = first if config.share_layers else None
        self.blocks = nn.ModuleList([first, *(LinearBlock(config, lender=lender) for _ in range(config.n_layers - 1))])
        initialise_linear(self, config, seed=seed)
        self.setup()

    @property
    def layers(self) -> list[LinearBlock]:
        """The blocks, in order."""
        return [cast(LinearBlock, block) for block in self.blocks]

    def _stack(self, part: str, name: str) -> Tensor:
        if not name.startswith("b_") or (self.cfg.attn_only and part == "mlp"):
            return super()._stack(part, name)
        heads, width = self.cfg.n_heads, self.cfg.d_model
        shapes = {
            "b_Q": (heads, self.cfg.head_width),
            "b_K": (heads, self.cfg.head_width),
            "b_V": (heads, self.cfg.value_width),
            "b_in": (self.cfg.mlp_width,),
        }
        return self.W_Q.new_zeros(self.cfg.n_layers, *shapes.get(name, (width,)))

    @property
    def W_E(self) -> Float[Tensor, "d_token d_model"]:
        """The identity: tokens are the residual stream."""
        return torch.eye(self.cfg.d_model).to(self.layers[0].attn.W_Q)

    @property
    def W_U(self) -> Float[Tensor, "d_model d_out"]:
        """What reads the answer: the output sign in the label's entry, or in the one that is read instead."""
        return self.cfg.output_sign * self.W_E[:, [self.cfg.answer_coordinate]]

    @property
    def b_U(self) -> Float[Tensor, " d_out"]:
        """Zero."""
        return self.W_Q.new_zeros(1)

    def _predict_points(self, xs: Tensor, ys: Tensor, points: list[int]) -> Tensor:
        weight = self.layers[0].attn.W_Q
        xs, ys = xs.to(weight), ys.to(weight)
        if self.is_listened_to or not points:
            return super()._predict_points(xs, ys, points)
        return self.cfg.output_sign * answer_points(self.layers, self.cfg, xs, ys, points)

    def _pass(self, xs: Tensor, ys: Tensor) -> Tensor:
        tokens = with_positions(join(xs, ys), self.cfg.d_position)
        return self.cfg.output_sign * self.forward_tokens(tokens)[:, -1:, self.cfg.answer_coordinate]

    def forward_tokens(self, tokens: Float[Tensor, "batch pos d_token"]) -> Float[Tensor, "batch pos d_model"]:
        """Run all blocks on a token matrix, with every token updated."""
        if tokens.ndim != 3 or tokens.shape[2] != self.cfg.d_model or tokens.shape[1] < 1:
            raise InputError(
                f"forward_tokens needs [batch pos {self.cfg.d_model}] with the query last, got shape "
                f"{tuple(tokens.shape)}."
            )
        tokens = self.hook_embed(tokens.to(self.layers[0].attn.W_Q))
        for block in self.layers:
            tokens = block(tokens)
        return tokens

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.cfg.describe()}, {self.n_params:,} parameters)"
