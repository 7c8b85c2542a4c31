"""The direct path to the answer: what the read-out makes of whatever a block writes, with nothing read in between."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.accessors import WeightAccessors
from icl_interp.models.hooked import HookedModel
from probes._core.results import short_repr


@dataclass(frozen=True, slots=True, eq=False)
class DirectPath:
    """The answer is the sum of what is written times what is read, divided by the final norm's scale where it has one.

    Formula: answer = sum_l <written by block l, blocks[l]> / scale + <read-in, start> / scale + constant. A linear MLP
    adds nothing of its own: it is a map that everything before it goes through, and part of what is read.
    """

    start: Float[Tensor, " d_model"]
    """What of the read-in and of positions the answer reads."""
    blocks: Float[Tensor, "layer d_model"]
    """What of each block's writes the answer reads."""
    biases: Float[Tensor, ""]
    """What biases of attention write, before the scale."""
    constant: Float[Tensor, ""]
    """What the biases of final norm and read-out add."""

    __repr__ = short_repr


def why_no_direct_path(model: HookedModel) -> str | None:
    """Say in a sentence why a model has no direct path whose weights are known."""
    if not isinstance(model, WeightAccessors):
        return "No weight of a wrapped module is known by name."
    if model.cfg.family == "softmax_layer":
        return "One merged attention layer writes the whole answer, so there is nothing to divide it between."
    return None


def direct_path(model: HookedModel) -> DirectPath:
    """Follow the answer back through final norm, residual stream and linear MLPs.

    LayerNorm takes the mean away and multiplies by its weights, which is linear, and divides by a scale, which is one
    number per position. Under the doubled residual what a block writes counts twice after each later block.
    """
    if (reason := why_no_direct_path(model)) is not None:
        raise InputError(f"direct_path needs a model whose blocks write into a stream that is read out: {reason}")
    assert isinstance(model, WeightAccessors)
    cfg, read = model.cfg, model.W_U.detach()[:, 0]
    constant = model.b_U.detach()[0]
    if cfg.final_norm:
        norm: Any = model.ln_final
        constant = constant + norm.b.detach() @ read
        read = norm.w.detach() * read
        read = read - read.mean()
    reads: list[Tensor] = []
    biases = torch.zeros_like(constant)
    for layer in reversed(range(cfg.n_layers)):
        if cfg.family == "ltb":
            read = model.W_in.detach()[layer] @ (model.W_out.detach()[layer] @ read)
        reads.insert(0, read)
        biases = biases + model.b_O.detach()[layer] @ read
        read = read * (2 if cfg.doubled_residual else int(cfg.attn_skip))
    return DirectPath(read, torch.stack(reads), biases, constant)
