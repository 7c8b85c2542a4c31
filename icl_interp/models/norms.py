"""Normalisation of the residual stream, with HookedTransformer's hook names."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens.hook_points import HookPoint

from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import is_hooked
from icl_interp.models.weights import add_weight

__all__ = ["FinalNorm", "LayerNorm", "WithoutFinalNorm", "block_norm", "final_norm"]


class LayerNorm(nn.Module):
    """LayerNorm whose `hook_normalized` comes before scale and shift, as HookedTransformer has it.

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
        """Normalise each position.

        Args:
            resid: The residual stream.

        Returns:
            Mean 0 and variance 1 at each position, times w plus b.
        """
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
        """Normalise each position.

        Args:
            resid: The residual stream after the last block.

        Returns:
            The read-out's input.
        """
        return self.hook_out(super().forward(resid))


class WithoutFinalNorm(nn.Module):
    """Nothing, in the place of the last norm: `hook_out` is still what the read-out reads."""

    def __init__(self) -> None:
        super().__init__()
        self.hook_out = HookPoint()

    def forward(self, resid: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "batch pos d_model"]:
        """Pass the residual stream on.

        Args:
            resid: The residual stream after the last block.

        Returns:
            The same.
        """
        return self.hook_out(resid)


def block_norm(config: ModelConfig) -> nn.Module:
    """Make the norm that a sublayer reads through.

    Args:
        config: Of the model.

    Returns:
        A LayerNorm, or the identity where the model has no norms.
    """
    return nn.Identity() if config.normalization_type is None else LayerNorm(config)


def final_norm(config: ModelConfig) -> nn.Module:
    """Make the norm that the read-out reads through.

    Args:
        config: Of the model.

    Returns:
        A LayerNorm or the identity, with `hook_out` in any case.
    """
    return FinalNorm(config) if config.final_norm else WithoutFinalNorm()
