"""How many prompts the measures of algorithms and heads read in a study, so that they cost a fixed share of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from icl_interp.measure.cost import WORK
from icl_interp.models.config import ModelConfig

__all__ = ["Effort", "effort_of", "fresh_queries", "weighed_points"]

SHARE = WORK / 32
"""Floating-point operations that each of these measures may cost."""
LEAST, MOST = 8, 32
"""Prompts a measure."""
N_KEPT = 9
"""Points of a pruning curve at most, the two ends among them."""
N_ORDERS = 3
"""Random orders of pruning beside the one by importance."""


@dataclass(frozen=True, slots=True)
class Effort:
    """Prompts of each measure, and how many sequences they amount to."""

    agreement: int
    """For induced weights and gradients."""
    heads: int
    """For importance, and as many again for pruning."""
    attention: int
    """For patterns."""
    use: int
    """For the signature's subspace."""
    reads: tuple[int, int, int, int]
    """About how many sequences all networks read for each of the four, in this order; for progress."""


def weighed_points(n_dims: int, n_points: int) -> tuple[int, ...]:
    """Choose the points at which weights are induced, each of which costs a forward pass a fresh query.

    Args:
        n_dims: d of the task.
        n_points: Pairs a prompt, at least 2.

    Returns:
        With d / 2, d and as many pairs as there are before them, where a prompt is that long.

    Example:
        >>> weighed_points(6, 13), weighed_points(5, 2)
        ((3, 6, 12), (1,))
    """
    last = n_points - 1
    return tuple(sorted({min(max(1, n_dims // 2), last), min(n_dims, last), last}))


def fresh_queries(n_dims: int) -> int:
    """Say how many fresh queries a prompt's weights are fitted to.

    Args:
        n_dims: d of the task.

    Returns:
        2 d + 2, so that the fit leaves residuals.
    """
    return 2 * n_dims + 2


def effort_of(config: ModelConfig, n_prompts: int, n_points: int, n_controls: int, n_random: int) -> Effort:
    """Share the effort out.

    Formula: for each measure SHARE / (operations a sequence * sequences a prompt), cut to [8, 32] and to n_prompts.

    Args:
        config: Of the model.
        n_prompts: A family of the study.
        n_points: Pairs a prompt.
        n_controls: Untrained networks.
        n_random: Random subspaces.

    Returns:
        Prompts and sequences.
    """
    queries = fresh_queries(config.n_dims) * len(weighed_points(config.n_dims, n_points))
    heads = config.n_layers * config.n_heads
    passes = n_points if config.query_only else 1
    costs: Sequence[int] = (
        queries + 3 * passes,
        (1 + n_controls) * (1 + heads) + 1 + (1 + N_ORDERS) * min(heads + 1, N_KEPT),
        1 + n_controls,
        4 + 2 * n_random + 3 * n_controls,
    )
    per_token = config.n_layers * (4 * config.d_model**2 + 2 * config.d_model * config.mlp_width)
    sequence = 4 * n_points * per_token
    prompts = [min(n_prompts, max(LEAST, min(MOST, int(SHARE / (sequence * cost))))) for cost in costs]
    agreement, by_heads, attention, use = prompts
    reads = [count * cost for count, cost in zip(prompts, costs, strict=True)]
    return Effort(agreement, by_heads, attention, use, (reads[0], reads[1], reads[2], reads[3]))
