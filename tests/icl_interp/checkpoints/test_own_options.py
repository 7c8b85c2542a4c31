"""Every option of a model survives both formats, and its weights are known before it is built."""

from pathlib import Path
from typing import Any

import pytest
import torch

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.own import save_checkpoint
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.shapes import parameter_shapes

_BASE: dict[str, Any] = {"n_dims": 3, "n_points": 4, "n_layers": 2, "n_heads": 2, "d_model": 8}

OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "d_head": {"d_head": 5},
    "d_mlp": {"d_mlp": 7},
    "separate": {"tokens": "separate"},
    "joint": {"tokens": "joint"},
    "sequence": {"tokens": "sequence", "n_dims": 1},
    "full attention": {"tokens": "joint", "attention": "full"},
    "masked query": {"tokens": "joint", "attention": "full", "mask_query": True},
    "pinned": {"tokens": "separate", "read_out": "pinned"},
    "d_out": {"d_out": 4},
    "attn_only": {"attn_only": True},
    "LNPre": {"normalization_type": "LNPre"},
    "no norm": {"normalization_type": None},
    "no final norm": {"final_norm": False},
    "no positions": {"positional_embedding_type": "none"},
    "n_positions": {"n_positions": 11},
    "gelu": {"act_fn": "gelu"},
    "relu": {"act_fn": "relu"},
    "eps": {"eps": 0.1},
    "no output projection": {"attn_out_proj": False},
    "doubled residual": {"doubled_residual": True},
    **{name: {name: False} for name in ModelConfig.model_fields if name.startswith("bias_")},
    **{f"init {name}": {"init": name} for name in ("gpt2", "transformer_lens", "torch", "zhang")},
}
# What the softmax family leaves no choice in.
_OF_OTHER_FAMILIES = {
    "family",
    "d_v",
    "d_position",
    "answer_channel",
    "share_layers",
    "normalise",
    "normalise_by",
    "attn_skip",
    "output_sign",
    "init_std",
}


def test_no_option_is_forgotten() -> None:
    default = ModelConfig(**_BASE)
    configs = [ModelConfig(**_BASE | changes) for changes in OPTIONS.values()]
    varied = {n for n in ModelConfig.model_fields if any(getattr(c, n) != getattr(default, n) for c in configs)}
    assert set(ModelConfig.model_fields) - varied - _OF_OTHER_FAMILIES == {"n_points", "n_layers", "n_heads", "d_model"}


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
def test_round_trip(tmp_path: Path, changes: dict[str, Any], suffix: str) -> None:
    config = ModelConfig(**_BASE | changes)
    model = build_model(config, seed=1)
    loaded = load_checkpoint(save_checkpoint(tmp_path / f"a.{suffix}", model)).model
    assert loaded.cfg == config
    assert set(loaded.state_dict()) == set(parameter_shapes(config))
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], weight, rtol=0, atol=0)
    generator = torch.Generator().manual_seed(0)
    xs, ys = torch.randn(2, 4, config.n_dims, generator=generator), torch.randn(2, 4, generator=generator)
    torch.testing.assert_close(loaded(xs, ys), model(xs, ys), rtol=0, atol=0)


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS)
def test_shapes_are_those_of_the_built_model(changes: dict[str, Any]) -> None:
    config = ModelConfig(**_BASE | changes)
    model = build_model(config, seed=0)
    assert {name: tuple(weight.shape) for name, weight in model.state_dict().items()} == parameter_shapes(config)
    assert dict(model.named_parameters()).keys() == parameter_shapes(config).keys()


def test_files_from_before_the_options_keep_loading(tmp_path: Path) -> None:
    model = build_model(ModelConfig(**_BASE), seed=1)
    path = save_checkpoint(tmp_path / "a.pt", model)
    contents = torch.load(path, weights_only=True)
    first = (
        "family",
        "n_dims",
        "n_points",
        "n_layers",
        "n_heads",
        "d_model",
        "d_head",
        "d_mlp",
        "act_fn",
        "eps",
        "init",
    )
    torch.save({**contents, "model": {name: contents["model"][name] for name in first}}, path)
    assert load_checkpoint(path).model.cfg == model.cfg
