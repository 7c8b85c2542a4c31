"""The parts of a linear block: attention without softmax, an MLP without activation, HookedTransformer's names."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import is_hooked
from icl_interp.models.shapes import block_shapes

HOOK_MEANINGS = {
    "hook_embed": ("batch pos d_model", "the token matrix: one [x; y] a pair, the query [x; 0] last"),
    "hook_resid_pre": ("batch pos d_model", "tokens as the block reads them"),
    "attn.hook_q": ("batch pos head d_head", "queries"),
    "attn.hook_k": ("batch pos head d_head", "keys; mask_query masks out that of the last token, the query"),
    "attn.hook_v": ("batch pos head d_v", "values; mask_query masks out that of the last token"),
    "attn.hook_attn_scores": ("batch head query_pos key_pos", "q . k, 0 where the key is masked out"),
    "attn.hook_pattern": ("batch head query_pos key_pos", "scores / normaliser; no softmax, rows do not sum to 1"),
    "attn.hook_z": ("batch pos head d_v", "values weighted by the pattern"),
    "hook_attn_out": ("batch pos d_model", "what attention writes"),
    "hook_resid_mid": ("batch pos d_model", "tokens after attention, which the MLP reads"),
    "mlp.hook_pre": ("batch pos d_mlp", "hidden units"),
    "mlp.hook_post": ("batch pos d_mlp", "the same: there is no activation function"),
    "hook_mlp_out": ("batch pos d_model", "what the MLP writes"),
    "hook_resid_post": ("batch pos d_model", "tokens after the block; the last one holds the answer"),
}
"""By the end of a hook's name: its axes, and what it holds."""


def context_divisor(config: ModelConfig, n_pairs: int) -> int:
    """Give what linear attention divides by."""
    if config.normalise == "mean":
        return max(n_pairs, 1)
    if config.normalise == "tokens":
        return n_pairs + 1
    return config.normalise_by or 1


class _Borrower(nn.Module):
    """A module that owns its weights, or reads those of a lender, which then appear once in the model."""

    def __init__(self, part: str, config: ModelConfig, lender: nn.Module | None) -> None:
        super().__init__()
        names = {name.removeprefix(part): shape for name, shape in block_shapes(config).items() if part in name}
        self.__dict__["_lent"] = (lender, frozenset(names))  # no submodule: the state dict has no tied copies
        if lender is None:
            for name, shape in names.items():
                setattr(self, name, nn.Parameter(torch.empty(shape)))

    def __getattr__(self, name: str) -> Any:
        lender, names = self.__dict__.get("_lent", (None, ()))
        return getattr(lender, name) if lender is not None and name in names else super().__getattr__(name)


class LinearAttention(_Borrower):
    """Attention without softmax, in as few products as its hooks leave.

    `mask_query` keeps the last token, the query, out of keys and values. The positions x positions pattern is there
    only while scores or pattern are hooked; while nothing inside is, all tokens are multiplied by one matrix.
    """

    def __init__(self, config: ModelConfig, *, lender: "LinearAttention | None" = None) -> None:
        super().__init__("attn.", config, lender)
        self.config = config
        self.hook_q = HookPoint()  # [batch pos head d_head]
        self.hook_k = HookPoint()
        self.hook_v = HookPoint()  # [batch pos head d_v]
        self.hook_attn_scores = HookPoint()  # [batch head query_pos key_pos]
        self.hook_pattern = HookPoint()  # [batch head query_pos key_pos]
        self.hook_z = HookPoint()  # [batch pos head d_v]

    @property
    def query_key(self) -> Float[Tensor, "head d_model d_model"]:
        """A_h = W_Q W_K^T."""
        return self.W_Q @ self.W_K.mT

    @property
    def value_out(self) -> Float[Tensor, "head d_model d_model"]:
        """B_h = W_V W_O."""
        return self.W_V @ self.W_O

    def update(self, moments: Float[Tensor, "*batch d_model d_model"]) -> Float[Tensor, "*batch d_model d_model"]:
        """Give the matrix that attention multiplies every token by."""
        # Head after head, so that the memory stays at one matrix per prompt.
        query_key, value_out = self.query_key, self.value_out
        written = query_key[0] @ moments @ value_out[0]
        for head in range(1, len(query_key)):
            written = written + query_key[head] @ moments @ value_out[head]
        return written

    def forward(self, tokens: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        openly = is_hooked(self.hook_attn_scores, self.hook_pattern)
        if not openly and not is_hooked(self.hook_q, self.hook_k, self.hook_v, self.hook_z):
            context = self._context(tokens)
            return tokens @ self.update(context.mT @ context / context_divisor(self.config, tokens.shape[1] - 1))
        q = self.hook_q(torch.einsum("bpm,hmc->bphc", tokens, self.W_Q))
        k = self.hook_k(torch.einsum("bpm,hmc->bphc", tokens, self.W_K))
        v = self.hook_v(torch.einsum("bpm,hmc->bphc", tokens, self.W_V))
        z = self.hook_z(self._attend_openly(q, k, v) if openly else self._attend_by_moments(q, k, v))
        return torch.einsum("bphc,hcm->bpm", z, self.W_O)

    def _context(self, tokens: Tensor) -> Tensor:
        return tokens[:, :-1] if self.config.mask_query else tokens

    def _attend_by_moments(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        moments = torch.einsum("bphc,bphe->bhce", self._context(k), self._context(v))
        return torch.einsum("bphc,bhce->bphe", q, moments / context_divisor(self.config, k.shape[1] - 1))

    def _attend_openly(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = torch.einsum("bihc,bjhc->bhij", q, k)
        unmasked = torch.arange(k.shape[1], device=k.device) < k.shape[1] - int(self.config.mask_query)
        scores = self.hook_attn_scores(torch.where(unmasked, scores, 0.0))
        pattern = self.hook_pattern(scores / context_divisor(self.config, k.shape[1] - 1))
        return torch.einsum("bhij,bjhc->bihc", pattern, v)


class LinearMLP(_Borrower):
    """Two linear maps in a row."""

    def __init__(self, config: ModelConfig, *, lender: "LinearMLP | None" = None) -> None:
        super().__init__("mlp.", config, lender)
        self.hook_pre = HookPoint()  # [batch pos d_mlp]
        self.hook_post = HookPoint()  # [batch pos d_mlp]

    def forward(self, tokens: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        if not is_hooked(self.hook_pre, self.hook_post):
            return tokens @ (self.W_in @ self.W_out)
        return self.hook_post(self.hook_pre(tokens @ self.W_in)) @ self.W_out


class LinearBlock(nn.Module):
    """Linear attention with a skip around it and, in "ltb", a linear MLP without one."""

    def __init__(self, config: ModelConfig, *, lender: "LinearBlock | None" = None) -> None:
        super().__init__()
        self.skip = config.attn_skip
        self.hook_resid_pre = HookPoint()  # [batch pos d_model], as the four below
        self.attn: LinearAttention = LinearAttention(config, lender=None if lender is None else lender.attn)
        self.hook_attn_out = HookPoint()
        if not config.attn_only:
            self.hook_resid_mid = HookPoint()
            self.mlp: LinearMLP = LinearMLP(config, lender=None if lender is None else lender.mlp)
            self.hook_mlp_out = HookPoint()
        self.hook_resid_post = HookPoint()

    def forward(self, tokens: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        tokens = self.hook_resid_pre(tokens)
        written = self.hook_attn_out(self.attn(tokens))
        tokens = tokens + written if self.skip else written
        if hasattr(self, "mlp"):
            tokens = self.hook_mlp_out(self.mlp(self.hook_resid_mid(tokens)))
        return self.hook_resid_post(tokens)
