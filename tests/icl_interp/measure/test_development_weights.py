"""What weights alone say, against numpy on weights that are set by hand."""

import numpy as np
import torch

from icl_interp.measure.development.checkpoint import weight_metrics
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig


def test_collapse_is_seen_where_it_is_planted_and_not_elsewhere():
    model = build_model(ModelConfig(n_dims=2, n_points=3, n_layers=1, n_heads=1, d_model=8), seed=0)
    with torch.no_grad():
        model.blocks[0].ln1.w.copy_(torch.tensor([1.0, 0.05, -0.05, 0.0, 1.0, 1.0, 1.0, -1.0]))
        model.embed.W_E.copy_(torch.ones(2, 8))  # rank one
        model.ln_final.w.zero_()
        model.ln_final.w[3] = 2.0
        model.ln_final.b.fill_(0.5)
    found = weight_metrics(model)
    np.testing.assert_allclose(found["blocks.0.ln1 dead scales"], 3 / 8)
    np.testing.assert_allclose(found["blocks.0.ln2 dead scales"], 0)
    np.testing.assert_allclose(found["blocks.0.ln1 scale mean"], 3.0 / 8, rtol=1e-6)
    np.testing.assert_allclose(found["read-in rank"], 1, rtol=1e-6)
    assert 1.5 < found["position rank"] <= 6
    np.testing.assert_allclose(found["read-out width"], 1, rtol=1e-6)  # one channel is left
    row = model.unembed.W_U[:, 0].detach().double().numpy()
    np.testing.assert_allclose(
        found["effective bias"], 0.5 * row.sum() + float(model.unembed.b_U[0].detach()), rtol=1e-6
    )
    flat = np.concatenate([p.detach().double().numpy().ravel() for p in model.parameters()])
    np.testing.assert_allclose(found["weight norm"], np.linalg.norm(flat), rtol=1e-12)


def test_a_family_without_norms_has_its_weight_norm():
    model = build_model(ModelConfig(family="lsa", n_dims=2, n_points=3), seed=0)
    assert set(weight_metrics(model)) == {"weight norm"}
