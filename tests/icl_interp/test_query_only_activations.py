import pytest
import torch

from icl_interp import (
    HookedLinearAttention,
    LinearRegression,
    ModelConfig,
    build_model,
    collect,
    error_curves,
    predict,
    predictors,
    stream,
)
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import Prompts

POST = "blocks.0.hook_resid_post"
# float32 sums of order 1, in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture(params=["lsa", "ltb", "softmax_layer"])
def model(request: pytest.FixtureRequest) -> HookedModel:
    return build_model(ModelConfig(family=request.param, n_dims=3, n_points=7, init="normal"), seed=0)


@pytest.fixture
def prompts() -> Prompts:
    return LinearRegression(3).sample(11, seed=0)


def test_activations_are_of_the_last_point_and_predictions_of_all(model: HookedModel, prompts: Prompts) -> None:
    (batch,) = stream(model, prompts, [POST])
    assert batch.activations[POST].shape == (11, 7, 4)
    assert batch.predictions.shape == (11, 7)
    torch.testing.assert_close(batch.predictions, model(prompts.xs, prompts.ys).detach(), **CLOSE)
    torch.testing.assert_close(batch.activations[POST][:, -1, -1], batch.predictions[:, -1], **CLOSE)
    torch.testing.assert_close(collect(model, prompts, POST, batch_size=4)[POST], batch.activations[POST], **CLOSE)


@pytest.mark.parametrize("point", [0, 3, -2])
def test_another_point_may_be_chosen(model: HookedModel, prompts: Prompts, point: int) -> None:
    length = point % 7 + 1
    kept = collect(model, prompts, POST, point=point)[POST]
    assert kept.shape == (11, length, 4)
    (batch,) = stream(model, prompts, [POST], point=point)
    torch.testing.assert_close(batch.activations[POST], kept, rtol=0, atol=0)
    torch.testing.assert_close(kept[:, -1, -1], batch.predictions[:, point], **CLOSE)


def test_without_names_it_predicts_and_under_other_hooks_too(model: HookedModel, prompts: Prompts) -> None:
    (plain,) = stream(model, prompts, [])
    with model.hooks(fwd_hooks=[(POST, lambda tensor, hook: 2 * tensor)]):  # noqa: ARG005
        (doubled,) = stream(model, prompts, ["hook_embed"])
        torch.testing.assert_close(collect(model, prompts, "hook_embed")["hook_embed"][:, :, :3], prompts.xs)
    torch.testing.assert_close(doubled.predictions, 2 * plain.predictions, **CLOSE)
    assert not model.is_listened_to


def test_a_point_of_a_model_that_answers_all_is_refused(prompts: Prompts) -> None:
    causal = build_model(ModelConfig(n_dims=3, n_points=7, n_layers=1, n_heads=1, d_model=8), seed=0)
    with pytest.raises(ValueError, match="one point a pass, got point=2 for one that answers all; leave it out"):
        collect(causal, prompts, POST, point=2)


@torch.no_grad()
def test_predict_and_error_curves_meet_gradient_descent() -> None:
    config = ModelConfig(family="lsa", n_dims=3, n_points=7, n_layers=2, output_sign=-1)
    model, descent = HookedLinearAttention.gradient_descent(config, 0.2), predictors.gradient_descent(2, 0.2)
    task = LinearRegression(3, n_points=9)  # longer than in training: there are no positions to run out of
    prompts = task.sample(8, seed=0)
    torch.testing.assert_close(predict(model, prompts), descent(prompts.xs, prompts.ys), rtol=1e-4, atol=1e-5)
    shifts = ["x_scale=2", "orthogonal_train_test"]
    ours, theirs = (error_curves(f, task, shifts=shifts, n_prompts=32).to_frame() for f in (model, descent))
    assert set(ours["family"]) == {"in distribution", "x_scale=2", "orthogonal_train_test"}
    torch.testing.assert_close(
        torch.tensor(ours["error"].to_numpy()), torch.tensor(theirs["error"].to_numpy()), rtol=1e-3, atol=1e-4
    )
