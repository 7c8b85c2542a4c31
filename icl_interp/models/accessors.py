"""A model's weights with a leading layer axis, under HookedTransformer's names."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformer_lens import FactoredMatrix

from icl_interp.errors import InputError
from icl_interp.models.config import ModelConfig


class WeightAccessors:
    """Stacked weights and circuits of a model with `blocks`, under HookedTransformer's names."""

    cfg: ModelConfig
    blocks: nn.ModuleList

    def _stack(self, part: str, name: str) -> Tensor:
        if part == "mlp" and self.cfg.attn_only:
            raise InputError(f"{name} needs blocks with an MLP, got a model with attn_only=True.")
        return torch.stack([getattr(getattr(block, part), name) for block in self.blocks])

    @property
    def W_Q(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Query weights of all layers."""
        return self._stack("attn", "W_Q")

    @property
    def W_K(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Key weights of all layers."""
        return self._stack("attn", "W_K")

    @property
    def W_V(self) -> Float[Tensor, "layer head d_model d_head"]:
        """Value weights of all layers."""
        return self._stack("attn", "W_V")

    @property
    def W_O(self) -> Float[Tensor, "layer head d_head d_model"]:
        """Output projections of all layers; the identity where there is none."""
        return self._stack("attn", "W_O")

    @property
    def b_Q(self) -> Float[Tensor, "layer head d_head"]:
        """Query biases of all layers; zeros where there are none, as in all biases."""
        return self._stack("attn", "b_Q")

    @property
    def b_K(self) -> Float[Tensor, "layer head d_head"]:
        """Key biases of all layers."""
        return self._stack("attn", "b_K")

    @property
    def b_V(self) -> Float[Tensor, "layer head d_head"]:
        """Value biases of all layers."""
        return self._stack("attn", "b_V")

    @property
    def b_O(self) -> Float[Tensor, "layer d_model"]:
        """Output biases of all layers."""
        return self._stack("attn", "b_O")

    @property
    def W_in(self) -> Float[Tensor, "layer d_model d_mlp"]:
        """First MLP maps of all layers."""
        return self._stack("mlp", "W_in")

    @property
    def W_out(self) -> Float[Tensor, "layer d_mlp d_model"]:
        """Second MLP maps of all layers."""
        return self._stack("mlp", "W_out")

    @property
    def b_in(self) -> Float[Tensor, "layer d_mlp"]:
        """First MLP biases of all layers."""
        return self._stack("mlp", "b_in")

    @property
    def b_out(self) -> Float[Tensor, "layer d_model"]:
        """Second MLP biases of all layers."""
        return self._stack("mlp", "b_out")

    @property
    def W_E(self) -> Float[Tensor, "d_token d_model"]:
        """The read-in."""
        return self.embed.W_E  # type: ignore[attr-defined]

    @property
    def W_pos(self) -> Float[Tensor, "pos d_model"]:
        """The position table.

        Raises:
            InputError: If the model has none.
        """
        if self.cfg.positional_embedding_type == "none":
            raise InputError("W_pos needs a model with positions, got positional_embedding_type='none'.")
        return self.pos_embed.W_pos  # type: ignore[attr-defined]

    @property
    def W_U(self) -> Float[Tensor, "d_model d_out"]:
        """The read-out."""
        return self.unembed.W_U  # type: ignore[attr-defined]

    @property
    def b_U(self) -> Float[Tensor, " d_out"]:
        """The read-out's bias."""
        return self.unembed.b_U  # type: ignore[attr-defined]

    @property
    def QK(self) -> FactoredMatrix:
        """W_Q W_K^T of all heads, [layer head d_model d_model]."""
        return FactoredMatrix(self.W_Q, self.W_K.mT)

    @property
    def OV(self) -> FactoredMatrix:
        """W_V W_O of all heads, [layer head d_model d_model]."""
        return FactoredMatrix(self.W_V, self.W_O)

    def all_head_labels(self) -> list[str]:
        """Name all heads.

        Returns:
            "L0H0", "L0H1", ..., in the order of `stack_head_results`.
        """
        return [f"L{layer}H{head}" for layer in range(self.cfg.n_layers) for head in range(self.cfg.n_heads)]

    def accumulated_bias(
        self,
        layer: int,
        mlp_input: bool = False,  # noqa: FBT001, FBT002  # TransformerLens passes both by position
        include_mlp_biases: bool = True,  # noqa: FBT001, FBT002
    ) -> Float[Tensor, " d_model"]:
        """Sum what biases have added to the residual stream before a block.

        Under the doubled residual each layer's bias counts as often as the stream carries it.

        Args:
            layer: In [0, n_layers]; n_layers is the end of the stream.
            mlp_input: Whether to stop before that block's MLP instead, with its attention bias.
            include_mlp_biases: Whether b_out counts; not where MLP outputs are kept whole.

        Returns:
            One vector, the same at every position.

        Raises:
            InputError: If the block does not exist.
        """
        if not 0 <= layer <= self.cfg.n_layers - mlp_input:
            raise InputError(f"accumulated_bias needs a layer from 0 to {self.cfg.n_layers - mlp_input}, got {layer}.")
        total = torch.zeros_like(self.b_O[0])
        for index in range(layer):
            total = total * (2 if self.cfg.doubled_residual else 1) + self.b_O[index]
            if include_mlp_biases and not self.cfg.attn_only:
                total = total + self.b_out[index]
        return total + self.b_O[layer] if mlp_input else total
