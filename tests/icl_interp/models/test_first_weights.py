import math

import pytest
import torch
from torch import Tensor

from icl_interp import HookedICLTransformer, ModelConfig, build_model

SIZES = {"n_dims": 16, "n_points": 40, "n_layers": 8, "n_heads": 4, "d_model": 64}
CONFIG = ModelConfig(**SIZES)
RESIDUAL = 0.02 / math.sqrt(2 * 8)
STDS = {
    "attn.W_Q": 0.02,
    "attn.W_K": 0.02,
    "attn.W_V": 0.02,
    "attn.W_O": RESIDUAL,
    "mlp.W_in": 0.02,
    "mlp.W_out": RESIDUAL,
    "pos_embed.W_pos": 0.02,
}


@pytest.fixture(scope="module", params=["dtsip", "gpt2"])
def model(request: pytest.FixtureRequest) -> HookedICLTransformer:
    return build_model(CONFIG.model_copy(update={"init": request.param}), seed=0)


def pool(model: HookedICLTransformer, ending: str) -> Tensor:
    return torch.cat([weight.detach().flatten() for name, weight in model.named_parameters() if name.endswith(ending)])


def assert_normal(values: Tensor, std: float) -> None:
    # Standard errors: std / sqrt(n) of the mean, std / sqrt(2 n) of the deviation; five of each.
    n = len(values)
    torch.testing.assert_close(values.mean(), torch.tensor(0.0), rtol=0, atol=5 * std / n**0.5)
    torch.testing.assert_close(values.std(), torch.tensor(std), rtol=5 / (2 * n) ** 0.5, atol=0)
    # Of a normal sample 31.7 % lies beyond one standard deviation (of a uniform one 42.3 %); five binomial errors.
    beyond = (values.abs() > std).double().mean()
    torch.testing.assert_close(beyond, torch.tensor(0.3173).double(), rtol=0, atol=5 * (0.22 / n) ** 0.5)


@pytest.mark.parametrize(("ending", "std"), STDS.items(), ids=STDS)
def test_weights_inside_are_gpt2s(model: HookedICLTransformer, ending: str, std: float) -> None:
    assert_normal(pool(model, ending), std)


@pytest.mark.parametrize("ending", ["b_Q", "b_K", "b_V", "b_O", "b_in", "b_out", "ln1.b", "ln2.b", "ln_final.b"])
def test_biases_inside_are_zero(model: HookedICLTransformer, ending: str) -> None:
    values = pool(model, ending)
    torch.testing.assert_close(values, torch.zeros_like(values), rtol=0, atol=0)


@pytest.mark.parametrize("ending", ["ln1.w", "ln2.w", "ln_final.w"])
def test_scales_are_one(model: HookedICLTransformer, ending: str) -> None:
    values = pool(model, ending)
    torch.testing.assert_close(values, torch.ones_like(values), rtol=0, atol=0)


def test_gpt2s_read_in_and_read_out_are_normal_without_bias() -> None:
    model = build_model(CONFIG.model_copy(update={"init": "gpt2"}), seed=0)
    assert_normal(pool(model, "W_E"), 0.02)
    assert_normal(pool(model, "W_U"), 0.02)
    torch.testing.assert_close(pool(model, "b_E"), torch.zeros(64), rtol=0, atol=0)
    torch.testing.assert_close(pool(model, "b_U"), torch.zeros(1), rtol=0, atol=0)


@pytest.mark.parametrize(("part", "fan_in"), [("E", 16), ("U", 64)])
def test_dtsips_read_in_and_read_out_are_torchs_linear(part: str, fan_in: int) -> None:
    config = CONFIG.model_copy(update={"init": "dtsip"})
    bound = 1 / math.sqrt(fan_in)
    weights = torch.cat([pool(build_model(config, seed=seed), f"W_{part}") for seed in range(20)])
    biases = torch.cat([pool(build_model(config, seed=seed), f"b_{part}") for seed in range(20)])
    for values in (weights, biases):
        assert float(values.abs().max()) <= bound
        # The deviation of U(-bound, bound) is bound / sqrt(3), its standard error below bound / sqrt(7 n); five of it.
        std = values.square().mean().sqrt()
        torch.testing.assert_close(std, torch.tensor(bound / 3**0.5), rtol=0, atol=5 * bound / (7 * len(values)) ** 0.5)
    # What torch.nn.Linear starts from, seen in as many draws.
    with torch.random.fork_rng():
        torch.manual_seed(0)
        linear = torch.nn.Linear(fan_in, len(weights) // fan_in)
    assert float(linear.weight.detach().abs().max()) == pytest.approx(float(weights.abs().max()), rel=0.02)


def test_the_seed_is_the_only_source_of_randomness() -> None:
    before = torch.get_rng_state()
    first, other = build_model(CONFIG, seed=0), build_model(CONFIG, seed=1)
    torch.randn(3)
    again = build_model(CONFIG, seed=0)
    for name, weight in first.named_parameters():
        torch.testing.assert_close(again.get_parameter(name), weight, rtol=0, atol=0)
    for name in (*(f"blocks.3.{ending}" for ending in list(STDS)[:-1]), "pos_embed.W_pos", "embed.W_E", "unembed.b_U"):
        assert not torch.equal(other.get_parameter(name), first.get_parameter(name))
    torch.set_rng_state(before)


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    HookedICLTransformer(CONFIG)
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)


def initialised(init: str, **fields: object) -> HookedICLTransformer:
    return build_model(ModelConfig(**{**SIZES, **fields, "init": init}), seed=0)


@pytest.mark.parametrize("ending", ["W_Q", "W_V", "W_O", "W_in", "W_out", "W_E", "W_pos", "W_U"])
def test_transformer_lens_draws_all_weights_alike(ending: str) -> None:
    # 0.8 / sqrt(64), which is what HookedTransformerConfig resolves its initializer_range to.
    assert_normal(pool(initialised("transformer_lens"), ending), 0.1)


@pytest.mark.parametrize("ending", ["b_Q", "b_O", "b_in", "b_out", "b_E", "b_U"])
def test_transformer_lens_starts_biases_at_zero(ending: str) -> None:
    values = pool(initialised("transformer_lens"), ending)
    torch.testing.assert_close(values, torch.zeros_like(values), rtol=0, atol=0)


FAN_IN = {
    "W_Q": 64, "b_K": 64, "W_O": 4 * 10, "b_O": 4 * 10, "W_in": 64, "b_in": 64, "W_out": 48, "b_out": 48, "W_E": 17,
    "b_E": 17, "W_pos": 80, "W_U": 64,
}  # fmt: skip


@pytest.mark.parametrize(("ending", "fan_in"), FAN_IN.items(), ids=FAN_IN)
def test_torch_draws_uniformly_by_fan_in(ending: str, fan_in: int) -> None:
    values = pool(initialised("torch", d_head=10, d_mlp=48, tokens="separate"), ending)
    bound = 1 / math.sqrt(fan_in)
    assert float(values.abs().max()) <= bound
    # As for dtsip's ends above.
    std = values.square().mean().sqrt()
    torch.testing.assert_close(std, torch.tensor(bound / 3**0.5), rtol=0, atol=5 * bound / (7 * len(values)) ** 0.5)


@pytest.mark.parametrize(("attn_only", "n_residual"), [(False, 16), (True, 8)], ids=["with MLP", "without"])
def test_zhangs_values_and_mlps_are_scaled_by_residual_connections(attn_only: bool, n_residual: int) -> None:
    model = initialised("zhang", attn_only=attn_only)
    scaled = ["attn.W_V"] if attn_only else ["attn.W_V", "mlp.W_out"]
    for ending in scaled:
        assert_normal(pool(model, ending), 0.02 / math.sqrt(n_residual))
    for ending in ("attn.W_Q", "attn.W_K", "pos_embed.W_pos"):
        assert_normal(pool(model, ending), 0.02)
    assert_normal(pool(model, "attn.W_O"), RESIDUAL)


@pytest.mark.parametrize("init", ["dtsip", "gpt2", "transformer_lens", "torch", "zhang"])
def test_what_is_fixed_stays(init: str) -> None:
    model = initialised(init, tokens="joint", read_out="pinned", attn_out_proj=False, bias_qkv=False, d_model=68)
    torch.testing.assert_close(model.embed.W_E, torch.eye(17, 68), rtol=0, atol=0)
    torch.testing.assert_close(model.W_O[0].flatten(0, 1), torch.eye(68), rtol=0, atol=0)
    torch.testing.assert_close(model.b_Q, torch.zeros(8, 4, 17), rtol=0, atol=0)
    torch.testing.assert_close(model.blocks[0].ln1.w.detach(), torch.ones(68), rtol=0, atol=0)
