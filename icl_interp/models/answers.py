"""What a model may be asked: the checks that all families share."""

from collections.abc import Sequence

from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.models.config import ModelConfig

__all__ = ["check_inputs", "check_points"]


def check_inputs(config: ModelConfig, xs: Tensor, ys: Tensor) -> None:
    """Refuse prompts that a model cannot read.

    Args:
        config: Of the model.
        xs: Inputs.
        ys: Labels.

    Raises:
        InputError: If the shapes do not match, the width is wrong, or there are more points than positions.
    """
    if xs.ndim != 3 or ys.ndim != 2 or xs.shape[:2] != ys.shape:
        raise InputError(
            f"the model needs xs [batch point dim] and ys [batch point], got shapes {tuple(xs.shape)} and "
            f"{tuple(ys.shape)}; pass prompts.xs and prompts.ys."
        )
    if xs.shape[2] != config.n_dims:
        raise InputError(
            f"this model reads inputs of {config.n_dims} dimensions, got {xs.shape[2]}; sample from a task with "
            f"n_dims={config.n_dims}."
        )
    most = config.max_points
    if most is not None and xs.shape[1] > most:
        raise InputError(f"this model has positions for {most} points, got {xs.shape[1]}; pass fewer points.")


def check_points(points: Sequence[int], n_points: int) -> list[int]:
    """Refuse points that a prompt does not have.

    Args:
        points: Entries, counting from the end if negative.
        n_points: Length of the prompt.

    Returns:
        The same entries.

    Raises:
        InputError: If one does not exist.
    """
    wrong = [p for p in points if not -n_points <= p < n_points]
    if wrong:
        raise InputError(f"points needs entries from {-n_points} to {n_points - 1}, got {wrong[0]}.")
    return list(points)
