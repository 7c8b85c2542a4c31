"""Places in the residual stream, in the order of the computation."""

import pytest

from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig

CONFIG = ModelConfig(n_dims=2, n_points=3, n_layers=3, n_heads=1, d_model=4)


@pytest.mark.parametrize(
    ("layers", "blocks"),
    [
        (None, [0, 1, 2]),
        ([0, 1, 2], [0, 1, 2]),
        ([], [2]),
        ([0], [0, 2]),
        ([-1], [2]),
        ([-3, 0, 0], [0, 2]),
        ((2, 0), [0, 2]),
    ],
    ids=["all by default", "all", "none", "first", "from the end", "twice", "unordered"],
)
def test_read_in_last_block_and_final_norm_are_always_there(layers, blocks):
    sites = CONFIG.residual_sites(layers)
    assert [site.label for site in sites] == ["read-in", *(f"block {x}" for x in blocks), "final norm"]
    assert sites[-2] == CONFIG.last_block


def test_every_site_is_a_hook_point_of_the_model():
    model = build_model(CONFIG, seed=0)
    assert {site.hook for site in CONFIG.residual_sites()} <= set(model.hook_dict)


def test_one_layer():
    config = CONFIG.model_copy(update={"n_layers": 1})
    assert [site.label for site in config.residual_sites()] == ["read-in", "block 0", "final norm"]
    assert config.last_block.label == "block 0"


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_is_not_there_is_refused(layer):
    with pytest.raises(ValueError, match=f"in a model of 3 layers, got {layer}"):
        CONFIG.residual_sites([layer])
