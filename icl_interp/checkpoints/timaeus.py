"""Read checkpoints of timaeus-research/icl: {model, optimizer, scheduler}, or the model's state dict alone."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from icl_interp.checkpoints.distribution import TASK_UNKNOWN
from icl_interp.checkpoints.record import Reading
from icl_interp.checkpoints.safe_load import WeightFile
from icl_interp.checkpoints.timaeus_weights import check_layout, convert, drop_unused, is_timaeus, sizes_of
from icl_interp.checkpoints.weights import check_heads, state_dict_in, to_float32
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression

__all__ = ["read_timaeus", "timaeus_weights"]

_PAPER = " (Hoogland et al. use 4 for width 64)"


def timaeus_weights(contents: object) -> dict[str, Any] | None:
    """Find this program's weights in what a file held.

    Args:
        contents: As loaded.

    Returns:
        Weights by name, or None where the file is another program's.
    """
    return state_dict_in(contents, is_timaeus)


def read_timaeus(file: WeightFile, *, n_heads: int | None = None) -> Reading:
    """Read such a file; shapes tell everything but the number of heads.

    Args:
        file: A file for which `timaeus_weights` finds weights.
        n_heads: Attention heads a block.

    Returns:
        The model's config and weights. The task is assumed; the number of points is that of the position table, which
        in this program is as long as training prompts are.

    Raises:
        CheckpointError: If names, shapes or values of the weights are wrong, or the number of heads is not given or
            impossible.

    Source:
        Hoogland et al. (2024), "The developmental landscape of in-context learning", and their code.
    """
    weights = to_float32(file.path, drop_unused(timaeus_weights(file.contents) or {}))
    sizes = sizes_of(file.path, weights)
    check_layout(file.path, weights, sizes)
    heads = check_heads(file.path, sizes.d_model, n_heads, absent="no number", hint=_PAPER)
    config = ModelConfig(
        n_dims=sizes.d_token - 1,
        n_points=sizes.n_positions // 2,
        n_layers=sizes.n_layers,
        n_heads=heads,
        d_model=sizes.d_model,
        d_mlp=sizes.d_mlp,
        tokens="separate",
        d_out=sizes.d_token,
        act_fn="relu",
        attn_out_proj=sizes.attn_out_proj,
        doubled_residual=True,
        bias_read_in=False,
        bias_qkv=False,
        bias_attn_out=False,
        init="torch",
    )
    return Reading(
        config=config,
        weights=convert(weights, sizes, n_heads=heads),
        task=LinearRegression(config.n_dims, n_points=config.n_points),
        n_points_trained=config.n_points,
        origin="timaeus-research/icl checkpoint",
        step=_step(file.contents),
        notes=(
            f"{file.path.name} was read as weights of timaeus-research/icl, with sizes from the shapes of its weights.",
            f"The number of heads, {heads}, was given.",
            f"Prompts had {config.n_points} points, for which the model has positions.",
        ),
        task_assumptions=(TASK_UNKNOWN,),
    )


def _step(contents: Mapping[str, Any]) -> int | None:
    # Adam counts the steps it takes, for each weight.
    optimizer = contents.get("optimizer")
    states = optimizer.get("state") if isinstance(optimizer, Mapping) else None
    first = next(iter(states.values()), None) if isinstance(states, Mapping) else None
    step = first.get("step") if isinstance(first, Mapping) else None
    if isinstance(step, Tensor) and step.numel() == 1 and step.device.type == "cpu":
        step = step.item()
    return int(step) if isinstance(step, int | float) and 0 <= step < 2**63 else None
