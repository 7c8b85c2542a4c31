"""What is measured on the layers of Huang et al. (2024), and the same of the exact updates."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from icl_interp.experiments.claims import mean
from icl_interp.experiments.experiment import PerSeed, TrainedRuns
from icl_interp.experiments.huang2023.setting import LEARNING_RATE, Kind, Run, Sizes, settings_of, task_of
from icl_interp.experiments.trained import checkpoints_of
from icl_interp.models.softmax.feature_dynamics import (
    FeatureDynamics,
    context_counts,
    feature_dynamics,
    observed_dynamics,
)
from icl_interp.training.train_config import TrainConfig

LEARNED, HALF = 0.9, 0.5  # attention to the own feature at which one counts as learned, and as half learned
PHASES = ("B_k1 falls faster", "A_k grows faster", "A_k leads", "convergence")
_SUSTAINED = 3  # checkpoints in a row in which A_k has to grow faster (our choice): single ones are noisy
_TEST_SEED = 2023

Curve = tuple[float, ...]


def crossing(steps: Sequence[float | int], values: Sequence[float]) -> float:
    """Give the step at which a curve first rises above 0, by linear interpolation; NaN if it never does.

    >>> crossing((0, 10, 20), [-1.0, -0.5, 0.5])
    15.0
    """
    for i, value in enumerate(values):
        if value > 0 and i == 0:
            return float(steps[0])
        if value > 0:
            share = -values[i - 1] / (value - values[i - 1])
            return steps[i - 1] + share * (steps[i] - steps[i - 1])
    return math.nan


@dataclass(frozen=True, slots=True)
class Curves:
    """A class of features along training: means over its features."""

    steps: tuple[int, ...]
    attention: Curve  # Attn_k, to the own feature
    own: Curve  # A_k
    first: Curve  # B_{k,1}, the score for the first feature
    others: Curve  # mean of B_{k,n} over the n that are neither k nor the first feature
    least: float  # smallest attention of a feature of the class at the end

    def time(self, level: float) -> float:
        """Steps until the attention exceeds a level; NaN if it never does."""
        return crossing(self.steps, [attention - level for attention in self.attention])

    @property
    def acceleration(self) -> float:
        """Largest growth of A_k per step between checkpoints, over that in the first tenth of the time to HALF."""
        slopes = [(b - a) / (t - s) for (s, t), (a, b) in zip(pairwise(self.steps), pairwise(self.own), strict=True)]
        early = np.interp([0.0, self.time(HALF) / 10], self.steps, self.own)
        return max(slopes) / float((early[1] - early[0]) / (self.time(HALF) / 10))

    @property
    def ends(self) -> tuple[float, float, float, float]:
        """Steps at which the four phases of a rare feature end, see the rule in paper.py; NaN where one does not."""
        growth = [(b - a) - (f - g) for (a, b), (f, g) in zip(pairwise(self.own), pairwise(self.first), strict=True)]
        least = [min(growth[i : i + _SUSTAINED]) for i in range(len(growth))]
        middles = [(s + t) / 2 for s, t in pairwise(self.steps)]
        leads = [
            own + first if step else 0.0 for step, own, first in zip(self.steps, self.own, self.first, strict=True)
        ]
        return crossing(middles, least), crossing(self.steps, leads), self.time(HALF), self.time(LEARNED)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, trained or by the exact updates."""

    dominant: Curves  # of the first feature; in a balanced layer it is like all others
    rare: Curves  # of all features but the first


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Measures:
    """All numbers of the experiment; claims and figures are made from these alone."""

    runs: Mapping[Run, Layer]
    exact: Mapping[tuple[Kind, int], Layer]


def measure(runs: TrainedRuns, sizes: Sizes) -> Measures:
    """Look at all checkpoints, and follow the exact updates to the same steps on the same contexts."""
    found, exact = {}, {}
    for kind, n_features in settings_of(sizes):
        task = task_of(kind, n_features, sizes)
        drawn = {"n_contexts": sizes.n_contexts, "seed": _TEST_SEED}
        counts = context_counts(task.shares, sizes.n_examples, **drawn)
        for run in (run for run in runs.configs if run[:2] == (kind, n_features)):
            kept = checkpoints_of(runs.folder, runs.configs[run])
            found[run] = layer(observed_dynamics(kept, task.features, counts))
        steps = found[run].rare.steps
        updates = feature_dynamics(task.shares, n_examples=sizes.n_examples, steps=steps, lr=LEARNING_RATE, **drawn)
        exact[kind, n_features] = layer(updates)
        runs.on_done(1)
    return Measures(found, exact)


def count(configs: Mapping[Run, TrainConfig]) -> int:
    """Count what `measure` reports as done: kinds of layers."""
    return len({run[:2] for run in configs})


def layer(found: FeatureDynamics) -> Layer:
    n = found.attention.shape[1]
    return Layer(_curves(found, [0]), _curves(found, list(range(1, n))))


def _curves(found: FeatureDynamics, chosen: list[int]) -> Curves:
    n = found.attention.shape[1]
    pairs = [(k, other) for k in chosen for other in range(1, n) if other != k]
    others = torch.stack([found.scores[:, k, other] for k, other in pairs]).mean(0)
    means = (one[:, chosen].mean(1) for one in (found.attention, found.own, found.scores[..., 0]))
    attention, own, first = (tuple(one.tolist()) for one in means)
    least = float(found.attention[-1, chosen].min())
    return Curves(found.steps, attention, own, first, tuple(others.tolist()), least)


class Reader(PerSeed[Layer]):
    """The numbers of each kind of layer, one per seed."""

    def __init__(self, found: Measures, sizes: Sizes) -> None:
        self.exact, self.sizes = found.exact, sizes
        words = {"N": sizes.n_examples, "K": sizes.imbalanced, "contexts": sizes.n_contexts}
        super().__init__(found.runs, sizes.seeds, words)

    def curves(self, kind: Kind, n_features: int) -> dict[str, tuple[list[Curves], Curves]]:
        """The classes of features of a kind of layer, each as trained per seed and by the exact updates."""
        layers, exact = self.all(kind, n_features), self.exact[kind, n_features]
        rare = [one.rare for one in layers], exact.rare
        if kind == "balanced":
            return {"": rare}
        return {"dominant": ([one.dominant for one in layers], exact.dominant), "rare": rare}

    @property
    def rare(self) -> list[Curves]:
        """Rare features of the imbalanced layers, one per seed."""
        return self.curves("imbalanced", self.sizes.imbalanced)["rare"][0]

    def half_times(self, n_features: int) -> list[float]:
        """Steps until half of the attention is right in a balanced layer, one per seed."""
        return [one.time(HALF) for one in self.curves("balanced", n_features)[""][0]]

    def exponent(self, times: Sequence[float]) -> float:
        """Slope of log time over log K."""
        return slope(list(self.sizes.steps), times)

    @property
    def bound_at(self) -> list[float]:
        """K^2 log K, up to a factor the bound on these times."""
        return [k * k * math.log(k) for k in self.sizes.steps]

    @property
    def bound(self) -> float:
        return self.exponent(self.bound_at)


def slope(sizes: Sequence[int], times: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def apart(trained: Curves, exact: Curves) -> float:
    """Give the largest distance of two curves of attention over checkpoints."""
    return max(abs(a - b) for a, b in zip(trained.attention, exact.attention, strict=True))


def average(curves: Sequence[Curve]) -> list[float]:
    return [mean(values) for values in zip(*curves, strict=True)]
