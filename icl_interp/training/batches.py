"""Batches as pure functions of (seed, step), and seeds for evaluation that never meet them."""

import hashlib
from functools import lru_cache

from icl_interp.prompts import Prompts, derive_seed
from icl_interp.tasks.base import FunctionTask
from icl_interp.training.train_config import TrainConfig

_STREAMS = (
    "inputs", "weights", "tasks", "noise", "support", "axes", "output weights", "leaves", "offsets", "orthants",
)  # fmt: skip
"""The streams that tasks open under the seed of a batch."""
_READ = 2**32  # torch's CPU generator reads the low 32 bits of a seed: seeds meet if these agree
_SCORED = "evaluation: score"  # the stream of `measure.families` whose prompts are scored


def batch_seed(seed: int, step: int) -> int:
    """Give the seed of one training batch; torch reads 32 bits of it, so that in 500,000 steps about 29 pairs meet."""
    return derive_seed(seed, f"train step {step}")


def draw_batch(config: TrainConfig, step: int) -> Prompts:
    """Draw the prompts of one step; coordinates that a curriculum does not use yet are 0 before x is labelled."""
    task, seed = config.task, batch_seed(config.seed, step)
    n_points, n_dims = config.n_points_at(step), config.n_dims_at(step)
    if n_dims == task.n_dims or not isinstance(task, FunctionTask):
        return task.sample(config.batch_size, n_points, seed=seed)
    xs = task.draw_inputs(config.batch_size, n_points, seed=seed)
    xs[:, :, n_dims:] = 0
    return task.prompts_at(xs, seed=seed)


def evaluation_seed(config: TrainConfig) -> int:
    """Give the seed under which a run is evaluated: the first candidate none of whose streams training reads."""
    return _evaluation_seed(config.seed, config.steps, _READ)


@lru_cache(maxsize=256)
def _evaluation_seed(seed: int, steps: int, read: int) -> int:
    candidate = 0
    while True:
        chosen = derive_seed(seed, f"evaluation {candidate}")
        scored = derive_seed(chosen, _SCORED)
        if not _training_reads(frozenset(derive_seed(scored, name) % read for name in _STREAMS), seed, steps, read):
            return chosen
        candidate += 1


def _training_reads(seeds: frozenset[int], seed: int, steps: int, read: int) -> bool:
    # `derive_seed` written out, a third of its time: a long run has millions of streams.
    sha256, number = hashlib.sha256, int.from_bytes
    names = [f"{name}:".encode() for name in _STREAMS]
    for step in range(1, steps + 1):
        batch = b"%d" % batch_seed(seed, step)
        for name in names:
            digest = sha256(name + batch, usedforsecurity=False).digest()
            if (number(digest[:8], "big") >> 1) % read in seeds:
                return True
    return False
