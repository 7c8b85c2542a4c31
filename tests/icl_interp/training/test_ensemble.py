from collections.abc import Mapping

import pytest
import torch
from torch import nn
from training_cases import MODEL, TINY

from icl_interp import LinearRegression, ModelConfig, TaskPool, TrainConfig, train, train_many
from icl_interp.tasks.quadratic import QuadraticRegression
from icl_interp.training.batches import draw_batch
from icl_interp.training.ensemble import _draw_batches, _has_formula
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
    "all of them": [
        {"seed": n_tasks, "lr": lr, "task": TaskPool(2, n_tasks)}
        for n_tasks, lr in ((1, 0.01), (4, 0.003), (16, 0.0001))
    ],
}
SETTINGS = {
    "adam": {},
    "clipped, scheduled adamw": {
        "optimizer": "adamw", "weight_decay": 0.1, "grad_clip": 0.5, "schedule": "cosine", "warmup": 3,
    },
    "decaying adam": {"weight_decay": 0.3},
    "decaying sgd": {"optimizer": "sgd", "momentum": 0.5, "weight_decay": 0.3},
    "scaled sgd of the query": {
        "optimizer": "sgd", "momentum": 0.9, "scale_loss": True, "loss_points": "last",
        "curriculum": Curriculum(dims=Ramp(start=1, end=2, interval=4), points=Ramp(start=2, end=5, interval=4)),
    },
}  # fmt: skip


# What may differ one by one under one optimiser, and all of it under each.
TOGETHER = [("adam", varied) for varied in ENSEMBLES] + [(name, "all of them") for name in SETTINGS if name != "adam"]


@pytest.mark.parametrize(("settings", "varied"), TOGETHER)
def test_together_is_apart_in_float64(settings: str, varied: str) -> None:
    changes = ENSEMBLES[varied]
    configs = [with_(precision="float64", model=TWO_LAYERS, **SETTINGS[settings], **change) for change in changes]
    for config, result in zip(configs, train_many(configs), strict=True):
        alone = train(config)
        assert worst(result.model, alone.model, without="b_K") < 1e-9
        assert [record.loss for record in result.history] == pytest.approx([r.loss for r in alone.history], rel=1e-9)
        assert [record.lr for record in result.history] == pytest.approx([r.lr for r in alone.history])


LINEAR = {
    "lsa": {"family": "lsa"},
    "ltb": {"family": "ltb"},
    "ltb of two heads": {"family": "ltb", "n_heads": 2, "normalise": "sum"},
    "lsa that subtracts": {"family": "lsa", "output_sign": -1, "normalise": "fixed", "normalise_by": 4},
    "ltb without skip": {"family": "ltb", "attn_skip": False},
    "two layers": {"family": "lsa", "n_layers": 2, "init": "von_oswald"},
    "shared layers": {"family": "ltb", "n_layers": 2, "share_layers": True},
    "lsa with positions": {"family": "lsa", "d_position": 2, "answer_channel": 4, "mask_query": False},
    "softmax layer": {"family": "softmax_layer"},
    "gpt2 on joint tokens": {"n_layers": 1, "n_heads": 2, "d_model": 4, "tokens": "joint", "bias_qkv": False},
}
LINEAR_SETTINGS = {
    "the query, clipped": {"loss_points": "last", "grad_clip": 0.1},
    "all points": {"loss_points": "all", "schedule": "cosine"},
    "a single point": {"loss_points": "last", "task": LinearRegression(2, w_mean=1.0, n_points=1)},
}


@pytest.mark.parametrize("fields", LINEAR.values(), ids=LINEAR)
@pytest.mark.parametrize("settings", LINEAR_SETTINGS.values(), ids=LINEAR_SETTINGS)
def test_linear_families_together_are_apart_in_float64(settings: dict[str, object], fields: dict[str, object]) -> None:
    model, task = ModelConfig(n_dims=2, n_points=5, **fields), LinearRegression(2, w_mean=1.0, noise_std=0.1)
    configs = [with_(**{"precision": "float64", "model": model, "task": task, "seed": s, **settings}) for s in range(2)]
    for config, result in zip(configs, train_many(configs), strict=True):
        alone = train(config)
        assert worst(result.model, alone.model) < 1e-9
        assert [record.loss for record in result.history] == pytest.approx([r.loss for r in alone.history], rel=1e-9)


def test_one_layer_has_a_formula_and_two_have_none() -> None:
    found = {name: _has_formula(ModelConfig(n_dims=2, n_points=5, **fields)) for name, fields in LINEAR.items()}
    assert [name for name, known in found.items() if not known] == [
        "two layers", "shared layers", "lsa with positions", "softmax layer", "gpt2 on joint tokens",
    ]  # fmt: skip
    assert not _has_formula(MODEL)


TASKS_OF_AN_ENSEMBLE = {
    "linear": [{"seed": 1}, {"task": LinearRegression(2, noise_std=0.5, w_cov=[2.0, 0.5], x_mean=1.0)}],
    "pools": [{"task": TaskPool(2, n_tasks)} for n_tasks in (1, 5)],
    "curriculum": [{"curriculum": Curriculum(dims=Ramp(start=1, end=2, interval=9)), "seed": s} for s in range(2)],
    "not linear": [{"task": QuadraticRegression(2), "seed": seed} for seed in range(2)],
    "linear and not": [{}, {"task": QuadraticRegression(2)}],
}


@pytest.mark.parametrize("changes", TASKS_OF_AN_ENSEMBLE.values(), ids=TASKS_OF_AN_ENSEMBLE)
def test_batches_of_an_ensemble_are_those_of_its_members(changes: list[dict[str, object]]) -> None:
    configs = [with_(**change) for change in changes]
    xs, ys = _draw_batches(configs, 7)
    for number, config in enumerate(configs):
        alone = draw_batch(config, 7)
        torch.testing.assert_close(xs[number], alone.xs, rtol=0, atol=0)
        # The products may be summed in another order.
        torch.testing.assert_close(ys[number], alone.ys, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("model", [MODEL, ModelConfig(family="ltb", n_dims=2, n_points=5)], ids=["gpt2", "ltb"])
def test_a_hundred_steps_in_float32(model: ModelConfig) -> None:
    configs = [with_(steps=100, lr=1e-3, seed=seed, batch_size=32, model=model) for seed in range(2)]
    results = train_many(configs)
    for config, result in zip(configs, results, strict=True):
        alone = train(config)
        assert [r.loss for r in result.history] == pytest.approx([r.loss for r in alone.history], rel=1e-4)
        assert worst(result.model, alone.model, without="b_K") < 1e-4
    assert worst(results[0].model, results[1].model) > 0.1  # the control: other seeds are other models


@pytest.mark.parametrize(("family", "scale", "lr"), [("ltb", 1e-4, 1e3), ("lsa", 1e-4, 1e5)])
def test_large_learning_rates_round_as_they_do_alone(family: str, scale: float, lr: float) -> None:
    # Tiny inputs have tiny gradients, which plain gradient descent needs a large rate for.
    model, task = ModelConfig(family=family, n_dims=2, n_points=5), LinearRegression(2, x_cov=[scale, scale])
    changes = {"model": model, "task": task, "optimizer": "sgd", "schedule": "constant", "steps": 100}
    configs = [with_(**changes, lr=lr, seed=0), with_(**changes, lr=1e-3, seed=1)]
    for config, result in zip(configs, train_many(configs), strict=True):
        assert worst(result.model, train(config).model) < 1e-5  # float32 alone does as well


def test_results_are_models_of_their_own() -> None:
    seen: list[Mapping[int, StepRecord]] = []
    results = train_many([with_(seed=seed) for seed in range(2)], on_step=seen.append)
    assert [{n: record.step for n, record in records.items()} for records in seen] == [
        {0: step, 1: step} for step in range(1, 13)
    ]
    prompts = LinearRegression(2).sample(3, seed=1)
    with torch.no_grad():
        predictions = [result.model(prompts.xs, prompts.ys) for result in results]
    assert not torch.equal(*predictions)
    assert [result.checkpoint for result in results] == [None, None]
    assert not any(point.fwd_hooks for result in results for point in result.model.hook_dict.values())


EASY_DIMS = Curriculum(dims=Ramp(start=1, end=2, inc=1, interval=2))
REFUSED = {
    "none": ([], "train_many needs at least one config, got none"),
    "shapes": ([{}, {"model": TWO_LAYERS}], "differ in seed, lr, task only, got different model; train these apart"),
    "two things": ([{}, {"steps": 5, "batch_size": 2}], "got different batch_size, steps; train these apart"),
    "points": ([{}, {"task": LinearRegression(2, n_points=4)}], "needs tasks of equally many points"),
    "points, whatever the dims": (
        [{"curriculum": EASY_DIMS}, {"curriculum": EASY_DIMS, "task": LinearRegression(2, n_points=4)}],
        "needs tasks of equally many points",
    ),
    "compile": ([{"compile": True}], "does without compile, accumulate and bfloat16"),
    "accumulate": ([{"accumulate": 2}], "does without compile, accumulate and bfloat16"),
    "bfloat16": ([{"precision": "bfloat16"}], "does without compile, accumulate and bfloat16"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_ensembles_that_are_refused(changes: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        train_many([with_(**change) for change in changes])
