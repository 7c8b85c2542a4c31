"""The softmax family: a GPT-2 decoder over interleaved (x, y) tokens, hook for hook a HookedTransformer."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from icl_interp.models.components import Block, FinalNorm
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.models.initialise import initialise
from icl_interp.models.layout import interleave

__all__ = ["HookedICLTransformer"]


class Embed(nn.Module):
    """The linear read-in of float tokens, in the place of a token embedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.W_E = nn.Parameter(torch.empty(config.n_dims, config.d_model))
        self.b_E = nn.Parameter(torch.zeros(config.d_model))

    def forward(self, tokens: Float[Tensor, "batch pos d_token"]) -> Float[Tensor, "batch pos d_model"]:
        """Read tokens into the residual stream.

        Args:
            tokens: Raw read-in inputs.

        Returns:
            One residual vector a position.
        """
        return F.linear(tokens, self.W_E.T, self.b_E)


class PosEmbed(nn.Module):
    """Learned absolute positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.W_pos = nn.Parameter(torch.empty(config.n_ctx, config.d_model))

    def forward(self, tokens: Float[Tensor, "batch pos d_token"]) -> Float[Tensor, "batch pos d_model"]:
        """Look up the positions of a batch.

        Args:
            tokens: Only their number is read.

        Returns:
            The table's first rows, the same for each prompt.
        """
        batch, pos, _ = tokens.shape
        return self.W_pos[:pos].expand(batch, -1, -1)


class Unembed(nn.Module):
    """The linear read-out, in the place of an unembedding."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.W_U = nn.Parameter(torch.empty(config.d_model, 1))
        self.b_U = nn.Parameter(torch.zeros(1))

    def forward(self, normed: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_out"]:
        """Read predictions out of the normalised residual stream.

        Args:
            normed: Output of the final norm.

        Returns:
            One channel a position.
        """
        return F.linear(normed, self.W_U.T, self.b_U)


class HookedICLTransformer(HookedModel):
    """A GPT-2 decoder that learns regression in its context, with HookedTransformer's hook and weight names.

    TransformerLens 4.0 removed the class HookedTransformer; what it keeps for one's own modules is HookedRootModule
    with HookPoints, and that is the base here. Where a HookedTransformer reads integer tokens, this model reads
    (xs, ys): `embed.W_E` is the linear read-in, `unembed.W_U` the linear read-out.

    Attention runs fused unless `hook_attn_scores` or `hook_pattern` is hooked, so a hooked forward pass costs what a
    plain one costs.

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

    def __init__(self, config: ModelConfig, *, seed: int = 0) -> None:
        super().__init__(config)
        self.embed = Embed(config)
        self.hook_embed = HookPoint()  # [batch pos d_model]
        self.pos_embed = PosEmbed(config)
        self.hook_pos_embed = HookPoint()  # [batch pos d_model]
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layers)])
        self.ln_final = FinalNorm(config)
        self.unembed = Unembed(config)
        initialise(self, config, seed=seed)
        self.setup()

    def _predict_all(self, xs: Tensor, ys: Tensor) -> Tensor:
        return self.forward_tokens(interleave(xs, ys))[:, 0::2, 0]

    def forward_tokens(self, tokens: Float[Tensor, "batch pos d_token"]) -> Float[Tensor, "batch pos d_out"]:
        """Run on raw read-in inputs, for models whose pair layout is unknown.

        Args:
            tokens: One vector a position, as the read-in takes them.

        Returns:
            The read-out at every position.

        Raises:
            ValueError: If there are more positions than the table has rows for, or the width is wrong.
        """
        _check_tokens(self.cfg, tokens)
        tokens = tokens.to(self.embed.W_E)
        resid = self.hook_embed(self.embed(tokens)) + self.hook_pos_embed(self.pos_embed(tokens))
        for block in self.blocks:
            resid = block(resid)
        return self.unembed(self.ln_final(resid))

    def __repr__(self) -> str:
        return f"HookedICLTransformer({self.cfg.describe()}, {self.n_params:,} parameters)"


def _check_tokens(config: ModelConfig, tokens: Tensor) -> None:
    if tokens.ndim != 3 or tokens.shape[2] != config.n_dims or tokens.shape[1] > config.n_ctx:
        raise ValueError(
            f"forward_tokens needs [batch pos {config.n_dims}] with at most {config.n_ctx} positions, got shape "
            f"{tuple(tokens.shape)}."
        )
