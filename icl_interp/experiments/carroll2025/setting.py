"""The settings of Carroll et al. (2025) and ours: what is trained and measured, at which size."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from icl_interp.measure.development.settings import DevelopmentSettings, LlcSettings
from icl_interp.models.config import ModelConfig
from icl_interp.tasks.base import Task
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.task_pool import TaskPool
from icl_interp.training.configs import load_config
from icl_interp.training.schedules import CheckpointSteps
from icl_interp.training.train_config import TrainConfig

NOISE_STD = 0.125**0.5  # of the labels: sigma^2 = 1/8, the paper's
INFINITE = None  # the M of networks whose tasks are drawn afresh from N(0, I)


class Run(NamedTuple):
    """One trained network of the experiment."""

    n_tasks: int | None  # M; None is infinity
    seed: int  # of weights and batches; the pools are the same for all seeds


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a preset spends, and which M stand for the paper's classes."""

    seeds: tuple[int, ...]
    pools: tuple[int, ...]  # finite M, rising; M = infinity is always run as well
    low: int  # the M that should go straight to dMMSE
    middle: int  # the M that should go by way of ridge
    large: int  # the finite M that should go to ridge and stay
    threshold: tuple[int, int]  # least and largest M that may be the last to end nearer to dMMSE than to ridge
    recipe: TrainConfig  # what is the same for all runs
    measured: DevelopmentSettings  # at every checkpoint
    llc: LlcSettings  # of the last checkpoint


_LAPTOP = TrainConfig(
    model=ModelConfig(
        n_dims=4, n_points=8, n_layers=2, n_heads=4, d_model=64, d_mlp=64, tokens="separate", d_out=5,
        act_fn="relu", attn_out_proj=False, bias_read_in=False, bias_qkv=False, init="torch",
    ),
    task=LinearRegression(4, noise_std=NOISE_STD, n_points=8), steps=12_000, batch_size=128, lr=3e-3, warmup=1200,
    checkpoints=CheckpointSteps(linear=13, log=28), log_every=100, eval_every=None,
)  # fmt: skip


_SMOKE = _LAPTOP.model_copy(update={
    "model": _LAPTOP.model.model_copy(update={"n_layers": 1, "n_heads": 2, "d_model": 16, "d_mlp": 16}),
    "steps": 30, "batch_size": 16, "warmup": 3, "checkpoints": CheckpointSteps(linear=4),
})  # fmt: skip
_PRESET = load_config("carroll")
_PAPER = _PRESET.model_copy(update={
    "task": LinearRegression(_PRESET.task.n_dims, noise_std=NOISE_STD, n_points=_PRESET.task.n_points),
    "eval_every": None,
})  # fmt: skip
_MEASURED = DevelopmentSettings(n_prompts=2048, n_pca_prompts=512, n_probe_prompts=8, n_controls=0)

SIZES: Mapping[str, Sizes] = MappingProxyType({
    "smoke": Sizes(
        seeds=(0,), pools=(4, 16), low=4, middle=16, large=16, threshold=(4, 4), recipe=_SMOKE,
        measured=DevelopmentSettings(n_prompts=32, n_pca_prompts=8, n_probe_prompts=8, n_controls=0),
        llc=LlcSettings(1, lr=5e-4, localization=66.7, num_chains=2, num_draws=4, num_burnin_steps=2, batch_size=16),
    ),
    "laptop": Sizes(
        seeds=(0, 1, 2, 3, 4), pools=(4, 8, 16, 64), low=4, middle=16, large=64, threshold=(4, 32), recipe=_LAPTOP,
        measured=_MEASURED, llc=LlcSettings(
            1, lr=5e-4, localization=66.7, num_chains=4, num_draws=300, num_burnin_steps=150, batch_size=128
        ),
    ),
    "paper": Sizes(
        seeds=(0, 1, 2),
        pools=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 182, 256, 362, 512, *(2**k for k in range(10, 16))),
        low=4, middle=32, large=512, threshold=(128, 256), recipe=_PAPER, measured=_MEASURED,
        llc=LlcSettings(1, num_chains=10, num_draws=4000, num_burnin_steps=1000, batch_size=1024),
    ),
})  # fmt: skip
"""Presets: "smoke" for tests, "laptop" for two cores, "paper" with the paper's sizes where they are known."""


def plan(sizes: Sizes) -> dict[Run, TrainConfig]:
    """List everything that a preset trains, seed by seed, M rising."""
    runs = [Run(n_tasks, seed) for seed in sizes.seeds for n_tasks in (*sizes.pools, INFINITE)]
    tasks = {m: sizes.recipe.task if m is INFINITE else pool(sizes, m) for m in (*sizes.pools, INFINITE)}
    return {run: sizes.recipe.model_copy(update={"task": tasks[run.n_tasks], "seed": run.seed}) for run in runs}


def pool(sizes: Sizes, n_tasks: int, *, pool_seed: int = 0) -> Task:
    """The first tasks of an endless list: that of the networks, or another."""
    n_dims, n_points = sizes.recipe.task.n_dims, sizes.recipe.task.default_points
    return TaskPool(n_dims, n_tasks, noise_std=NOISE_STD, n_points=n_points, pool_seed=pool_seed)


def size_name(n_tasks: int | None) -> str:
    return "∞" if n_tasks is INFINITE else str(n_tasks)
