import pytest
import torch
from model_cases import large_weights, listeners, pairs
from transformer_lens import ActivationCache

from icl_interp import HookedICLTransformer

# Residual streams of order 10 in float32, summed in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def model() -> HookedICLTransformer:
    return large_weights()


def double(tensor, hook):  # noqa: ARG001  # TransformerLens' hook protocol, as in all hooks below
    return 2 * tensor


def reweight(tensor, hook):  # noqa: ARG001  # unlike a doubling, no LayerNorm undoes it
    return tensor * torch.linspace(0.5, 1.5, tensor.numel()).reshape(tensor.shape)


def nothing(tensor, hook):  # noqa: ARG001
    return None


def test_run_with_cache_gives_everything_in_an_activation_cache(model: HookedICLTransformer) -> None:
    xs, ys = pairs()
    predictions, cache = model.run_with_cache(xs, ys)
    assert isinstance(cache, ActivationCache)
    assert set(cache.keys()) == set(model.hook_dict)
    assert cache.model is model
    torch.testing.assert_close(predictions, model(xs, ys), **CLOSE)
    torch.testing.assert_close(cache["resid_pre", 0], cache["embed"] + cache["pos_embed"], **CLOSE)
    assert listeners(model) == []


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("hook_embed", ["hook_embed"]),
        (["blocks.1.hook_mlp_out", "hook_embed"], ["hook_embed", "blocks.1.hook_mlp_out"]),
        (lambda name: name.endswith("hook_pattern"), [f"blocks.{layer}.attn.hook_pattern" for layer in range(3)]),
    ],
    ids=["name", "list", "predicate"],
)
def test_a_filter_keeps_what_it_names(model: HookedICLTransformer, names: object, expected: list[str]) -> None:
    predictions, cache = model.run_with_cache(*pairs(), names_filter=names)
    assert list(cache.keys()) == expected
    torch.testing.assert_close(predictions, model(*pairs()), **CLOSE)


def test_points_and_a_dropped_batch_axis_pass_through(model: HookedICLTransformer) -> None:
    predictions, cache = model.run_with_cache(*pairs(batch=1), points=[-1], remove_batch_dim=True)
    assert predictions.shape == (1, 1)
    assert cache["resid_post", 0].shape == (14, 8)
    assert not cache.has_batch_dim


UNKNOWN = {
    "cache of a name": lambda m: m.run_with_cache(*pairs(), names_filter="blocks.0.hook_resid_pst"),
    "cache of a list": lambda m: m.run_with_cache(*pairs(), names_filter=["hook_embed", "blocks.0.hook_resid_pst"]),
    "run_with_hooks": lambda m: m.run_with_hooks(*pairs(), fwd_hooks=[("blocks.0.hook_resid_pst", double)]),
    "second of two hooks": lambda m: m.run_with_hooks(
        *pairs(), fwd_hooks=[("hook_embed", double), ("blocks.0.hook_resid_pst", double)]
    ),
    "hooks": lambda m: m.hooks(fwd_hooks=[("blocks.0.hook_resid_pst", double)]).__enter__(),
    "backward hooks": lambda m: m.hooks(bwd_hooks=[("blocks.0.hook_resid_pst", double)]).__enter__(),
    "add_hook": lambda m: m.add_hook("blocks.0.hook_resid_pst", double),
}


@pytest.mark.parametrize("ask", UNKNOWN.values(), ids=UNKNOWN)
def test_unknown_names_are_refused_with_near_ones(model: HookedICLTransformer, ask) -> None:
    with pytest.raises(ValueError, match=r"no hook point 'blocks.0.hook_resid_pst'; near names: .*hook_resid_post"):
        ask(model)
    assert listeners(model) == []


PREDICATES = {
    "run_with_cache": lambda m, accepts: m.run_with_cache(*pairs(), names_filter=accepts),
    "run_with_hooks": lambda m, accepts: m.run_with_hooks(*pairs(), fwd_hooks=[(accepts, double)]),
    "add_hook": lambda m, accepts: m.add_hook(accepts, double),
}


@pytest.mark.parametrize("ask", PREDICATES.values(), ids=PREDICATES)
def test_a_predicate_that_accepts_nothing_is_refused(model: HookedICLTransformer, ask) -> None:
    with pytest.raises(ValueError, match=r"names filter accepts no hook point of this model; print\(model.hook_dict"):
        ask(model, lambda name: "resid_pst" in name)
    assert listeners(model) == []


def fail(tensor, hook):  # noqa: ARG001
    raise RuntimeError("inside a hook")


@pytest.mark.parametrize("name", ["hook_embed", "blocks.1.attn.hook_pattern", "ln_final.hook_out"])
def test_hooks_come_off_when_one_raises(model: HookedICLTransformer, name: str) -> None:
    before = model(*pairs())
    with pytest.raises(RuntimeError, match="inside a hook"):
        model.run_with_hooks(*pairs(), fwd_hooks=[("blocks.0.hook_resid_mid", double), (name, fail)])
    with pytest.raises(RuntimeError, match="inside a hook"), model.hooks(fwd_hooks=[(name, fail)]):
        model.run_with_cache(*pairs())
    assert listeners(model) == []
    torch.testing.assert_close(model(*pairs()), before, rtol=0, atol=0)


@pytest.mark.parametrize("name", list(large_weights().hook_dict))
@torch.no_grad()
def test_every_hook_point_is_live(model: HookedICLTransformer, name: str) -> None:
    before = model(*pairs())
    # Listening changes nothing; what a hook returns is what the model goes on with, also on the fused paths.
    torch.testing.assert_close(model.run_with_hooks(*pairs(), fwd_hooks=[(name, nothing)]), before, **CLOSE)
    after = model.run_with_hooks(*pairs(), fwd_hooks=[(name, reweight)])
    assert float((after - before).abs().max()) > 1e-3
    torch.testing.assert_close(model(*pairs()), before, rtol=0, atol=0)


@torch.no_grad()
def test_an_intervention_is_seen_downstream_only(model: HookedICLTransformer) -> None:
    _, before = model.run_with_cache(*pairs())
    with model.hooks(fwd_hooks=[("blocks.1.hook_attn_out", lambda tensor, hook: 0 * tensor)]):  # noqa: ARG005
        _, after = model.run_with_cache(*pairs())
    torch.testing.assert_close(after["resid_pre", 1], before["resid_pre", 1], rtol=0, atol=0)
    torch.testing.assert_close(after["resid_mid", 1], before["resid_pre", 1], rtol=0, atol=0)


@torch.no_grad()
def test_patching_the_final_norm_decides_the_prediction(model: HookedICLTransformer) -> None:
    ones = model.run_with_hooks(*pairs(), fwd_hooks=[("ln_final.hook_out", lambda t, hook: torch.ones_like(t))])  # noqa: ARG005
    torch.testing.assert_close(ones, (model.unembed.W_U.sum() + model.unembed.b_U).expand(5, 7), **CLOSE)


@torch.no_grad()
def test_add_hook_stays_until_reset(model: HookedICLTransformer) -> None:
    before = model(*pairs())
    model.add_hook("hook_embed", double)
    assert float((model(*pairs()) - before).abs().max()) > 1e-2
    model.reset_hooks()
    torch.testing.assert_close(model(*pairs()), before, rtol=0, atol=0)


@pytest.mark.parametrize("layer", [1, 2, -1])
@torch.no_grad()
def test_decompose_resid_sums_to_the_residual_stream(model: HookedICLTransformer, layer: int) -> None:
    _, cache = model.run_with_cache(*pairs())
    parts, labels = cache.decompose_resid(layer=layer, return_labels=True)
    # Layer -1 means the end: TransformerLens' convention.
    expected = {1: cache["resid_pre", 1], 2: cache["resid_pre", 2], -1: cache["resid_post", 2]}[layer]
    torch.testing.assert_close(parts.sum(0), expected, **CLOSE)
    assert labels[:4] == ["embed", "pos_embed", "0_attn_out", "0_mlp_out"]


@torch.no_grad()
def test_accumulated_resid_is_the_residual_stream_layer_by_layer(model: HookedICLTransformer) -> None:
    _, cache = model.run_with_cache(*pairs())
    stack, labels = cache.accumulated_resid(layer=-1, incl_mid=True, return_labels=True)
    expected = [cache[f"resid_{where}", layer] for layer in range(3) for where in ("pre", "mid")]
    torch.testing.assert_close(stack, torch.stack([*expected, cache["resid_post", 2]]), rtol=0, atol=0)
    assert labels == ["0_pre", "0_mid", "1_pre", "1_mid", "2_pre", "2_mid", "final_post"]


@torch.no_grad()
def test_apply_ln_to_stack_splits_what_the_read_out_reads(model: HookedICLTransformer) -> None:
    _, cache = model.run_with_cache(*pairs())
    parts = cache.apply_ln_to_stack(cache.decompose_resid(layer=-1), layer=-1)
    torch.testing.assert_close(parts.sum(0), cache["ln_final.hook_normalized"], **CLOSE)


@torch.no_grad()
def test_stack_head_results_splits_what_attention_writes(model: HookedICLTransformer) -> None:
    _, cache = model.run_with_cache(*pairs())
    heads = cache.stack_head_results(layer=-1)
    written = sum(cache["attn_out", layer] - model.blocks[layer].attn.b_O for layer in range(3))
    assert heads.shape == (6, 5, 14, 8)
    torch.testing.assert_close(heads.sum(0), written, **CLOSE)


def test_gradients_reach_hooks(model: HookedICLTransformer) -> None:
    seen: dict[str, torch.Size] = {}

    def keep(gradient, hook):
        seen[hook.name] = gradient.shape

    names = ["hook_embed", "blocks.2.attn.hook_pattern"]
    with model.hooks(bwd_hooks=[(name, keep) for name in names]):
        model(*pairs()).sum().backward()
    assert seen == {"hook_embed": (5, 14, 8), "blocks.2.attn.hook_pattern": (5, 2, 14, 14)}
    assert listeners(model) == []


def test_device(model: HookedICLTransformer) -> None:
    assert model.device == torch.device("cpu")
