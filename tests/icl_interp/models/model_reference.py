"""The softmax family written out slowly, head by head and key by key, from a model's config and named parameters."""

import math

import torch
from torch import Tensor

from icl_interp import HookedICLTransformer


def _norm(resid: Tensor, weights: dict[str, Tensor], name: str, kind: str | None, eps: float) -> Tensor:
    if kind is None:
        return resid
    centred = resid - resid.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()
    return normed * weights[f"{name}.w"] + weights[f"{name}.b"] if kind == "LN" else normed


def _visible(query: int, n_pos: int, attention: str, mask_query: bool) -> list[int]:
    keys = range(query + 1) if attention == "causal" else range(n_pos)
    return [key for key in keys if not (mask_query and key == n_pos - 1)]


def _attention(normed: Tensor, weights: dict[str, Tensor], name: str, model: HookedICLTransformer) -> Tensor:
    cfg, zero = model.cfg, torch.zeros((), dtype=normed.dtype)
    out = torch.zeros_like(normed)
    for head in range(cfg.n_heads):
        biases = [weights[f"{name}.b_{part}"][head] if f"{name}.b_Q" in weights else zero for part in "QKV"]
        q, k, v = (normed @ weights[f"{name}.W_{part}"][head] + bias for part, bias in zip("QKV", biases, strict=True))
        for i in range(normed.shape[1]):
            keys = _visible(i, normed.shape[1], cfg.attention, cfg.mask_query)
            weight = [(q[:, i] * k[:, j]).sum(-1, keepdim=True).div(math.sqrt(q.shape[-1])).exp() for j in keys]
            z = sum((w * v[:, j] for w, j in zip(weight, keys, strict=True)), torch.zeros_like(v[:, 0]))
            z = z / sum(weight, zero) if keys else z
            columns = slice(head * cfg.head_width, (head + 1) * cfg.head_width)
            if cfg.attn_out_proj:
                out[:, i] += z @ weights[f"{name}.W_O"][head]
            else:
                out[:, i, columns] += z
    return out + weights.get(f"{name}.b_O", zero)


def _mlp(normed: Tensor, weights: dict[str, Tensor], name: str, act_fn: str) -> Tensor:
    zero = torch.zeros((), dtype=normed.dtype)
    pre = normed @ weights[f"{name}.W_in"] + weights.get(f"{name}.b_in", zero)
    cubic = math.sqrt(2 / math.pi) * (pre + 0.044715 * pre**3)
    post = {
        "relu": pre.clamp(min=0),
        "gelu": pre * 0.5 * (1 + torch.erf(pre / math.sqrt(2))),
        "gelu_new": pre * 0.5 * (1 + torch.tanh(cubic)),
    }[act_fn]
    return post @ weights[f"{name}.W_out"] + weights.get(f"{name}.b_out", zero)


def slow_outputs(model: HookedICLTransformer, tokens: Tensor) -> Tensor:
    """The read-out at every position, in float64."""
    cfg, tokens = model.cfg, tokens.double()
    weights = {name: weight.detach().double() for name, weight in model.named_parameters()}
    if cfg.read_out == "pinned":
        resid = torch.nn.functional.pad(tokens, (0, cfg.d_model - tokens.shape[2]))
    else:
        resid = tokens @ weights["embed.W_E"] + weights.get("embed.b_E", torch.zeros(1))
    if cfg.positional_embedding_type == "standard":
        resid = resid + weights["pos_embed.W_pos"][: tokens.shape[1]]
    kind = cfg.normalization_type
    for layer in range(cfg.n_layers):
        block = f"blocks.{layer}"
        before = resid
        resid = resid + _attention(
            _norm(resid, weights, f"{block}.ln1", kind, cfg.eps), weights, f"{block}.attn", model
        )
        if not cfg.attn_only:
            normed = _norm(resid, weights, f"{block}.ln2", kind, cfg.eps)
            resid = resid + _mlp(normed, weights, f"{block}.mlp", cfg.act_fn)
        resid = resid + before if cfg.doubled_residual else resid
    resid = _norm(resid, weights, "ln_final", kind if cfg.final_norm else None, cfg.eps)
    if cfg.read_out == "pinned":
        label = cfg.n_dims if cfg.tokens == "joint" else 0
        return resid[..., label : label + 1]
    return resid @ weights["unembed.W_U"] + weights.get("unembed.b_U", torch.zeros(1))
