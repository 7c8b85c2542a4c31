"""The settings of Hill et al. (2025) as we read them: five training distributions, and shifts that leave each."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple, get_args

from icl_interp.models.config import ModelConfig
from icl_interp.tasks.base import Task
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.uniform import UniformRegression
from icl_interp.training.configs import load_config
from icl_interp.training.train_config import TrainConfig

Kind = Literal["isotropic", "weights", "inputs", "scale", "noise"]
KINDS: tuple[Kind, ...] = get_args(Kind)  # the training distributions
NAMES: Mapping[str, str] = MappingProxyType({
    "isotropic": "isotropic training", "weights": "weights in a subspace", "inputs": "inputs in a subspace",
    "scale": "inputs on a bounded cube", "noise": "noisy labels",
})  # fmt: skip


class Run(NamedTuple):
    """One trained model of the experiment."""

    kind: Kind  # its training distribution
    seed: int  # of weights, batches, untrained networks and evaluation prompts


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a preset spends."""

    seeds: tuple[int, ...]
    n_dims: int  # prompts have 2 n_dims + 1 points
    n_layers: int
    n_heads: int
    d_model: int
    steps: int
    full_steps: int  # of models whose prompts fill all dimensions, which learn later
    n_prompts: int  # of each family, and for fitting
    n_controls: int  # untrained networks for each model
    quick: bool = False  # whether only a few shifts are tested
    as_garg: bool = False  # whether network, recipe and curriculum are those of dtsip-standard, whatever else is here


SIZES: Mapping[str, Sizes] = MappingProxyType({
    "smoke": Sizes(
        (0,), n_dims=2, n_layers=1, n_heads=1, d_model=8, steps=5, full_steps=5, n_prompts=12, n_controls=2, quick=True,
    ),
    "laptop": Sizes(
        tuple(range(8)), n_dims=4, n_layers=6, n_heads=4, d_model=32, steps=6000, full_steps=10_000,
        n_prompts=128, n_controls=20,
    ),
    "paper": Sizes(
        (0, 1, 2), n_dims=20, n_layers=12, n_heads=8, d_model=256, steps=500_000, full_steps=500_000,
        n_prompts=256, n_controls=20, as_garg=True,
    ),
})  # fmt: skip
"""Presets: "smoke" for tests, "laptop" for two cores, "paper" at the size that the paper is said to have."""

_NOISE = 0.5  # standard deviation of the labels' noise, beside that of sqrt(d) of the labels

_EVERYWHERE = (
    "x_scale", "w_scale", "x_skewed", "x_half_subspace", "x_mean", "label_noise", "random_orthants", "x_mixed=1/4",
    "x_mixed=1/3", "x_mixed=3/4",
)  # fmt: skip
_OUT_OF = {"weights": ("w_rotation", "w_mixed=1/4", "w_mixed=1/3", "w_mixed=3/4"), "inputs": ("x_complement",)}
_QUICK = ("x_scale=1/3", "x_scale=3", "x_skewed", "x_mixed=1/3")
_QUICK_OUT_OF = {**_OUT_OF, "weights": ("w_rotation=1/3", "w_rotation=1/2")}


def shifts_of(kind: Kind, *, quick: bool = False) -> tuple[str, ...]:
    """List the shifts that models of one training distribution are tested on.

    They are the same for all, then come those that leave the distribution's own support.

    >>> sorted(set(shifts_of("inputs")) - set(shifts_of("isotropic")))
    ['x_complement']
    """
    everywhere, out_of = (_QUICK, _QUICK_OUT_OF) if quick else (_EVERYWHERE, _OUT_OF)
    return (*everywhere, *out_of.get(kind, ()))


def task_of(kind: Kind, n_dims: int) -> Task:
    """Give the tasks of one training distribution; E|x|^2 = E|w|^2 = d in all of them, and labels of one have noise."""
    n_points, rank = 2 * n_dims + 1, n_dims // 2
    half = [n_dims / rank] * rank + [0.0] * (n_dims - rank)
    if kind == "scale":
        return UniformRegression(n_dims=n_dims, half_width=3**0.5, n_points=n_points)
    x_cov, w_cov = (half if kind == confined else None for confined in ("inputs", "weights"))
    noise_std = _NOISE if kind == "noise" else 0.0
    return LinearRegression(n_dims, x_cov=x_cov, w_cov=w_cov, n_points=n_points, noise_std=noise_std)


def plan(sizes: Sizes) -> dict[Run, TrainConfig]:
    return {Run(kind, seed): _config(sizes, kind, seed) for seed in sizes.seeds for kind in KINDS}


def _config(sizes: Sizes, kind: Kind, seed: int) -> TrainConfig:
    task = task_of(kind, sizes.n_dims)
    if sizes.as_garg:
        return TrainConfig(**{**dict(load_config("dtsip-standard")), "task": task, "seed": seed})
    steps = sizes.steps if kind in ("weights", "inputs") else sizes.full_steps
    return TrainConfig(
        model=ModelConfig(
            n_dims=sizes.n_dims, n_points=2 * sizes.n_dims + 1, n_layers=sizes.n_layers, n_heads=sizes.n_heads,
            d_model=sizes.d_model,
        ),
        task=task, steps=steps, batch_size=64, lr=2e-3, schedule="cosine", warmup=steps // 20, grad_clip=1.0,
        log_every=max(1, steps // 100), eval_every=None, seed=seed,
    )  # fmt: skip
