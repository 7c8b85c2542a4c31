import pytest
import torch
from model_cases import SMALL, large_weights, pairs

from icl_interp import ModelConfig
from icl_interp.models.hook_names import check_names, hook_name, normalise_layer

# HookedTransformer's names, with the shape of each for batch 5, 14 positions, d_model 8, two heads of 4, d_mlp 32.
STREAM, HEADS, SCORES, SCALE, HIDDEN = (5, 14, 8), (5, 14, 2, 4), (5, 2, 14, 14), (5, 14, 1), (5, 14, 32)
IN_A_BLOCK = {
    "hook_resid_pre": STREAM,
    "ln1.hook_scale": SCALE,
    "ln1.hook_normalized": STREAM,
    "attn.hook_q": HEADS,
    "attn.hook_k": HEADS,
    "attn.hook_v": HEADS,
    "attn.hook_attn_scores": SCORES,
    "attn.hook_pattern": SCORES,
    "attn.hook_z": HEADS,
    "hook_attn_out": STREAM,
    "hook_resid_mid": STREAM,
    "ln2.hook_scale": SCALE,
    "ln2.hook_normalized": STREAM,
    "mlp.hook_pre": HIDDEN,
    "mlp.hook_post": HIDDEN,
    "hook_mlp_out": STREAM,
    "hook_resid_post": STREAM,
}
STANDARD = {
    "hook_embed": STREAM,
    "hook_pos_embed": STREAM,
    **{f"blocks.{layer}.{name}": shape for layer in range(3) for name, shape in IN_A_BLOCK.items()},
    "ln_final.hook_scale": SCALE,
    "ln_final.hook_normalized": STREAM,
}


def test_names_and_shapes_are_hooked_transformers_and_one_more() -> None:
    model = large_weights()
    _, cache = model.run_with_cache(*pairs())
    expected = {**STANDARD, "ln_final.hook_out": STREAM, "unembed.hook_in": STREAM, "unembed.hook_out": (5, 14, 1)}
    assert {name: tuple(tensor.shape) for name, tensor in cache.items()} == expected
    assert list(cache.keys()) == list(expected)  # in the order in which the model passes them
    assert all(point.name == name for name, point in model.hook_dict.items())


def test_shapes_follow_the_configs_own_widths() -> None:
    config = ModelConfig(n_dims=3, n_points=7, n_layers=1, n_heads=3, d_model=8, d_head=5, d_mlp=6)
    _, cache = large_weights(config).run_with_cache(*pairs())
    assert cache["q", 0].shape == cache["z", 0].shape == (5, 14, 3, 5)
    assert cache["blocks.0.mlp.hook_post"].shape == (5, 14, 6)
    assert cache["pattern", 0].shape == (5, 3, 14, 14)


@pytest.mark.parametrize(
    ("site", "layer", "name"),
    [
        ("resid_pre", 0, "blocks.0.hook_resid_pre"),
        ("resid_mid", 1, "blocks.1.hook_resid_mid"),
        ("resid_post", -1, "blocks.2.hook_resid_post"),
        ("attn_out", -3, "blocks.0.hook_attn_out"),
        ("mlp_out", 2, "blocks.2.hook_mlp_out"),
        ("embed", 7, "hook_embed"),
        ("final_norm", -9, "ln_final.hook_out"),
    ],
)
def test_hook_name_names_a_hook_point(site: str, layer: int, name: str) -> None:
    assert hook_name(site, layer, n_layers=3) == name
    assert name in large_weights(SMALL).hook_dict


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_does_not_exist_is_refused(layer: int) -> None:
    with pytest.raises(ValueError, match=f"layer needs a number from -3 to 2 in a model of 3 layers, got {layer}"):
        hook_name("resid_post", layer, n_layers=3)


def test_a_site_that_does_not_exist_is_refused() -> None:
    # Unchecked by the hook's types only without them; the message lists what there is.
    with pytest.raises((ValueError, TypeError), match="resid_pst"):
        hook_name("resid_pst", 0, n_layers=3)


@pytest.mark.parametrize(("layer", "expected"), [(0, 0), (3, 3), (-1, 3), (-4, 0)])
def test_normalise_layer(layer: int, expected: int) -> None:
    assert normalise_layer(layer, n_layers=4) == expected


def test_check_names_names_near_ones_or_some() -> None:
    known = list(STANDARD)
    check_names([], known)
    check_names(known, known)
    with pytest.raises(ValueError, match=r"no hook point 'blocks.0.hook_resid'; near names: .*blocks.0.hook_resid_pre"):
        check_names(["hook_embed", "blocks.0.hook_resid"], known)
    with pytest.raises(ValueError, match=r"no hook point 'zzz'; near names: hook_embed, hook_pos_embed, blocks.0"):
        check_names(["zzz"], iter(known))


def test_the_cache_resolves_short_names() -> None:
    _, cache = large_weights().run_with_cache(*pairs())
    torch.testing.assert_close(cache["pattern", 1], cache["blocks.1.attn.hook_pattern"], rtol=0, atol=0)
    torch.testing.assert_close(cache["post", 1], cache["blocks.1.mlp.hook_post"], rtol=0, atol=0)
