import pytest
import torch

from icl_interp import HookedLinearAttention, HookedLinearTransformerBlock, ModelConfig, predictors
from icl_interp.models.hooked import HookedModel
from icl_interp.models.linear.constructions import (
    _check_start,
    gd_learned_init_weights,
    gd_plus_plus_weights,
    gradient_descent_weights,
)

# Both sides compute in float64; GD++ squares its inputs' moments layer after layer.
SHARP = {"rtol": 1e-10, "atol": 1e-10}
NORMALISATIONS = {
    "mean": ({"normalise": "mean"}, {"normalise": "mean"}, 0.2),
    "sum": ({"normalise": "sum"}, {"normalise": "sum"}, 0.03),
    "fixed": ({"normalise": "fixed", "normalise_by": 6}, {"normalise": "fixed", "fixed_count": 6}, 0.2),
}


def prompts() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    xs = torch.randn(16, 9, 4, generator=generator)
    return xs, (xs @ torch.randn(16, 4, 1, generator=generator))[..., 0]


def sharp(model: HookedModel, weights: dict[str, torch.Tensor]) -> HookedModel:
    model = model.double()
    model.load_state_dict(weights)
    return model


def config(family: str = "lsa", **options: object) -> ModelConfig:
    return ModelConfig(family=family, n_dims=4, n_points=9, **options)


@pytest.mark.parametrize("norm", NORMALISATIONS)
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("shared", [False, True], ids=["own weights", "shared"])
@torch.no_grad()
def test_linear_attention_is_gradient_descent(norm: str, steps: int, shared: bool) -> None:
    of_model, of_predictor, eta = NORMALISATIONS[norm]
    settings = config(n_layers=steps, share_layers=shared, output_sign=-1, **of_model)
    xs, ys = prompts()
    expected = predictors.gradient_descent(steps, eta, **of_predictor)(xs.double(), ys.double())
    model = HookedLinearAttention.gradient_descent(settings, eta)
    assert not model.training
    torch.testing.assert_close(model(xs, ys).double(), expected, rtol=1e-5, atol=1e-5)  # float32
    exact = sharp(model, gradient_descent_weights(settings, eta))
    torch.testing.assert_close(exact(xs, ys), expected, **SHARP)
    openly, _ = exact.run_with_cache(xs, ys)
    torch.testing.assert_close(openly, expected[:, -1:], **SHARP)
    # Negative control: another number of steps is another function.
    other = predictors.gradient_descent(steps + 1, eta, **of_predictor)(xs.double(), ys.double())
    assert float((other - expected)[:, 1:].abs().mean()) > 1e-2


@torch.no_grad()
def test_context_labels_become_residuals() -> None:
    xs, ys = prompts()
    model = HookedLinearAttention.gradient_descent(config(n_layers=2, output_sign=-1), [0.2, 0.1])
    _, cache = model.run_with_cache(xs, ys)
    weights = 0.2 / 8 * (ys[:, :8, None] * xs[:, :8]).sum(1)
    residuals = ys[:, :8] - (xs[:, :8] @ weights[..., None])[..., 0]
    torch.testing.assert_close(cache["resid_post", 0][:, :8, -1], residuals, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(cache["resid_post", 1][..., :-1], xs, rtol=0, atol=0)


@torch.no_grad()
def test_one_step_with_a_positive_sign_narrow_heads_and_idle_ones() -> None:
    xs, ys = prompts()
    settings = config(n_heads=2, d_head=4, d_v=1)
    model = HookedLinearAttention.gradient_descent(settings, 0.3)
    torch.testing.assert_close(model(xs, ys), predictors.gradient_descent(1, 0.3)(xs, ys), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", NORMALISATIONS)
@pytest.mark.parametrize("width", [{}, {"d_head": 7, "d_v": 8}], ids=["standard", "wide"])
@torch.no_grad()
def test_linear_attention_is_gd_plus_plus(norm: str, width: dict) -> None:
    of_model, of_predictor, eta = NORMALISATIONS[norm]
    settings = config(n_layers=3, output_sign=-1, **of_model, **width)
    etas, gammas = [eta, 0.8 * eta, 0.6 * eta], [0.3 * eta, 0.2 * eta, 0.0]
    xs, ys = prompts()
    xs, ys = xs.double(), ys.double()
    exact = sharp(HookedLinearAttention(settings), gd_plus_plus_weights(settings, etas, gammas))
    expected = predictors.gd_plus_plus(3, etas, gammas, **of_predictor)(xs, ys)
    torch.testing.assert_close(exact(xs, ys), expected, **SHARP)
    torch.testing.assert_close(exact.run_with_cache(xs, ys)[0], expected[:, -1:], **SHARP)
    plain = predictors.gd_plus_plus(3, etas, 0.0, **of_predictor)(xs, ys)
    assert float((plain - expected)[:, 1:].abs().mean()) > 1e-2


@torch.no_grad()
def test_gd_plus_plus_with_shared_layers_in_float32() -> None:
    settings, (xs, ys) = config(n_layers=2, share_layers=True, output_sign=-1), prompts()
    model = HookedLinearAttention.gd_plus_plus(settings, 0.2, 0.1)
    expected = predictors.gd_plus_plus(2, 0.2, 0.1)(xs, ys)
    torch.testing.assert_close(model(xs, ys), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", NORMALISATIONS)
@pytest.mark.parametrize("width", [{}, {"d_head": 4, "d_v": 9, "d_mlp": 1, "n_heads": 2}], ids=["standard", "odd"])
@torch.no_grad()
def test_linear_transformer_block_is_gd_beta(norm: str, width: dict) -> None:
    of_model, of_predictor, eta = NORMALISATIONS[norm]
    generator = torch.Generator().manual_seed(1)
    init, gamma = torch.randn(4, generator=generator), eta * torch.randn(4, 4, generator=generator)  # not symmetric
    settings, (xs, ys) = config("ltb", **of_model, **width), prompts()
    expected = predictors.gd_learned_init(init, gamma, **of_predictor)(xs.double(), ys.double())
    model = HookedLinearTransformerBlock.gd_learned_init(settings, init, gamma)
    torch.testing.assert_close(model(xs, ys).double(), expected, rtol=1e-5, atol=1e-5)
    exact = sharp(model, gd_learned_init_weights(settings, init, gamma))
    torch.testing.assert_close(exact(xs, ys), expected, **SHARP)
    transposed = predictors.gd_learned_init(init, gamma.mT, **of_predictor)(xs.double(), ys.double())
    assert float((transposed - expected)[:, 1:].abs().mean()) > 1e-2


@torch.no_grad()
def test_without_the_skip_a_block_can_do_gd_from_zero_only() -> None:
    settings, (xs, ys) = config("ltb", attn_skip=False), prompts()
    model = HookedLinearTransformerBlock.gd_learned_init(settings, torch.zeros(4), 0.2 * torch.eye(4))
    torch.testing.assert_close(model(xs, ys), predictors.gradient_descent(1, 0.2)(xs, ys), rtol=1e-5, atol=1e-5)


EYE = torch.eye(4)
REFUSED = {
    "family": (lambda: gradient_descent_weights(config("ltb"), 0.1), r"with family='lsa', got linear transformer"),
    "narrow": (lambda: gradient_descent_weights(config(d_head=3), 0.1), "with d_head >= 4"),
    "sign": (lambda: gradient_descent_weights(config(n_layers=2), 0.1), "with output_sign=-1 for several layers"),
    "skip": (
        lambda: gradient_descent_weights(config(n_layers=2, output_sign=-1, attn_skip=False), 0.1),
        "with attn_skip=True",
    ),
    "too few": (
        lambda: gradient_descent_weights(config(n_layers=2, output_sign=-1), [0.1]),
        "one step_size for each of 2 layers, got 1",
    ),
    "shared": (
        lambda: gd_plus_plus_weights(config(n_layers=2, output_sign=-1, share_layers=True), 0.1, [0.1, 0.2]),
        r"one curvature for all layers, since they share their weights, got \[0.1, 0.2\]",
    ),
    "values": (lambda: gd_plus_plus_weights(config(d_v=4), 0.1, 0.1), "d_v >= 5, got 4"),
    "init": (lambda: _check_start("a", 4, torch.zeros(3), EYE), r"a needs init \[4\] and .*got \[3\]"),
    "block": (
        lambda: gd_learned_init_weights(config("ltb", n_layers=2, d_v=2, d_head=2), torch.zeros(4), EYE),
        "with n_layers=1, d_head >= 4, d_v >= 5",
    ),
    "block's family": (lambda: gd_learned_init_weights(config(), torch.zeros(4), EYE), "with family='ltb'"),
    "start": (
        lambda: gd_learned_init_weights(config("ltb", attn_skip=False), torch.ones(4), EYE),
        r"with attn_skip=True \(or init 0\)",
    ),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_a_config_that_cannot_hold_the_algorithm_is_refused(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
