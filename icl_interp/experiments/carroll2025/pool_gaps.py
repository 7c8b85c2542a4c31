"""How far ridge's loss is above dMMSE's, for several task pools: nothing is trained."""

from icl_interp.experiments.carroll2025.setting import NOISE_STD, Sizes
from icl_interp.measure.development.material import Material, reference_named
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.tasks.task_pool import TaskPool

__all__ = ["gap_ratios"]

_POOL_SEEDS = (0, 1, 2, 3, 4)
"""The list of tasks that the networks see, and four others (ours)."""


def gap_ratios(sizes: Sizes) -> tuple[float, ...]:
    """Compare the gaps between ridge and dMMSE of two pools of one list of tasks.

    Formula: (l(ridge) - l(dMMSE)) at the large M over the same at the low M, on prompts of each pool's own tasks.
    """
    return tuple(_gap(sizes, sizes.large, seed) / _gap(sizes, sizes.low, seed) for seed in _POOL_SEEDS)


def _gap(sizes: Sizes, n_tasks: int, pool_seed: int) -> float:
    fresh = sizes.recipe.task
    task = TaskPool(fresh.n_dims, n_tasks, noise_std=NOISE_STD, n_points=fresh.default_points, pool_seed=pool_seed)
    shown = Material(task, None, sizes.measured, fresh.default_points)
    targets, said = shown.families.by_label[IN_DISTRIBUTION].prompts.targets, shown.said[IN_DISTRIBUTION]
    ridge, dmmse = (said[str(reference_named(said, name))] for name in ("ridge", "dMMSE"))
    return float((ridge.double() - targets).square().mean() - (dmmse.double() - targets).square().mean())
