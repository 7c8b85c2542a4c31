import math

import pytest
import torch
from torch import nn

from icl_interp import LinearRegression, ModelConfig, Prompts, TrainConfig, build_model
from icl_interp.training.batches import batch_seed, draw_batch
from icl_interp.training.loop import StepRecord, Trainer, _prompt_loss, learning_rate

MODEL = ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8)
TINY = TrainConfig(model=MODEL, task=LinearRegression(2), steps=3, batch_size=4, lr=0.01)


def with_(**changes: object) -> TrainConfig:
    return TINY.model_copy(update=changes)


def run(trainer: Trainer, steps: int) -> list[StepRecord]:
    return [trainer.advance() for _ in range(steps)]


def assert_same_weights(actual: nn.Module, expected: nn.Module, **tolerance: float) -> None:
    for name, weight in expected.named_parameters():
        torch.testing.assert_close(actual.get_parameter(name), weight, **(tolerance or {"rtol": 0, "atol": 0}))


def test_steps_are_adam_on_the_mean_squared_error_of_all_points() -> None:
    config = with_(schedule="cosine", warmup=1)
    model = build_model(MODEL, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0, betas=(0.9, 0.999), weight_decay=0.0)
    trainer = Trainer(config)
    for step in (1, 2, 3):
        record = trainer.advance()
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
        # Adam divides by the gradient's size, so rounding of float32 gradients near 0 is amplified.
        assert_same_weights(trainer.model, model, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("grad_clip", "clipped"), [(None, False), (1e-3, True), (1e6, False)])
def test_gradients_are_clipped_to_the_norm(grad_clip: float | None, clipped: bool) -> None:
    trainer = Trainer(with_(grad_clip=grad_clip))
    trainer.advance()
    norm = math.sqrt(sum(float(weight.grad.square().sum()) for weight in trainer.model.parameters()))
    assert (norm <= 1.001e-3) == clipped  # a thousandth above, for float32
    assert norm > 0.9e-3


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = LinearRegression.sample

    def sometimes_nan(task: LinearRegression, n_prompts: int, n_points: int, *, seed: int) -> Prompts:
        prompts = sample(task, n_prompts, n_points, seed=seed)
        return Prompts(xs=prompts.xs, ys=prompts.ys / (seed != batch_seed(0, 3)))

    monkeypatch.setattr(LinearRegression, "sample", sometimes_nan)
    trainer = Trainer(TINY)
    run(trainer, 2)
    before = [weight.clone() for weight in trainer.model.parameters()]
    with pytest.raises(FloatingPointError, match=r"the loss was (nan|inf) at step 3; lower lr \(now 0.01\), lengthen"):
        trainer.advance()
    assert trainer.step == 2
    for weight, old in zip(trainer.model.parameters(), before, strict=True):
        torch.testing.assert_close(weight, old, rtol=0, atol=0)


def shouting(size: float) -> Trainer:
    trainer = Trainer(TINY)
    with torch.no_grad():
        trainer.model.unembed.b_U.fill_(size)  # a loss of size^2, where E[y^2] is 2
    return trainer


def test_a_loss_that_diverges_stops_the_run() -> None:
    with pytest.raises(FloatingPointError, match=r"the loss diverged to 1e\+14 at step 1, more than 1e\+06 E\[y\^2\]"):
        shouting(1e7).advance()
    assert shouting(1e2).advance().step == 1  # a large loss alone is no divergence


OPTIMIZERS = {
    "adam": (torch.optim.Adam, {"betas": (0.8, 0.9), "adam_eps": 1e-3, "weight_decay": 0.1},
             {"betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.5}, {"weight_decay": 0.5}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}, {"momentum": 0.9, "weight_decay": 0.1}),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_are_those_of_torch(name: str) -> None:
    kind, ours, theirs = OPTIMIZERS[name]
    config = with_(optimizer=name, precision="float64", **ours)
    trainer = Trainer(config)
    assert trainer.optimizer.defaults["fused"] is True
    model = build_model(MODEL, seed=0).double()
    optimizer = kind(model.parameters(), lr=0.01, foreach=False, **theirs)
    for step in (1, 2, 3):
        trainer.advance()
        optimizer.zero_grad()
        prompts = draw_batch(config, step)
        _prompt_loss(model, prompts.xs, prompts.ys, config).backward()
        optimizer.step()
    # Fused and plain kernels add in another order; float64.
    assert_same_weights(trainer.model, model, rtol=1e-9, atol=1e-12)


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    whole, parts = Trainer(with_(precision="float64")), Trainer(with_(precision="float64", accumulate=2))
    for one, other in zip(run(whole, 3), run(parts, 3), strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-12)
    # Adam amplifies rounding of float64 gradients that are nearly 0.
    assert_same_weights(parts.model, whole.model, rtol=1e-6, atol=1e-9)


def test_the_query_alone_counts_where_that_is_asked_for() -> None:
    config = with_(loss_points="last")
    prompts, model = draw_batch(config, 1), build_model(MODEL, seed=0)
    expected = (model(prompts.xs, prompts.ys) - prompts.ys)[:, -1].square().mean()
    torch.testing.assert_close(_prompt_loss(model, prompts.xs, prompts.ys, config), expected)
    assert Trainer(config).advance().loss == pytest.approx(expected.item(), rel=1e-6)


def test_a_scaled_loss_is_the_same_for_labels_of_any_size() -> None:
    gradients, losses = [], []
    for w_cov in (1.0, 1e4):
        trainer = Trainer(with_(task=LinearRegression(2, w_cov=w_cov), scale_loss=True, precision="float64"))
        with torch.no_grad():
            trainer.model.unembed.W_U.zero_()  # predictions do not depend on the scale of the labels
            trainer.model.unembed.b_U.zero_()
        losses.append(trainer.advance().loss)
        gradients.append(trainer.model.unembed.b_U.grad.item())
    assert losses[1] == pytest.approx(1e4 * losses[0])  # what is logged keeps the units of y
    assert gradients[1] == pytest.approx(gradients[0] / 100)  # d(y^2 / s^2) / d(prediction) ~ 1 / s


def test_bfloat16_keeps_float32_weights_and_comes_near() -> None:
    half, full = Trainer(with_(precision="bfloat16")), Trainer(TINY)
    assert half.advance().loss == pytest.approx(full.advance().loss, rel=2e-2)  # 8 bits of mantissa
    assert {weight.dtype for weight in half.model.parameters()} == {torch.float32}
    grads = [trainer.model.blocks[0].mlp.W_in.grad for trainer in (half, full)]
    assert not torch.equal(*grads)  # products really were rounded


def test_compile_goes_through_torch_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or model)
    trainer = Trainer(with_(compile=True))
    trainer.advance()
    assert compiled == [trainer.model]
    Trainer(TINY)
    assert len(compiled) == 1


def test_a_state_goes_on_bit_for_bit() -> None:
    straight, first, second = Trainer(TINY), Trainer(TINY), Trainer(TINY)
    records = run(straight, 3)
    run(first, 2)
    second.load_state(first.state())
    assert second.step == 2
    assert second.advance() == records[-1]
    assert_same_weights(second.model, straight.model)


def test_training_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    run(Trainer(TINY), 3)
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
