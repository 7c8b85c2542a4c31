"""The configuration of a model: everything that its shape and its first weights depend on."""

from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["ModelConfig"]


class ModelConfig(BaseModel):
    """Shape and initialisation of a model, with the field names of TransformerLens' configs where it has them.

    Args:
        family: "gpt2": a GPT-2 decoder over interleaved tokens x1, y1, x2, y2, ...
        n_dims: Coordinates of each input x; also the width of a token, since y enters in coordinate 0.
        n_points: Longest prompt, in (x, y) pairs, that the position table has rows for.
        n_layers: Number of blocks.
        n_heads: Attention heads a block.
        d_model: Width of the residual stream.
        d_head: Width of a head; None means d_model / n_heads.
        d_mlp: Hidden width of the MLP; None means 4 * d_model.
        act_fn: "gelu_new" (GPT-2's tanh form), "gelu" (exact) or "relu".
        eps: Added to the variance in LayerNorm.
        init: "dtsip": GPT-2's initialisation inside, torch's Linear initialisation for read-in and read-out, as
            dtsip/in-context-learning builds it; "gpt2": GPT-2's initialisation throughout.

    Raises:
        ValueError: If a size is below 1, d_model is not a multiple of n_heads while d_head is None, or a name is
            unknown.

    Source:
        Garg et al. (2022), appendix A; the defaults are those of Hugging Face's GPT-2 as that work uses it.

    Example:
        >>> config = ModelConfig(n_dims=5, n_points=11, n_layers=3, n_heads=2, d_model=64)
        >>> config.n_ctx, config.head_width, config.mlp_width
        (22, 32, 256)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    family: Literal["gpt2"] = "gpt2"
    n_dims: int = Field(ge=1)
    n_points: int = Field(ge=1)
    n_layers: int = Field(ge=1)
    n_heads: int = Field(ge=1)
    d_model: int = Field(ge=1)
    d_head: int | None = Field(default=None, ge=1)
    d_mlp: int | None = Field(default=None, ge=1)
    act_fn: Literal["gelu_new", "gelu", "relu"] = "gelu_new"
    eps: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    init: Literal["dtsip", "gpt2"] = "dtsip"

    @model_validator(mode="after")
    def _check_heads(self) -> "ModelConfig":
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(
                f"ModelConfig needs d_model to be a multiple of n_heads, got {self.d_model} and {self.n_heads}; "
                "change one of them or set d_head."
            )
        return self

    @property
    def n_ctx(self) -> int:
        """Rows of the position table: two positions a point."""
        return 2 * self.n_points

    @property
    def head_width(self) -> int:
        """Width of a head, resolved."""
        return self.d_head if self.d_head is not None else self.d_model // self.n_heads

    @property
    def mlp_width(self) -> int:
        """Hidden width of the MLP, resolved."""
        return self.d_mlp if self.d_mlp is not None else 4 * self.d_model

    def describe(self) -> str:
        """Say in one clause which network this is.

        Returns:
            A clause without full stop.
        """
        layers = "1 layer" if self.n_layers == 1 else f"{self.n_layers} layers"
        heads = "1 head" if self.n_heads == 1 else f"{self.n_heads} heads"
        return f"GPT-2 decoder, {layers}, {heads}, width {self.d_model}, inputs of {self.n_dims} dimensions"

    # What ActivationCache reads from a TransformerLens config.
    @property
    def attn_only(self) -> bool:
        """Whether the blocks lack an MLP: never in this family."""
        return False

    @property
    def normalization_type(self) -> str:
        """LayerNorm with learned scale and shift."""
        return "LN"

    @property
    def positional_embedding_type(self) -> str:
        """Learned absolute positions."""
        return "standard"

    @property
    def use_attn_result(self) -> bool:
        """Whether each head's result is materialised: never, since it can be had from z and W_O."""
        return False

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that models are built in."""
        return torch.float32
