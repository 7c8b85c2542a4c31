"""What is measured on the layers of Huang et al. (2024), and the same of the exact updates."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from icl_interp.experiments.experiment import PerSeed, TrainedRuns
from icl_interp.experiments.files import Kept, keep
from icl_interp.experiments.huang2023.setting import LEARNING_RATE, Kind, Run, Sizes, settings_of, task_of
from icl_interp.experiments.trained import checkpoints_of
from icl_interp.models.softmax.feature_dynamics import feature_dynamics
from icl_interp.models.softmax.softmax_layer import HookedSoftmaxLayer, attention_to_features, feature_scores
from icl_interp.training.train_config import TrainConfig

LEARNED, HALF = 0.9, 0.5  # attention to the own feature at which one counts as learned, and as half learned
_TEST_SEED = 2023

Curve = tuple[float, ...]
Which = Literal["dominant", "rare"]


@dataclass(frozen=True, slots=True)
class Curves:
    """One class of features along training, means over the features of the class."""

    attention: Curve  # Attn_k, to the own feature
    own: Curve  # A_k
    first: Curve  # B_{k,1}: score for the first feature; that of balanced layers is like all others
    others: Curve  # mean of B_{k,n} over the n that are neither k nor the first feature
    least: float  # smallest attention of a feature of the class at the end

    def time(self, steps: tuple[int, ...], level: float) -> float:
        """Steps until the attention exceeds a level, interpolated between checkpoints; NaN if it never does."""
        return crossing(steps, [a - level for a in self.attention])


def crossing(steps: tuple[int, ...], values: list[float]) -> float:
    """Give the step at which a curve first rises above 0, by linear interpolation; NaN if it never does.

    >>> crossing((0, 10, 20), [-1.0, -0.5, 0.5])
    15.0
    """
    for i, value in enumerate(values):
        if value > 0:
            if i == 0:
                return float(steps[0])
            share = -values[i - 1] / (value - values[i - 1])
            return steps[i - 1] + share * (steps[i] - steps[i - 1])
    return math.nan


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer along training."""

    steps: tuple[int, ...]
    rare: Curves  # of all features but the first; of a balanced layer they stand for all
    dominant: Curves  # of the first feature

    def phases(self) -> tuple[float, float, float, float]:
        """Give the steps at which the four phases of a rare feature end, by the rule that the page states."""
        rare, at = self.rare, self.steps
        middles = tuple(at[1:])
        lead = [(a1 - a0) - (b0 - b1) for a0, a1, b0, b1 in zip(rare.own, rare.own[1:], rare.first, rare.first[1:])]
        # Growth has to lead from there on: single checkpoints are noisy.
        after = [min(lead[i : i + _SUSTAINED]) for i in range(len(lead))]
        levels = [a + b for a, b in zip(rare.own, rare.first, strict=True)]
        late = [level if step > 0 else 0.0 for step, level in zip(at, levels, strict=True)]
        return (
            crossing(middles, after),
            crossing(at, late),
            rare.time(at, HALF),
            rare.time(at, LEARNED),
        )


_SUSTAINED = 3  # checkpoints in a row (our choice)


class Measured(Kept):
    """What a folder keeps of one layer."""

    WHAT = "a measured layer"
    format: Literal["icl-interp huang2023 layer 1"] = "icl-interp huang2023 layer 1"
    layer: Layer
