"""Models that TransformerLens' classes can express, what they have to agree in, and the class that is installed."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pytest
import torch
from model_cases import SMALL, large_weights, pairs

from icl_interp import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.models.lens import feeding, to_bridge, to_hooked_transformer

ON_4 = int(version("transformer-lens").split(".")[0]) >= 4
only_on_3 = pytest.mark.skipif(ON_4, reason="transformer-lens 4 has no class HookedTransformer: see `make test-tl3`")
only_on_4 = pytest.mark.skipif(not ON_4, reason="transformer-lens 3 is not where native bridges are promised")

CONVERTERS = [
    pytest.param(to_hooked_transformer, id="HookedTransformer", marks=only_on_3),
    pytest.param(to_bridge, id="TransformerBridge", marks=only_on_4),
]

_BARE = {"bias_read_in": False, "bias_qkv": False, "bias_attn_out": False, "bias_mlp": False, "bias_read_out": False}


def small(**changes: Any) -> ModelConfig:
    return ModelConfig(**{"n_dims": 3, "n_points": 4, "n_layers": 2, "n_heads": 2, "d_model": 8} | changes)


CONFIGS: dict[str, ModelConfig] = {
    "GPT-2": SMALL,
    "exact gelu": small(act_fn="gelu"),
    "relu": small(act_fn="relu"),
    "large eps": small(eps=0.1),
    "wide heads, narrow MLP": small(d_head=5, d_mlp=7),
    "LNPre": small(normalization_type="LNPre"),
    "no norm": small(normalization_type=None),
    "attention only": small(attn_only=True),
    "attention only, no norm": small(attn_only=True, normalization_type=None),
    "no positions": small(positional_embedding_type="none"),
    "longer table": small(n_positions=11),
    "no output projection": small(attn_out_proj=False),
    "no biases": small(**_BARE),
    "only biases of queries, keys and values": small(**_BARE | {"bias_qkv": True}),
    "only biases of the MLP": small(**_BARE | {"bias_mlp": True}),
    "only bias of the output projection": small(**_BARE | {"bias_attn_out": True}),
    "only bias of the read-out": small(**_BARE | {"bias_read_out": True}),
    "separate tokens, dead channels": small(tokens="separate", d_out=4),
    "joint tokens": small(tokens="joint"),
    "joint tokens, full attention": small(tokens="joint", attention="full"),
    "sequence": small(tokens="sequence", n_dims=1),
    "pinned ends, no norm": small(tokens="separate", read_out="pinned", normalization_type=None),
}

_ANSWERS = {"interleaved": slice(0, None, 2), "separate": slice(0, None, 2), "sequence": slice(None), "joint": [-1]}

# Our names that the class lacks, and what it holds something else under: bridges put the pattern where the scores were.
MISSING_ON_3 = {"ln_final.hook_out"}
OTHER_ON_4 = "attn.hook_attn_scores"


def caches(model: HookedModel, converted: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Our activations and theirs; the predictions are among both."""
    xs, ys = pairs(n_points=model.cfg.n_points, n_dims=model.cfg.n_dims)
    with torch.no_grad():
        predictions, ours = model.run_with_cache(xs, ys)
        with feeding(converted, model, xs, ys) as tokens:
            logits, theirs = converted.run_with_cache(tokens)
    ours = {"predictions": predictions, **ours}
    return ours, {"predictions": logits[:, _ANSWERS[model.cfg.tokens], 0], **theirs}


def assert_same_activations(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    compared = [name for name in ours if not (ON_4 and name.endswith(OTHER_ON_4))]
    assert {name for name in compared if name not in theirs} == (set() if ON_4 else MISSING_ON_3)
    for name in compared:
        if name in theirs:
            # float32 sums in another order, relative to the largest number: without norms streams grow to thousands,
            # and softmax turns the last digits of large scores into 1e-5 of a pattern.
            largest = ours[name][ours[name].isfinite()].abs().max().item()
            close = {"rtol": 0, "atol": 5e-5 * max(1, largest)}
            torch.testing.assert_close(theirs[name], ours[name], **close, msg=lambda m, n=name: f"{n}: {m}")


Converter = Callable[[HookedModel], Any]

__all__ = ["CONFIGS", "CONVERTERS", "Converter", "assert_same_activations", "caches", "large_weights", "small"]
