"""A model without norms whose blocks do nothing, so that what is planted in its stream is all there is."""

import pytest
import torch
from torch import Tensor

from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors import least_squares

collect_ignore = ["conftest.py"]


@pytest.fixture
def bare_model() -> HookedModel:
    """Reads tokens into coordinates 0 to 2 of a stream of 8, and reads coordinate 4 out; all else is zero."""
    config = ModelConfig(
        n_dims=3,
        n_points=8,
        n_layers=2,
        n_heads=2,
        d_model=8,
        normalization_type=None,
        positional_embedding_type="none",
    )
    model = build_model(config, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.embed.W_E[:, :3] = torch.eye(3)
        model.unembed.W_U[4] = 1.0
    return model


@pytest.fixture
def planted_model(bare_model: HookedModel) -> HookedModel:
    """Coordinate 4 carries the least-squares prediction and is read out; coordinate 5 is louder and unread."""
    solve = least_squares()

    def write(resid: Tensor, hook: object) -> Tensor:  # noqa: ARG001
        xs, ys = resid[:, 0::2, :3].contiguous(), resid[:, 1::2, 0].contiguous()
        written = resid.clone()
        written[:, 0::2, 4] = solve(xs, ys)
        written[:, :, 5] = 3.0
        return written

    bare_model.add_hook("blocks.0.hook_resid_pre", write, is_permanent=True)
    return bare_model


@pytest.fixture
def normed_model() -> HookedModel:
    """The same with a final norm: coordinate 4 is read out, and coordinate 5 is loud, constant and read by nobody.

    The norm divides by the loud coordinate, and the read-out multiplies by what it divides by.
    """
    config = ModelConfig(
        n_dims=3,
        n_points=8,
        n_layers=2,
        n_heads=2,
        d_model=8,
        normalization_type="LNPre",
        positional_embedding_type="none",
    )
    model = build_model(config, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.embed.W_E[:, :3] = torch.eye(3)
        model.unembed.W_U[4], model.unembed.W_U[7] = 1.0, -1.0  # 7 is empty: the norm's centring cancels
        model.unembed.W_U *= 100 * (1 / 8 - 1 / 64) ** 0.5  # the spread of (0, ..., 100, ..., 0)
    solve = least_squares()

    def write(resid: Tensor, hook: object) -> Tensor:  # noqa: ARG001
        xs, ys = resid[:, 0::2, :3].contiguous(), resid[:, 1::2, 0].contiguous()
        written = torch.zeros_like(resid)
        written[:, 0::2, 4] = solve(xs, ys)
        written[:, :, 5] = 100.0
        return written

    model.add_hook("blocks.1.hook_resid_pre", write, is_permanent=True)
    return model
