"""The linear families under TransformerLens' names: stacked weights, decompositions that sum, and what they refuse."""

import pytest
import torch
from linear_cases import CASES, linear_model, prompts
from torch import Tensor

from icl_interp.models.cache import ICLActivationCache

ADDING = [case for case in CASES if case.startswith("lsa") and "no skip" not in case]
REPLACING = ["lsa, no skip", "lsa, no skip, the query a key", "ltb", "ltb, no skip", "softmax"]
LINEAR = [case for case in CASES if case != "softmax"]


def cached(case: str) -> ICLActivationCache:
    return linear_model(case).run_with_cache(*prompts())[1]


@pytest.mark.parametrize("case", ADDING)
@torch.no_grad()
def test_components_of_linear_attention_sum_to_the_tokens(case: str) -> None:
    cache = cached(case)
    end = cache["resid_post", -1]
    # Sums of a few numbers of order 1 in float64.
    torch.testing.assert_close(cache.decompose_resid().sum(0), end, rtol=1e-10, atol=1e-10)
    full, labels = cache.get_full_resid_decomposition(return_labels=True)
    torch.testing.assert_close(full.sum(0), end, rtol=1e-10, atol=1e-10)
    assert labels == [*cache.model.all_head_labels(), "embed", "bias"]
    torch.testing.assert_close(cache.apply_ln_to_stack(full), full, rtol=0, atol=0)
    heads = cache.stack_head_results()
    written = sum(cache["attn_out", layer] for layer in range(cache.model.cfg.n_layers))
    torch.testing.assert_close(heads.sum(0), written, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_streams_of_every_linear_family_accumulate(case: str) -> None:
    cache = cached(case)
    stack, labels = cache.accumulated_resid(apply_ln=True, return_labels=True)
    assert labels == [*(f"{layer}_pre" for layer in range(cache.model.cfg.n_layers)), "final_post"]
    torch.testing.assert_close(stack[0], cache["hook_embed"], rtol=0, atol=0)
    torch.testing.assert_close(stack[-1], cache["resid_post", -1], rtol=0, atol=0)


@pytest.mark.parametrize("case", REPLACING)
@pytest.mark.parametrize(
    "method", ["decompose_resid", "stack_head_results", "stack_neuron_results", "get_full_resid_decomposition"]
)
@torch.no_grad()
def test_blocks_that_replace_their_input_have_no_decomposition(case: str, method: str) -> None:
    cache = cached(case)
    with pytest.raises(ValueError, match=f"{method} needs blocks that add to a residual stream, got family"):
        getattr(cache, method)(-1)


@pytest.mark.parametrize("case", LINEAR)
@torch.no_grad()
def test_stacked_weights_are_those_of_the_blocks(case: str) -> None:
    model = linear_model(case)
    for layer, block in enumerate(model.blocks):
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            torch.testing.assert_close(getattr(model, name)[layer], getattr(block.attn, name), rtol=0, atol=0)
        torch.testing.assert_close(model.QK.AB[layer], block.attn.query_key, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(model.OV.AB[layer], block.attn.value_out, rtol=1e-12, atol=1e-12)
    biases: list[Tensor] = [model.b_Q, model.b_K, model.b_V, model.b_O, model.b_U, model.accumulated_bias(1)]
    assert not any(float(bias.abs().sum()) for bias in biases)
    assert model.b_V.shape == model.W_V.sum(2).shape


@pytest.mark.parametrize("case", LINEAR)
@torch.no_grad()
def test_the_read_out_reads_the_answer_of_a_linear_network(case: str) -> None:
    model = linear_model(case)
    answer, cache = model.run_with_cache(*prompts())
    assert model.W_E.shape == (model.cfg.d_model, model.cfg.d_model)
    torch.testing.assert_close((cache["resid_post", -1] @ model.W_U + model.b_U)[:, -1], answer)


def test_stacked_mlps_are_those_of_the_blocks() -> None:
    model = linear_model("ltb, 2 shared layers")
    torch.testing.assert_close(model.W_in[1], model.blocks[0].mlp.W_in, rtol=0, atol=0)
    torch.testing.assert_close(model.W_out[1], model.blocks[0].mlp.W_out, rtol=0, atol=0)
    assert model.b_in.shape == model.W_in.sum(1).shape
    assert model.b_out.shape == model.W_out.sum(1).shape


REFUSED = [
    ("lsa", "W_in", "W_in needs blocks with an MLP"),
    ("lsa", "b_out", "b_out needs blocks with an MLP"),
    ("ltb", "W_pos", "W_pos needs a model with positions"),
    *(
        ("softmax", name, "needs separate weights .* model.attention.W_KQ")
        for name in ("W_Q", "b_O", "W_in", "QK", "OV")
    ),
    *(("softmax", name, f"{name} needs .* model.attention.W_KQ") for name in ("W_E", "W_U", "b_U")),
]


@pytest.mark.parametrize(("case", "name", "sentence"), REFUSED)
def test_weights_that_a_family_lacks_are_named(case: str, name: str, sentence: str) -> None:
    model = linear_model(case)
    with pytest.raises(ValueError, match=sentence):
        getattr(model, name)


@pytest.mark.parametrize("case", ["lsa", "ltb", "softmax"])
def test_a_linear_family_called_with_one_tensor_says_what_it_reads(case: str) -> None:
    with pytest.raises(TypeError, match=r"reads \(xs, ys\), got one of the two; .*interventions.patch\("):
        linear_model(case)(prompts()[0])
