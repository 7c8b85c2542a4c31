"""The direct path of every kind of model: what all parts write sums to the answer, as TransformerLens' cache has it."""

import pytest
import torch
from linear_cases import CASES, linear_config
from model_cases import OPTIONS, SMALL, large_weights, pairs

import icl_interp as icl
from icl_interp.errors import InputError
from icl_interp.measure.direct_contributions import contributions_of
from icl_interp.models.direct_path import direct_path
from icl_interp.prompts import Prompts

LINEAR = [case for case in CASES if case != "softmax"]


@pytest.mark.parametrize("option", OPTIONS)
def test_contributions_sum_to_the_answer_whatever_the_options(option):
    model = large_weights(OPTIONS[option])
    prompts = Prompts(*pairs(n_dims=OPTIONS[option].n_dims))
    _, written = contributions_of(model, prompts)
    torch.testing.assert_close(written.sum(0).float(), model(prompts.xs, prompts.ys).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("case", LINEAR)
def test_contributions_of_linear_networks_sum_to_the_answer(case):
    model = icl.build_model(linear_config(case), seed=0)
    prompts = Prompts(*pairs())
    names, written = contributions_of(model, prompts)
    assert not {"biases", "MLP 0"} & set(names)
    torch.testing.assert_close(written.sum(0).float(), model(prompts.xs, prompts.ys).detach(), rtol=1e-4, atol=1e-5)


def test_contributions_are_those_of_the_cache():
    """TransformerLens' own decomposition, through the final norm and the read-out."""
    model = large_weights(SMALL)
    prompts = Prompts(*pairs())
    names, written = contributions_of(model, prompts)
    _, cache = model.run_with_cache(prompts.xs, prompts.ys)
    parts, labels = cache.decompose_resid(return_labels=True, mode="mlp")
    heads, head_labels = cache.stack_head_results(return_labels=True)
    read = model.ln_final.w * model.W_U[:, 0]
    stacked = torch.cat([cache.apply_ln_to_stack(stack)[:, :, 0::2] @ read for stack in (parts, heads)]).detach()
    theirs = dict(zip([*labels, *head_labels], stacked, strict=False))  # heads end with what is left over
    pairs_of_names = {"read-in": "embed", "positions": "pos_embed", "MLP 2": "2_mlp_out", "head 1.1": "L1H1"}
    for ours, label in pairs_of_names.items():
        torch.testing.assert_close(written[names.index(ours)].float(), theirs[label], rtol=1e-3, atol=1e-4)


def test_a_wrapped_module_and_a_merged_layer_have_none():
    wrapped = icl.wrap(torch.nn.Identity(), sites={})
    with pytest.raises(InputError, match="No weight of a wrapped module is known by name"):
        direct_path(wrapped)
    merged = icl.build_model(linear_config("softmax"), seed=0)
    with pytest.raises(InputError, match="One merged attention layer writes the whole answer"):
        direct_path(merged)
