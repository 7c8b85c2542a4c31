"""What people do to a network: transform, cast, and compile it."""

from pathlib import Path

import pytest
import torch
from fresh import run_fresh
from lens_cases import ON_4
from model_cases import OPTIONS, large_weights, pairs, prompts_for
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state

from icl_interp import ModelConfig, plain_attention

# Outputs of order 1 in float32, summed in another order.
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
# One of each path through the code.
SOME = ["defaults", "joint, full, query masked", "pinned", "timaeus", "attention only", "no norms"]
some_options = pytest.mark.parametrize("config", [OPTIONS[name] for name in SOME], ids=SOME)


@some_options
def test_vmap_over_models_is_a_loop_over_models(config: ModelConfig) -> None:
    models = [large_weights(config, seed=seed) for seed in range(3)]
    weights, fixed = stack_module_state(models)
    xs, ys = prompts_for(config)

    def answer(weights: dict[str, Tensor], fixed: dict[str, Tensor]) -> Tensor:
        return functional_call(models[0], (weights, fixed), (xs, ys))

    def loss(weights: dict[str, Tensor], fixed: dict[str, Tensor]) -> Tensor:
        return (answer(weights, fixed) - ys).square().mean()

    with plain_attention(models[0]):
        answers = torch.vmap(answer)(weights, fixed)
        gradients = torch.vmap(grad(loss))(weights, fixed)
    # Another order of float32 sums, against the largest answer: without norms, large terms cancel.
    one_by_one = torch.stack([model(xs, ys) for model in models])
    torch.testing.assert_close(answers, one_by_one, rtol=0, atol=1e-4 * float(one_by_one.detach().abs().max()))
    for i, model in enumerate(models):
        (model(xs, ys) - ys).square().mean().backward()
        # Backward passes in float32, against the largest gradient.
        scale = max(float(weight.grad.abs().max()) for weight in model.parameters())
        for name, weight in model.named_parameters():
            torch.testing.assert_close(gradients[name][i], weight.grad, rtol=0, atol=1e-4 * scale)


def test_vmap_over_weights_alone_leaves_fixed_tensors_as_they_are() -> None:
    models = [large_weights(OPTIONS["timaeus"], seed=seed) for seed in range(2)]
    weights = {name: torch.stack([m.get_parameter(name).detach() for m in models]) for name in models[0].state_dict()}
    xs, ys = pairs()
    with plain_attention(models[0]):
        answers = torch.vmap(lambda weights: functional_call(models[0], weights, (xs, ys)))(weights)
    torch.testing.assert_close(answers, torch.stack([model(xs, ys) for model in models]), **CLOSE)


def test_plain_attention_switches_back_also_after_an_error() -> None:
    model = large_weights()
    before = model(*pairs())

    def use_and_fail() -> None:
        with plain_attention(model):
            assert not any(block.attn.fused for block in model.blocks)
            torch.testing.assert_close(model(*pairs()), before, **CLOSE)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        use_and_fail()
    assert all(block.attn.fused for block in model.blocks)


def test_plain_attention_nests() -> None:
    model = large_weights()
    with plain_attention(model):
        with plain_attention(model):
            pass
        assert not any(block.attn.fused for block in model.blocks)


@some_options
@torch.no_grad()
def test_bfloat16_autocast_on_both_paths(config: ModelConfig) -> None:
    model = large_weights(config)
    xs, ys = prompts_for(config)
    exact = model(xs, ys, points=[-1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        plain = model(xs, ys, points=[-1])
        hooked, cache = model.run_with_cache(xs, ys, points=[-1])
    assert cache["blocks.0.attn.hook_q"].dtype == torch.bfloat16
    # bfloat16 has 8 bits of mantissa; errors of a few parts in 2^8 of the largest activation add up over two layers.
    tolerance = 0.05 * float(cache["ln_final.hook_out"].abs().max() + exact.abs().max())
    for answer in (plain, hooked):
        torch.testing.assert_close(answer.float(), exact, rtol=0, atol=tolerance)


def test_bfloat16_autocast_gives_gradients_in_float32() -> None:
    model = large_weights()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = (model(*pairs()).float() - pairs()[1]).square().mean()
    loss.backward()
    assert {weight.grad.dtype for weight in model.parameters()} == {torch.float32}
    assert all(bool(weight.grad.isfinite().all()) for weight in model.parameters())


@some_options
@torch.no_grad()
def test_float64_on_both_paths(config: ModelConfig) -> None:
    model = large_weights(config)
    xs, ys = prompts_for(config)
    single = model(xs, ys)[:, -1:]
    model.double()
    plain = model(xs.double(), ys.double(), points=[-1])
    hooked, cache = model.run_with_cache(xs.double(), ys.double(), points=[-1])
    assert {tensor.dtype for tensor in cache.values()} == {plain.dtype} == {torch.float64}
    torch.testing.assert_close(hooked, plain, rtol=1e-12, atol=1e-12)  # rounding in float64
    torch.testing.assert_close(plain.float(), single, rtol=1e-3, atol=1e-4)  # float32 against exact


# In a process of its own: torch.compile cannot look through the type checks that pytest puts around our functions.
COMPILED = Path(__file__).with_name("compile_checks.py")


def run_compile_checks(folder: Path, *names: str) -> None:
    (done,) = run_fresh([[COMPILED, *names]], folder=folder)
    assert done.code == 0, done.complained
    assert done.said.split() == list(names)


def test_compiled_models_are_whole_graphs_whose_hooks_fire(tmp_path: Path) -> None:
    # Another version of TransformerLens could break the guard; its control and the linear families depend on none.
    names = ["hooks", *(["stale", "families"] if ON_4 else [])]
    run_compile_checks(tmp_path, *names)


@pytest.mark.slow
def test_compiled_models_of_every_option_and_by_every_way_in(tmp_path: Path) -> None:
    run_compile_checks(tmp_path, "gradient", "raw_tokens", "cache", "every_option")
