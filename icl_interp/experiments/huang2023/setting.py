"""The settings of Huang, Cheng and Liang (2024), as far as they are known, and ours."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from icl_interp.models.config import ModelConfig
from icl_interp.tasks.categorical import CategoricalRegression
from icl_interp.training.schedules import CheckpointSteps
from icl_interp.training.train_config import TrainConfig

Kind = Literal["balanced", "imbalanced"]
DOMINANT_SHARE = 0.5  # probability of the first feature in the imbalanced setting
LEARNING_RATE = 1.0  # eta, of gradient descent on half the squared error


class Run(NamedTuple):
    """One trained layer of the experiment."""

    kind: Kind
    n_features: int  # K
    seed: int  # of the batches; Q starts at 0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a preset."""

    seeds: tuple[int, ...]
    steps: Mapping[int, int]  # by the K of the balanced layers, at least three of them for the scaling of times
    imbalanced: int  # the K of the imbalanced layer, one of the above
    imbalanced_steps: int
    n_examples: int  # N
    batch_size: int
    n_contexts: int  # that attention is averaged over, and the exact updates
    checkpoints: CheckpointSteps


_OFTEN = CheckpointSteps(linear=51, log=11)
SIZES: Mapping[str, Sizes] = MappingProxyType({
    "smoke": Sizes(
        (0,), MappingProxyType({3: 20, 4: 30, 5: 40}), 4, 40, n_examples=20, batch_size=32, n_contexts=64,
        checkpoints=CheckpointSteps(linear=5),
    ),
    "laptop": Sizes(
        tuple(range(8)), MappingProxyType({5: 1000, 10: 2000, 20: 3000}), 10, 2500, n_examples=200, batch_size=256,
        n_contexts=512, checkpoints=_OFTEN,
    ),
    "paper": Sizes(
        tuple(range(8)), MappingProxyType({10: 3000, 20: 8000, 40: 20_000}), 20, 8000, n_examples=1000,
        batch_size=1024, n_contexts=1024, checkpoints=_OFTEN,
    ),
})  # fmt: skip
"""Presets: "smoke" for tests, "laptop" for two cores; sizes of the paper are unknown, "paper" is a larger guess."""


def task_of(kind: Kind, n_features: int, sizes: Sizes) -> CategoricalRegression:
    share = DOMINANT_SHARE if kind == "imbalanced" else None
    return CategoricalRegression(n_dims=n_features, dominant_share=share, n_points=sizes.n_examples + 1)


def settings_of(sizes: Sizes) -> dict[tuple[Kind, int], int]:
    """List kinds of runs with their steps: balanced ones, K rising, and the imbalanced one."""
    balanced: dict[tuple[Kind, int], int] = {("balanced", k): steps for k, steps in sizes.steps.items()}
    return balanced | {("imbalanced", sizes.imbalanced): sizes.imbalanced_steps}


def plan(sizes: Sizes) -> dict[Run, TrainConfig]:
    return {
        Run(kind, n_features, seed): _config(Run(kind, n_features, seed), steps, sizes)
        for seed in sizes.seeds
        for (kind, n_features), steps in settings_of(sizes).items()
    }


def _config(run: Run, steps: int, sizes: Sizes) -> TrainConfig:
    # The loss of training is the squared error, twice the paper's: half the learning rate does the same updates.
    return TrainConfig(
        model=ModelConfig(
            family="softmax_layer", n_dims=run.n_features, n_points=sizes.n_examples + 1, init="zeros"
        ),
        task=task_of(run.kind, run.n_features, sizes), steps=steps, batch_size=sizes.batch_size,
        lr=LEARNING_RATE / 2, optimizer="sgd", schedule="constant", grad_clip=None, loss_points="last",
        checkpoints=sizes.checkpoints, log_every=max(1, steps // 100), eval_every=None,
        seed=run.seed,
    )  # fmt: skip
