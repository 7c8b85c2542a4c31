"""The parts of a block, with HookedTransformer's hook and weight names, fused wherever nobody listens."""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import is_hooked

__all__ = ["MLP", "Attention", "Block", "FinalNorm", "LayerNorm"]

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu_new": partial(F.gelu, approximate="tanh"),  # no lambda: models can be pickled
    "gelu": F.gelu,
    "relu": F.relu,
}


class LayerNorm(nn.Module):
    """LayerNorm whose `hook_normalized` comes before scale and shift, as HookedTransformer has it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.w = nn.Parameter(torch.ones(config.d_model))
        self.b = nn.Parameter(torch.zeros(config.d_model))
        self.hook_scale = HookPoint()  # [batch pos 1]
        self.hook_normalized = HookPoint()  # [batch pos d_model]

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Normalise each position.

        Args:
            resid: The residual stream.

        Returns:
            Mean 0 and variance 1 at each position, times w plus b.
        """
        if not is_hooked(self.hook_scale, self.hook_normalized):
            return F.layer_norm(resid, (len(self.w),), self.w, self.b, self.eps)
        centred = resid - resid.mean(-1, keepdim=True)
        scale = self.hook_scale((centred.pow(2).mean(-1, keepdim=True) + self.eps).sqrt())
        return self.hook_normalized(centred / scale) * self.w + self.b


class FinalNorm(LayerNorm):
    """The last LayerNorm; `hook_out` is what the read-out reads (TransformerBridge's name for it)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.hook_out = HookPoint()  # [batch pos d_model]

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Normalise each position.

        Args:
            resid: The residual stream after the last block.

        Returns:
            The read-out's input.
        """
        return self.hook_out(super().forward(resid))


class Attention(nn.Module):
    """Causal softmax attention; fused unless scores or pattern are hooked."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        heads, d_model, d_head = config.n_heads, config.d_model, config.head_width
        self.W_Q = nn.Parameter(torch.empty(heads, d_model, d_head))
        self.W_K = nn.Parameter(torch.empty(heads, d_model, d_head))
        self.W_V = nn.Parameter(torch.empty(heads, d_model, d_head))
        self.W_O = nn.Parameter(torch.empty(heads, d_head, d_model))
        self.b_Q = nn.Parameter(torch.zeros(heads, d_head))
        self.b_K = nn.Parameter(torch.zeros(heads, d_head))
        self.b_V = nn.Parameter(torch.zeros(heads, d_head))
        self.b_O = nn.Parameter(torch.zeros(d_model))
        self.hook_q = HookPoint()  # [batch pos head d_head]
        self.hook_k = HookPoint()
        self.hook_v = HookPoint()
        self.hook_attn_scores = HookPoint()  # [batch head query_pos key_pos]
        self.hook_pattern = HookPoint()  # [batch head query_pos key_pos]
        self.hook_z = HookPoint()  # [batch pos head d_head]

    def forward(self, normed: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Attend to this and earlier positions.

        Args:
            normed: The block's normalised input.

        Returns:
            What attention adds to the residual stream.
        """
        q, k, v = self._project(normed)
        q, k, v = self.hook_q(q), self.hook_k(k), self.hook_v(v)
        listened = is_hooked(self.hook_attn_scores, self.hook_pattern)
        z = self.hook_z(self._attend_openly(q, k, v) if listened else self._attend_fused(q, k, v))
        return F.linear(rearrange(z, "b p h c -> b p (h c)"), rearrange(self.W_O, "h c m -> m (h c)"), self.b_O)

    def _project(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # One product for all three: separate parameters keep HookedTransformer's names, fusing keeps the speed.
        weight = rearrange(torch.cat([self.W_Q, self.W_K, self.W_V]), "h m c -> (h c) m")
        bias = torch.cat([self.b_Q, self.b_K, self.b_V]).flatten()
        n_heads = self.W_Q.shape[0]
        qkv = rearrange(F.linear(normed, weight, bias), "b p (h c) -> b p h c", h=3 * n_heads)
        q, k, v = qkv.split(n_heads, dim=2)
        return q, k, v

    def _attend_fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (rearrange(t, "b p h c -> b h p c") for t in (q, k, v))
        return rearrange(F.scaled_dot_product_attention(q, k, v, is_causal=True), "b h p c -> b p h c")

    def _attend_openly(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = einsum(q, k, "b i h c, b j h c -> b h i j") / math.sqrt(q.shape[-1])
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = self.hook_attn_scores(scores.masked_fill(later, -torch.inf))
        pattern = self.hook_pattern(scores.softmax(-1))
        return einsum(pattern, v, "b h i j, b j h c -> b i h c")


class MLP(nn.Module):
    """Two linear maps with a pointwise nonlinearity between them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = _ACTIVATIONS[config.act_fn]
        self.W_in = nn.Parameter(torch.empty(config.d_model, config.mlp_width))
        self.b_in = nn.Parameter(torch.zeros(config.mlp_width))
        self.W_out = nn.Parameter(torch.empty(config.mlp_width, config.d_model))
        self.b_out = nn.Parameter(torch.zeros(config.d_model))
        self.hook_pre = HookPoint()  # [batch pos d_mlp]
        self.hook_post = HookPoint()  # [batch pos d_mlp]

    def forward(self, normed: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Transform each position by itself.

        Args:
            normed: The normalised residual stream.

        Returns:
            What the MLP adds to the residual stream.
        """
        pre = self.hook_pre(F.linear(normed, self.W_in.T, self.b_in))
        return F.linear(self.hook_post(self.activation(pre)), self.W_out.T, self.b_out)


class Block(nn.Module):
    """One pre-norm transformer block."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.ln1 = LayerNorm(config)
        self.attn = Attention(config)
        self.ln2 = LayerNorm(config)
        self.mlp = MLP(config)
        self.hook_resid_pre = HookPoint()  # [batch pos d_model], as the five below
        self.hook_attn_out = HookPoint()
        self.hook_resid_mid = HookPoint()
        self.hook_mlp_out = HookPoint()
        self.hook_resid_post = HookPoint()

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Add attention, then the MLP, to the residual stream.

        Args:
            resid: The residual stream before the block.

        Returns:
            The residual stream after it.
        """
        resid = self.hook_resid_pre(resid)
        resid = self.hook_resid_mid(resid + self.hook_attn_out(self.attn(self.ln1(resid))))
        return self.hook_resid_post(resid + self.hook_mlp_out(self.mlp(self.ln2(resid))))
