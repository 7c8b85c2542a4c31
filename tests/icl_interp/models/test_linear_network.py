import copy
import math
import pickle

import pytest
import torch
from linear_cases import CASES, linear_config, linear_model, prompts
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from transformer_lens import ActivationCache

from icl_interp import HookedLinearAttention, HookedLinearTransformerBlock, HookedSoftmaxLayer, ModelConfig, build_model
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import join
from icl_interp.models.linear import moments
from icl_interp.models.linear.components import context_divisor
from icl_interp.models.shapes import parameter_shapes

LINEAR = [case for case in CASES if case != "softmax"]
# Sums of a few dozen products of order 1, in another order.
TOLERANCES = {torch.float64: {"rtol": 1e-12, "atol": 1e-12}, torch.float32: {"rtol": 1e-5, "atol": 1e-5}}
SHARP = TOLERANCES[torch.float64]


def wave(place: int, width: int) -> Tensor:
    """Position channels one by one: sine, cosine, sine, ..."""
    angles = [place / 10_000 ** (2 * (channel // 2) / width) for channel in range(width)]
    values = [math.cos(a) if channel % 2 else math.sin(a) for channel, a in enumerate(angles)]
    return torch.tensor(values, dtype=torch.float64)


def slow_answer(model: HookedModel, xs: Tensor, ys: Tensor) -> Tensor:
    """The last point's answer, token by token and head by head, from the definition."""
    config, answers = model.cfg, []
    for x, y in zip(xs, ys, strict=True):
        tokens = [torch.cat([a, b[None]]) for a, b in zip(x, y, strict=True)]
        tokens[-1] = torch.cat([x[-1], torch.zeros(1).to(x)])
        tokens = [torch.cat([token, wave(place, config.d_position).to(x)]) for place, token in enumerate(tokens)]
        divisors = {"mean": max(len(tokens) - 1, 1), "tokens": len(tokens), "sum": 1, "fixed": config.normalise_by}
        divisor = divisors[config.normalise]
        for layer in range(config.n_layers):
            block = model.blocks[0 if config.share_layers else layer]
            new = []
            for token in tokens:
                out = token.clone() if config.attn_skip else torch.zeros_like(token)
                for q, k, v, o in zip(block.attn.W_Q, block.attn.W_K, block.attn.W_V, block.attn.W_O, strict=True):
                    for other in tokens[:-1] if config.mask_query else tokens:
                        out = out + (token @ q) @ (other @ k) / divisor * (other @ v) @ o
                new.append(out if config.attn_only else out @ block.mlp.W_in @ block.mlp.W_out)
            tokens = new
        answers.append(config.output_sign * tokens[-1][config.answer_coordinate])
    return torch.stack(answers)


@pytest.mark.parametrize("case", LINEAR)
@torch.no_grad()
def test_both_paths_are_the_definition(case: str) -> None:
    model, (xs, ys) = linear_model(case), prompts()
    expected = slow_answer(model, xs, ys)
    assert float(expected.abs().mean()) > 1e-3
    torch.testing.assert_close(model(xs, ys, points=[-1])[:, 0], expected, **SHARP)
    torch.testing.assert_close(model.run_with_cache(xs, ys)[0][:, 0], expected, **SHARP)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_all_points_at_once_are_one_sequence_a_point(case: str, dtype: torch.dtype) -> None:
    model, (xs, ys) = linear_model(case, dtype), prompts(n_points=9, dtype=dtype)
    ways = {
        "one matrix": "hook_embed",
        "keys^T values": lambda name: not name.endswith(("scores", "pattern")),
        "open": None,
    }
    for names in ways.values():
        each = [model.run_with_cache(xs, ys, points=[k], names_filter=names)[0] for k in range(9)]
        torch.testing.assert_close(model(xs, ys), torch.cat(each, dim=1), **TOLERANCES[dtype])


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_points_select_columns_and_labels_to_come_are_not_read(case: str) -> None:
    model, (xs, ys) = linear_model(case), prompts()
    full = model(xs, ys)
    for points in ([-1], [3], [0], [2, -1, 2], []):
        torch.testing.assert_close(model(xs, ys, points=points), full[:, points], **SHARP)
    later = ys.clone()
    later[:, 4:] = 1e3
    torch.testing.assert_close(model(xs, later)[:, :5], full[:, :5], **SHARP)
    torch.testing.assert_close(model(xs, later, points=[4])[:, 0], full[:, 4], **SHARP)
    torch.testing.assert_close(model(xs[:, :5], ys[:, :5])[:, -1], full[:, 4], **SHARP)


@pytest.mark.parametrize("case", CASES)
def test_without_context_the_answer_is_the_skip_path_and_gradients_are_finite(case: str) -> None:
    model, (xs, ys) = linear_model(case), prompts(n_points=1)
    answer = model(xs, ys)
    cached = model.run_with_cache(xs, ys)[0]
    torch.testing.assert_close(cached, answer, **SHARP)
    expected = torch.zeros(5, 1).double()
    if case in ("ltb", "ltb, 2 heads"):  # the formula of the one-layer block; elsewhere it is 0 or no longer <gamma, x>
        block = model.blocks[0]
        expected = xs[:, 0] @ (block.mlp.W_in @ block.mlp.W_out)[:3, -1:]
    if case != "ltb, 2 shared layers" and CASES[case].get("mask_query", True):
        torch.testing.assert_close(answer, expected, **SHARP)
    model(*prompts()).square().sum().backward()
    assert all(bool(weight.grad.isfinite().all()) for weight in model.parameters())


@pytest.mark.parametrize("case", CASES)
def test_gradients_of_the_shortcut_are_those_of_the_open_pass(case: str) -> None:
    model, (xs, ys) = linear_model(case), prompts()
    names = list(dict(model.named_parameters()))
    shortcut = torch.autograd.grad(model(xs, ys, points=[-1]).square().sum(), list(model.parameters()))
    with model.hooks(fwd_hooks=[(lambda _: True, lambda tensor, hook: None)]):  # noqa: ARG005
        openly = torch.autograd.grad(model(xs, ys).square().sum(), list(model.parameters()))
    for name, a, b in zip(names, shortcut, openly, strict=True):
        torch.testing.assert_close(a, b, **SHARP, msg=name)


@torch.no_grad()
def test_a_large_batch_is_split_and_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, (xs, ys) = linear_model("lsa, 3 layers, 2 heads"), prompts(n_points=9)
    whole, seen = model(xs, ys), []
    each = 9 * 4 * 4  # floats a prompt
    monkeypatch.setattr(moments, "_MOST_FLOATS", 2 * each)
    answer = moments._answer
    monkeypatch.setattr(moments, "_answer", lambda *args: seen.append(len(args[2])) or answer(*args))
    torch.testing.assert_close(model(xs, ys), whole, **SHARP)
    assert seen == [2, 2, 1]


SHAPES = {
    "hook_embed": (5, 7, 4),
    "hook_resid_pre": (5, 7, 4),
    "attn.hook_q": (5, 7, 2, 2),
    "attn.hook_k": (5, 7, 2, 2),
    "attn.hook_v": (5, 7, 2, 3),
    "attn.hook_attn_scores": (5, 2, 7, 7),
    "attn.hook_pattern": (5, 2, 7, 7),
    "attn.hook_z": (5, 7, 2, 3),
    "hook_attn_out": (5, 7, 4),
    "hook_resid_mid": (5, 7, 4),
    "mlp.hook_pre": (5, 7, 6),
    "mlp.hook_post": (5, 7, 6),
    "hook_mlp_out": (5, 7, 4),
    "hook_resid_post": (5, 7, 4),
}


@torch.no_grad()
def test_every_intermediate_is_cached_under_hooked_transformers_names() -> None:
    config = ModelConfig(family="ltb", n_dims=3, n_points=7, n_layers=2, n_heads=2, d_head=2, d_v=3, d_mlp=6)
    model, (xs, ys) = build_model(config, seed=0), prompts(dtype=torch.float32)
    answer, cache = model.run_with_cache(xs, ys)
    assert isinstance(cache, ActivationCache)
    names = [*list(SHAPES)[:1], *(f"blocks.{layer}.{name}" for layer in range(2) for name in list(SHAPES)[1:])]
    assert list(cache.keys()) == names
    assert {name: tuple(value.shape) for name, value in cache.items()} == {
        name: next(shape for end, shape in SHAPES.items() if name.endswith(end)) for name in names
    }
    close = TOLERANCES[torch.float32]
    torch.testing.assert_close(cache["hook_embed"], join(xs, ys), rtol=0, atol=0)
    torch.testing.assert_close(cache["resid_pre", 1], cache["resid_post", 0], rtol=0, atol=0)
    torch.testing.assert_close(cache["resid_mid", 1], cache["resid_pre", 1] + cache["attn_out", 1], **close)
    torch.testing.assert_close(cache["mlp_out", 1], cache["resid_post", 1], rtol=0, atol=0)  # no residual
    torch.testing.assert_close(cache["pattern", 1], cache["attn_scores", 1] / 6, **close)
    assert float(cache["pattern", 1][..., :-1].abs().min()) > 0
    assert float(cache["pattern", 1][..., -1].abs().max()) == 0  # the query is nobody's key
    torch.testing.assert_close(answer[:, 0], cache["resid_post", 1][:, -1, -1], rtol=0, atol=0)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_every_hook_point_is_live_and_has_a_meaning(case: str) -> None:
    model, (xs, ys) = linear_model(case), prompts()
    before = model(xs, ys, points=[-1])
    for name in model.hook_dict:
        (meaning,) = [axes for end, (axes, _) in model.hook_meanings.items() if name.endswith(end)]
        seen = []

        def change(tensor, hook, seen=seen):  # noqa: ARG001  # TransformerLens' hook protocol
            seen.append(tensor)
            return tensor * torch.linspace(0.5, 1.5, tensor.numel()).reshape(tensor.shape).to(tensor)

        changed = model.run_with_hooks(xs, ys, fwd_hooks=[(name, change)])
        assert len(meaning.split()) == seen[0].ndim
        assert float((changed - before).abs().max()) > 1e-6, name
    torch.testing.assert_close(model(xs, ys, points=[-1]), before, rtol=0, atol=0)


def test_shared_layers_are_one_set_of_weights_with_hooks_each() -> None:
    model = linear_model("lsa, 3 shared layers, fixed")
    assert [name for name, _ in model.named_parameters()] == [f"blocks.0.attn.W_{letter}" for letter in "QKVO"]
    assert len(model.state_dict()) == 4
    assert "blocks.2.hook_resid_post" in model.hook_dict
    assert model.blocks[2].attn.W_O is model.blocks[0].attn.W_O
    with pytest.raises(AttributeError, match="W_X"):
        _ = model.blocks[2].attn.W_X


@pytest.mark.parametrize("case", CASES)
def test_parameter_shapes_are_known_without_the_model(case: str) -> None:
    shapes = {name: tuple(weight.shape) for name, weight in linear_model(case).state_dict().items()}
    assert shapes == parameter_shapes(linear_config(case))


@pytest.mark.parametrize("case", ["lsa, 3 shared layers, fixed", "ltb", "softmax"])
@torch.no_grad()
def test_copies_are_independent_and_equal(case: str) -> None:
    model, (xs, ys) = linear_model(case), prompts()
    before = model(xs, ys)
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(copied(xs, ys), before, rtol=0, atol=0)
        torch.testing.assert_close(copied.run_with_cache(xs, ys)[0], before[:, -1:], **SHARP)
        next(copied.parameters()).add_(1.0)
        assert float((copied(xs, ys) - before).abs().max()) > 1e-3
        torch.testing.assert_close(model(xs, ys), before, rtol=0, atol=0)


@pytest.mark.parametrize("case", ["lsa, 3 shared layers, fixed", "ltb", "softmax"])
@torch.no_grad()
def test_an_ensemble_runs_under_vmap(case: str) -> None:
    models, (xs, ys) = [build_model(linear_config(case), seed=seed).double() for seed in range(3)], prompts()
    weights, buffers = stack_module_state(models)
    together = vmap(lambda w, b: functional_call(models[0], (w, b), (xs, ys)))(weights, buffers)
    torch.testing.assert_close(together, torch.stack([model(xs, ys) for model in models]), **SHARP)


@pytest.mark.parametrize("case", ["lsa", "ltb", "softmax"])
@torch.no_grad()
def test_bfloat16_autocast_on_both_paths(case: str) -> None:
    model = linear_model(case, torch.float32)
    xs, ys = prompts(dtype=torch.float32)
    exact = model(xs, ys, points=[-1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quiet = model(xs, ys, points=[-1])
        hooked, _ = model.run_with_cache(xs, ys)
    # 8 bits of mantissa in each of a handful of products.
    for answer in (quiet, hooked):
        torch.testing.assert_close(answer.float(), exact, rtol=0, atol=0.05 * float(exact.abs().max()))
    # And it is bfloat16 that ran, not float32 all along.
    assert float((hooked.float() - exact).abs().max()) > 1e-5


def test_classes_are_chosen_by_family_and_refuse_others() -> None:
    classes = {"lsa": HookedLinearAttention, "ltb": HookedLinearTransformerBlock, "softmax": HookedSoftmaxLayer}
    for case, kind in classes.items():
        model = linear_model(case)
        assert type(model) is kind
        assert repr(model) == f"{kind.__name__}({model.cfg.describe()}, {model.n_params:,} parameters)"
        other = linear_config("ltb" if case != "ltb" else "lsa")
        with pytest.raises(ValueError, match=rf"{kind.__name__} needs a config of family .* build_model"):
            kind(other)


def test_a_hooked_model_takes_one_point() -> None:
    model, (xs, ys) = linear_model("ltb"), prompts()
    with pytest.raises(ValueError, match="exactly one point, got 2"):
        model.run_with_cache(xs, ys, points=[1, 2])


@torch.no_grad()
def test_forward_tokens_runs_raw_tokens() -> None:
    model, (xs, ys) = linear_model("lsa, sum, sign -1"), prompts()
    tokens = join(xs, ys)
    torch.testing.assert_close(-model.forward_tokens(tokens)[:, -1, -1], model(xs, ys)[:, -1], **SHARP)
    for wrong in (tokens[..., :-1], tokens[0], tokens[:, :0]):
        # A wrong rank is refused by the test run's type check first; users meet the sentence.
        with pytest.raises((ValueError, TypeError), match=r"forward_tokens"):
            model.forward_tokens(wrong)


@pytest.mark.parametrize(
    ("options", "divisors"),
    [({}, (1, 1, 6)), ({"normalise": "sum"}, (1, 1, 1)), ({"normalise": "fixed", "normalise_by": 4}, (4, 4, 4))],
    ids=["mean", "sum", "fixed"],
)
def test_context_divisor(options: dict, divisors: tuple[int, int, int]) -> None:
    config = ModelConfig(family="lsa", n_dims=3, n_points=7, **options)
    assert tuple(context_divisor(config, n) for n in (0, 1, 6)) == divisors
