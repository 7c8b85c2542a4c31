import copy
import io
import pickle

import pytest
import torch
from jaxtyping import TypeCheckError
from model_cases import SMALL, large_weights, pairs

from icl_interp import ModelConfig, build_model
from icl_interp.models.hooked import _check_inputs, _check_points
from icl_interp.models.softmax.transformer import _check_tokens

# Outputs of order 1 in float32, summed in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}


@pytest.fixture
def model():
    return large_weights()


@pytest.mark.parametrize("k", range(7))
@torch.no_grad()
def test_a_prediction_reads_only_its_input_and_the_pairs_before(model, k: int) -> None:
    xs, ys = pairs()
    before = model(xs, ys)
    xs[:, k + 1 :] += 5
    ys[:, k:] -= 5
    after = model(xs, ys)
    torch.testing.assert_close(after[:, : k + 1], before[:, : k + 1], **CLOSE)
    # The control: everything later does change.
    assert bool(((after - before)[:, k + 1 :].abs() > 1e-4).all())


@torch.no_grad()
def test_a_prediction_does_read_its_input(model) -> None:
    xs, ys = pairs()
    moved = xs.clone()
    moved[:, -1] += 1
    assert float((model(moved, ys) - model(xs, ys))[:, -1].abs().min()) > 1e-3


@torch.no_grad()
def test_prompts_of_a_batch_do_not_touch_each_other(model) -> None:
    xs, ys = pairs()
    one_by_one = torch.cat([model(xs[i : i + 1], ys[i : i + 1]) for i in range(len(xs))])
    torch.testing.assert_close(model(xs, ys), one_by_one, **CLOSE)


@pytest.mark.parametrize("points", [[0], [-1], [6], [-7], [2, 0, -1], [3, 3], [], range(2, 5)], ids=str)
@torch.no_grad()
def test_points_selects_entries_in_the_order_asked(model, points: list[int]) -> None:
    xs, ys = pairs()
    torch.testing.assert_close(model(xs, ys, points=points), model(xs, ys)[:, list(points)], **CLOSE)


@pytest.mark.parametrize("points", [[7], [0, -8], [100]], ids=str)
def test_points_that_do_not_exist_are_refused(model, points: list[int]) -> None:
    with pytest.raises(ValueError, match=f"points needs entries from -7 to 6, got {points[-1]}"):
        model(*pairs(), points=points)
    with pytest.raises(ValueError, match=f"points needs entries from -7 to 6, got {points[-1]}"):
        _check_points(points, 7)


@torch.no_grad()
def test_forward_tokens_reads_raw_inputs(model) -> None:
    xs, ys = pairs()
    # x1, y1, x2, y2, ...: each y in coordinate 0 of a token of its own.
    tokens = torch.zeros(5, 14, 3)
    for k in range(7):
        tokens[:, 2 * k] = xs[:, k]
        tokens[:, 2 * k + 1, 0] = ys[:, k]
    out = model.forward_tokens(tokens)
    assert out.shape == (5, 14, 1)
    torch.testing.assert_close(out[:, ::2, 0], model(xs, ys), **CLOSE)
    # An odd number of tokens is a prompt whose last label is not known yet.
    torch.testing.assert_close(model.forward_tokens(tokens[:, :13])[:, -1, 0], model(xs, ys)[:, -1], **CLOSE)


def test_inputs_that_do_not_fit_are_refused(model) -> None:
    with pytest.raises(ValueError, match="reads inputs of 3 dimensions, got 2; sample from a task with n_dims=3"):
        model(*pairs(n_dims=2))
    with pytest.raises(ValueError, match="has positions for 7 points, got 8; pass fewer points"):
        model(*pairs(n_points=8))
    with pytest.raises(ValueError, match=r"xs \[batch point dim\] and ys .*, got shapes \(5, 7\) and \(5, 7\)"):
        _check_inputs(SMALL, torch.zeros(5, 7), torch.zeros(5, 7))
    with pytest.raises(ValueError, match=r"got shapes \(5, 7, 3\) and \(7, 5\); pass prompts.xs and prompts.ys"):
        _check_inputs(SMALL, torch.zeros(5, 7, 3), torch.zeros(7, 5))


@pytest.mark.parametrize("shape", [(5, 14, 2), (5, 15, 3), (14, 3)], ids=str)
def test_tokens_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"forward_tokens needs \[batch pos 3\] with at most 14 positions, got shape"):
        _check_tokens(SMALL, torch.zeros(shape))


def test_forward_tokens_checks(model) -> None:
    with pytest.raises(ValueError, match="forward_tokens needs"):
        model.forward_tokens(torch.zeros(5, 15, 3))


def test_shapes_are_checked_in_tests(model) -> None:
    # The canary of the jaxtyping hook for models: right shapes pass, wrong ones do not.
    xs, ys = pairs()
    assert model(xs, ys).shape == (5, 7)
    with pytest.raises(TypeCheckError):
        model(xs, ys[:, :6])


def expected_parameters(d: int, width: int, layers: int, n_ctx: int) -> int:
    attention = 4 * width * width + 4 * width
    mlp = 2 * 4 * width * width + 5 * width
    norms = 4 * width
    return (d + 1) * width + n_ctx * width + layers * (attention + mlp + norms) + 2 * width + width + 1


@pytest.mark.parametrize(
    ("config", "count"),
    [
        # dtsip's standard model: 22,400,769 with the token table that GPT-2 never reads, which has 50,257 x 256.
        (ModelConfig(n_dims=20, n_points=101, n_layers=12, n_heads=8, d_model=256), 22_400_769 - 50_257 * 256),
        (SMALL, expected_parameters(3, 8, 3, 14)),
        (ModelConfig(n_dims=1, n_points=1, n_layers=1, n_heads=1, d_model=1), expected_parameters(1, 1, 1, 2)),
    ],
    ids=["standard", "small", "smallest"],
)
def test_number_of_parameters(config: ModelConfig, count: int) -> None:
    model = build_model(config, seed=0)
    assert model.n_params == count == expected_parameters(config.n_dims, config.d_model, config.n_layers, config.n_ctx)
    assert f"{count:,} parameters" in repr(model)


def test_the_standard_size_is_9_534_977() -> None:
    assert expected_parameters(20, 256, 12, 202) == 9_534_977


def test_weights_have_hooked_transformers_names_and_shapes(model) -> None:
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items() if "blocks.1." not in name}
    assert {name: shape for name, shape in shapes.items() if "blocks.2." not in name} == {
        "embed.W_E": (3, 8),
        "embed.b_E": (8,),
        "pos_embed.W_pos": (14, 8),
        **{f"blocks.0.{norm}.{part}": (8,) for norm in ("ln1", "ln2") for part in "wb"},
        **{f"blocks.0.attn.W_{part}": (2, 8, 4) for part in "QKV"},
        **{f"blocks.0.attn.b_{part}": (2, 4) for part in "QKV"},
        "blocks.0.attn.W_O": (2, 4, 8),
        "blocks.0.attn.b_O": (8,),
        "blocks.0.mlp.W_in": (8, 32),
        "blocks.0.mlp.b_in": (32,),
        "blocks.0.mlp.W_out": (32, 8),
        "blocks.0.mlp.b_out": (8,),
        "ln_final.w": (8,),
        "ln_final.b": (8,),
        "unembed.W_U": (8, 1),
        "unembed.b_U": (1,),
    }


@torch.no_grad()
def test_float64(model) -> None:
    xs, ys = pairs()
    single = model(xs, ys)
    double = model.double()(xs.double(), ys.double())
    assert double.dtype == model(xs, ys).dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-5)  # float32 against exact


@pytest.mark.parametrize("act_fn", ["gelu_new", "gelu", "relu"])
@torch.no_grad()
def test_copies_and_pickles_are_the_same_model(act_fn: str) -> None:
    model = large_weights(SMALL.model_copy(update={"act_fn": act_fn}))
    xs, ys = pairs()
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.load(buffer, weights_only=False)]
    expected, cache = model.run_with_cache(xs, ys)
    for twin in twins:
        said, seen = twin.run_with_cache(xs, ys)
        torch.testing.assert_close(said, expected, **CLOSE)
        torch.testing.assert_close(seen["resid_post", -1], cache["resid_post", -1], **CLOSE)
        twin.embed.W_E.zero_()
    # The twins own their weights.
    torch.testing.assert_close(model(xs, ys), expected, **CLOSE)


def test_functional_call_and_its_gradient(model) -> None:
    xs, ys = pairs()
    weights = {name: weight.detach() for name, weight in model.named_parameters()}

    def loss(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        return (torch.func.functional_call(model, weights, (xs, ys)) - ys).square().mean()

    torch.testing.assert_close(loss(weights), (model(xs, ys) - ys).square().mean(), **CLOSE)
    (model(xs, ys) - ys).square().mean().backward()
    gradients = torch.func.grad(loss)(weights)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-4, atol=1e-6)  # backward passes in float32


def test_a_built_model_evaluates_and_owns_its_randomness() -> None:
    before = torch.get_rng_state()
    assert not build_model(SMALL, seed=0).training
    torch.testing.assert_close(torch.get_rng_state(), before, rtol=0, atol=0)
