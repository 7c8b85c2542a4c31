"""What a cache cannot give is refused in one sentence, for every family."""

from typing import Any

import pytest
import torch
from transformer_lens import ActivationCache

from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel

GPT2 = {"n_layers": 1, "n_heads": 2, "d_model": 8}
FAMILIES: dict[str, dict[str, Any]] = {
    "attention only": {**GPT2, "attn_only": True},
    "lsa": {"family": "lsa"},
    "softmax_layer": {"family": "softmax_layer"},
}


def run(**fields: Any) -> tuple[HookedModel, ActivationCache]:
    model = build_model(ModelConfig(n_dims=3, n_points=4, **fields), seed=0)
    return model, model.run_with_cache(torch.zeros(2, 4, 3), torch.zeros(2, 4))[1]


@pytest.mark.parametrize("fields", FAMILIES.values(), ids=FAMILIES)
def test_no_neurons(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"get_neuron_results needs a model with MLPs and their mlp.hook_post in"):
        run(**fields)[1].get_neuron_results(0)


@pytest.mark.parametrize("fields", [FAMILIES["attention only"], FAMILIES["lsa"]], ids=["attention only", "lsa"])
def test_no_neurons_to_stack(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"stack_neuron_results needs a model with MLPs"):
        run(**fields)[1].stack_neuron_results(0)


def test_no_heads() -> None:
    with pytest.raises(ValueError, match="compute_head_results needs a model with attention heads"):
        run(family="softmax_layer")[1].compute_head_results()


ADVICE: dict[str, tuple[dict[str, Any], str]] = {
    "gpt2": (GPT2, r"@ model\.W_U instead"),
    "lsa": ({"family": "lsa"}, r"stack\[\.\.\., \d\] times output_sign is the answer"),
    "ltb": ({"family": "ltb"}, r"stack\[\.\.\., \d\] times output_sign is the answer"),
}


@pytest.mark.parametrize(("fields", "advice"), ADVICE.values(), ids=ADVICE)
@pytest.mark.parametrize("method", ["logit_lens", "logit_attrs"])
def test_no_vocabulary(fields: dict[str, Any], advice: str, method: str) -> None:
    with pytest.raises(TypeError, match=f"{method} needs a token vocabulary, .*{advice}"):
        getattr(run(**fields)[1], method)()


OPTIONS = {
    "backward": ({"incl_bwd": True}, TypeError, "incl_bwd needs a model with a scalar output"),
    "half a model": ({"stop_at_layer": 1}, TypeError, "stop_at_layer is not an option"),
    "no names": ({"names_filter": []}, ValueError, "needs at least one hook name, got none"),
}


@pytest.mark.parametrize(("options", "kind", "message"), OPTIONS.values(), ids=OPTIONS)
def test_options_that_cannot_be(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    model, _ = run(**GPT2)
    with pytest.raises(kind, match=message):
        model.run_with_cache(torch.zeros(2, 4, 3), torch.zeros(2, 4), **options)
