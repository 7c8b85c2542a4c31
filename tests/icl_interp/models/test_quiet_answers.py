"""What is left out while nobody looks changes no answer, and whoever looks sees everything."""

import pytest
import torch
from torch import Tensor

from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.tasks.linear_regression import LinearRegression

SIZES = {"n_dims": 3, "n_points": 6, "n_layers": 2, "n_heads": 2, "d_model": 8, "init": "torch"}
LAYOUTS = {
    "interleaved": {},
    "separate": {"tokens": "separate"},
    "joint, causal": {"tokens": "joint"},
    "joint, full": {"tokens": "joint", "attention": "full"},
    "sequence": {"tokens": "sequence", "n_dims": 1},
    "doubled residual": {"doubled_residual": True},
    "attention only": {"attn_only": True},
    "no output projection": {"attn_out_proj": False},
}


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def model(request: pytest.FixtureRequest) -> HookedModel:
    return build_model(ModelConfig(**{**SIZES, **request.param}), seed=0).double()


def pairs(model: HookedModel) -> tuple[Tensor, Tensor]:
    prompts = LinearRegression(n_dims=model.cfg.n_dims).sample(4, 6, seed=0)
    return prompts.xs.double(), prompts.ys.double()


def test_answers_are_the_same_whether_anybody_looks(model: HookedModel) -> None:
    xs, ys = pairs(model)
    quiet = model(xs, ys, points=[-1])
    seen = []
    with model.hooks(fwd_hooks=[("blocks.1.hook_resid_post", lambda value, hook: seen.append(value))]):  # noqa: ARG005
        watched = model(xs, ys, points=[-1])
    torch.testing.assert_close(quiet, watched, rtol=1e-12, atol=1e-12)  # float64, another order of sums
    assert seen[0].shape[1] == {"interleaved": 12, "separate": 12}.get(model.cfg.tokens, 6)


def test_gradients_are_the_same_too(model: HookedModel) -> None:
    xs, ys = pairs(model)
    model(xs, ys, points=[-1]).square().sum().backward()
    quiet = {name: weight.grad for name, weight in model.named_parameters()}
    model.zero_grad()
    with model.hooks(fwd_hooks=[("hook_embed", lambda value, hook: None)]):  # noqa: ARG005
        model(xs, ys, points=[-1]).square().sum().backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(quiet[name], weight.grad, rtol=1e-9, atol=1e-12, msg=name)


FAMILIES = {
    "gpt2": SIZES,
    "lsa": {"family": "lsa", "n_dims": 3, "n_points": 6},
    "ltb": {"family": "ltb", "n_dims": 3, "n_points": 6},
    "softmax_layer": {"family": "softmax_layer", "n_dims": 3, "n_points": 6},
}


@pytest.mark.parametrize("fields", FAMILIES.values(), ids=FAMILIES)
def test_hooks_of_torch_itself_fire_and_see_every_position(fields: dict[str, object]) -> None:
    model = build_model(ModelConfig(**fields), seed=0).double()  # type: ignore[arg-type]
    xs, ys = pairs(model)
    quiet = model(xs, ys, points=[-1])
    shapes: list[int] = []
    handle = model.blocks[-1].register_forward_hook(lambda module, args, output: shapes.append(output.shape[1]))  # noqa: ARG005
    torch.testing.assert_close(model(xs, ys, points=[-1]), quiet, rtol=1e-12, atol=1e-12)
    assert shapes == [12 if fields is SIZES else 6]
    handle.remove()
    model(xs, ys, points=[-1])
    assert len(shapes) == 1
