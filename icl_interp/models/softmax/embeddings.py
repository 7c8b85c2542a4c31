"""The two ends of the softmax family: read-in and positions, and read-out."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from icl_interp.models.config import ModelConfig
from icl_interp.models.softmax.attention import add_weight

__all__ = ["Embed", "PosEmbed", "Unembed"]


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
        """Read tokens into the residual stream."""
        return F.linear(tokens, self.W_E.T, self.b_E if self.biased else None)


class PosEmbed(nn.Module):
    """Learned absolute positions."""

    W_pos: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        add_weight(self, "W_pos", (config.n_ctx, config.d_model), learned=True)

    def forward(self, tokens: Float[Tensor, "batch pos d_token"]) -> Float[Tensor, "batch pos d_model"]:
        """Look up the positions of a batch."""
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
        """Read predictions out of the residual stream."""
        return self.hook_out(F.linear(self.hook_in(normed), self.W_U.T, self.b_U if self.biased else None))
