"""How many prompts a study reads, and how many it can afford."""

from collections.abc import Sequence

from icl_interp.measure.controls import N_UNTRAINED
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.base import Task
from icl_interp.tasks.shifts import select_shifts

__all__ = ["default_prompts", "probe_count", "shift_reads", "study_reads"]

MIN_PROMPTS, MAX_PROMPTS = 24, 128
MAX_PROBE_PROMPTS = 256
"""Prompts that probes are fitted on at most: their features are held in memory, those of other prompts are not."""
WORK = 8.0e12
"""Floating-point operations that the default number of prompts may cost: a few minutes on two cores."""


def default_prompts(
    config: ModelConfig, n_shifts: int, n_points: int, n_controls: int = N_UNTRAINED, *, extra: int = 0
) -> int:
    """Choose as many prompts a family as a few minutes allow.

    Formula: WORK / (operations for all points of one prompt * prompts that are read for one prompt a family),
    cut to [24, 128].

    Args:
        config: Of the model.
        n_shifts: Shifted families that all networks read.
        n_points: Pairs a prompt.
        n_controls: Untrained networks.
        extra: Readings of the model alone, as `shift_reads` counts them.

    Returns:
        Prompts a family.
    """
    per_token = config.n_layers * (4 * config.d_model**2 + 2 * config.d_model * config.mlp_width)
    passes = n_points if config.query_only else 1
    per_prompt = 2 * 2 * n_points * per_token * passes
    reads = study_reads(1, n_shifts, n_controls, extra=extra)
    return max(MIN_PROMPTS, min(MAX_PROMPTS, int(WORK / (per_prompt * reads))))


def shift_reads(
    task: Task, shifts: Sequence[str] | None, *, n_points: int | None = None, max_points: int | None = None
) -> tuple[int, int]:
    """Count what the shifts of a study cost.

    Args:
        task: What is in distribution.
        shifts: Patterns as `select_shifts` takes them; None means the core suite.
        n_points: Pairs a prompt; None takes the task's usual number.
        max_points: Points that the model has positions for; None where there is no such limit.

    Returns:
        The number of families that all networks read, and how often the model alone reads a prompt of the others:
        once for each of their points where they have queries, else once.
    """
    n_points = task.default_points if n_points is None else n_points
    entries = select_shifts(task, shifts, n_points=n_points, max_points=max_points)
    extra = 0
    for entry in (entry for entry in entries if entry.shift.errors_only):
        extra += 1 if entry.shift.lengthens else entry.source.sample(1, n_points, seed=0).n_points
    return sum(not entry.shift.errors_only for entry in entries), extra


def probe_count(n_prompts: int) -> int:
    """Say how many prompts the linear probes are fitted on.

    Args:
        n_prompts: A family.

    Returns:
        Twice as many, at most 256.
    """
    return min(2 * n_prompts, MAX_PROBE_PROMPTS)


def study_reads(n_prompts: int, n_shifts: int, n_controls: int, *, extra: int = 0) -> int:
    """Count the prompts that all networks read in a study.

    Args:
        n_prompts: A family.
        n_shifts: Shifted families that all networks read.
        n_controls: Untrained networks.
        extra: Readings of the model alone, as `shift_reads` counts them.

    Returns:
        Prompts: fit, in distribution, shifts, and those of the probes, for each network; and the extra ones.
    """
    return (n_prompts * (n_shifts + 2) + probe_count(n_prompts)) * (1 + n_controls) + n_prompts * extra
