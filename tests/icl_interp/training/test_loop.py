import math

import pytest
import torch

from icl_interp import LinearRegression, ModelConfig, Prompts, TrainConfig, build_model
from icl_interp.prompts import derive_seed
from icl_interp.training.loop import batch_seed, learning_rate, steps_of

MODEL = ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8)
TINY = TrainConfig(model=MODEL, task=LinearRegression(2), steps=3, batch_size=4, lr=0.01)


def with_(**changes: object) -> TrainConfig:
    return TINY.model_copy(update=changes)


@pytest.mark.parametrize(
    ("config", "rates"),
    [
        (with_(lr=1.0), {1: 1.0, 3: 1.0}),
        (with_(lr=1.0, warmup=4, steps=12), {1: 0.25, 2: 0.5, 4: 1.0, 5: 1.0, 12: 1.0}),
        (with_(lr=2.0, schedule="cosine", steps=4), {1: 1 + 0.5**0.5, 2: 1.0, 3: 1 - 0.5**0.5, 4: 0.0}),
        (
            with_(lr=1.0, schedule="cosine", warmup=4, steps=12),
            {1: 0.25, 4: 1.0, 6: 0.5 + 0.5**1.5, 8: 0.5, 12: 0.0},
        ),
        (with_(lr=1.0, schedule="cosine", warmup=10, steps=5), {1: 0.1, 5: 0.5}),
        (with_(lr=1.0, schedule="cosine", steps=1), {1: 0.0}),
    ],
    ids=["constant", "warm-up", "cosine", "warm-up and cosine", "warm-up longer than the run", "one step"],
)
def test_learning_rate(config: TrainConfig, rates: dict[int, float]) -> None:
    for step, rate in rates.items():
        # Rounding of cosines in float64.
        assert learning_rate(config, step) == pytest.approx(rate, rel=1e-12, abs=1e-15)


def test_batch_seeds_are_distinct_and_far_from_typed_ones() -> None:
    seeds = {batch_seed(seed, step) for seed in (0, 1, 11) for step in range(1, 2001)}
    assert len(seeds) == 6000
    # 6000 uniform draws from [0, 2**63) fall below 2**40 with probability 7e-4; the seeds are fixed.
    assert min(seeds) > 2**40


def test_no_two_batches_of_the_demo_are_alike() -> None:
    # Of a seed torch's CPU generator reads the lower 32 bits only: look at what it reads.
    inputs = {derive_seed(batch_seed(0, step), "inputs") % 2**32 for step in range(1, 10_001)}
    assert len(inputs) == 10_000


def test_every_step_draws_the_batch_of_its_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, int]] = []
    sample = LinearRegression.sample

    def spy(task: LinearRegression, n_prompts: int, *, seed: int) -> Prompts:
        drawn.append((n_prompts, seed))
        return sample(task, n_prompts, seed=seed)

    monkeypatch.setattr(LinearRegression, "sample", spy)
    list(steps_of(with_(seed=5)))
    assert drawn == [(4, batch_seed(5, step)) for step in (1, 2, 3)]


def test_steps_are_adam_on_the_mean_squared_error_of_all_points() -> None:
    config = with_(schedule="cosine", warmup=1)
    model = build_model(MODEL, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.999), weight_decay=0.0)
    for step, (record, trained) in enumerate(steps_of(config), start=1):
        prompts = config.task.sample(4, seed=batch_seed(0, step))
        loss = torch.stack([
            (model(prompts.xs, prompts.ys) - prompts.ys)[:, k].square().mean() for k in range(5)
        ]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = learning_rate(config, step)
        optimizer.step()
        assert record.step == step
        assert record.lr == learning_rate(config, step)
        assert record.loss == pytest.approx(loss.item(), rel=1e-6)  # float32, averaged in another order
        for name, weight in model.named_parameters():
            # Adam divides by the gradient's size, so rounding of float32 gradients near 0 is amplified.
            torch.testing.assert_close(trained.get_parameter(name), weight, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("grad_clip", "clipped"), [(None, False), (1e-3, True), (1e6, False)])
def test_gradients_are_clipped_to_the_norm(grad_clip: float | None, clipped: bool) -> None:
    _, model = next(steps_of(with_(grad_clip=grad_clip)))
    norm = math.sqrt(sum(float(weight.grad.square().sum()) for weight in model.parameters()))
    assert (norm <= 1.001e-3) == clipped  # a thousandth above, for float32
    assert norm > 0.9e-3


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = LinearRegression.sample

    def sometimes_nan(task: LinearRegression, n_prompts: int, *, seed: int) -> Prompts:
        prompts = sample(task, n_prompts, seed=seed)
        return Prompts(xs=prompts.xs, ys=prompts.ys / (seed != batch_seed(0, 3)))

    monkeypatch.setattr(LinearRegression, "sample", sometimes_nan)
    records = []
    with pytest.raises(FloatingPointError, match=r"the loss was (nan|inf) at step 3; lower lr \(now 0.01\), lengthen"):
        records.extend(record for record, _ in steps_of(TINY))
    overflow = LinearRegression(2, x_mean=1e30)
    with pytest.raises(FloatingPointError, match=r"the loss was (nan|inf) at step 1"):
        next(steps_of(with_(task=overflow)))


def test_training_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    list(steps_of(TINY))
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
