"""Linear models set to known algorithms (gradient descent, GD++, GD-beta), and the algorithm read off their weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.config import ModelConfig
from icl_interp.models.linear.moments import read_of, value_read_of
from icl_interp.models.linear.network import HookedLinearNetwork
from icl_interp.models.shapes import linear_parameter_shapes

Number = int | float


def gradient_descent_weights(config: ModelConfig, step_size: Number | Sequence[Number]) -> dict[str, Tensor]:
    """Set linear self-attention to gradient descent from w = 0, one step per layer.

    Formula: W_Q W_K^T = diag(1, ..., 1, 0) and W_V W_O = diag(0, ..., 0, -step_size), so that each layer turns the
    labels y_j of context and query into y_j - <dw, x_j> with dw = (step_size / c) sum_i (y_i - <w, x_i>) x_i. The
    query's label, 0 at first, ends as minus the prediction: the config needs output_sign=-1. With output_sign=1 a
    single layer works as well, by +step_size.
    """
    steps = _one_each_layer("gradient_descent_weights", "step_size", step_size, config)
    return _descent("gradient_descent_weights", config, steps, [0.0] * config.n_layers)


def gd_plus_plus_weights(
    config: ModelConfig, step_size: Number | Sequence[Number], curvature: Number | Sequence[Number]
) -> dict[str, Tensor]:
    """Set linear self-attention to GD++: descent whose steps also shrink the inputs along large variances.

    Formula: W_Q W_K^T = diag(1, ..., 1, 0), W_V = diag(1, ..., 1, -1), W_O = diag(-curvature, ..., -curvature,
    step_size): besides the labels, every input becomes (I - curvature S) x with S = X^T X / c of the current inputs.
    """
    owner = "gd_plus_plus_weights"
    steps = _one_each_layer(owner, "step_size", step_size, config)
    curvatures = _one_each_layer(owner, "curvature", curvature, config)
    if config.value_width < config.d_model:
        raise InputError(
            f"{owner} needs values as wide as tokens, d_v >= {config.d_model}, got {config.value_width}; leave d_v out."
        )
    return _descent(owner, config, steps, curvatures)


def gd_learned_init_weights(
    config: ModelConfig, init: Float[Tensor, " dim"], preconditioner: Float[Tensor, "dim dim"]
) -> dict[str, Tensor]:
    """Set a linear transformer block to GD-beta: one preconditioned gradient step from a learned start.

    Formula, in the source's W (the transposes of ours): W_2^T W_1 = [[0, 0], [init^T, 1]],
    W_P^T W_V = diag(-1, ..., -1, 1), W_K^T W_Q = diag(preconditioner^T, 0).
    """
    owner, d = "gd_learned_init_weights", config.n_dims
    _check_start(owner, d, init, preconditioner)
    needed = {
        "family='ltb'": config.family == "ltb",
        "n_layers=1": config.n_layers == 1,
        f"d_head >= {d}": config.head_width >= d,
        f"d_v >= {d + 1}": config.value_width >= d + 1,
        "attn_skip=True (or init 0)": config.attn_skip or not bool(init.any()),
    }
    _check_needed(owner, needed, config)
    weights = _zeros(config)
    weights["blocks.0.attn.W_Q"][0, :d, :d] = preconditioner
    weights["blocks.0.attn.W_K"][0, :d, :d] = torch.eye(d)
    weights["blocks.0.attn.W_V"][0, :, : d + 1] = torch.eye(d + 1)
    weights["blocks.0.attn.W_O"][0, : d + 1] = torch.diag(torch.tensor([-1.0] * d + [1.0]))
    weights["blocks.0.mlp.W_in"][:d, 0] = init
    weights["blocks.0.mlp.W_in"][d, 0] = 1.0
    weights["blocks.0.mlp.W_out"][0, d] = 1.0
    return weights


def _check_start(owner: str, n_dims: int, init: Tensor, preconditioner: Tensor) -> None:
    if init.shape != (n_dims,) or preconditioner.shape != (n_dims, n_dims):
        raise InputError(
            f"{owner} needs init [{n_dims}] and preconditioner [{n_dims}, {n_dims}], got {list(init.shape)} and "
            f"{list(preconditioner.shape)}."
        )


def _descent(owner: str, config: ModelConfig, steps: Sequence[float], curvatures: Sequence[float]) -> dict[str, Tensor]:
    d = config.n_dims
    needed = {
        "family='lsa'": config.family == "lsa",
        f"d_head >= {d}": config.head_width >= d,
        "attn_skip=True": config.attn_skip or config.n_layers == 1,
        "d_position=0, mask_query=True and answer_channel=None": config.is_textbook,
        "output_sign=-1 for several layers": config.output_sign == -1 or config.n_layers == 1,
    }
    _check_needed(owner, needed, config)
    weights = _zeros(config)
    label = config.value_width - 1
    for layer in range(1 if config.share_layers else config.n_layers):
        w_v, w_o = weights[f"blocks.{layer}.attn.W_V"][0], weights[f"blocks.{layer}.attn.W_O"][0]
        for name in ("W_Q", "W_K"):
            weights[f"blocks.{layer}.attn.{name}"][0, :d, :d] = torch.eye(d)
        w_v[d, label] = config.output_sign
        w_o[label, d] = steps[layer]
        if curvatures[layer]:
            w_v[:d, :d] = torch.eye(d)
            w_o[:d, :d] = -curvatures[layer] * torch.eye(d, dtype=w_o.dtype)
    return weights


def _one_each_layer(
    owner: str, option: str, given: Number | Sequence[Number], config: ModelConfig
) -> tuple[float, ...]:
    numbers = tuple(map(float, given)) if isinstance(given, Sequence) else (float(given),) * config.n_layers
    if len(numbers) != config.n_layers:
        raise InputError(f"{owner} needs one {option} for each of {config.n_layers} layers, got {len(numbers)}.")
    if config.share_layers and len(set(numbers)) > 1:
        raise InputError(
            f"{owner} needs one {option} for all layers, since they share their weights, got {list(numbers)}; pass one "
            "number or share_layers=False."
        )
    return numbers


def _check_needed(owner: str, needed: dict[str, bool], config: ModelConfig) -> None:
    missing = [clause for clause, there in needed.items() if not there]
    if missing:
        raise InputError(
            f"{owner} needs a config with {', '.join(missing)}, got {config.describe()}, d_head {config.head_width}, "
            f"d_v {config.value_width}, attn_skip {config.attn_skip}, output_sign {config.output_sign}; change that."
        )


def _zeros(config: ModelConfig) -> dict[str, Tensor]:
    return {name: torch.zeros(shape).double() for name, shape in linear_parameter_shapes(config).items()}


@dataclass(frozen=True, eq=False, repr=False)
class EffectiveParameters:
    """f = <gamma, x> + [v21, v_minus1] G [V11; v12] x with G = sum_i [x_i; y_i] [x_i; y_i]^T / c over the context.

    c is the number of examples, 1, or a fixed number, as the model normalises. Only products count: [v21, v_minus1] may
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

    Formula, in the source's W (the transposes of ours): gamma = first d entries of the last row of W_2^T W_1; (v21,
    v_minus1) = last row of W_2^T W_1 W_P^T W_V; (V11; v12) = first d columns of W_K^T W_Q. Without an MLP W_2^T W_1 is
    the identity and gamma, which would only meet the query's label 0, is 0. The output sign is in gamma and v.
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
