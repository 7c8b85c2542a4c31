"""What the claims of Carroll et al. (2025) are about, read off the measured curves: one number a seed."""

import itertools
import math
from collections.abc import Callable, Sequence

from scipy import stats

from icl_interp.experiments.carroll2025.measures import Measures, Trained
from icl_interp.experiments.carroll2025.setting import INFINITE, Run, Sizes
from probes.learning_coefficient.exact import Crossover, free_energy_crossover

__all__ = [
    "ORDERED",
    "Reader",
    "crossover",
    "dip_share",
    "largest_rise",
    "rank_correlation",
    "rise",
    "swaps",
    "t_crit_index",
    "turn_index",
]

Values = tuple[float, ...]

ORDERED = 0.8
"""Least rank correlation along M that counts as an order (ours)."""
NEVER_LEFT = 9.0
"""log10 of a crossover that never comes (ours): beyond any number of samples that is drawn."""


def t_crit_index(run: Trained) -> int:
    """Find t_crit.

    Args:
        run: One run.

    Returns:
        The index of the checkpoint with the least loss on q_inf; of the first, where several have it.

    Source:
        Carroll et al. (2025), appendix B.2.
    """
    return min(range(len(run.ood)), key=run.ood.__getitem__)


def rise(run: Trained) -> float:
    """Measure transience.

    Formula: loss on q_inf at the end minus its least value over the checkpoints. Never negative, so it means something
    only beyond the curve's noise: see `largest_rise`.

    Args:
        run: One run.

    Returns:
        In squared units of y, at least 0.
    """
    return run.ood[-1] - min(run.ood)


def largest_rise(run: Trained) -> float:
    """Measure how far a curve rises at any time above what it had reached before.

    Formula: max over s < t of l(t) - l(s), or 0. On the run of M = infinity, whose tasks follow q_inf, this is the
    noise from checkpoint to checkpoint (ours): like `rise` it is an extreme over as many checkpoints.

    Args:
        run: One run.

    Returns:
        In squared units of y, at least 0.
    """
    least = itertools.accumulate(run.ood, min)
    return max(now - before for now, before in zip(run.ood, least, strict=True))


def dip_share(run: Trained) -> float:
    """Tell how far a run came from dMMSE's loss on q_inf towards that of ridge.

    Formula: (l(dMMSE) - min over checkpoints of l) / (l(dMMSE) - l(ridge)), all on q_inf. Ours. Meaningless for
    M = infinity, where both are the same.

    Args:
        run: Of a pool.

    Returns:
        1 where it reached ridge, at most a bit more; 0 or less where it never was below dMMSE.
    """
    return (run.ood_of.dmmse - min(run.ood)) / (run.ood_of.dmmse - run.ood_of.ridge)


def turn_index(run: Trained) -> int:
    """Find where a trajectory turns.

    Args:
        run: One run.

    Returns:
        The index of the checkpoint with the largest second component, whose sign is that of ridge.
    """
    return max(range(len(run.place)), key=lambda i: run.place[i][1])


def crossover(run: Trained, infinite_llc: float) -> Crossover | None:
    """Predict where Bayesian selection leaves ridge for dMMSE.

    Args:
        run: Of a pool; its last network's coefficient stands for dMMSE's, the predictors' own losses on q_M for the
            losses.
        infinite_llc: Coefficient of the network for M = infinity, which stands for ridge's.

    Returns:
        The crossover, or why there is none; None where the pool's coefficient is missing.
    """
    if run.llc is None:
        return None
    return free_energy_crossover(run.own_of.ridge - run.own_of.dmmse, run.llc - infinite_llc)


def rank_correlation(xs: Sequence[float | int], ys: Sequence[float]) -> float:
    """Correlate ranks.

    Args:
        xs: Numbers, not all equal.
        ys: As many.

    Returns:
        Spearman's coefficient in [-1, 1]; 0 where the second are all equal, which is no order.

    Example:
        >>> rank_correlation([4, 8, 16], [1.0, 5.0, 7.0]), rank_correlation([4, 8, 16], [3.0, 3.0, 3.0])
        (1.0, 0.0)
    """
    if len(set(ys)) < 2:
        return 0.0
    return round(float(stats.spearmanr(xs, ys).statistic), 12)


def swaps(n: int) -> str:
    """Say how coarse the bound `ORDERED` is.

    Formula: k swaps of different pairs of neighbours lower Spearman's coefficient of n places by 12 k / (n^3 - n).

    Args:
        n: Places, at least 2.

    Returns:
        Part of a reason.

    Example:
        >>> swaps(4)
        'with 4 points 0.8 allows 1 swap of neighbours'
    """
    allowed = min(n // 2, math.floor((1.0 - ORDERED) * (n**3 - n) / 12 + 1e-9))
    return f"with {n} points {ORDERED:g} allows {allowed} swap{'' if allowed == 1 else 's'} of neighbours"


class Reader:
    """Looks numbers up, one a seed.

    Args:
        found: All numbers.
        sizes: Of the preset.
    """

    def __init__(self, found: Measures, sizes: Sizes) -> None:
        self.found, self.sizes = found, sizes

    def run(self, n_tasks: int | None, seed: int) -> Trained:
        """Look a run up.

        Args:
            n_tasks: M; None is infinity.
            seed: Its seed.

        Returns:
            Its numbers.
        """
        return self.found.runs[Run(n_tasks, seed)]

    def each(self, n_tasks: int | None, number: Callable[[Trained], float]) -> Values:
        """Take one number of the runs of an M.

        Args:
            n_tasks: M.
            number: Of a run.

        Returns:
            One a seed.
        """
        return tuple(number(self.run(n_tasks, seed)) for seed in self.sizes.seeds)

    def along_pools(self, number: Callable[[Trained], float]) -> Values:
        """Tell whether a number grows with the finite M.

        Args:
            number: Of a run.

        Returns:
            Rank correlation with M, one a seed.
        """
        pools = self.sizes.pools
        return tuple(rank_correlation(pools, [number(self.run(m, seed)) for m in pools]) for seed in self.sizes.seeds)

    def noise(self) -> Values:
        """Give the noise of loss curves: `largest_rise` for M = infinity.

        Returns:
            One a seed, in squared units of y.
        """
        return self.each(INFINITE, largest_rise)

    def thresholds(self) -> Values:
        """Give the task-diversity threshold.

        Returns:
            The largest M whose last network is nearer to dMMSE than to ridge on q_M, one a seed; 0 where none is.
        """
        near = [
            [m for m in self.sizes.pools if self.run(m, seed).to_dmmse[-1] < self.run(m, seed).to_ridge[-1]]
            for seed in self.sizes.seeds
        ]
        return tuple(float(max(sizes, default=0)) for sizes in near)

    def llc(self, n_tasks: int | None, seed: int) -> float | None:
        """Look a learning coefficient up.

        Args:
            n_tasks: M.
            seed: Its seed.

        Returns:
            The estimate; None where the sampler diverged.
        """
        return self.run(n_tasks, seed).llc

    def sampled_seeds(self) -> tuple[int, ...]:
        """List the seeds that have a learning coefficient for every M.

        Returns:
            In their order.
        """
        every = (*self.sizes.pools, INFINITE)
        return tuple(seed for seed in self.sizes.seeds if all(self.llc(m, seed) is not None for m in every))

    def llc_gaps(self, n_tasks: int, other: int | None) -> Values:
        """Compare learning coefficients.

        Args:
            n_tasks: M.
            other: Another M, or None for infinity.

        Returns:
            lambda_M minus that of the other, one for each of `sampled_seeds`.
        """
        return tuple((self.llc(n_tasks, s) or 0.0) - (self.llc(other, s) or 0.0) for s in self.sampled_seeds())

    def log_crossovers(self, seed: int) -> list[float]:
        """Predict how long ridge is preferred.

        Args:
            seed: One of `sampled_seeds`.

        Returns:
            log10 of the number of samples at the crossover, for each finite M; 0 where dMMSE is always preferred, and
            `NEVER_LEFT` where ridge is, which then has no larger loss.
        """
        infinite = self.llc(INFINITE, seed) or 0.0
        found = [crossover(self.run(m, seed), infinite) for m in self.sizes.pools]
        gaps = [self.run(m, seed).own_of for m in self.sizes.pools]
        return [
            NEVER_LEFT if gap.ridge <= gap.dmmse else 0.0 if one is None or math.isnan(one.n) else math.log10(one.n)
            for one, gap in zip(found, gaps, strict=True)
        ]
