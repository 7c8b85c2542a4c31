"""Many models in one batched process, one after the other, and in two processes."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import joblib
import torch
from row import Row, at_least, best_of

from icl_interp import LinearRegression, ModelConfig, TrainConfig
from icl_interp.training.loop import Trainer

MEMBERS = 16
WANTED_MANY = 4.0


def _members(model: ModelConfig, batch_size: int, steps: int) -> list[TrainConfig]:
    # Make the configs of an ensemble: one shape, sixteen seeds.
    task = LinearRegression(model.n_dims, w_mean=1.0, n_points=model.n_points)
    return [
        TrainConfig(model=model, task=task, steps=steps, batch_size=batch_size, seed=seed) for seed in range(MEMBERS)
    ]


def _one_alone(config: TrainConfig) -> None:
    torch.set_num_threads(1)
    trainer = Trainer(config)
    for _ in range(config.steps):
        trainer.advance()


def _all_apart(configs: list[TrainConfig]) -> None:
    for config in configs:
        _one_alone(config)


def _many_at_once(name: str, configs: list[TrainConfig], repeats: int, wanted: float = 0.0) -> Row:
    # Compare one batched ensemble with its members one after the other.
    from icl_interp import train_many  # seconds, which --help need not take

    sides = [partial(train_many, configs), partial(_all_apart, configs)]
    together, alone = best_of(sides, calls=1, repeats=repeats)
    made = sum(config.steps for config in configs)
    return at_least(f"train_many of {MEMBERS}, {name}", made / together, made / alone, alone / together, wanted)


def linear_rows(repeats: int) -> Iterator[Row]:
    """Train families that are small enough for calls to cost more than products do, at the recipe's batch.

    Yields:
        A row for each family.
    """
    for family in ("lsa", "ltb"):
        model = ModelConfig(family=family, n_dims=5, n_points=6)
        yield _many_at_once(f"{family}, d=5, batch 128", _members(model, 128, 30), repeats, WANTED_MANY)


def transformer_rows(repeats: int) -> Iterator[Row]:
    """Train beside two processes, whose gain is wall time alone and at most the number of free cores.

    Yields:
        For each width: batching, two processes, the faster of the two.
    """
    for width, batch_size in ((8, 16), (16, 64), (64, 64)):
        model = ModelConfig(n_dims=5, n_points=11, n_layers=2, n_heads=2, d_model=width)
        configs = _members(model, batch_size, 20)
        shape = f"2 layers, width {width}, batch {batch_size}"
        batched = _many_at_once(f"{shape}", configs, repeats)
        yield batched
        with joblib.Parallel(n_jobs=2, backend="loky") as parallel:
            run = [joblib.delayed(_one_alone)(config) for config in configs]
            parallel(run[:2])  # both processes import everything first
            two = min(_wall(partial(parallel, run)) for _ in range(repeats))
            one = min(_wall(partial(_all_apart, configs)) for _ in range(repeats))
        made = sum(config.steps for config in configs)
        yield at_least(f"two processes, {shape}", made / two, made / one, one / two)
        faster = "batching" if batched.ratio > one / two else "two processes"
        yield at_least(f"  faster there: {faster}", batched.ratio, one / two, max(batched.ratio, one / two))


def _wall(call: Callable[[], object]) -> float:
    # Processes have processor times of their own: here the clock on the wall counts.
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
