"""Embeddings, norms, MLP and block, with HookedTransformer's hook and weight names."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import is_hooked
from icl_interp.models.softmax.attention import Attention, add_weight

_SLOPE, _CUBIC = math.sqrt(8 / math.pi), math.sqrt(8 / math.pi) * 0.044715
# 1 MB of float32: so many neurons, and what the nonlinearity makes of them, stay in a core's cache.
_CACHED_NEURONS = 2**18


class LayerNorm(nn.Module):
    """LayerNorm whose `hook_normalized` comes before scale and shift, as in HookedTransformer.

    With normalization_type "LNPre" there is no scale and shift to learn.
    """

    w: Tensor
    b: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.affine = config.normalization_type == "LN"
        add_weight(self, "w", (config.d_model,), learned=self.affine, value=torch.ones(config.d_model))
        add_weight(self, "b", (config.d_model,), learned=self.affine)
        self.hook_scale = HookPoint()
        self.hook_normalized = HookPoint()

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        if not is_hooked(self.hook_scale, self.hook_normalized):
            w, b = (self.w, self.b) if self.affine else (None, None)
            return F.layer_norm(resid, resid.shape[-1:], w, b, self.eps)
        centred = resid - resid.mean(-1, keepdim=True)
        scale = self.hook_scale((centred.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())
        normalised = self.hook_normalized(centred / scale)
        return normalised * self.w + self.b if self.affine else normalised


class FinalNorm(LayerNorm):
    """The last LayerNorm; `hook_out` is what the read-out reads (TransformerBridge's name for it)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.hook_out = HookPoint()

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        return self.hook_out(super().forward(resid))


class WithoutFinalNorm(nn.Module):
    """Nothing, in the place of the last norm: `hook_out` is still what the read-out reads."""

    def __init__(self) -> None:
        super().__init__()
        self.hook_out = HookPoint()

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        return self.hook_out(resid)


def _block_norm(config: ModelConfig) -> nn.Module:
    return nn.Identity() if config.normalization_type is None else LayerNorm(config)


def final_norm(config: ModelConfig) -> nn.Module:
    return FinalNorm(config) if config.final_norm else WithoutFinalNorm()


def _gelu_tanh(pre: Float[Tensor, "*batch d_mlp"]) -> Float[Tensor, "*batch d_mlp"]:
    """Apply GELU in the tanh form of GPT-2.

    Formula: x (1 + tanh(a (x + 0.044715 x^3))) / 2 = x sigmoid(2 a (x + 0.044715 x^3)) with a = sqrt(2 / pi).

    torch's kernel evaluates the first form, whose tanh is slow on a CPU; where no gradient is needed and the neurons
    fit into a core's cache, the second form is used. The two agree to rounding.
    """
    small = pre.device.type == "cpu" and pre.dtype == torch.float32 and pre.numel() <= _CACHED_NEURONS
    if torch.is_grad_enabled() or not small:
        return F.gelu(pre, approximate="tanh")
    # Changes in place only what is made here.
    return (pre * pre).mul_(_CUBIC).add_(_SLOPE).mul_(pre).sigmoid_().mul_(pre)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu_new": _gelu_tanh, "gelu": F.gelu, "relu": F.relu}


class MLP(nn.Module):
    """Two linear maps with a pointwise nonlinearity between them."""

    W_in: Tensor
    b_in: Tensor
    W_out: Tensor
    b_out: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[config.act_fn]
        self.biased = config.bias_mlp
        add_weight(self, "W_in", (config.d_model, config.mlp_width), learned=True)
        add_weight(self, "b_in", (config.mlp_width,), learned=self.biased)
        add_weight(self, "W_out", (config.mlp_width, config.d_model), learned=True)
        add_weight(self, "b_out", (config.d_model,), learned=self.biased)
        self.hook_pre = HookPoint()
        self.hook_post = HookPoint()

    def forward(self, normed: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        quiet = not torch.is_grad_enabled() and not is_hooked(self.hook_pre, self.hook_post)
        if quiet and normed.device.type == "cpu" and not torch.compiler.is_compiling():
            # A few prompts at a time: the neurons of a whole batch would go through main memory several times, which
            # costs a CPU as much as half of the products.
            prompts = max(1, _CACHED_NEURONS // max(1, normed.shape[1] * self.W_in.shape[1]))
            return torch.cat([self._transform(part) for part in normed.split(prompts)])
        return self._transform(normed)

    def _transform(self, normed: Tensor) -> Tensor:
        b_in, b_out = (self.b_in, self.b_out) if self.biased else (None, None)
        pre = self.hook_pre(F.linear(normed, self.W_in.T, b_in))
        return F.linear(self.hook_post(self.activation(pre)), self.W_out.T, b_out)


class Block(nn.Module):
    """One pre-norm transformer block, with or without an MLP.

    Formula: x + attn(ln1(x)) + mlp(ln2(x + attn(ln1(x)))); with the doubled residual, x is added once more at the end.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.doubled, self.attn_only = config.doubled_residual, config.attn_only
        self.ln1 = _block_norm(config)
        self.attn = Attention(config)
        self.hook_resid_pre = HookPoint()
        self.hook_attn_out = HookPoint()
        if not self.attn_only:
            self.ln2 = _block_norm(config)
            self.mlp = MLP(config)
            self.hook_resid_mid = HookPoint()
            self.hook_mlp_out = HookPoint()
        self.hook_resid_post = HookPoint()

    def forward(
        self, resid: Float[Tensor, "batch pos d_model"], *, keep: slice | None = None
    ) -> Float[Tensor, "batch kept d_model"]:
        resid = self.hook_resid_pre(resid)
        added = self.hook_attn_out(self.attn(self.ln1(resid), keep=keep))
        if keep is not None:
            resid = resid[:, keep]
        after = resid + added
        if not self.attn_only:
            after = self.hook_resid_mid(after)
            after = after + self.hook_mlp_out(self.mlp(self.ln2(after)))
        return self.hook_resid_post(resid + after if self.doubled else after)


class Embed(nn.Module):
    """The linear read-in of float tokens, in the place of a token embedding.

    A pinned read-in is fixed: tokens enter the first coordinates of the residual stream as they are.
    """

    W_E: Tensor
    b_E: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        free, shape = config.read_out == "free", (config.d_token, config.d_model)
        self.biased = config.bias_read_in
        add_weight(self, "W_E", shape, learned=free, value=None if free else torch.eye(*shape))
        add_weight(self, "b_E", (config.d_model,), learned=self.biased)

    def forward(self, tokens: Float[Tensor, "batch pos d_token"]) -> Float[Tensor, "batch pos d_model"]:
        return F.linear(tokens, self.W_E.T, self.b_E if self.biased else None)


class PosEmbed(nn.Module):
    """Learned absolute positions."""

    W_pos: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        add_weight(self, "W_pos", (config.n_ctx, config.d_model), learned=True)

    def forward(self, tokens: Float[Tensor, "batch pos d_token"]) -> Float[Tensor, "batch pos d_model"]:
        batch, pos, _ = tokens.shape
        return self.W_pos[:pos].expand(batch, -1, -1)


class Unembed(nn.Module):
    """The linear read-out, in the place of an unembedding.

    A pinned read-out is fixed: the coordinate of the residual stream that labels enter by.
    """

    W_U: Tensor
    b_U: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        free = config.read_out == "free"
        self.biased = config.bias_read_out
        label = None if free else F.one_hot(torch.tensor([config.label_coordinate]), config.d_model).T.float()
        add_weight(self, "W_U", (config.d_model, config.d_out), learned=free, value=label)
        add_weight(self, "b_U", (config.d_out,), learned=self.biased)
        self.hook_in = HookPoint()
        self.hook_out = HookPoint()

    def forward(self, normed: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_out"]:
        return self.hook_out(F.linear(self.hook_in(normed), self.W_U.T, self.b_U if self.biased else None))
