"""What is measured on the networks of Carroll et al. (2025), and what the claims are about: one number per seed."""

import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from scipy import stats
from torch import Tensor

from icl_interp.experiments.carroll2025.setting import INFINITE, Run, Sizes, pool
from icl_interp.experiments.experiment import PerSeed, TrainedRuns, combine
from icl_interp.experiments.trained import run_path
from icl_interp.measure.development.material import Material
from icl_interp.measure.development.one_run import RunDevelopment
from icl_interp.measure.development.result import Development
from icl_interp.measure.development.run import development
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.training.train_config import TrainConfig
from probes.learning_coefficient.exact import Crossover, free_energy_crossover
from probes.trajectory import JointTrajectoryPCA

_POOL_SEEDS = (0, 1, 2, 3, 4)  # the list of tasks that the networks see, and four others (ours)
ORDERED = 0.8  # least rank correlation along M that counts as an order (ours)
_NEVER_LEFT = 9.0  # log10 of a crossover that never comes (ours): beyond any number of samples that is drawn

Curve = tuple[float, ...]
_Point = tuple[float, float]


class Pair(NamedTuple):
    """One number for each of the two solutions."""

    dmmse: float  # the best predictor for the pool; for M = infinity that is ridge
    ridge: float  # the best predictor for tasks from N(0, I)


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """One run, by checkpoint. Losses and distances are in squared units of y, means over prompts and points."""

    steps: tuple[int, ...]
    ood: Curve  # loss on q_inf, tasks from N(0, I); the same prompts for every run
    own: Curve  # loss on q_M
    to_dmmse: Curve  # distance from dMMSE on q_M; for M = infinity that from ridge
    to_ridge: Curve  # distance from ridge on q_M
    place: tuple[_Point, ...]  # first two joint principal components
    ood_of: Pair  # losses of the solutions on q_inf
    own_of: Pair  # losses of the solutions on q_M
    llc: float  # local learning coefficient of the last checkpoint; NaN where the sampler diverged
    llc_error: float  # standard error of the sampler; 0 where there is none
    llc_flags: tuple[str, ...]  # what speaks against the estimate

    @property
    def t_crit(self) -> int:
        """Index of the checkpoint with the least loss on q_inf, the first of several (appendix B.2)."""
        return min(range(len(self.ood)), key=self.ood.__getitem__)

    def ratio(self, at: int) -> float:
        """Distance from dMMSE over that from ridge at one checkpoint: below 1 it is nearer to dMMSE."""
        return self.to_dmmse[at] / self.to_ridge[at]

    @property
    def turn(self) -> int:
        """Index of the checkpoint with the largest second component, whose sign is that of ridge."""
        return max(range(len(self.place)), key=lambda i: self.place[i][1])

    def __repr__(self) -> str:
        return f"Trained({len(self.steps)} checkpoints, loss on fresh tasks {self.ood[-1]:.3g}, LLC {self.llc:.3g})"


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """The joint principal components of one seed's runs."""

    explained: _Point  # shares of variance
    null: _Point  # the same of random walks with the runs' own steps
    landmarks: Mapping[int | None, _Point]  # places of dMMSE by M; None is ridge


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """All numbers of the experiment; claims and figures are made from these alone."""

    runs: Mapping[Run, Trained]
    planes: Mapping[int, Plane]  # by seed
    pool_gaps: Curve  # ridge's loss minus dMMSE's at the large M over that at the low one: one per list of tasks

    def __repr__(self) -> str:
        return f"Measures({len(self.runs)} runs)"


def measure(runs: TrainedRuns, sizes: Sizes) -> Measures:
    """Measure the runs of one seed together; what was measured is read from the run folders."""
    found: dict[Run, Trained] = {}
    planes: dict[int, Plane] = {}
    for seed in sizes.seeds:
        of_seed = [run for run in runs.configs if run.seed == seed]
        seen = development(
            [run_path(runs.folder, runs.configs[run]) for run in of_seed], settings=sizes.measured, llc=sizes.llc,
            stages=False, workers=runs.means.workers, device=runs.means.device,
            on_checkpoint=lambda done, _: runs.on_done(done),
        )  # fmt: skip
        planes[seed] = _plane(seen)
        found |= {run: _trained(run, one, seen) for run, one in zip(of_seed, seen.runs, strict=True)}
    return Measures(found, planes, _gap_ratios(sizes))


def count_records(configs: Mapping[Run, TrainConfig]) -> int:
    """Count what `measure` reports as done: checkpoints of each run, and one learning coefficient."""
    return sum(len(config.checkpoint_steps) + 1 for config in configs.values())


def _pca(seen: Development) -> JointTrajectoryPCA:
    # Always there: the pools share their root task, and three runs have four checkpoints and more.
    return cast(JointTrajectoryPCA, seen.trajectory)


def _plane(seen: Development) -> Plane:
    pca, roles = _pca(seen), seen.landmark_roles
    known = {name: _point(place) for name, place in pca.landmarks.items()}
    landmarks: dict[int | None, _Point] = {INFINITE: known["ridge"]}
    landmarks |= {int(name.rpartition("=")[2]): at for name, at in known.items() if roles[name] == "dMMSE"}
    return Plane(_point(pca.explained), _point(pca.null.explained), landmarks)


def _point(values: Tensor) -> _Point:
    first, second = values.tolist()[:2]
    return first, second


def _trained(run: Run, one: RunDevelopment, seen: Development) -> Trained:
    fresh = IN_DISTRIBUTION if run.n_tasks is INFINITE else one.ood_family
    own, other, last = one.reference_losses[IN_DISTRIBUTION], one.reference_losses[fresh], one.llc[-1]
    ridge = "ridge"
    dmmse = ridge if run.n_tasks is INFINITE else "dMMSE"
    return Trained(
        steps=one.steps,
        ood=tuple(one.losses(fresh).tolist()),
        own=tuple(one.losses().tolist()),
        to_dmmse=tuple(one.distances(dmmse).tolist()),
        to_ridge=tuple(one.distances(ridge).tolist()),
        place=tuple(_point(row) for row in _pca(seen).scores[one.name]),
        ood_of=Pair(other[dmmse], other[ridge]),
        own_of=Pair(own[dmmse], own[ridge]),
        llc=math.nan if last.estimate is None else last.estimate,
        llc_error=last.standard_error or 0.0,
        llc_flags=tuple(last.flags),
    )


def _gap_ratios(sizes: Sizes) -> Curve:
    """Compare the gaps between ridge and dMMSE of the large and the low M, for several lists of tasks.

    (l(ridge) - l(dMMSE)) at the one over that at the other, on prompts of each pool's own tasks; nothing is trained.
    """
    gaps = ([_gap(sizes, m, seed) for seed in _POOL_SEEDS] for m in (sizes.large, sizes.low))
    return combine(operator.truediv, *gaps)


def _gap(sizes: Sizes, n_tasks: int, pool_seed: int) -> float:
    shown = Material(pool(sizes, n_tasks, pool_seed=pool_seed), None, sizes.measured, sizes.recipe.task.default_points)
    targets, said = shown.families.by_label[IN_DISTRIBUTION].prompts.targets, shown.said[IN_DISTRIBUTION]
    ridge, dmmse = said["ridge"], said["dMMSE"]
    return float((ridge.double() - targets).square().mean() - (dmmse.double() - targets).square().mean())


def rise(run: Trained) -> float:
    """Transience: loss on q_inf at the end minus its least value; it means something only beyond `largest_rise`."""
    return run.ood[-1] - min(run.ood)


def largest_rise(run: Trained) -> float:
    """How far a curve rises at any time above what it had reached before.

    On the run of M = infinity, whose tasks follow q_inf, this is the noise from checkpoint to checkpoint (ours): like
    `rise` it is an extreme over as many checkpoints.
    """
    least = itertools.accumulate(run.ood, min)
    return max(now - before for now, before in zip(run.ood, least, strict=True))


def dip_share(run: Trained) -> float:
    """How far a pool's run came from dMMSE's loss on q_inf towards that of ridge: 1 where it reached ridge (ours)."""
    return (run.ood_of.dmmse - min(run.ood)) / (run.ood_of.dmmse - run.ood_of.ridge)


def below_ridge(run: Trained) -> float:
    """By how much dMMSE's loss on q_M is below ridge's."""
    return run.own_of.ridge - run.own_of.dmmse


def crossover(run: Trained, infinite: Trained) -> Crossover | None:
    """Predict where Bayesian selection leaves ridge for dMMSE, or say why nowhere; None without both coefficients.

    The last networks' coefficients stand for dMMSE's and, of M = infinity, for ridge's; the predictors' own losses on
    q_M for the losses.
    """
    complexity = run.llc - infinite.llc
    return None if math.isnan(complexity) else free_energy_crossover(below_ridge(run), complexity)


def _log_crossover(run: Trained, infinite: Trained) -> float:
    """log10 of the samples at the crossover: 0 where dMMSE is always preferred, `_NEVER_LEFT` where ridge is."""
    found = crossover(run, infinite)
    if found is None:
        return math.nan
    if below_ridge(run) <= 0:
        return _NEVER_LEFT
    return 0.0 if math.isnan(found.n) else math.log10(found.n)


def rank_correlation(xs: Sequence[float | int], ys: Sequence[float]) -> float:
    """Spearman's coefficient; 0 where the second are all equal, which is no order.

    >>> rank_correlation([4, 8, 16], [1.0, 5.0, 7.0]), rank_correlation([4, 8, 16], [3.0, 3.0, 3.0])
    (1.0, 0.0)
    """
    return 0.0 if len(set(ys)) < 2 else round(float(stats.spearmanr(xs, ys).statistic), 12)


def swaps(n: int) -> str:
    """Say how coarse the bound `ORDERED` is.

    k swaps of different pairs of neighbours lower Spearman's coefficient of n places by 12 k / (n^3 - n).

    >>> swaps(4)
    'with 4 points 0.8 allows 1 swap of neighbours'
    """
    allowed = min(n // 2, math.floor((1.0 - ORDERED) * (n**3 - n) / 12 + 1e-9))
    return f"with {n} points {ORDERED:g} allows {allowed} swap{'' if allowed == 1 else 's'} of neighbours"


class Reader(PerSeed[Trained]):
    """The numbers by M, one per seed."""

    def __init__(self, found: Measures, sizes: Sizes) -> None:
        self.sizes, self.pools, self.every = sizes, sizes.pools, (*sizes.pools, INFINITE)
        self.planes, self.pool_gaps = [found.planes[seed] for seed in sizes.seeds], found.pool_gaps
        named = {"low": sizes.low, "middle": sizes.middle, "large": sizes.large}
        self.sizes_of: dict[str, int | None] = {**named, "infinite": INFINITE}
        few = ", ".join(str(m) for m in self.pools) if len(self.pools) <= 6 else f"{self.pools[0]} to {self.pools[-1]}"
        words = {**named, "pools": few, "every": len(self.every), "steps": sizes.recipe.steps}
        words |= {"swaps": swaps(len(self.pools)), "swaps_of_every": swaps(len(self.every))}
        super().__init__(found.runs, sizes.seeds, words | {"llc": sizes.llc.describe(), "lists": len(self.pool_gaps)})

    def along_pools(self, number: Callable[[int], Curve]) -> Curve:
        """Rank correlation with the finite M of numbers of each."""
        return combine(lambda *ys: rank_correlation(self.pools, ys), *map(number, self.pools))

    def thresholds(self) -> Curve:
        """The largest M whose last network is nearer to dMMSE than to ridge on q_M; 0 where none is."""

        def reached(m: int) -> Curve:
            return combine(lambda ratio: m if ratio < 1 else 0.0 * ratio, self.each(lambda run: run.ratio(-1), m))

        return combine(lambda *ms: np.max(ms), *(reached(m) for m in self.pools))

    def log_crossovers(self, n_tasks: int | None) -> Curve:
        """`_log_crossover` of an M."""
        return combine(_log_crossover, self.all(n_tasks), self.all(INFINITE))

    def flagged(self) -> Curve:
        """Learning coefficients against which something speaks."""
        return combine(lambda *runs: sum(bool(run.llc_flags) for run in runs), *(self.all(m) for m in self.every))
