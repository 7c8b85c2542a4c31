"""Gradient descent on a merged softmax layer by formula, beside automatic differentiation and the layer's own hooks."""

import pytest
import torch

from icl_interp import HookedSoftmaxLayer, ModelConfig
from icl_interp.errors import InputError
from icl_interp.models.softmax.feature_dynamics import context_counts, feature_dynamics, observed_dynamics
from icl_interp.models.softmax.softmax_layer import attention_to_features

SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def _layer(q: torch.Tensor | None = None) -> HookedSoftmaxLayer:
    model = HookedSoftmaxLayer(ModelConfig(family="softmax_layer", n_dims=3, n_points=8)).double()
    if q is not None:
        model.attention.W_KQ.data.copy_(q)
    return model


def test_the_updates_are_those_of_automatic_differentiation():
    found = feature_dynamics(SHARES, n_examples=7, steps=[0, 1, 5], lr=2.0, n_contexts=16, seed=3)
    counts = context_counts(SHARES, 7, n_contexts=16, seed=3)
    model, eye = _layer(), torch.eye(3, dtype=torch.float64)
    weight = model.attention.W_KQ
    for step in range(6):
        if step in found.steps:
            scores = found.scores[found.steps.index(step)]
            torch.testing.assert_close(scores, (eye @ weight.detach() @ eye).mT, rtol=0, atol=1e-12)
        loss = torch.zeros((), dtype=torch.float64)
        for k in range(3):
            for context in counts:
                xs = torch.cat([eye.repeat_interleave(context.long(), dim=0), eye[k : k + 1]])[None]
                # The mean over tasks w with covariance I is the sum over its coordinate tasks.
                errors = [model(xs, xs[..., j], points=[-1])[0, 0] - xs[0, -1, j] for j in range(3)]
                loss = loss + SHARES[k] * 0.5 * torch.stack(errors).square().sum() / len(counts)
        (gradient,) = torch.autograd.grad(loss, [weight])
        weight.data -= 2.0 * gradient


def test_trained_layers_are_looked_at_as_their_hooks_show_them():
    q = torch.tensor([[2.0, 0.5, -1.0], [0.0, 1.0, 0.3], [-0.5, 0.0, 3.0]], dtype=torch.float64)
    model, eye = _layer(q), torch.eye(3, dtype=torch.float64)
    counts = context_counts(SHARES, 7, n_contexts=5, seed=0)
    found = observed_dynamics({0: _layer(), 9: model}, eye, counts)
    assert found.steps == (0, 9)
    for k in range(3):
        contexts = [torch.cat([eye.repeat_interleave(one.long(), dim=0), eye[k : k + 1]]) for one in counts]
        seen = attention_to_features(model, torch.stack(contexts), eye)[:, k].mean()
        torch.testing.assert_close(found.attention[1, k], seen, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.own[1], q.diagonal(), rtol=0, atol=0)
    torch.testing.assert_close(found.scores[1][0, 1], q[1, 0], rtol=0, atol=0)  # query v_1, key v_2


@pytest.mark.parametrize(
    ("shares", "asked", "match"),
    [
        ([0.5, 0.6], {}, "shares"),
        ([1.0, 0.0], {}, "shares"),
        ([0.5, 0.5], {"steps": []}, "steps of 0 or more"),
        ([0.5, 0.5], {"lr": 0.0}, "lr above 0"),
        ([0.5, 0.5], {"n_examples": 0}, "at least one example"),
    ],
)
def test_what_cannot_be_followed_is_refused(shares, asked, match):
    with pytest.raises(InputError, match=match):
        feature_dynamics(torch.tensor(shares), **{"n_examples": 5, "steps": [1], **asked})
