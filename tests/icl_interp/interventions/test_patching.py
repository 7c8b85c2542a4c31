import math

import pytest
import torch

from icl_interp.interventions import patch
from icl_interp.interventions.patching import _check_axes
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import Prompts
from icl_interp.tasks.linear_regression import LinearRegression


@pytest.fixture
def model() -> HookedModel:
    return build_model(ModelConfig(n_dims=2, n_points=4, n_layers=2, n_heads=2, d_model=8, init="torch"), seed=0)


@pytest.fixture
def clean() -> Prompts:
    return LinearRegression(n_dims=2).sample(10, 4, seed=0)


@pytest.fixture
def corrupted(clean: Prompts) -> Prompts:
    """The second label is another one."""
    ys = clean.ys.clone()
    ys[:, 1] += 3.0
    return Prompts(xs=clean.xs, ys=ys)


def test_only_the_corrupted_position_carries_the_difference_at_first(
    model: HookedModel, clean: Prompts, corrupted: Prompts
) -> None:
    result = patch(model, clean, corrupted, "hook_embed", axes=("pos",))
    expected = torch.zeros(8, dtype=torch.float64)
    expected[3] = 1.0  # x1 y1 x2 y2: the second label
    torch.testing.assert_close(result.recovered, expected)
    assert list(result.to_frame().columns) == ["pos", "recovered", "low", "high"]


def test_layers_and_positions(model: HookedModel, clean: Prompts, corrupted: Prompts) -> None:
    result = patch(model, clean, corrupted, "blocks.{layer}.hook_resid_pre", axes=("layer", "pos"), batch_size=4)
    assert result.recovered.shape == (2, 8)
    torch.testing.assert_close(result.recovered[:, :3], torch.zeros(2, 3, dtype=torch.float64))  # before the corruption
    assert result.recovered[0, 3] > 0.999 > result.recovered[1, 3]
    assert (result.low <= result.recovered + 1e-9).all()
    assert (result.recovered <= result.high + 1e-9).all()


def test_all_heads_together_are_the_layer(model: HookedModel, clean: Prompts, corrupted: Prompts) -> None:
    by_head = patch(model, clean, corrupted, "blocks.{layer}.attn.hook_z", axes=("layer", "head"))
    assert by_head.recovered.shape == (2, 2)
    whole = patch(model, clean, corrupted, "blocks.0.attn.hook_z", axes=())
    assert whole.recovered.shape == ()
    with torch.no_grad():
        model.blocks[0].attn.W_O[1] = 0.0  # the second head now does nothing, so that the first is all of the layer
    alone = patch(model, clean, corrupted, "blocks.0.attn.hook_z", axes=("head",))
    torch.testing.assert_close(alone.recovered[1], torch.zeros((), dtype=torch.float64))
    torch.testing.assert_close(
        alone.recovered[0], patch(model, clean, corrupted, "blocks.0.attn.hook_z", axes=()).recovered
    )


def test_positions_restrict_what_is_patched(model: HookedModel, clean: Prompts, corrupted: Prompts) -> None:
    labels = patch(model, clean, corrupted, "hook_embed", axes=(), positions="y")
    inputs = patch(model, clean, corrupted, "hook_embed", axes=(), positions="x")
    torch.testing.assert_close(labels.recovered, torch.ones((), dtype=torch.float64))
    torch.testing.assert_close(inputs.recovered, torch.zeros((), dtype=torch.float64))
    assert patch(model, clean, corrupted, "hook_embed", positions="y").labels == ((1, 3, 5, 7),)


def test_nothing_corrupted_is_nothing_to_recover(model: HookedModel, clean: Prompts) -> None:
    result = patch(model, clean, clean, "hook_embed", axes=())
    assert math.isnan(float(result.recovered))
    assert result.corruption == 0.0


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6], ids=str)
def test_what_changes_predictions_by_rounding_alone_is_no_corruption(
    model: HookedModel, clean: Prompts, unit: float
) -> None:
    with torch.no_grad():
        model.unembed.W_U.mul_(unit)
        model.unembed.b_U.mul_(unit)
    last_digit = Prompts(xs=clean.xs * (1 + 1.2e-7), ys=clean.ys)
    result = patch(model, clean, last_digit, "hook_embed", axes=())
    assert math.isnan(float(result.recovered))


def test_unknown_axes_are_refused() -> None:
    with pytest.raises(ValueError, match="axes out of layer, pos, head, got 'token'"):
        _check_axes(["pos", "token"], "hook_embed")


REFUSED = {
    "shapes": ("hook_embed", ("pos",), 3, "prompts of one shape"),
    "no layer in the name": ("hook_embed", ("layer",), 4, "exactly where 'layer' is an axis"),
    "no layer among the axes": ("blocks.{layer}.hook_resid_pre", ("pos",), 4, "exactly where 'layer' is an axis"),
    "no heads": ("hook_embed", ("head",), 4, "a hook with heads"),
    "unknown hook": ("hook_embedding", ("pos",), 4, "no hook point 'hook_embedding'"),
}


@pytest.mark.parametrize(("name", "axes", "n_points", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(
    model: HookedModel, clean: Prompts, name: str, axes: tuple[str, ...], n_points: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        patch(model, clean, clean.first_points(n_points), name, axes)  # type: ignore[arg-type]
