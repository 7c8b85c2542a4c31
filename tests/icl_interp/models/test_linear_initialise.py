import math

import pytest
import torch

from icl_interp import ModelConfig, build_model


def std_of(model: torch.nn.Module) -> dict[str, float]:
    return {name.rpartition(".")[2]: float(weight.std()) for name, weight in model.state_dict().items()}


@pytest.mark.parametrize(
    ("options", "std"), [({}, 0.2), ({"init": "normal", "init_std": 0.05}, 0.05)], ids=["default", "own"]
)
def test_normal(options: dict, std: float) -> None:
    model = build_model(ModelConfig(family="ltb", n_dims=63, n_points=5, **options), seed=0)
    # At least 4096 entries each: three standard errors of their standard deviation are 3 %.
    assert std_of(model) == pytest.approx(dict.fromkeys(["W_Q", "W_K", "W_V", "W_O", "W_in", "W_out"], std), rel=0.04)


def test_von_oswald() -> None:
    config = ModelConfig(
        family="ltb", n_dims=63, n_points=5, n_layers=2, share_layers=True, n_heads=2, d_v=32, init="von_oswald"
    )
    model = build_model(config, seed=0)
    fan_in = {"W_Q": 64, "W_K": 64, "W_V": 64, "W_O": 64, "W_in": 64, "W_out": 256}
    expected = {name: math.sqrt(0.001 / inputs) for name, inputs in fan_in.items()}
    assert std_of(model) == pytest.approx(expected, rel=0.04)
    # Truncated at two standard deviations of the normal before truncation.
    largest = float(model.state_dict()["blocks.0.mlp.W_in"].abs().max()) / expected["W_in"]
    assert 0.99 * 2 / 0.8796 < largest <= 2 / 0.8796


@pytest.mark.parametrize("init", ["normal", "von_oswald"])
def test_weights_are_a_function_of_the_seed_alone(init: str) -> None:
    config = ModelConfig(family="lsa", n_dims=3, n_points=5, init=init)
    state = torch.get_rng_state()
    a, b, c = (build_model(config, seed=seed).blocks[0].attn.W_V for seed in (1, 1, 2))
    torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert not torch.equal(a, c)
    torch.testing.assert_close(torch.get_rng_state(), state, rtol=0, atol=0)
