import pytest
import torch
from torch import nn
from training_cases import MODEL, TINY

from icl_interp import LinearRegression, ModelConfig, TaskPool, TrainConfig, train, train_many
from icl_interp.training.loop import StepRecord
from icl_interp.training.schedules import Curriculum, Ramp

TWO_LAYERS = ModelConfig(n_dims=2, n_points=5, n_layers=2, n_heads=2, d_model=8)


def with_(**changes: object) -> TrainConfig:
    return TrainConfig(**{**TINY.model_dump(), **changes})


@torch.no_grad()
def worst(actual: nn.Module, expected: nn.Module, *, without: str = "nothing") -> float:
    """The largest difference of weights, relative to the norm of their tensor.

    Softmax does not feel a bias of the keys, b_K: its gradient is rounding alone, which Adam blows up to a step.
    """
    return max(
        float((actual.get_parameter(name) - weight).norm() / weight.norm().clamp(min=1e-3))
        for name, weight in expected.named_parameters()
        if not name.endswith(without)
    )


ENSEMBLES = {
    "seeds": [{"seed": seed} for seed in range(3)],
    "learning rates": [{"lr": lr} for lr in (0.01, 0.003, 0.0001)],
    "task pools": [{"task": TaskPool(2, n_tasks), "seed": n_tasks} for n_tasks in (1, 4, 16)],
}
SETTINGS = {
    "adam": {},
    "clipped, scheduled adamw": {
        "optimizer": "adamw", "weight_decay": 0.1, "grad_clip": 0.5, "schedule": "cosine", "warmup": 3,
    },
    "scaled sgd of the query": {
        "optimizer": "sgd", "momentum": 0.9, "scale_loss": True, "loss_points": "last",
        "curriculum": Curriculum(dims=Ramp(start=1, end=2, interval=4), points=Ramp(start=2, end=5, interval=4)),
    },
}  # fmt: skip


@pytest.mark.parametrize("changes", ENSEMBLES.values(), ids=ENSEMBLES)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_together_is_apart_in_float64(settings: dict[str, object], changes: list[dict[str, object]]) -> None:
    configs = [with_(precision="float64", model=TWO_LAYERS, **settings, **change) for change in changes]
    for config, result in zip(configs, train_many(configs), strict=True):
        alone = train(config)
        assert worst(result.model, alone.model, without="b_K") < 1e-9
        assert [record.loss for record in result.history] == pytest.approx([r.loss for r in alone.history], rel=1e-9)
        assert [record.lr for record in result.history] == pytest.approx([r.lr for r in alone.history])


def test_a_hundred_steps_in_float32() -> None:
    configs = [with_(steps=100, lr=1e-3, seed=seed, batch_size=32) for seed in range(2)]
    results = train_many(configs)
    for config, result in zip(configs, results, strict=True):
        alone = train(config)
        assert [r.loss for r in result.history] == pytest.approx([r.loss for r in alone.history], rel=1e-4)
        assert worst(result.model, alone.model, without="b_K") < 1e-4
    assert worst(results[0].model, results[1].model) > 0.1  # the control: other seeds are other models


def test_results_are_models_of_their_own() -> None:
    seen: list[list[StepRecord]] = []
    results = train_many([with_(seed=seed) for seed in range(2)], on_step=seen.append)
    assert [[record.step for record in records] for records in seen] == [[step, step] for step in range(1, 13)]
    prompts = LinearRegression(2).sample(3, seed=1)
    with torch.no_grad():
        predictions = [result.model(prompts.xs, prompts.ys) for result in results]
    assert not torch.equal(*predictions)
    assert [result.checkpoint for result in results] == [None, None]
    assert not any(point.fwd_hooks for result in results for point in result.model.hook_dict.values())


REFUSED = {
    "none": ([], "train_many needs at least one config, got none"),
    "shapes": ([{}, {"model": TWO_LAYERS}], "differ in seed, lr, task only, got different model; train these apart"),
    "two things": ([{}, {"steps": 5, "batch_size": 2}], "got different batch_size, steps; train these apart"),
    "points": ([{}, {"task": LinearRegression(2, n_points=4)}], "needs tasks of equally many points"),
    "compile": ([{"compile": True}], "does without compile, accumulate and bfloat16"),
    "accumulate": ([{"accumulate": 2}], "does without compile, accumulate and bfloat16"),
    "bfloat16": ([{"precision": "bfloat16"}], "does without compile, accumulate and bfloat16"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_ensembles_that_are_refused(changes: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_many([with_(**change) for change in changes])


def test_a_model_that_diverges_is_named() -> None:
    with pytest.raises(FloatingPointError, match=r"the loss of model 1 (was|diverged to) .* lower lr \(now 1e\+18\)"):
        train_many([with_(optimizer="sgd", lr=lr, model=MODEL) for lr in (0.01, 1e18)])
