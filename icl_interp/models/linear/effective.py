"""What a one-layer linear model computes: the few numbers of its weights that its answer depends on."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.linear.moments import read_of, value_read_of
from icl_interp.models.linear.network import HookedLinearNetwork

__all__ = ["EffectiveParameters", "effective_parameters"]


@dataclass(frozen=True, eq=False, repr=False)
class EffectiveParameters:
    """f = <gamma, x> + [v21, v_minus1] G [V11; v12] x with G = sum_i [x_i; y_i] [x_i; y_i]^T / c over the context.

    c is the number of pairs, 1, or a fixed number, as the model normalises. Only products count: [v21, v_minus1] may
    be multiplied and [V11; v12] divided by any number.
    """

    gamma: Float[Tensor, " dim"]
    """The answer without context; 0 without an MLP or without the skip."""
    v21: Float[Tensor, " dim"]
    """What the inputs in values are weighted by."""
    v_minus1: Float[Tensor, ""]
    """What the label in values is weighted by."""
    V11: Float[Tensor, "dim dim"]
    """How keys [x_i] meet the query."""
    v12: Float[Tensor, " dim"]
    """How keys [y_i] meet the query."""

    @property
    def start(self) -> Float[Tensor, " dim"]:
        """Start beta = -v21 / v_minus1, from which the model descends if it does GD-beta; then equal to gamma."""
        return -self.v21 / self.v_minus1

    @property
    def preconditioner(self) -> Float[Tensor, "dim dim"]:
        """Preconditioner Gamma = v_minus1 V11^T, with which the model descends if it does GD-beta; then v12 is 0."""
        return self.v_minus1 * self.V11.mT

    def __repr__(self) -> str:
        diagonal = self.preconditioner.diagonal()
        return (
            f"EffectiveParameters(gamma={_short(self.gamma)}, start={_short(self.start)}, "
            f"preconditioner diagonal={_short(diagonal)}, v_minus1 v12={_short(self.v_minus1 * self.v12)})"
        )


def effective_parameters(model: HookedLinearNetwork) -> EffectiveParameters:
    """Reduce the weights of a one-layer, one-head linear model to what its answer depends on.

    Formula, in the source's W (the transposes of ours): gamma = first d entries of the last row of W_2^T W_1;
    (v21, v_minus1) = last row of W_2^T W_1 W_P^T W_V; (V11; v12) = first d columns of W_K^T W_Q. Without an MLP
    W_2^T W_1 is the identity and gamma, which would only meet the query's label 0, is 0. The output sign is in gamma
    and v.
    """
    config, d = model.cfg, model.cfg.n_dims
    if not config.is_textbook:
        raise InputError(
            "effective_parameters needs tokens [x; y] alone, a query that is no key, and an answer in the label's "
            f"place, got d_position {config.d_position}, mask_query {config.mask_query} and answer_channel "
            f"{config.answer_channel}; read the weights block by block instead."
        )
    if config.n_layers != 1 or config.n_heads != 1:
        raise InputError(
            "effective_parameters needs a model of one layer and one head, whose answer is one product v G V x, got "
            f"{config.n_layers} layers and {config.n_heads} heads; read the weights block by block instead."
        )
    (block,) = model.layers
    value_read = config.output_sign * value_read_of(block)[0]
    meet = block.attn.query_key[0].mT[:, :d]  # W_K W_Q^T, keys first
    gamma = config.output_sign * int(config.attn_skip) * read_of(block)[:d]
    return EffectiveParameters(gamma, value_read[:d], value_read[d], meet[:d], meet[d])


def _short(values: Tensor) -> str:
    shown = ", ".join(f"{float(value):.3g}" for value in values.detach()[:4])
    return f"[{shown}{', ...' if len(values) > 4 else ''}]"
