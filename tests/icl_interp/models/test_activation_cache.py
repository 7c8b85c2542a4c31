import pytest
import torch
from model_cases import OPTIONS, large_weights, pairs, prompts_for
from transformer_lens import ActivationCache
from transformer_lens.patching import generic_activation_patch

from icl_interp import ModelConfig
from icl_interp.models.cache import ICLActivationCache

# Residual streams of order 10 in float32, summed in another order; doubled ones four times that.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
# Those that change what is written into the stream, or what reads it.
STREAMS = [
    "defaults", "joint", "pinned", "attention only", "parameter-free norms", "no norms", "no final norm",
    "no positions", "no output projection", "doubled residual", "doubled residual, attention only", "no biases",
    "timaeus",
]  # fmt: skip
all_streams = pytest.mark.parametrize("config", [OPTIONS[name] for name in STREAMS], ids=STREAMS)
LAYERS = pytest.mark.parametrize("layer", [1, -1])


def cached(config: ModelConfig) -> ICLActivationCache:
    return large_weights(config).run_with_cache(*prompts_for(config))[1]


def stream_before(cache: ICLActivationCache, layer: int) -> torch.Tensor:
    return cache["resid_pre", 1] if layer == 1 else cache["resid_post", -1]


@all_streams
@LAYERS
@torch.no_grad()
def test_components_sum_to_the_stream(config: ModelConfig, layer: int) -> None:
    cache = cached(config)
    parts, labels = cache.decompose_resid(layer=layer, return_labels=True)
    assert len(parts) == len(labels)
    torch.testing.assert_close(parts.sum(0), stream_before(cache, layer), **CLOSE)


@all_streams
@LAYERS
@pytest.mark.parametrize("expand_neurons", [True, False], ids=["neurons", "whole MLPs"])
@torch.no_grad()
def test_heads_neurons_embeddings_and_biases_sum_to_the_stream(
    config: ModelConfig, layer: int, expand_neurons: bool
) -> None:
    cache = cached(config)
    parts, labels = cache.get_full_resid_decomposition(layer, expand_neurons=expand_neurons, return_labels=True)
    assert len(parts) == len(labels)
    assert labels[-1] == "bias"
    torch.testing.assert_close(parts.sum(0), stream_before(cache, layer), **CLOSE)


@all_streams
@torch.no_grad()
def test_heads_and_the_remainder_sum_to_the_stream(config: ModelConfig) -> None:
    cache = cached(config)
    heads, labels = cache.stack_head_results(-1, incl_remainder=True, return_labels=True)
    assert labels == [*cache.model.all_head_labels(), "remainder"]
    torch.testing.assert_close(heads.sum(0), cache["resid_post", -1], **CLOSE)


@all_streams
@torch.no_grad()
def test_normalised_components_sum_to_what_the_read_out_reads(config: ModelConfig) -> None:
    cache = cached(config)
    parts = cache.apply_ln_to_stack(cache.decompose_resid(layer=-1), layer=-1)
    expected = cache["ln_final.hook_normalized" if config.final_norm else "ln_final.hook_out"]
    torch.testing.assert_close(parts.sum(0), expected, **CLOSE)
    torch.testing.assert_close(cache.decompose_resid(layer=-1, apply_ln=True), parts, rtol=0, atol=0)


@all_streams
@torch.no_grad()
def test_the_last_of_the_accumulated_streams_is_read_out(config: ModelConfig) -> None:
    cache = cached(config)
    stack, labels = cache.accumulated_resid(apply_ln=True, return_labels=True)
    assert labels == ["0_pre", "1_pre", "final_post"]
    torch.testing.assert_close(stack[-1], cache["ln_final.hook_out"], **CLOSE)


@torch.no_grad()
def test_under_the_doubled_residual_components_count_as_often_as_they_are_carried() -> None:
    cache = cached(OPTIONS["doubled residual"])
    parts, labels = cache.decompose_resid(layer=-1, return_labels=True)
    # Two blocks: x -> 2x + ... twice.
    times = {"embed": 4, "pos_embed": 4, "0_attn_out": 2, "0_mlp_out": 2, "1_attn_out": 1, "1_mlp_out": 1}
    assert labels == list(times)
    once, _ = ActivationCache.decompose_resid(cache, layer=-1, return_labels=True)
    torch.testing.assert_close(parts, torch.stack([n * p for n, p in zip(times.values(), once, strict=True)]), **CLOSE)
    # The control: unweighted components miss the stream.
    assert float((once.sum(0) - cache["resid_post", -1]).abs().max()) > 0.1


@pytest.mark.parametrize("name", ["defaults", "doubled residual"])
@torch.no_grad()
def test_the_stream_before_an_mlp(name: str) -> None:
    cache = cached(OPTIONS[name])
    torch.testing.assert_close(cache.decompose_resid(1, mlp_input=True).sum(0), cache["resid_mid", 1], **CLOSE)
    full = cache.get_full_resid_decomposition(1, mlp_input=True, expand_neurons=False)
    torch.testing.assert_close(full.sum(0), cache["resid_mid", 1], **CLOSE)


@torch.no_grad()
def test_head_results_that_are_cached_already_are_weighted_as_well() -> None:
    cache = cached(OPTIONS["doubled residual"])
    fresh = cache.stack_head_results(-1)
    cache.compute_head_results()
    torch.testing.assert_close(cache.stack_head_results(-1), fresh, **CLOSE)
    torch.testing.assert_close(cache["result", 0][:, :, 0] * 2, fresh[0], **CLOSE)


@torch.no_grad()
def test_neurons_are_labelled_and_add_up_to_the_mlps() -> None:
    cache = cached(OPTIONS["d_head and d_mlp"])
    neurons, labels = cache.stack_neuron_results(-1, return_labels=True)
    assert labels == [f"L{layer}N{neuron}" for layer in range(2) for neuron in range(6)]
    biases = sum(block.mlp.b_out for block in cache.model.blocks)
    torch.testing.assert_close(neurons.sum(0) + biases, cache["mlp_out", 0] + cache["mlp_out", 1], **CLOSE)


@torch.no_grad()
def test_a_cache_without_batch_axis_decomposes_too() -> None:
    model = large_weights(OPTIONS["doubled residual"])
    _, cache = model.run_with_cache(*pairs(batch=1), remove_batch_dim=True)
    torch.testing.assert_close(cache.decompose_resid(-1).sum(0), cache["resid_post", -1], **CLOSE)
    assert cache.get_full_resid_decomposition(-1, expand_neurons=False).shape[1:] == (14, 8)


@pytest.mark.parametrize("method", ["logit_attrs", "logit_lens"])
def test_what_needs_a_vocabulary_is_refused(method: str) -> None:
    with pytest.raises(TypeError, match=f"{method} needs a token vocabulary, .* @ model.W_U instead"):
        getattr(cached(OPTIONS["defaults"]), method)(tokens=0)


@torch.no_grad()
def test_the_way_that_the_refusal_names_gives_the_prediction() -> None:
    cache = cached(OPTIONS["defaults"])
    model = cache.model
    parts = cache.apply_ln_to_stack(cache.decompose_resid(-1)) * model.ln_final.w @ model.W_U
    shift = model.ln_final.b @ model.W_U + model.b_U
    torch.testing.assert_close((parts.sum(0) + shift)[:, ::2, 0], model(*pairs()), **CLOSE)


def patch_by_transformer_lens(model, tokens):
    def leave(activation, index, clean):  # noqa: ARG001  # TransformerLens' protocol of a patch
        return activation

    _, cache = model.run_with_cache(*pairs())
    generic_activation_patch(model, tokens, cache, torch.sum, leave, "resid_pre", index_axis_names=["layer", "pos"])


SOLE = {
    "run_with_hooks": lambda m, t: m.run_with_hooks(t, fwd_hooks=[]),
    "run_with_cache": lambda m, t: m.run_with_cache(t),
    "xs by name": lambda m, t: m.run_with_cache(xs=t),
    "generic_activation_patch": patch_by_transformer_lens,
}


@pytest.mark.parametrize("ask", SOLE.values(), ids=SOLE)
def test_one_tensor_instead_of_two_is_refused(ask) -> None:
    with pytest.raises(TypeError, match=r"reads \(xs, ys\), got one of the two; .*icl_interp.interventions.patch\("):
        ask(large_weights(), pairs()[0])
