"""Weights set by hand, with which a linear model is an algorithm: the ground truth of every probe."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.config import ModelConfig
from icl_interp.models.shapes import linear_parameter_shapes

__all__ = ["gd_learned_init_weights", "gd_plus_plus_weights", "gradient_descent_weights"]

Number = int | float


def gradient_descent_weights(config: ModelConfig, step_size: Number | Sequence[Number]) -> dict[str, Tensor]:
    """Set linear self-attention to gradient descent from w = 0, one step a layer.

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
    """Refuse parameters of GD-beta that are not of the inputs' dimension."""
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
