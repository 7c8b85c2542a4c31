"""The softmax family: a GPT-2 decoder over interleaved (x, y) tokens, hook for hook a HookedTransformer."""

from collections.abc import Sequence

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

__all__ = ["HookedICLTransformer", "build_model"]


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
        super().__init__()
        self.cfg = config
        self.embed = Embed(config)
        self.hook_embed = HookPoint()  # [batch pos d_model]
        self.pos_embed = PosEmbed(config)
        self.hook_pos_embed = HookPoint()  # [batch pos d_model]
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layers)])
        self.ln_final = FinalNorm(config)
        self.unembed = Unembed(config)
        initialise(self, config, seed=seed)
        self.setup()

    def forward(
        self,
        xs: Float[Tensor, "batch point dim"],
        ys: Float[Tensor, "batch point"],
        *,
        points: Sequence[int] | None = None,
    ) -> Float[Tensor, "batch asked"]:
        """Predict each label from its input and the pairs before it.

        Args:
            xs: Inputs.
            ys: Labels; entry k is never read by prediction k.
            points: Which entries to return, counting from the end if negative; None means all.

        Returns:
            Predictions of ys, in the same units, one column for each entry of `points`.

        Raises:
            ValueError: If the inputs have the wrong width, or more points than the position table has rows for, or
                an entry of `points` does not exist.
        """
        _check_inputs(self.cfg, xs, ys)
        predictions = self.forward_tokens(interleave(xs, ys))[:, 0::2, 0]
        return predictions if points is None else predictions[:, _check_points(points, xs.shape[1])]

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


def build_model(config: ModelConfig, *, seed: int) -> HookedICLTransformer:
    """Build a model with fresh weights.

    Args:
        config: Shape and initialisation.
        seed: Seed of the first weights; the global generator is untouched.

    Returns:
        A model in evaluation mode (these models have no dropout).

    Example:
        >>> config = ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8)
        >>> a, b = build_model(config, seed=1), build_model(config, seed=1)
        >>> torch.testing.assert_close(a.pos_embed.W_pos, b.pos_embed.W_pos, rtol=0, atol=0)
    """
    return HookedICLTransformer(config, seed=seed).eval()


def _check_inputs(config: ModelConfig, xs: Tensor, ys: Tensor) -> None:
    if xs.ndim != 3 or ys.ndim != 2 or xs.shape[:2] != ys.shape:
        raise ValueError(
            f"the model needs xs [batch point dim] and ys [batch point], got shapes {tuple(xs.shape)} and "
            f"{tuple(ys.shape)}; pass prompts.xs and prompts.ys."
        )
    if xs.shape[2] != config.n_dims:
        raise ValueError(
            f"this model reads inputs of {config.n_dims} dimensions, got {xs.shape[2]}; sample from a task with "
            f"n_dims={config.n_dims}."
        )
    if xs.shape[1] > config.n_points:
        raise ValueError(
            f"this model has positions for {config.n_points} points, got {xs.shape[1]}; pass fewer points."
        )


def _check_tokens(config: ModelConfig, tokens: Tensor) -> None:
    if tokens.ndim != 3 or tokens.shape[2] != config.n_dims or tokens.shape[1] > config.n_ctx:
        raise ValueError(
            f"forward_tokens needs [batch pos {config.n_dims}] with at most {config.n_ctx} positions, got shape "
            f"{tuple(tokens.shape)}."
        )


def _check_points(points: Sequence[int], n_points: int) -> list[int]:
    wrong = [p for p in points if not -n_points <= p < n_points]
    if wrong:
        raise ValueError(f"points needs entries from {-n_points} to {n_points - 1}, got {wrong[0]}.")
    return list(points)
