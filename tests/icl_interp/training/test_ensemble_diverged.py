"""A model of an ensemble that diverges: the others neither stop nor feel it."""

import math
import pickle
from collections.abc import Mapping

import pytest
import torch
from torch import nn
from training_cases import MODEL, TINY

from icl_interp import LinearRegression, ModelConfig, TrainConfig, build_model, train, train_many
from icl_interp.training.ensemble import EnsembleDivergedError
from icl_interp.training.loop import StepRecord
from icl_interp.training.run import TrainResult

LTB = ModelConfig(family="ltb", n_dims=2, n_points=5)
MODELS = {"formula": LTB, "vmap": MODEL}
SETTINGS = {
    "adam, clipped": {"optimizer": "adam", "grad_clip": 0.5},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1, "schedule": "cosine"},
    "sgd, clipped, scaled": {"optimizer": "sgd", "momentum": 0.9, "grad_clip": 0.5, "scale_loss": True},
}
# Inputs so large that the first loss is infinite, in float32, and every gradient of that model is not a number.
LOST = {"task": LinearRegression(2, x_mean=1e30)}
RATES = {"equal rates": (0.01, 0.01, 0.01), "different rates": (0.01, 0.003, 0.03)}


def members(model: ModelConfig, settings: dict[str, object], *changes: dict[str, object]) -> list[TrainConfig]:
    return [TrainConfig(**{**TINY.model_dump(), "model": model, **settings, **change}) for change in changes]


def diverging(configs: list[TrainConfig]) -> EnsembleDivergedError:
    with pytest.raises(EnsembleDivergedError) as caught:
        train_many(configs)
    return caught.value


def assert_same_results(actual: TrainResult, expected: TrainResult) -> None:
    assert actual.history == expected.history
    for name, weight in expected.model.named_parameters():
        torch.testing.assert_close(actual.model.get_parameter(name), weight, rtol=0, atol=0)


def far_apart(one: nn.Module, other: nn.Module) -> bool:
    return any(not torch.equal(w, other.get_parameter(name)) for name, w in one.named_parameters())


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("rates", RATES.values(), ids=RATES)
def test_the_others_go_on_to_the_same_bits(
    model: ModelConfig, settings: dict[str, object], rates: tuple[float, ...]
) -> None:
    first, middle, last = ({"lr": lr, "seed": seed} for seed, lr in enumerate(rates))
    error = diverging(members(model, settings, first, {**middle, **LOST}, last))
    # The control: nothing is raised. It has another learning rate, which the others do not feel either.
    well = train_many(members(model, settings, first, {**middle, "lr": 0.002}, last))
    assert list(error.results) == [0, 2]
    for number in (0, 2):
        assert error.results[number].history[-1].step == 12
        assert_same_results(error.results[number], well[number])
    assert far_apart(error.results[0].model, error.results[2].model)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_a_learning_rate_that_throws_one_model_away_does_not_reach_the_others(model: ModelConfig) -> None:
    # 1e39 is infinite in float32; the second model is lost at its second step, when it has taken one.
    sgd = {"optimizer": "sgd"}
    first, last = {"lr": 0.01}, {"lr": 0.003, "seed": 2}
    error = diverging(members(model, sgd, first, {"lr": 1e39, "seed": 1}, last))
    assert error.diverged[1].step == 2
    well = train_many(members(model, sgd, first, {"lr": 0.02, "seed": 1}, last))
    for number in (0, 2):
        assert_same_results(error.results[number], well[number])
        alone = train(members(model, sgd, first, {}, last)[number])
        # Sums are in another order than alone.
        assert [r.loss for r in error.results[number].history] == pytest.approx(
            [r.loss for r in alone.history], rel=1e-4
        )


def test_the_error_says_which_models_when_and_what_to_do() -> None:
    error = diverging(members(MODEL, {"optimizer": "sgd"}, {}, {"lr": 1e18}, LOST, {"seed": 3}))
    assert str(error).startswith("2 of 4 models diverged: the loss of model 2 was nan at step 1, the loss of model 1 ")
    assert str(error).endswith(
        "; lower lr (now 0.01, 1e+18), lengthen warmup or set grad_clip; the others were trained to their end and are "
        "in this error's results."
    )
    assert isinstance(error, FloatingPointError)
    assert {number: record.step for number, record in error.diverged.items()} == {2: 1, 1: 2}
    assert math.isnan(error.diverged[2].loss)
    assert error.diverged[2].lr == 0.01
    with pytest.raises(TypeError, match="does not support item assignment"):
        error.results[1] = error.results[0]


def test_a_model_that_diverged_has_no_further_records() -> None:
    seen: list[Mapping[int, StepRecord]] = []
    configs = members(LTB, {"optimizer": "sgd"}, {"lr": 1e18, "seed": 1}, {"lr": 0.01})
    with pytest.raises(EnsembleDivergedError):
        train_many(configs, on_step=seen.append)
    assert [list(records) for records in seen] == [[0, 1], *[[1]] * 11]
    assert {record.lr for records in seen[1:] for record in records.values()} == {0.01}


def test_where_all_diverge_the_training_ends_at_once() -> None:
    seen: list[Mapping[int, StepRecord]] = []
    with pytest.raises(EnsembleDivergedError, match=r"2 of 2 models diverged: .*; none is left\.$") as caught:
        train_many(members(LTB, {}, LOST, {**LOST, "seed": 1}), on_step=seen.append)
    assert (dict(caught.value.results), seen) == ({}, [])


def test_the_error_can_be_handed_over_by_a_worker() -> None:
    error = diverging(members(LTB, {"optimizer": "sgd"}, {}, {"lr": 1e3}))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.diverged) == (str(error), error.diverged)
    assert "diverged to" in str(error)  # a finite loss, which equals itself
    assert_same_results(again.results[0], error.results[0])


def test_the_models_are_those_that_were_asked_for() -> None:
    # With a learning rate that changes nothing the survivors are the fresh models of their seeds, in their places.
    error = diverging(members(LTB, {"lr": 1e-30}, LOST, {"seed": 5}, {"seed": 7}))
    for number, seed in ((1, 5), (2, 7)):
        fresh = build_model(LTB, seed=seed)
        torch.testing.assert_close(error.results[number].model.state_dict(), fresh.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_the_last_update_is_seen_as_well(model: ModelConfig) -> None:
    # The only step is so long that weights overflow: its own loss is still that of fresh weights.
    one = members(model, {"steps": 1, "optimizer": "sgd"}, {"lr": 1e-3}, {"lr": 1e30})
    error = diverging(one)
    assert (list(error.results), list(error.diverged)) == ([0], [1])
    assert error.diverged[1].step == 1
    with pytest.raises(FloatingPointError, match="after the update"):
        train(one[1])
