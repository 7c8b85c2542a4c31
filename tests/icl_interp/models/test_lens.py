import copy
from typing import Any

import pytest
import torch
from lens_cases import (
    CONFIGS,
    CONVERTERS,
    ON_4,
    Converter,
    assert_same_activations,
    caches,
    only_on_3,
    only_on_4,
    small,
)
from model_cases import large_weights, pairs

from icl_interp import ModelConfig, build_model
from icl_interp.models.lens import feeding, to_bridge, to_hooked_transformer


@pytest.mark.parametrize("convert", CONVERTERS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_outputs_and_activations_are_those_of_the_real_class(config: ModelConfig, convert: Converter) -> None:
    model = large_weights(config)
    assert_same_activations(*caches(model, convert(model)))


CONTROL = small(n_layers=1, n_points=3)


@pytest.mark.parametrize("convert", CONVERTERS)
def test_any_other_weight_is_noticed(convert: Converter) -> None:
    model = large_weights(CONTROL)
    converted = convert(model)
    _, theirs = caches(model, converted)
    for name, _ in model.named_parameters():
        other = copy.deepcopy(model)
        with torch.no_grad():
            dict(other.named_parameters())[name].flatten()[-1] += 0.01
        ours, _ = caches(other, converted)
        with pytest.raises(AssertionError):
            assert_same_activations(ours, theirs)


@pytest.mark.parametrize("convert", CONVERTERS)
def test_converted_model_is_a_copy_in_the_models_precision(convert: Converter) -> None:
    model = large_weights(small()).double()
    converted = convert(model)
    xs, ys = pairs(n_points=4)
    before = model(xs.double(), ys.double())
    with torch.no_grad():
        for weight in converted.parameters():
            weight.zero_()
    torch.testing.assert_close(model(xs.double(), ys.double()), before, rtol=0, atol=0)
    assert not converted.training
    assert {weight.dtype for weight in converted.parameters()} == {torch.float64}


@pytest.mark.parametrize("convert", CONVERTERS)
def test_stream_may_enter_at_block_0(convert: Converter) -> None:
    model = large_weights(small())
    xs, ys = pairs(n_points=4)
    predictions, cache = model.run_with_cache(xs, ys)
    logits = convert(model)(cache["resid_pre", 0], start_at_layer=0)
    torch.testing.assert_close(logits[:, 0::2, 0], predictions, rtol=1e-4, atol=3e-5)  # float32, as in lens_cases


@pytest.mark.parametrize("convert", CONVERTERS)
def test_feeding_ends_even_after_an_error(convert: Converter) -> None:
    model = large_weights(small())
    converted = convert(model)
    xs, ys = pairs(n_points=4)
    before = converted(torch.zeros(5, 8, dtype=torch.long))

    def fail() -> None:
        with feeding(converted, model, xs, ys) as tokens:
            assert not torch.allclose(converted(tokens), before)
            raise KeyError("inside")

    with pytest.raises(KeyError, match="inside"):
        fail()
    torch.testing.assert_close(converted(torch.zeros(5, 8, dtype=torch.long)), before, rtol=0, atol=0)


@pytest.mark.parametrize("convert", CONVERTERS)
def test_token_table_holds_the_read_in(convert: Converter) -> None:
    model = large_weights(small(bias_read_in=False))
    tokens = torch.tensor([[0, 2, 1, 1]])
    one_hot = torch.nn.functional.one_hot(tokens, 3).float()
    # float32, as in lens_cases
    torch.testing.assert_close(convert(model)(tokens), model.forward_tokens(one_hot), rtol=1e-4, atol=3e-5)


@only_on_4
def test_bias_of_a_bridges_head_is_filled_and_its_scores_are_patterns() -> None:
    model = large_weights(small())
    bridge = to_bridge(model)
    torch.testing.assert_close(bridge.unembed.b_U, model.unembed.b_U.detach(), rtol=0, atol=0)
    _, theirs = caches(model, bridge)
    name = "blocks.0.attn.hook_"  # the one activation that the comparison leaves out, and why
    torch.testing.assert_close(theirs[f"{name}attn_scores"], theirs[f"{name}pattern"], rtol=0, atol=0)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "doubled residual": (
        {"doubled_residual": True},
        r"got doubled_residual=True \(their blocks add their input once\)",
    ),
    "masked query": ({"tokens": "joint", "mask_query": True}, r"got mask_query=True \(their attention masks"),
    "pinned with norms": ({"tokens": "separate", "read_out": "pinned"}, "got final_norm=False where blocks have norms"),
    "norms but no final one": ({"final_norm": False}, r"got final_norm=False where blocks have norms"),
    "two reasons": (
        {"doubled_residual": True, "final_norm": False},
        "got doubled_residual=True .*; final_norm=False .*; use the model as it is: it has the same hooks",
    ),
}


@pytest.mark.parametrize("convert", [to_hooked_transformer, to_bridge])
@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_expressed_is_refused(convert: Converter, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"{convert.__name__} needs a model that .*{message}"):
        convert(build_model(small(**changes), seed=0))


@pytest.mark.parametrize("convert", [to_hooked_transformer, to_bridge])
@pytest.mark.parametrize("family", ["lsa", "ltb", "softmax_layer"])
def test_other_families_are_refused(convert: Converter, family: Any) -> None:
    class Other:  # conversions look at the config first
        cfg = ModelConfig(family=family, n_dims=3, n_points=4)

    with pytest.raises(ValueError, match=rf"{convert.__name__} needs .*, got family='{family}' \(its attention is not"):
        getattr(convert, "__wrapped__", convert)(Other())


@only_on_4
def test_hooked_transformer_needs_version_3() -> None:
    with pytest.raises(ImportError, match=r"needs transformer-lens below 4, .* got 4\.\S+; use to_bridge"):
        to_hooked_transformer(build_model(small(), seed=0))


@only_on_3
def test_bridge_needs_version_4() -> None:
    with pytest.raises(ImportError, match=r"needs transformer-lens 4, .* got 3\.9\.\d+; use to_hooked_transformer"):
        to_bridge(build_model(small(), seed=0))


def test_the_installed_major_is_tested() -> None:
    # Skips must not hide both halves.
    assert [convert.id for convert in CONVERTERS if not convert.marks[0].args[0]] == [
        "TransformerBridge" if ON_4 else "HookedTransformer"
    ]
