import pytest
import torch
from model_cases import OPTIONS, large_weights, pairs

from icl_interp.models.softmax.attention import _split_identity, add_weight

CLOSE = {"rtol": 1e-5, "atol": 1e-5}  # products of float32 matrices of order 1

SHAPES = {
    "W_Q": (2, 2, 8, 5),
    "W_K": (2, 2, 8, 5),
    "W_V": (2, 2, 8, 5),
    "W_O": (2, 2, 5, 8),
    "b_Q": (2, 2, 5),
    "b_K": (2, 2, 5),
    "b_V": (2, 2, 5),
    "b_O": (2, 8),
    "W_in": (2, 8, 6),
    "b_in": (2, 6),
    "W_out": (2, 6, 8),
    "b_out": (2, 8),
}


@pytest.mark.parametrize(("name", "shape"), SHAPES.items(), ids=SHAPES)
def test_stacked_weights_have_a_leading_layer_axis(name: str, shape: tuple[int, ...]) -> None:
    model = large_weights(OPTIONS["d_head and d_mlp"])
    part = "mlp" if "in" in name or "out" in name else "attn"
    stacked = getattr(model, name)
    assert stacked.shape == shape
    torch.testing.assert_close(stacked[1], model.get_parameter(f"blocks.1.{part}.{name}"), rtol=0, atol=0)


def test_the_ends() -> None:
    model = large_weights(OPTIONS["d_out"])
    assert (model.W_E.shape, model.W_pos.shape, model.W_U.shape, model.b_U.shape) == ((3, 8), (14, 8), (8, 4), (4,))
    assert model.W_E is model.embed.W_E


@torch.no_grad()
def test_circuits_are_factored() -> None:
    model = large_weights(OPTIONS["d_head and d_mlp"])
    assert model.QK.shape == model.OV.shape == (2, 2, 8, 8)
    torch.testing.assert_close(model.QK.AB, model.W_Q @ model.W_K.transpose(-1, -2), **CLOSE)
    torch.testing.assert_close(model.OV[1, 0].AB, model.W_V[1, 0] @ model.W_O[1, 0], **CLOSE)
    dense = torch.linalg.svdvals(model.OV.AB)
    torch.testing.assert_close(model.OV.S, dense[..., :5], rtol=1e-4, atol=1e-4)  # an svd of products in float32


@torch.no_grad()
def test_without_an_output_projection_heads_lie_side_by_side() -> None:
    model = large_weights(OPTIONS["no output projection"])
    torch.testing.assert_close(model.W_O[0].flatten(0, 1), torch.eye(8), rtol=0, atol=0)
    _, cache = model.run_with_cache(*pairs())
    torch.testing.assert_close(cache["attn_out", 0], cache["z", 0].flatten(2), rtol=0, atol=0)


REFUSED = {
    "no MLP": ("attention only", lambda m: m.W_in, "W_in needs blocks with an MLP, got a model with attn_only=True"),
    "no table": ("no positions", lambda m: m.W_pos, "W_pos needs a model with positions"),
    "no such layer": ("defaults", lambda m: m.accumulated_bias(3), "needs a layer from 0 to 2, got 3"),
    "no MLP after the end": ("defaults", lambda m: m.accumulated_bias(2, mlp_input=True), "from 0 to 1, got 2"),
}


@pytest.mark.parametrize(("name", "ask", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(name: str, ask, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ask(large_weights(OPTIONS[name]))


@torch.no_grad()
def test_accumulated_bias() -> None:
    model = large_weights(OPTIONS["doubled residual"])
    first, second = (block.attn.b_O + block.mlp.b_out for block in model.blocks)
    torch.testing.assert_close(model.accumulated_bias(0), torch.zeros(8), rtol=0, atol=0)
    torch.testing.assert_close(model.accumulated_bias(2), 2 * first + second, **CLOSE)
    torch.testing.assert_close(model.accumulated_bias(1, mlp_input=True), first + model.b_O[1], **CLOSE)
    plain = large_weights(OPTIONS["defaults"])
    torch.testing.assert_close(plain.accumulated_bias(2, include_mlp_biases=False), plain.b_O.sum(0), **CLOSE)


def test_a_weight_is_learned_or_fixed() -> None:
    module = torch.nn.Module()
    add_weight(module, "w", (3,), learned=True, value=torch.ones(3))
    add_weight(module, "b", (3,), learned=True)
    add_weight(module, "W_O", (2, 3, 6), learned=False, value=_split_identity(2, 3))
    assert [name for name, _ in module.named_parameters()] == list(module.state_dict()) == ["w", "b"]
    torch.testing.assert_close(module.w.detach(), torch.ones(3), rtol=0, atol=0)
    torch.testing.assert_close(module.b.detach(), torch.zeros(3), rtol=0, atol=0)
    assert module.double().W_O.dtype == torch.float64
