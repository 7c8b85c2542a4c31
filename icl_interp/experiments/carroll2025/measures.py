"""What is measured on the networks of Carroll et al. (2025), and what the claims are about: one number per seed."""

import itertools
import math
import operator
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import numpy as np
from pydantic.dataclasses import dataclass
from torch import Tensor

from icl_interp.experiments.carroll2025.setting import INFINITE, Run, Sizes, pool
from icl_interp.experiments.claims import rank_correlation, swaps
from icl_interp.experiments.experiment import PerSeed, TrainedRuns, combine
from icl_interp.experiments.trained import run_path
from icl_interp.measure.development.material import Material
from icl_interp.measure.development.one_run import RunDevelopment
from icl_interp.measure.development.run import development
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.training.train_config import TrainConfig
from probes.learning_coefficient.exact import Crossover, free_energy_crossover
from probes.trajectory import JointTrajectoryPCA

_POOL_SEEDS = (0, 1, 2, 3, 4)  # the list of tasks that the networks see, and four others (ours)
_NEVER_LEFT = 9.0  # log10 of a crossover that never comes (ours): beyond any number of samples that is drawn

Curve = tuple[float, ...]
_Point = tuple[float, float]


class Pair(NamedTuple):
    """One number for each of the two solutions."""

    dmmse: float  # the best predictor for the pool; for M = infinity that is ridge
    ridge: float  # the best predictor for tasks from N(0, I)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
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

    @property
    def turn(self) -> int:
        """Index of the checkpoint with the largest second component, whose sign is that of ridge."""
        return max(range(len(self.place)), key=lambda i: self.place[i][1])

    def ratio(self, at: int) -> float:
        """Distance from dMMSE over that from ridge at one checkpoint: below 1 it is nearer to dMMSE."""
        return self.to_dmmse[at] / self.to_ridge[at]

    def octaves(self, at: int) -> float:
        return math.log2(self.steps[at] + 1)


NUMBERS: Mapping[str, Callable[[Trained], float]] = MappingProxyType({
    "end": lambda run: run.ratio(-1),
    "at t_crit": lambda run: run.ratio(run.t_crit),
    "log2 t_crit": lambda run: run.octaves(run.t_crit),
    "turn - t_crit": lambda run: abs(run.octaves(run.turn) - run.octaves(run.t_crit)),
    # Transience: loss on q_inf at the end minus its least value. It means something only beyond the noise from
    # checkpoint to checkpoint, an extreme as well: the largest rise at any time of M = infinity, whose tasks are q_inf.
    "rise": lambda run: run.ood[-1] - min(run.ood),
    "noise": lambda run: max(map(operator.sub, run.ood, itertools.accumulate(run.ood, min))),
    "rise / learned": lambda run: NUMBERS["rise"](run) / (run.ood[0] - min(run.ood)),
    # How far a run came from dMMSE's loss on q_inf towards that of ridge: 1 where it reached ridge (ours).
    "way": lambda run: (run.ood_of.dmmse - min(run.ood)) / (run.ood_of.dmmse - run.ood_of.ridge),
    "loss / dMMSE's": lambda run: run.own[-1] / run.own_of.dmmse,
    "loss / ridge's": lambda run: run.own[-1] / run.own_of.ridge,
    "ridge - loss": lambda run: run.own_of.ridge - run.own[-1],
    "ridge - dMMSE": lambda run: run.own_of.ridge - run.own_of.dmmse,
    "llc": lambda run: run.llc,
})
"""Of one run; losses without another name are those on q_M."""


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """The joint principal components of one seed's runs."""

    explained: _Point  # shares of variance
    null: _Point  # the same of random walks with the runs' own steps
    landmarks: Mapping[int | None, _Point]  # places of dMMSE by M; None is ridge


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Measures:
    """All numbers of the experiment; claims and figures are made from these alone."""

    runs: Mapping[Run, Trained]
    planes: Mapping[int, Plane]  # by seed
    pool_gaps: Curve  # ridge's loss minus dMMSE's at the large M over that at the low one: one per list of tasks


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
        # Always there: the pools share their root task, and three runs have four checkpoints and more.
        pca = cast(JointTrajectoryPCA, seen.trajectory)
        places = {name: _point(place) for name, place in pca.landmarks.items()}
        landmarks: dict[int | None, _Point] = {INFINITE: places["ridge"]}
        dmmse = (name for name in places if seen.landmark_roles[name] == "dMMSE")
        landmarks |= {int(name.rpartition("=")[2]): places[name] for name in dmmse}
        planes[seed] = Plane(_point(pca.explained), _point(pca.null.explained), landmarks)
        found |= {run: _trained(run, one, pca) for run, one in zip(of_seed, seen.runs, strict=True)}
    return Measures(found, planes, _gap_ratios(sizes))


def count(configs: Mapping[Run, TrainConfig]) -> int:
    """Count what `measure` reports as done: checkpoints of each run, and one learning coefficient."""
    return sum(len(config.checkpoint_steps) + 1 for config in configs.values())


def _point(values: Tensor) -> _Point:
    first, second = values.tolist()[:2]
    return first, second


def _trained(run: Run, one: RunDevelopment, pca: JointTrajectoryPCA) -> Trained:
    infinite = run.n_tasks is INFINITE
    fresh, dmmse = (IN_DISTRIBUTION, "ridge") if infinite else (one.ood_family, "dMMSE")
    own, other, last = one.reference_losses[IN_DISTRIBUTION], one.reference_losses[fresh], one.llc[-1]
    return Trained(
        steps=one.steps, ood=tuple(one.losses(fresh).tolist()), own=tuple(one.losses().tolist()),
        to_dmmse=tuple(one.distances(dmmse).tolist()), to_ridge=tuple(one.distances("ridge").tolist()),
        place=tuple(map(_point, pca.scores[one.name])),
        ood_of=Pair(other[dmmse], other["ridge"]), own_of=Pair(own[dmmse], own["ridge"]),
        llc=math.nan if last.estimate is None else last.estimate, llc_error=last.standard_error or 0.0,
        llc_flags=tuple(last.flags),
    )  # fmt: skip


def _gap_ratios(sizes: Sizes) -> Curve:
    """Ridge's loss minus dMMSE's at the large M over that at the low M, by list of tasks; nothing is trained."""
    gaps = ([_gap(sizes, m, seed) for seed in _POOL_SEEDS] for m in (sizes.large, sizes.low))
    return combine(operator.truediv, *gaps)


def _gap(sizes: Sizes, n_tasks: int, pool_seed: int) -> float:
    # On prompts of a pool's own tasks.
    shown = Material(pool(sizes, n_tasks, pool_seed=pool_seed), None, sizes.measured, sizes.recipe.task.default_points)
    targets, said = shown.families.by_label[IN_DISTRIBUTION].prompts.targets, shown.said[IN_DISTRIBUTION]
    ridge, dmmse = (said[name].double() - targets for name in ("ridge", "dMMSE"))
    return float(ridge.square().mean() - dmmse.square().mean())


def crossover(run: Trained, infinite: Trained) -> Crossover | None:
    """Predict where Bayesian selection leaves ridge for dMMSE, or say why nowhere; None without both coefficients."""
    complexity = run.llc - infinite.llc  # the last networks' coefficients stand for those of dMMSE and of ridge
    return None if math.isnan(complexity) else free_energy_crossover(NUMBERS["ridge - dMMSE"](run), complexity)


def _log_crossover(run: Trained, infinite: Trained) -> float:
    """log10 of the samples at the crossover: 0 where dMMSE is always preferred, `_NEVER_LEFT` where ridge is."""
    found = crossover(run, infinite)
    if found is None:
        return math.nan
    if NUMBERS["ridge - dMMSE"](run) <= 0:
        return _NEVER_LEFT
    return 0.0 if math.isnan(found.n) else math.log10(found.n)


def _if_nearer(n_tasks: float, ratio: float) -> float:
    return n_tasks if ratio < 1 else 0.0 * ratio  # NaN stays NaN


class Reader(PerSeed[Trained]):
    """The numbers by M, one per seed."""

    def __init__(self, found: Measures, sizes: Sizes) -> None:
        self.sizes, self.pools, self.every = sizes, sizes.pools, (*sizes.pools, INFINITE)
        self.planes, self.pool_gaps = [found.planes[seed] for seed in sizes.seeds], found.pool_gaps
        named = {"low": sizes.low, "middle": sizes.middle, "large": sizes.large}
        self.sizes_of: dict[Any, int | None] = {**named, "infinite": INFINITE}
        few = ", ".join(str(m) for m in self.pools) if len(self.pools) <= 6 else f"{self.pools[0]} to {self.pools[-1]}"
        words = {**named, "pools": few, "every": len(self.every), "steps": sizes.recipe.steps}
        words |= {"swaps": swaps(len(self.pools)), "swaps_of_every": swaps(len(self.every))}
        super().__init__(found.runs, sizes.seeds, words | {"llc": sizes.llc.describe(), "lists": len(self.pool_gaps)})

    def number(self, name: str, m: int | str | None) -> Curve:
        """One of `NUMBERS` for an M, or for the M that a word stands for."""
        return self.each(NUMBERS[name], self.sizes_of.get(m, m))

    def beyond_noise(self, m: int | str | None) -> Curve:
        return combine(operator.sub, self.number("rise", m), self.number("noise", INFINITE))

    def along_pools(self, number: Callable[[int], Curve]) -> Curve:
        """Rank correlation with the finite M of numbers of each."""
        return combine(lambda *ys: rank_correlation(self.pools, ys), *map(number, self.pools))

    def thresholds(self) -> Curve:
        """The largest M whose last network is nearer to dMMSE than to ridge on q_M; 0 where none is."""
        nearer = (combine(partial(_if_nearer, float(m)), self.number("end", m)) for m in self.pools)
        return combine(lambda *which: np.max(which), *nearer)

    def log_crossovers(self, m: int | str | None) -> Curve:
        return combine(_log_crossover, self.all(self.sizes_of.get(m, m)), self.all(INFINITE))

    def flagged(self) -> Curve:
        """Learning coefficients against which something speaks."""
        return combine(lambda *runs: sum(bool(run.llc_flags) for run in runs), *(self.all(m) for m in self.every))
