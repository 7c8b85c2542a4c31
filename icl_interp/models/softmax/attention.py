"""Softmax attention with HookedTransformer's hook and weight names, fused unless somebody listens inside."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import is_hooked


def add_weight(
    module: nn.Module, name: str, shape: tuple[int, ...], *, learned: bool, value: Tensor | None = None
) -> None:
    """Give a module a parameter, or a fixed tensor under the same name.

    A fixed tensor is no parameter, is not saved, and moves with its module; TransformerLens' cache methods and
    whoever converts the model read it as they would read a parameter.
    """
    start = torch.zeros(shape) if value is None else value
    if learned:
        module.register_parameter(name, nn.Parameter(start))
    else:
        module.register_buffer(name, start, persistent=False)


def _split_identity(n_heads: int, d_head: int) -> Float[Tensor, "head d_head d_model"]:
    """Give the output projection that lays heads side by side."""
    return torch.eye(n_heads * d_head).unflatten(0, (n_heads, d_head))


class Attention(nn.Module):
    """Softmax attention; fused unless scores or pattern are hooked, or `plain_attention` is on."""

    W_Q: Tensor
    W_K: Tensor
    W_V: Tensor
    W_O: Tensor
    b_Q: Tensor
    b_K: Tensor
    b_V: Tensor
    b_O: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        heads, d_model, d_head = config.n_heads, config.d_model, config.head_width
        self.causal = config.attention == "causal"
        self.mask_query = config.mask_query
        self.projects, self.bias_qkv, self.bias_out = config.attn_out_proj, config.bias_qkv, config.bias_attn_out
        self.fused = True
        for name in ("W_Q", "W_K", "W_V"):
            add_weight(self, name, (heads, d_model, d_head), learned=True)
        identity = None if self.projects else _split_identity(heads, d_head)
        add_weight(self, "W_O", (heads, d_head, d_model), learned=self.projects, value=identity)
        for name in ("b_Q", "b_K", "b_V"):
            add_weight(self, name, (heads, d_head), learned=self.bias_qkv)
        add_weight(self, "b_O", (d_model,), learned=self.bias_out)
        self.hook_q = HookPoint()
        self.hook_k = HookPoint()
        self.hook_v = HookPoint()
        self.hook_attn_scores = HookPoint()
        self.hook_pattern = HookPoint()
        self.hook_z = HookPoint()

    def forward(
        self, normed: Float[Tensor, "batch pos d_model"], *, keep: slice | None = None
    ) -> Float[Tensor, "batch kept d_model"]:
        q, k, v = self._project(normed)
        q, k, v = self.hook_q(q), self.hook_k(k), self.hook_v(v)
        fused = self.fused and not is_hooked(self.hook_attn_scores, self.hook_pattern)
        z = self.hook_z(self._attend_fused(q, k, v) if fused else self._attend_openly(q, k, v)).flatten(2)
        if keep is not None:
            z = z[:, keep]
        if not self.projects:
            return z
        return F.linear(z, self.W_O.flatten(0, 1).T, self.b_O if self.bias_out else None)

    # Axes are moved by torch's own methods below: this runs for every block of every pass.
    def _project(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # One product for all three: separate parameters keep HookedTransformer's names, fusing keeps the speed.
        weight = torch.cat([self.W_Q.mT, self.W_K.mT, self.W_V.mT])  # [3 heads, d_head, d_model]
        bias = torch.cat([self.b_Q, self.b_K, self.b_V]).flatten() if self.bias_qkv else None
        qkv = F.linear(normed, weight.flatten(0, 1), bias).unflatten(-1, weight.shape[:2])
        q, k, v = qkv.chunk(3, dim=2)
        return q, k, v

    def _attend_fused(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if self.mask_query:
            if q.shape[1] == 1:  # a query without context attends to nothing
                return torch.zeros_like(v)
            k, v = k[:, :-1], v[:, :-1]
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal).transpose(1, 2)

    def _attend_openly(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        scores = q @ k.mT / math.sqrt(q.shape[-1])
        hidden = self._hidden(q.shape[2], q.device)
        if hidden is not None:
            scores = scores.masked_fill(hidden, -torch.inf)
        scores = self.hook_attn_scores(scores)
        # A query without context attends to nothing, where a softmax over nothing is NaN.
        nothing = self.mask_query and q.shape[2] == 1
        pattern = self.hook_pattern(torch.zeros_like(scores) if nothing else scores.softmax(-1))
        return (pattern @ v).transpose(1, 2)

    def _hidden(self, pos: int, device: torch.device) -> Tensor | None:
        # Which keys (columns) each position must not see.
        hidden = torch.ones(pos, pos, dtype=torch.bool, device=device).triu(1) if self.causal else None
        if self.mask_query:
            query = torch.arange(pos, device=device) == pos - 1
            hidden = query.expand(pos, pos) if hidden is None else hidden | query
        return hidden


@contextmanager
def plain_attention(model: nn.Module) -> Iterator[None]:
    """Keep a model off the fused attention kernel inside a `with` block.

    The kernel has no batching rule, so that `torch.func.vmap` over it runs element by element and warns; the plain
    path is one batched product. Results agree to rounding.

    Args:
        model: Anything with softmax attention of ours; other modules are left alone.

    Example:
        >>> from icl_interp.models.build import build_model
        >>> config = ModelConfig(n_dims=2, n_points=3, n_layers=1, n_heads=1, d_model=4)
        >>> models = [build_model(config, seed=seed) for seed in range(3)]
        >>> weights, fixed = torch.func.stack_module_state(models)
        >>> def answer(weights, fixed):
        ...     return torch.func.functional_call(models[0], (weights, fixed), (torch.ones(1, 3, 2), torch.ones(1, 3)))
        >>> with plain_attention(models[0]):
        ...     torch.vmap(answer)(weights, fixed).shape
        torch.Size([3, 1, 3])
    """
    switched = [module for module in model.modules() if isinstance(module, Attention) and module.fused]
    try:
        for module in switched:
            module.fused = False
        yield
    finally:
        for module in switched:
            module.fused = True
