import pytest
import torch

from icl_interp.activations import collect
from icl_interp.interventions import ablate_heads, ablate_mlps, mean_activations, predict_under
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import Prompts
from icl_interp.tasks.linear_regression import LinearRegression

Z, MLP = "blocks.1.attn.hook_z", "blocks.0.hook_mlp_out"


@pytest.fixture
def model() -> HookedModel:
    return build_model(ModelConfig(n_dims=2, n_points=5, n_layers=2, n_heads=3, d_model=12), seed=0)


@pytest.fixture
def prompts() -> Prompts:
    return LinearRegression(n_dims=2).sample(8, 5, seed=0)


def test_masking_a_head_is_deleting_its_output_weights(model: HookedModel, prompts: Prompts) -> None:
    masked = predict_under(model, prompts, ablate_heads([(1, 0), (1, 2)]))
    with torch.no_grad():
        model.blocks[1].attn.W_O[[0, 2]] = 0.0
    torch.testing.assert_close(masked, predict_under(model, prompts))


def test_masking_an_mlp_is_deleting_its_output(model: HookedModel, prompts: Prompts) -> None:
    masked = predict_under(model, prompts, ablate_mlps([0]))
    with torch.no_grad():
        model.blocks[0].mlp.W_out.zero_()
        model.blocks[0].mlp.b_out.zero_()
    torch.testing.assert_close(masked, predict_under(model, prompts))


def test_means_are_means_whatever_the_batches(model: HookedModel, prompts: Prompts) -> None:
    held = collect(model, prompts, [Z, MLP])
    means = mean_activations(model, prompts, [Z, MLP], batch_size=3)
    torch.testing.assert_close(means[Z], held[Z].mean(0))
    torch.testing.assert_close(means[MLP], held[MLP].mean(0))


def test_mean_ablation_puts_means_at_chosen_heads_and_positions(model: HookedModel, prompts: Prompts) -> None:
    means = mean_activations(model, prompts, [Z])
    own = collect(model, prompts, Z)[Z]
    with ablate_heads([(1, 1)], means=means, positions="y").on(model):
        held = collect(model, prompts, Z)[Z]
    torch.testing.assert_close(held[:, 1::2, 1], means[Z][1::2, 1].expand(8, -1, -1))
    torch.testing.assert_close(held[:, 0::2], own[:, 0::2])
    torch.testing.assert_close(held[:, 1::2, [0, 2]], own[:, 1::2, [0, 2]])
    with ablate_mlps([0], means=mean_activations(model, prompts, [MLP])).on(model):
        added = collect(model, prompts, MLP)[MLP]
    torch.testing.assert_close(added, added.mean(0, keepdim=True).expand_as(added))


REFUSED = {
    "no head": (lambda: ablate_heads([]), "at least one .layer, head., got none"),
    "no layer": (lambda: ablate_mlps([]), "at least one layer, got none"),
    "no mean": (lambda: ablate_heads([(1, 0)], means={}), f"ablate_heads needs a mean at {Z}"),
    "no mean of an MLP": (lambda: ablate_mlps([0], means={}), f"ablate_mlps needs a mean at {MLP}"),
}


@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(build: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()  # type: ignore[operator]


def test_refused_where_it_is_applied(model: HookedModel, prompts: Prompts) -> None:
    with pytest.raises(ValueError, match="heads from 0 to 2, got 3"):
        predict_under(model, prompts, ablate_heads([(0, 3)]))
    short = mean_activations(model, prompts.first_points(2), [MLP])
    with pytest.raises(ValueError, match="needs a mean at position 9, got 4 positions"):
        predict_under(model, prompts, ablate_mlps([0], means=short))
