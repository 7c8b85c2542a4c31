"""Batches as pure functions of (seed, step), and seeds for evaluation that never meet them."""

from icl_interp.prompts import Prompts, derive_seed
from icl_interp.tasks.base import FunctionTask
from icl_interp.training.train_config import TrainConfig

__all__ = ["batch_seed", "draw_batch", "evaluation_seed"]

STREAMS = (
    "inputs", "weights", "tasks", "noise", "support", "axes", "output weights", "leaves", "offsets", "orthants",
)  # fmt: skip
"""The streams that tasks open under the seed of a batch."""
_READ = 2**32
"""torch's CPU generator reads the low 32 bits of a seed: seeds meet if these agree."""
SCORED = "evaluation: score"
"""The stream of `measure.families` whose prompts are scored."""


def batch_seed(seed: int, step: int) -> int:
    """Give the seed of one training batch.

    Args:
        seed: The run's seed.
        step: Counting from 1.

    Returns:
        A derived seed: no two steps share one, and none meets a seed that is typed by hand for evaluation.

    Example:
        >>> batch_seed(0, 1) != batch_seed(0, 2)
        True
    """
    return derive_seed(seed, f"train step {step}")


def draw_batch(config: TrainConfig, step: int) -> Prompts:
    """Draw the prompts of one step, whatever was drawn before.

    Under a curriculum of dimensions the coordinates that are not yet in use are 0, and the labels are those of the
    inputs with these zeros.

    Args:
        config: Task, batch size, curriculum and seed.
        step: Counting from 1.

    Returns:
        float32 prompts on the CPU.
    """
    task, seed = config.task, batch_seed(config.seed, step)
    n_points, n_dims = config.n_points_at(step), config.n_dims_at(step)
    if n_dims == task.n_dims or not isinstance(task, FunctionTask):
        return task.sample(config.batch_size, n_points, seed=seed)
    xs = task.draw_inputs(config.batch_size, n_points, seed=seed)
    xs[:, :, n_dims:] = 0
    return task.prompts_at(xs, seed=seed)


def evaluation_seed(config: TrainConfig) -> int:
    """Give the seed under which a run is evaluated; none of its streams is one that training reads.

    All steps of the run are checked, on the bits that torch's generator reads; where two agree, which happens once in
    thousands of long runs, the next candidate is taken.

    Args:
        config: Seed and number of steps.

    Returns:
        For `measure.families.draw_families`.
    """
    seen = {
        derive_seed(batch_seed(config.seed, step), name) % _READ
        for step in range(1, config.steps + 1)
        for name in STREAMS
    }
    candidate = 0
    while True:
        seed = derive_seed(config.seed, f"evaluation {candidate}")
        scored = derive_seed(seed, SCORED)
        if not any(derive_seed(scored, name) % _READ in seen for name in STREAMS):
            return seed
        candidate += 1
