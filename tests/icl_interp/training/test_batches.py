import tracemalloc

import pytest
import torch

from icl_interp import AffineRecurrence, LinearRegression, ModelConfig, TaskPool, TrainConfig
from icl_interp.prompts import derive_seed
from icl_interp.tasks.base import Task
from icl_interp.training import batches
from icl_interp.training.batches import batch_seed, draw_batch, evaluation_seed
from icl_interp.training.schedules import Curriculum, Ramp

MODEL = ModelConfig(n_dims=3, n_points=7, n_layers=1, n_heads=1, d_model=8)
EASY = Curriculum(dims=Ramp(start=2, end=3, interval=2), points=Ramp(start=4, end=7, interval=1))


def config(task: Task | None = None, **changes: object) -> TrainConfig:
    return TrainConfig(**{"model": MODEL, "task": task or LinearRegression(3), "steps": 9, "batch_size": 5, **changes})


def test_batch_seeds_are_distinct_and_far_from_typed_ones() -> None:
    seeds = {batch_seed(seed, step) for seed in (0, 1, 11) for step in range(1, 2001)}
    assert len(seeds) == 6000
    # 6000 uniform draws from [0, 2**63) fall below 2**40 with probability 7e-4; the seeds are fixed.
    assert min(seeds) > 2**40


def test_no_two_batches_of_the_demo_are_alike() -> None:
    # Of a seed torch's CPU generator reads the lower 32 bits only: look at what it reads.
    inputs = {derive_seed(batch_seed(0, step), "inputs") % 2**32 for step in range(1, 10_001)}
    assert len(inputs) == 10_000


@pytest.mark.parametrize("task", [LinearRegression(3, noise_std=0.5), TaskPool(3, 4, noise_std=0.5)], ids=repr)
@pytest.mark.parametrize("curriculum", [None, EASY], ids=["plain", "curriculum"])
def test_a_batch_depends_on_seed_and_step_alone(task: Task, curriculum: Curriculum | None) -> None:
    run = config(task, curriculum=curriculum)
    first = draw_batch(run, 2)
    draw_batch(run, 3)
    again = draw_batch(run, 2)
    torch.testing.assert_close((again.xs, again.ys), (first.xs, first.ys), rtol=0, atol=0)
    for other in (draw_batch(run, 1), draw_batch(run.model_copy(update={"seed": 1}), 2)):
        assert not torch.equal(other.xs[:, 0], first.xs[:, 0])


def test_without_a_curriculum_it_is_the_tasks_own_sample() -> None:
    task = LinearRegression(3, noise_std=0.5)
    ours, theirs = draw_batch(config(task), 4), task.sample(5, seed=batch_seed(0, 4))
    torch.testing.assert_close((ours.xs, ours.ys), (theirs.xs, theirs.ys), rtol=0, atol=0)


def test_a_curriculum_zeroes_inputs_and_their_share_of_the_labels() -> None:
    for step, (n_points, n_dims) in enumerate([(4, 2), (5, 2), (6, 3), (7, 3)], start=1):
        prompts = draw_batch(config(curriculum=EASY), step)
        assert prompts.n_points == n_points
        assert not prompts.xs[:, :, n_dims:].any()
        assert bool(prompts.xs[:, :, :n_dims].all())
        torch.testing.assert_close(prompts.ys, torch.einsum("bpd,bd->bp", prompts.xs, prompts.ws))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"curriculum": Curriculum(dims=Ramp(start=2, end=4, interval=2))}, "curriculum.dims needs an end of at most"),
        ({"curriculum": Curriculum(points=Ramp(start=2, end=8, interval=2))}, "curriculum.points needs an end of at"),
        (
            {
                "curriculum": Curriculum(dims=Ramp(start=1, end=1, interval=2)),
                "model": MODEL.model_copy(update={"n_dims": 1, "n_points": 64}),
                "task": AffineRecurrence(1),
            },
            "whose labels are a function of x, got affine_recurrence",
        ),
    ],
)
def test_a_curriculum_has_to_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


def streams(seed: int) -> set[int]:
    return {derive_seed(seed, name) % 2**32 for name in batches._STREAMS}


def test_evaluation_never_meets_training(monkeypatch: pytest.MonkeyPatch) -> None:
    run = config(steps=2000)
    trained = set().union(*(streams(batch_seed(run.seed, step)) for step in range(1, 2001)))
    plain = evaluation_seed(run)
    assert not streams(derive_seed(plain, batches._SCORED)) & trained
    # Where they would meet, the next candidate is taken: with 8 bits of each seed read, 9 steps leave few free.
    monkeypatch.setattr(batches, "_READ", 2**8)
    chosen = evaluation_seed(config(steps=9))
    seen = {derive_seed(batch_seed(0, step), name) % 2**8 for step in range(1, 10) for name in batches._STREAMS}
    assert not {derive_seed(derive_seed(chosen, batches._SCORED), name) % 2**8 for name in batches._STREAMS} & seen
    first = derive_seed(derive_seed(0, "evaluation 0"), batches._SCORED)
    assert {derive_seed(first, name) % 2**8 for name in batches._STREAMS} & seen  # so the first was passed over
    assert chosen != derive_seed(0, "evaluation 0")


def plain_evaluation_seed(run: TrainConfig, read: int) -> int:
    # As the formula reads: every stream of every step, and the first candidate that meets none of them.
    seen = {
        derive_seed(batch_seed(run.seed, step), name) % read
        for step in range(1, run.steps + 1)
        for name in batches._STREAMS
    }
    for candidate in range(10_000):
        seed = derive_seed(run.seed, f"evaluation {candidate}")
        scored = derive_seed(seed, batches._SCORED)
        if not any(derive_seed(scored, name) % read in seen for name in batches._STREAMS):
            return seed
    raise AssertionError


@pytest.mark.parametrize(("seed", "steps", "bits"), [(0, 400, 32), (3, 300, 32), (0, 9, 8), (1, 14, 8), (2, 300, 14)])
def test_the_seed_of_evaluations_is_the_first_candidate_that_meets_no_step(
    monkeypatch: pytest.MonkeyPatch, seed: int, steps: int, bits: int
) -> None:
    monkeypatch.setattr(batches, "_READ", 2**bits)
    run = config(seed=seed, steps=steps)
    assert evaluation_seed(run) == plain_evaluation_seed(run, 2**bits)


def test_the_seed_of_evaluations_is_found_once_a_process_and_without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    run = config(seed=123, steps=5000)
    tracemalloc.start()
    try:
        first = evaluation_seed(run)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20  # a set of what 50,000 streams read takes four times that
    monkeypatch.setattr(batches, "batch_seed", None)
    assert evaluation_seed(run.model_copy(update={"lr": 0.5})) == first


def test_evaluation_prompts_come_from_the_stream_that_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    from icl_interp.training.evaluation import Evaluator

    run, drawn, sample = config(eval_prompts=4), [], LinearRegression.sample

    def spy(task: LinearRegression, *args: object, seed: int):
        drawn.append(seed)
        return sample(task, *args, seed=seed)

    monkeypatch.setattr(LinearRegression, "sample", spy)
    assert Evaluator(run).families.in_distribution.prompts.n_points == 7
    assert drawn[0] == derive_seed(evaluation_seed(run), batches._SCORED)
