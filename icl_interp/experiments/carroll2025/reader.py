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
    "rank_correlation",
    "rise",
    "swaps",
    "t_crit_index",
    "turn_index",
]

Values = tuple[float, ...]

ORDERED = 0.8
"""Least rank correlation along M that counts as an order (ours)."""
_NEVER_LEFT = 9.0
"""log10 of a crossover that never comes (ours): beyond any number of samples that is drawn."""


def t_crit_index(run: Trained) -> int:
    """Find t_crit."""
    return min(range(len(run.ood)), key=run.ood.__getitem__)


def rise(run: Trained) -> float:
    """Measure transience.

    Formula: loss on q_inf at the end minus its least value over the checkpoints. Never negative, so it means something
    only beyond the curve's noise: see `_largest_rise`.
    """
    return run.ood[-1] - min(run.ood)


def _largest_rise(run: Trained) -> float:
    """Measure how far a curve rises at any time above what it had reached before.

    Formula: max over s < t of l(t) - l(s), or 0. On the run of M = infinity, whose tasks follow q_inf, this is the
    noise from checkpoint to checkpoint (ours): like `rise` it is an extreme over as many checkpoints.
    """
    least = itertools.accumulate(run.ood, min)
    return max(now - before for now, before in zip(run.ood, least, strict=True))


def dip_share(run: Trained) -> float:
    """Tell how far a run came from dMMSE's loss on q_inf towards that of ridge.

    Formula: (l(dMMSE) - min over checkpoints of l) / (l(dMMSE) - l(ridge)), all on q_inf. Ours. Meaningless for
    M = infinity, where both are the same.
    """
    return (run.ood_of.dmmse - min(run.ood)) / (run.ood_of.dmmse - run.ood_of.ridge)


def turn_index(run: Trained) -> int:
    """Find where a trajectory turns."""
    return max(range(len(run.place)), key=lambda i: run.place[i][1])


def crossover(run: Trained, infinite_llc: float) -> Crossover | None:
    """Predict where Bayesian selection leaves ridge for dMMSE."""
    if run.llc is None:
        return None
    return free_energy_crossover(run.own_of.ridge - run.own_of.dmmse, run.llc - infinite_llc)


def rank_correlation(xs: Sequence[float | int], ys: Sequence[float]) -> float:
    """Correlate ranks."""
    if len(set(ys)) < 2:
        return 0.0
    return round(float(stats.spearmanr(xs, ys).statistic), 12)


def swaps(n: int) -> str:
    """Say how coarse the bound `ORDERED` is.

    Formula: k swaps of different pairs of neighbours lower Spearman's coefficient of n places by 12 k / (n^3 - n).
    """
    allowed = min(n // 2, math.floor((1.0 - ORDERED) * (n**3 - n) / 12 + 1e-9))
    return f"with {n} points {ORDERED:g} allows {allowed} swap{'' if allowed == 1 else 's'} of neighbours"


class Reader:
    """Looks numbers up, one a seed."""

    def __init__(self, found: Measures, sizes: Sizes) -> None:
        self.found, self.sizes = found, sizes

    def run(self, n_tasks: int | None, seed: int) -> Trained:
        """Look a run up."""
        return self.found.runs[Run(n_tasks, seed)]

    def each(self, n_tasks: int | None, number: Callable[[Trained], float]) -> Values:
        """Take one number of the runs of an M."""
        return tuple(number(self.run(n_tasks, seed)) for seed in self.sizes.seeds)

    def along_pools(self, number: Callable[[Trained], float]) -> Values:
        """Tell whether a number grows with the finite M."""
        pools = self.sizes.pools
        return tuple(rank_correlation(pools, [number(self.run(m, seed)) for m in pools]) for seed in self.sizes.seeds)

    def noise(self) -> Values:
        """Give the noise of loss curves: `_largest_rise` for M = infinity."""
        return self.each(INFINITE, _largest_rise)

    def thresholds(self) -> Values:
        """Give the task-diversity threshold."""
        near = [
            [m for m in self.sizes.pools if self.run(m, seed).to_dmmse[-1] < self.run(m, seed).to_ridge[-1]]
            for seed in self.sizes.seeds
        ]
        return tuple(float(max(sizes, default=0)) for sizes in near)

    def llc(self, n_tasks: int | None, seed: int) -> float | None:
        """Look a learning coefficient up."""
        return self.run(n_tasks, seed).llc

    def sampled_seeds(self) -> tuple[int, ...]:
        """List the seeds that have a learning coefficient for every M."""
        every = (*self.sizes.pools, INFINITE)
        return tuple(seed for seed in self.sizes.seeds if all(self.llc(m, seed) is not None for m in every))

    def llc_gaps(self, n_tasks: int, other: int | None) -> Values:
        """Compare learning coefficients."""
        return tuple((self.llc(n_tasks, s) or 0.0) - (self.llc(other, s) or 0.0) for s in self.sampled_seeds())

    def log_crossovers(self, seed: int) -> list[float]:
        """Predict how long ridge is preferred."""
        infinite = self.llc(INFINITE, seed) or 0.0
        found = [crossover(self.run(m, seed), infinite) for m in self.sizes.pools]
        gaps = [self.run(m, seed).own_of for m in self.sizes.pools]
        return [
            _NEVER_LEFT if gap.ridge <= gap.dmmse else 0.0 if one is None or math.isnan(one.n) else math.log10(one.n)
            for one, gap in zip(found, gaps, strict=True)
        ]
