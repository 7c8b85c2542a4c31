"""The settings of Zhang et al. (2024), and ours at smaller sizes."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from icl_interp.models.config import ModelConfig
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.training.schedules import CheckpointSteps
from icl_interp.training.train_config import TrainConfig

Kind = Literal["lsa", "ltb", "ltb no skip", "gpt2", "gpt2 no MLP", "gpt2 pinned", "gpt2 no MLP pinned"]
_BOTH: tuple[Kind, Kind] = ("lsa", "ltb")
GPT2: tuple[Kind, ...] = ("gpt2", "gpt2 no MLP", "gpt2 pinned", "gpt2 no MLP pinned")
_ALONE: tuple[tuple[str, Kind], ...] = (("noise", "ltb"), ("ablation", "ltb no skip"))
N_DIMS, N_PAIRS = 5, 5  # d and M of Figure 1; b* = (1, ..., 1), H = Psi = I, no noise
FIGURE_NORM = N_DIMS**0.5  # |b*| of Figure 1
TABLE_ENTRIES = (
    0.0,
    3.0,
    10.0,
)  # entries of b* in Table 1, and one between (our choice), where GPT-2 with MLPs learns in few steps
NOISE_STD = N_DIMS**0.5  # of the noisy setting (our choice): sigma^2 = tr(H Psi), a signal-to-noise ratio of 1


class Run(NamedTuple):
    """One trained model of the experiment."""

    part: str  # "figure 1", "norms", "lengths", "noise", "ablation" or "table 1"
    kind: Kind
    norm: float  # |b*|; all its entries are equal
    n_pairs: int  # M
    seed: int  # of weights and batches


@dataclass(frozen=True, slots=True)
class Transformer:
    """The GPT-2 of Table 1 at some size, and its recipe."""

    n_dims: int
    n_pairs: int
    n_layers: int
    n_heads: int
    d_model: int
    steps: int
    batch_size: int
    lr: float
    schedule: Literal["constant", "cosine"]
    linear_steps: int  # of the linear analogue on the same tasks
    eval_tasks: int  # that it is tested on


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes of a preset."""

    seeds: tuple[int, ...]
    n_gpt2_seeds: int  # the first so many seeds train GPT-2 too
    steps: int  # of Figure 1
    sweep_steps: int  # of every other linear model but those on GPT-2's tasks
    norms: tuple[float, ...]  # |b*| besides Figure 1's
    lengths: tuple[int, ...]  # M besides Figure 1's
    ridge_tasks: int  # noisy tasks that the centred ridge is tested on; the errors of linear models are exact
    transformer: Transformer


SIZES: Mapping[str, Sizes] = MappingProxyType({
    "smoke": Sizes(
        seeds=(0,), n_gpt2_seeds=1, steps=40, sweep_steps=20, norms=(0.0, 10.0), lengths=(10,), ridge_tasks=20_000,
        transformer=Transformer(3, 6, 1, 2, 16, 10, 16, 1e-3, "cosine", 20, 500),
    ),
    "laptop": Sizes(
        seeds=tuple(range(8)), n_gpt2_seeds=5, steps=20_000, sweep_steps=20_000, norms=(0.0, 5.0, 10.0),
        lengths=(2, 10, 20), ridge_tasks=1_000_000,
        transformer=Transformer(3, 12, 4, 2, 32, 6_000, 64, 2e-3, "cosine", 60_000, 20_000),
    ),
    "paper": Sizes(
        seeds=(0, 1, 2), n_gpt2_seeds=3, steps=20_000, sweep_steps=20_000, norms=(0.0, 0.5, 1.0, 2.0, 4.0, 5.0, 10.0),
        lengths=(2, 10, 20, 40), ridge_tasks=2_000_000,
        transformer=Transformer(20, 40, 6, 4, 128, 200_000, 256, 1e-4, "constant", 60_000, 100_000),
    ),
})  # fmt: skip
"""Presets: "smoke" for tests, "laptop" for two cores, "paper" with the paper's sizes where it states them."""


def task_of(run: Run, n_dims: int = N_DIMS) -> LinearRegression:
    """Give the tasks of a run: H = Psi = I, b* with equal entries, M examples and a query."""
    noise = NOISE_STD if run.part == "noise" else 0.0
    return LinearRegression(n_dims, w_mean=run.norm / n_dims**0.5, noise_std=noise, n_points=run.n_pairs + 1)


def plan(sizes: Sizes) -> dict[Run, TrainConfig]:
    configs: dict[Run, TrainConfig] = {}
    for seed in sizes.seeds:
        for kind in _BOTH:
            run = Run("figure 1", kind, FIGURE_NORM, N_PAIRS, seed)
            configs[run] = _linear(run, sizes.steps, along=True)
            others = [Run("norms", kind, norm, N_PAIRS, seed) for norm in sizes.norms]
            others += [Run("lengths", kind, FIGURE_NORM, length, seed) for length in sizes.lengths]
            configs |= {other: _linear(other, sizes.sweep_steps) for other in others}
        for part, kind in _ALONE:
            run = Run(part, kind, FIGURE_NORM, N_PAIRS, seed)
            configs[run] = _linear(run, sizes.sweep_steps)
        of = sizes.transformer
        for entry in TABLE_ENTRIES:
            runs = [Run("table 1", kind, entry * of.n_dims**0.5, of.n_pairs, seed) for kind in (*_BOTH, *GPT2)]
            linear = {run: _linear(run, of.linear_steps, n_dims=of.n_dims) for run in runs if run.kind in _BOTH}
            configs |= linear
            if seed in sizes.seeds[: sizes.n_gpt2_seeds]:
                configs |= {run: _gpt2(run, of) for run in runs if run.kind in GPT2}
    return configs


def _linear(run: Run, steps: int, *, n_dims: int = N_DIMS, along: bool = False) -> TrainConfig:
    # The paper states neither optimiser nor steps. Losses of large b* are scaled so that clipping means the same.
    family: Literal["lsa", "ltb"] = "lsa" if run.kind == "lsa" else "ltb"
    return TrainConfig(
        model=ModelConfig(family=family, n_dims=n_dims, n_points=run.n_pairs + 1, attn_skip=run.kind != "ltb no skip"),
        task=task_of(run, n_dims), steps=steps, batch_size=128, lr=1e-3, schedule="cosine", grad_clip=10.0,
        loss_points="last", scale_loss=run.part != "figure 1",
        checkpoints=CheckpointSteps(linear=21, log=21) if along else None,
        log_every=max(1, steps // 100), eval_every=None, seed=run.seed,
    )  # fmt: skip


def _gpt2(run: Run, of: Transformer) -> TrainConfig:
    return TrainConfig(
        model=ModelConfig(
            n_dims=of.n_dims, n_points=of.n_pairs + 1, n_layers=of.n_layers, n_heads=of.n_heads, d_model=of.d_model,
            tokens="joint", init="zhang", attn_only="no MLP" in run.kind,
            read_out="pinned" if "pinned" in run.kind else "free",
        ),
        task=task_of(run, of.n_dims), steps=of.steps, batch_size=of.batch_size, lr=of.lr, schedule=of.schedule,
        loss_points="last", scale_loss=True, log_every=max(1, of.steps // 100), eval_every=None, seed=run.seed,
    )  # fmt: skip
