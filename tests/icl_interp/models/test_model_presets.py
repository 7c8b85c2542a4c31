import pytest
import torch

from icl_interp import MODEL_PRESETS, ModelConfig, build_model, model_preset
from icl_interp.models.shapes import parameter_shapes

COUNTS = {
    # dtsip's file holds 22,400,769, with a token table of 50,257 x 256 that GPT-2 never reads.
    "garg2022": 22_400_769 - 12_865_792,
    "carroll2025": 2_654_217,
    "hoogland2024": 51_717,
    "raventos2023": 1_591_808,
    "raventos2023_small": 202_752,
    # By hand: a read-in of 21 x 128 with bias, 41 positions, 6 blocks of 12 * 128^2 + 13 * 128 (4 * 128^2 + 6 * 128
    # without MLP), a norm, a read-out with bias.
    "zhang2024": 22 * 128 + 41 * 128 + 6 * (12 * 128**2 + 13 * 128) + 2 * 128 + 129,
    "zhang2024_attn_only": 22 * 128 + 41 * 128 + 6 * (4 * 128**2 + 6 * 128) + 2 * 128 + 129,
}


def test_every_preset_is_counted() -> None:
    assert set(COUNTS) == set(MODEL_PRESETS)


@pytest.mark.parametrize(("name", "count"), COUNTS.items(), ids=COUNTS)
def test_parameters_are_as_published(name: str, count: int) -> None:
    config = model_preset(name)
    assert sum(torch.Size(shape).numel() for shape in parameter_shapes(config).values()) == count
    assert build_model(config, seed=0).n_params == count


def test_changes_are_made() -> None:
    assert model_preset("hoogland2024", n_points=16).n_points == 16
    assert model_preset("hoogland2024") == ModelConfig(**MODEL_PRESETS["hoogland2024"])
    with pytest.raises(ValueError, match=r"(?s)dropout.*Extra inputs are not permitted"):
        model_preset("hoogland2024", dropout=0.1)


def test_an_unknown_name_lists_the_presets() -> None:
    with pytest.raises(ValueError, match=r"model_preset needs one of garg2022, carroll2025, .*, got 'garg'"):
        model_preset("garg")


@torch.no_grad()
def test_timaeus_models_double_their_residual_and_have_dead_channels() -> None:
    for name, width in (("carroll2025", 9), ("hoogland2024", 5)):
        config = model_preset(name)
        assert (config.doubled_residual, config.d_out, config.tokens) == (True, width, "separate")
    assert not model_preset("carroll2025").attn_out_proj
    assert model_preset("hoogland2024").attn_out_proj
