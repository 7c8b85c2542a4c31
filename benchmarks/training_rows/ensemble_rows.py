"""Many models in one batched process, one after the other, and in two processes."""

import time
from collections.abc import Iterator
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


def _one_alone(config: TrainConfig) -> float:
    # Train one model; the processor time that it took.
    torch.set_num_threads(1)
    start = time.process_time()
    trainer = Trainer(config)
    for _ in range(config.steps):
        trainer.advance()
    return time.process_time() - start


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
    """Train beside two processes, which gain wall time alone, and at most as many times as cores are free.

    Yields:
        For each width: batching (processor time), two processes (wall time), what sharing the machine costs these
        (processor time), and batching over two processes (wall time).
    """
    for width, batch_size in ((8, 16), (16, 64), (64, 64)):
        model = ModelConfig(n_dims=5, n_points=11, n_layers=2, n_heads=2, d_model=width)
        configs = _members(model, batch_size, 20)
        shape = f"2 layers, width {width}, batch {batch_size}"
        yield _many_at_once(shape, configs, repeats)
        yield from _beside_processes(shape, configs, repeats)


def _beside_processes(shape: str, configs: list[TrainConfig], repeats: int) -> Iterator[Row]:
    from icl_interp import train_many  # seconds, which --help need not take

    with joblib.Parallel(n_jobs=2, backend="loky") as parallel:
        run = [joblib.delayed(_one_alone)(config) for config in configs]

        def in_two() -> float:
            return sum(parallel(run))

        in_two()  # both processes import everything first
        best_wall, best_processor = [float("inf")] * 3, [float("inf")] * 3
        for _ in range(repeats):
            for number, side in enumerate((partial(train_many, configs), partial(_all_apart, configs), in_two)):
                wall, processor = time.perf_counter(), time.process_time()
                said = side()
                wall, processor = time.perf_counter() - wall, time.process_time() - processor
                best_wall[number] = min(best_wall[number], wall)
                # The processor time of other processes is what they say.
                best_processor[number] = min(best_processor[number], said if side is in_two else processor)
    made = sum(config.steps for config in configs)
    batched, apart, two = (made / seconds for seconds in best_wall)
    yield at_least(f"two processes, {shape}", two, apart, two / apart)
    _, apart_alone, both = (made / seconds for seconds in best_processor)
    yield at_least("  per processor second", both, apart_alone, both / apart_alone)
    yield at_least("  train_many over two processes, wall time", batched, two, batched / two)
