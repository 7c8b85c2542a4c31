import pytest
import torch
from model_cases import OPTIONS, large_weights, prompts_for

from icl_interp import ModelConfig
from icl_interp.models.hook_names import hook_map


@pytest.mark.parametrize("config", OPTIONS.values(), ids=OPTIONS)
@torch.no_grad()
def test_every_hook_point_has_a_meaning_and_its_shape_is_right(config: ModelConfig) -> None:
    model = large_weights(config)
    _, cache = model.run_with_cache(*prompts_for(config))
    rows = model.describe().rows
    assert [row.name for row in rows] == list(model.hook_dict)
    for row in rows:
        axes = [axis.partition("=") for axis in row.shape.split()]
        shape = cache[row.name].shape
        assert len(axes) == len(shape), row
        stated = {i: int(size or name) for i, (name, _, size) in enumerate(axes) if size or name.isdigit()}
        assert {i: shape[i] for i in stated} == stated, row
        assert row.meaning


def test_what_is_printed() -> None:
    text = str(large_weights(OPTIONS["d_head and d_mlp"]).describe())
    title, head, *lines = text.splitlines()
    assert title == "GPT-2 decoder, 2 layers, 2 heads, width 8, inputs of 3 dimensions, l = 0 ... 1"
    assert head.split() == ["hook", "shape", "meaning"]
    # The blocks are written once.
    assert len(lines) == len(set(lines)) == 2 + 17 + 5
    (q,) = [line for line in lines if "hook_q" in line]
    assert q.split() == ["blocks.{l}.attn.hook_q", "batch", "pos", "head=2", "d_head=5", "queries"]


def test_its_repr_is_short() -> None:
    assert repr(large_weights(OPTIONS["attention only"]).describe()).endswith("inputs of 3 dimensions, 29 hook points)")


def test_a_model_without_blocks() -> None:
    assert str(hook_map("a model", {"hook_embed": None}, {"hook_embed": ("pos", "x")}, {})).startswith("a model\nhook")


def test_a_hook_point_without_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a meaning for every hook point, got none for 'other_embed'"):
        hook_map("a model", {"other_embed": None}, {"embed": ("pos", "x")}, {})
