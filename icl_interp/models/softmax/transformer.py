"""The softmax family: a GPT-2 decoder over (x, y) examples, hook for hook a HookedTransformer, and its weights."""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from icl_interp.errors import InputError
from icl_interp.models.accessors import WeightAccessors
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import answering_positions, lay_out
from icl_interp.models.softmax.attention import Attention
from icl_interp.models.softmax.components import MLP, Block, Embed, PosEmbed, Unembed, final_norm

_STD = 0.02  # Hugging Face's GPT-2, initializer_range
_ENDS = ("embed.W_E", "embed.b_E", "unembed.W_U", "unembed.b_U")
_STREAM, _HEADS, _SCORES = "batch pos d_model", "batch pos head d_head", "batch head pos pos"


def initialise(model: nn.Module, config: ModelConfig, *, seed: int) -> None:
    """Fill a model's weights in place, as `config.init` says.

    "gpt2": weights and positions from N(0, 0.02^2), projections back into the residual stream (W_O, W_out) from
    N(0, 0.02^2 / (2 n_layers)), biases 0. "dtsip": the same, but read-in and read-out as torch.nn.Linear starts them.
    "zhang": as "dtsip", but W_V and W_out from N(0, 0.02^2 / R) with R residual connections, one or two per layer;
    read-in, read-out and W_O are not in the paper's words and are our reading of "GPT-2 after Garg et al.".
    "transformer_lens": all weights and positions from N(0, 0.64 / d_model), biases 0. "torch": all weights and biases
    from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), which is what torch.nn.Linear starts from; positions are a linear map of
    one-hot positions, hence U(-1/sqrt(n_ctx), 1/sqrt(n_ctx)), as in timaeus-research/icl. LayerNorm starts at scale 1
    and shift 0 everywhere. What is fixed (a pinned end, an absent weight) stays as it is.
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


class HookedICLTransformer(WeightAccessors, HookedModel):
    """A GPT-2 decoder that learns regression in context, with HookedTransformer's hook and weight names.

    TransformerLens 4.0 removed the class HookedTransformer; what it keeps for one's own modules is HookedRootModule
    with HookPoints, and that is the base here. Where a HookedTransformer reads integer tokens, this model reads
    (xs, ys): `embed.W_E` is the linear read-in, `unembed.W_U` the linear read-out.

    Attention runs fused unless `hook_attn_scores` or `hook_pattern` is hooked, so a hooked forward pass costs what a
    plain one costs. Under `torch.vmap`, see `plain_attention`. Weights that the config leaves out stand as fixed
    tensors under their names, zeros or the identity, which are neither parameters nor saved.

    Args:
        config: Shape and initialisation.
        seed: Seed of the first weights.

    Example:
        >>> config = ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8)
        >>> model = HookedICLTransformer(config, seed=0)
        >>> predictions, cache = model.run_with_cache(torch.zeros(3, 5, 2), torch.zeros(3, 5))
        >>> predictions.shape, cache["resid_post", 0].shape
        (torch.Size([3, 5]), torch.Size([3, 10, 8]))
    """

    hook_meanings: ClassVar[Mapping[str, tuple[str, str]]] = {
        "hook_embed": (_STREAM, "read-in of each token"),
        "hook_pos_embed": (_STREAM, "position table's rows"),
        "hook_resid_pre": (_STREAM, "residual stream before the block"),
        "hook_resid_mid": (_STREAM, "residual stream after attention, before the MLP"),
        "hook_resid_post": (_STREAM, "residual stream after the block"),
        "hook_attn_out": (_STREAM, "what attention adds"),
        "hook_mlp_out": (_STREAM, "what the MLP adds"),
        "hook_scale": ("batch pos 1", "standard deviation that the norm divides by"),
        "hook_normalized": (_STREAM, "normalised stream, before the norm's scale and shift"),
        "attn.hook_q": (_HEADS, "queries"),
        "attn.hook_k": (_HEADS, "keys"),
        "attn.hook_v": (_HEADS, "values"),
        "attn.hook_attn_scores": (_SCORES, "query-key products over sqrt(d_head); -inf where hidden"),
        "attn.hook_pattern": (_SCORES, "attention of each position (row) to each (column)"),
        "attn.hook_z": (_HEADS, "values averaged by the pattern"),
        "mlp.hook_pre": ("batch pos d_mlp", "neurons before the nonlinearity"),
        "mlp.hook_post": ("batch pos d_mlp", "neurons after the nonlinearity"),
        "ln_final.hook_out": (_STREAM, "what the read-out reads"),
        "unembed.hook_in": (_STREAM, "the same"),
        "unembed.hook_out": ("batch pos d_out", "read-out, the prediction in channel 0"),
    }

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__(config)
        self.embed = Embed(config)
        self.hook_embed = HookPoint()
        if config.positional_embedding_type == "standard":
            self.pos_embed = PosEmbed(config)
            self.hook_pos_embed = HookPoint()
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layers)])
        self.ln_final = final_norm(config)
        self.unembed = Unembed(config)
        initialise(self, config, seed=seed)
        self.setup()

    def _pass(self, xs: Tensor, ys: Tensor) -> Tensor:
        tokens, answering = lay_out(self.cfg.tokens, xs, ys), answering_positions(self.cfg.tokens)
        if self.is_listened_to:
            return self.forward_tokens(tokens)[:, answering, 0]
        # Nobody looks: the last label, which no answer reads, is left out, and the last block answers only where asked.
        if self.cfg.attention == "causal" and self.cfg.tokens in ("interleaved", "separate"):
            tokens = tokens[:, :-1]
        return self._run(tokens, keep=answering)[..., 0]

    def forward_tokens(self, tokens: Float[Tensor, "batch pos d_token"]) -> Float[Tensor, "batch pos d_out"]:
        """Run on raw read-in inputs, for models whose example layout is unknown.

        Args:
            tokens: One vector per position, as the read-in takes them.

        Returns:
            The read-out at every position.

        Raises:
            InputError: If there are more positions than the table has rows for, or the width is wrong.
        """
        self._guard_hooks()
        return self._run(tokens)

    def _run(self, tokens: Tensor, *, keep: slice | list[int] | None = None) -> Tensor:
        _check_tokens(self.cfg, tokens)
        tokens = tokens.to(self.embed.W_E)
        resid = self.hook_embed(self.embed(tokens))
        if self.cfg.positional_embedding_type == "standard":
            resid = resid + self.hook_pos_embed(self.pos_embed(tokens))
        *earlier, last = self.blocks
        for block in earlier:
            resid = block(resid)
        return self.unembed(self.ln_final(last(resid, keep=keep)))

    def answers_from(self, layer: int, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch point"]:
        """Go on from the residual stream before a block, for who changes nothing ahead of it."""
        self._guard_hooks()
        for block in self.blocks[layer:]:
            resid = block(resid)
        return self.unembed(self.ln_final(resid))[:, answering_positions(self.cfg.tokens), 0]

    def __repr__(self) -> str:
        return f"HookedICLTransformer({self.cfg.describe()}, {self.n_params:,} parameters)"


def _check_tokens(config: ModelConfig, tokens: Tensor) -> None:
    most = config.n_ctx if config.positional_embedding_type == "standard" else None
    if tokens.ndim != 3 or tokens.shape[2] != config.d_token or (most is not None and tokens.shape[1] > most):
        limit = "" if most is None else f" with at most {most} positions"
        raise InputError(f"forward_tokens needs [batch pos {config.d_token}]{limit}, got shape {tuple(tokens.shape)}.")
