import pytest
import torch

from icl_interp import LinearRegression, ModelConfig, TrainConfig
from icl_interp.training.loop import learning_rate
from icl_interp.training.schedules import CheckpointSteps, Curriculum, Ramp

MODEL = ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8)


def config(**changes: object) -> TrainConfig:
    return TrainConfig(**{"model": MODEL, "task": LinearRegression(2), "steps": 3, "lr": 1.0, **changes})


@pytest.mark.parametrize(
    ("changes", "rates"),
    [
        ({}, {1: 1.0, 3: 1.0}),
        ({"warmup": 4, "steps": 12}, {1: 0.25, 2: 0.5, 4: 1.0, 5: 1.0, 12: 1.0}),
        ({"lr": 2.0, "schedule": "cosine", "steps": 4}, {1: 1 + 0.5**0.5, 2: 1.0, 3: 1 - 0.5**0.5, 4: 0.0}),
        (
            {"schedule": "cosine", "warmup": 4, "steps": 12},
            {1: 0.25, 4: 1.0, 6: 0.5 + 0.5**1.5, 8: 0.5, 12: 0.0},
        ),
        ({"schedule": "cosine", "warmup": 10, "steps": 5}, {1: 0.1, 5: 0.5}),
        ({"schedule": "cosine", "steps": 1}, {1: 0.0}),
        ({"schedule": "triangle", "steps": 8}, {1: 0.25, 4: 1.0, 6: 0.5, 8: 0.0}),
        ({"schedule": "triangle", "steps": 8, "warmup": 2}, {1: 0.5, 2: 1.0, 5: 0.5, 8: 0.0}),
    ],
    ids=[
        "constant", "warm-up", "cosine", "warm-up and cosine", "warm-up longer than the run", "one step", "triangle",
        "triangle, early peak",
    ],
)  # fmt: skip
def test_learning_rate(changes: dict[str, object], rates: dict[int, float]) -> None:
    for step, rate in rates.items():
        # Rounding of cosines in float64.
        assert learning_rate(config(**changes), step) == pytest.approx(rate, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("steps", "warmup"), [(20, 0), (20, 10), (50, 15)])
def test_one_cycle_is_torchs(steps: int, warmup: int) -> None:
    run = config(schedule="one_cycle", steps=steps, warmup=warmup, lr=3e-3)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    factor = run.peak_step - 1
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=steps, pct_start=run.peak_step / steps, anneal_strategy="linear",
        div_factor=factor, final_div_factor=factor, cycle_momentum=False,
    )  # fmt: skip
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step() if len(rates) < steps else None
    assert [learning_rate(run, step) for step in range(1, steps + 1)] == pytest.approx(rates, rel=1e-9)


def test_one_cycle_starts_and_ends_where_timaeus_does() -> None:
    run = config(schedule="one_cycle", steps=500_000, lr=3e-3)
    # From the science note: start 1.2e-8, peak at T/2, end about 5e-14.
    assert learning_rate(run, 1) == pytest.approx(1.2e-8, rel=1e-4)
    assert learning_rate(run, 250_000) == pytest.approx(3e-3)
    assert learning_rate(run, 500_000) == pytest.approx(5e-14, rel=0.05)


def test_the_published_checkpoint_schedules() -> None:
    long = CheckpointSteps(every=100, log=1000).steps(150_000)
    assert len(long) == 2203
    assert len(set(long) & set(range(0, 150_001, 100))) == 1501
    # A loop over 0, ..., 499,999 with a grid made for 500,000; these eight are in the published config.
    short = CheckpointSteps(linear=100, log=100, horizon=500_000).steps(499_999)
    assert len(short) == 190
    assert {507, 1124, 3247, 9375, 27072, 59968, 121212, 499999} <= set(short)
    assert max(short) == 499_999


@pytest.mark.parametrize(
    ("schedule", "last", "steps"),
    [
        (CheckpointSteps(), 7, (7,)),
        (CheckpointSteps(every=3), 7, (0, 3, 6, 7)),
        (CheckpointSteps(linear=3), 8, (0, 4, 8)),
        (CheckpointSteps(log=4), 1000, (1, 10, 100, 1000)),
        (CheckpointSteps(every=400, log=3), 1000, (0, 1, 31, 400, 800, 1000)),
        (CheckpointSteps(linear=3, horizon=100), 60, (0, 50, 60)),
        (CheckpointSteps(log=3, decades=2), 10_000, (100, 1000, 10_000)),
        (CheckpointSteps(log=3, decades=9), 100, (1, 10, 100)),
        (CheckpointSteps(log=4, decades=3), 2, (1, 2)),
    ],
    ids=repr,
)
def test_checkpoint_steps(schedule: CheckpointSteps, last: int, steps: tuple[int, ...]) -> None:
    assert schedule.steps(last) == steps


def test_decades_need_a_logarithmic_grid() -> None:
    with pytest.raises(ValueError, match="decades says where the grid of log begins, and there is no log"):
        CheckpointSteps(every=3, decades=2)


def test_whole_powers_do_not_lose_one_to_rounding() -> None:
    # 10**6 ** (1 / 6) is 9.999999999999998 in float64.
    assert CheckpointSteps(log=7).steps(10**6) == (1, 10, 100, 1000, 10_000, 100_000, 10**6)


def test_a_ramp_is_dtsips_curriculum() -> None:
    ramp, value, seen = Ramp(start=5, end=9, inc=3, interval=4), 5, []
    for step in range(1, 20):  # dtsip: use, then count, then grow when the count is a multiple of the interval
        seen.append(value)
        value = min(value + 3, 9) if step % 4 == 0 else value
    assert [ramp.at(step) for step in range(1, 20)] == seen
    with pytest.raises(ValueError, match="a curriculum needs start of at most end, got 3 and 2; swap them"):
        Ramp(start=3, end=2, interval=1)


def test_a_curriculum_decides_points_and_dims() -> None:
    easy = config(curriculum=Curriculum(dims=Ramp(start=1, end=2, interval=2), points=Ramp(start=3, end=5, interval=1)))
    assert [(easy.n_dims_at(step), easy.n_points_at(step)) for step in (1, 2, 3, 4)] == [(1, 3), (1, 4), (2, 5), (2, 5)]
    assert (config().n_dims_at(1), config().n_points_at(1)) == (2, 5)
