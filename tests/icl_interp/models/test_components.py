import math

import pytest
import torch
from model_cases import SMALL, large_weights

from icl_interp import ModelConfig
from icl_interp.models.softmax import components
from icl_interp.models.softmax.attention import Attention
from icl_interp.models.softmax.components import MLP, FinalNorm, LayerNorm, _gelu_tanh

# Activations of order 1 in float32, summed in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-6}
WIDE_HEADS = ModelConfig(n_dims=3, n_points=7, n_layers=1, n_heads=3, d_model=8, d_head=5)


def attention(config: ModelConfig) -> Attention:
    return large_weights(config).blocks[0].attn


def stream(batch: int = 2, pos: int = 6) -> torch.Tensor:
    return torch.randn(batch, pos, 8, generator=torch.Generator().manual_seed(3))


def watch(point: torch.nn.Module) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    point.add_hook(lambda tensor, hook: seen.append(tensor))  # noqa: ARG005  # TransformerLens' hook protocol
    return seen


def slow_attention(attn: Attention, resid: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(resid)
    for b, head in [(b, head) for b in range(len(resid)) for head in range(len(attn.W_Q))]:
        q, k, v = (resid[b] @ w[head] + c[head] for w, c in
                   ((attn.W_Q, attn.b_Q), (attn.W_K, attn.b_K), (attn.W_V, attn.b_V)))  # fmt: skip
        for i in range(resid.shape[1]):
            weights = torch.stack([(q[i] @ k[j] / math.sqrt(q.shape[1])).exp() for j in range(i + 1)])
            out[b, i] += (weights / weights.sum()) @ v[: i + 1] @ attn.W_O[head]
    return out + attn.b_O


@pytest.mark.parametrize("config", [SMALL, WIDE_HEADS], ids=["d_model / n_heads", "own d_head"])
@pytest.mark.parametrize("hooked", [None, "hook_attn_scores", "hook_pattern"])
@torch.no_grad()
def test_attention_is_the_definition_on_both_paths(config: ModelConfig, hooked: str | None) -> None:
    attn, resid = attention(config), stream()
    seen = [] if hooked is None else watch(getattr(attn, hooked))
    torch.testing.assert_close(attn(resid), slow_attention(attn, resid), **CLOSE)
    assert len(seen) == (hooked is not None)


@torch.no_grad()
def test_pattern_is_causal_and_sums_to_one() -> None:
    attn = attention(SMALL)
    scores, patterns = watch(attn.hook_attn_scores), watch(attn.hook_pattern)
    attn(stream())
    (pattern,) = patterns
    assert pattern.shape == (2, 2, 6, 6)
    torch.testing.assert_close(pattern.sum(-1), torch.ones(2, 2, 6), rtol=0, atol=1e-6)  # a softmax in float32
    torch.testing.assert_close(pattern.triu(1), torch.zeros_like(pattern), rtol=0, atol=0)
    assert bool((pattern.diagonal(dim1=-2, dim2=-1) > 0).all())
    torch.testing.assert_close(scores[0].softmax(-1), pattern, **CLOSE)
    assert bool((scores[0].isinf() == torch.ones(6, 6).triu(1).bool()).all())


@torch.no_grad()
def test_attention_of_one_position_is_its_own_value() -> None:
    attn, resid = attention(SMALL), stream(pos=1)
    value = torch.einsum("bpm,hmc->bphc", resid, attn.W_V) + attn.b_V
    torch.testing.assert_close(attn(resid), torch.einsum("bphc,hcm->bpm", value, attn.W_O) + attn.b_O, **CLOSE)


def test_a_backward_hook_leaves_the_fused_path() -> None:
    attn = attention(SMALL)
    seen: list[torch.Tensor] = []
    attn.hook_pattern.add_hook(lambda grad, hook: seen.append(grad), dir="bwd")  # noqa: ARG005
    attn(stream().requires_grad_()).square().sum().backward()
    assert [grad.shape for grad in seen] == [(2, 2, 6, 6)]


@pytest.mark.parametrize("norm_class", [LayerNorm, FinalNorm])
@pytest.mark.parametrize("hooked", [None, "hook_scale", "hook_normalized"])
@torch.no_grad()
def test_layer_norm_is_the_definition_on_both_paths(norm_class: type[LayerNorm], hooked: str | None) -> None:
    norm = norm_class(SMALL.model_copy(update={"eps": 0.1}))
    generator = torch.Generator().manual_seed(0)
    norm.w.normal_(generator=generator)
    norm.b.normal_(generator=generator)
    resid = 3 * stream() + 1
    seen = [] if hooked is None else watch(getattr(norm, hooked))
    scale = (resid.var(-1, keepdim=True, correction=0) + 0.1).sqrt()
    normalised = (resid - resid.mean(-1, keepdim=True)) / scale
    torch.testing.assert_close(norm(resid), normalised * norm.w + norm.b, **CLOSE)
    expected = {None: [], "hook_scale": [scale], "hook_normalized": [normalised]}[hooked]
    torch.testing.assert_close(seen, expected, **CLOSE)


@torch.no_grad()
def test_the_final_norms_hook_out_is_what_the_read_out_reads() -> None:
    norm = FinalNorm(SMALL)
    seen = watch(norm.hook_out)
    out = norm(stream())
    torch.testing.assert_close(seen, [out], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("act_fn", "at_one"),
    [
        ("relu", 1.0),
        ("gelu", 0.5 * (1 + math.erf(1 / math.sqrt(2)))),
        ("gelu_new", 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * 1.044715))),
    ],
)
@torch.no_grad()
def test_mlp_applies_the_named_activation(act_fn: str, at_one: float) -> None:
    # Weights that read coordinate 0, apply the activation, and write twice its value into coordinate 1.
    mlp = MLP(SMALL.model_copy(update={"d_model": 2, "d_mlp": 1, "act_fn": act_fn}))
    mlp.W_in.copy_(torch.tensor([[1.0], [0.0]]))
    mlp.W_out.copy_(torch.tensor([[0.0, 2.0]]))
    mlp.b_out.copy_(torch.tensor([0.5, 0.0]))
    out = mlp(torch.tensor([[[1.0, 7.0]]]))
    torch.testing.assert_close(out, torch.tensor([[[0.5, 2 * at_one]]]), rtol=1e-6, atol=0)  # one float32 activation


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_both_forms_of_gelu_are_torchs(dtype: torch.dtype) -> None:
    # Up to where squares overflow in float32.
    pre = torch.cat([torch.linspace(-8, 8, 999), torch.tensor([-1e20, -1e3, 0.0, 1e3, 1e20])]).to(dtype)
    expected = torch.nn.functional.gelu(pre, approximate="tanh")
    with torch.no_grad():
        without_gradient = _gelu_tanh(pre)
    # Rounding of float32; where both tails vanish, one form may be 0 and the other 1e-7.
    torch.testing.assert_close(without_gradient, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(_gelu_tanh(pre), expected, rtol=0, atol=0)


def test_gelu_leaves_its_input_alone_and_has_torchs_gradient() -> None:
    pre = stream().requires_grad_()
    before = pre.detach().clone()
    _gelu_tanh(pre).sum().backward()
    with torch.no_grad():
        _gelu_tanh(pre)
    torch.testing.assert_close(pre.detach(), before, rtol=0, atol=0)
    (expected,) = torch.autograd.grad(torch.nn.functional.gelu(pre, approximate="tanh").sum(), pre)
    torch.testing.assert_close(pre.grad, expected, rtol=0, atol=0)


@pytest.mark.parametrize("act_fn", ["gelu_new", "relu"])
@torch.no_grad()
def test_an_mlp_by_blocks_of_prompts_is_the_mlp_at_once(monkeypatch: pytest.MonkeyPatch, act_fn: str) -> None:
    mlp = MLP(SMALL.model_copy(update={"act_fn": act_fn}))
    for weight in mlp.parameters():
        weight.normal_(generator=torch.Generator().manual_seed(weight.numel()))
    normed = torch.randn(5, 3, SMALL.d_model, generator=torch.Generator().manual_seed(0))
    rows: list[int] = []
    activation = mlp.activation
    mlp.activation = lambda pre: (rows.append(len(pre)), activation(pre))[1]
    at_once = mlp(normed)
    monkeypatch.setattr(components, "_CACHED_NEURONS", 2 * 3 * SMALL.mlp_width)
    by_blocks = mlp(normed)
    mlp.hook_post.add_hook(lambda tensor, hook: None)  # noqa: ARG005  # who listens hears the whole batch
    listened = mlp(normed)
    assert rows == [5, 2, 2, 1, 5]
    # Sums of 32 products of order 1 in float32, and two forms of the nonlinearity.
    torch.testing.assert_close(by_blocks, at_once, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(listened, at_once, rtol=1e-5, atol=1e-4)
    assert mlp(normed[:0]).shape == normed[:0].shape
