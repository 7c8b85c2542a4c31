import pytest
import torch
from linear_cases import linear_model, prompts

from icl_interp import HookedSoftmaxLayer, ModelConfig
from icl_interp.models.softmax.softmax_layer import _check_features, attention_to_features, feature_scores

CONFIG = ModelConfig(family="softmax_layer", n_dims=4, n_points=9)


@torch.no_grad()
def test_it_is_the_definition_on_both_paths() -> None:
    model, (xs, ys) = linear_model("softmax"), prompts()
    q = model.blocks[0].attn.W_KQ
    expected = []
    for x, y in zip(xs, ys, strict=True):
        weights = torch.stack([(x[i] @ q @ x[-1]).exp() for i in range(6)])
        expected.append(weights @ y[:6] / weights.sum())
    assert float((q - q.mT).abs().max()) > 0.1  # or keys and queries could be exchanged unnoticed
    torch.testing.assert_close(model(xs, ys)[:, -1], torch.stack(expected), rtol=0, atol=1e-12)
    answer, cache = model.run_with_cache(xs, ys)
    torch.testing.assert_close(answer[:, 0], torch.stack(expected), rtol=0, atol=1e-12)
    assert cache["pattern", 0].shape == (5, 1, 7, 7)
    torch.testing.assert_close(cache["pattern", 0].sum(-1), torch.ones(5, 1, 7).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(cache["pattern", 0][..., -1], torch.zeros(5, 1, 7).double(), rtol=0, atol=0)
    assert bool(cache["attn_scores", 0][..., -1].isneginf().all())


@torch.no_grad()
def test_zeros_are_the_mean_of_the_labels() -> None:
    xs, ys = torch.randn(3, 5, 4), torch.randn(3, 5)
    model = HookedSoftmaxLayer(CONFIG, seed=1)
    assert [(name, int(weight.count_nonzero())) for name, weight in model.named_parameters()] == [
        ("blocks.0.attn.W_KQ", 0)
    ]
    torch.testing.assert_close(model(xs, ys)[:, -1], ys[:, :-1].mean(1), rtol=0, atol=1e-6)  # float32


@torch.no_grad()
def test_scores_and_attention_between_features() -> None:
    # Features are the axes; a query e_1 scores keys e_0 by 2 and keys e_1 by 3: Q[key, query].
    model = HookedSoftmaxLayer(CONFIG)
    q = model.attention.W_KQ
    q[0, 1], q[1, 1] = 2.0, 3.0
    found = feature_scores(model, torch.eye(4))
    torch.testing.assert_close(found.own, torch.tensor([0.0, 3.0, 0.0, 0.0]), rtol=0, atol=0)
    torch.testing.assert_close(found.others[1], torch.tensor([2.0, 3.0, 0.0, 0.0]), rtol=0, atol=0)
    torch.testing.assert_close(found.margin, torch.tensor([0.0, 1.0, 0.0, 0.0]), rtol=0, atol=0)
    assert repr(found) == "FeatureScores(4 features, A in [0, 3], least margin 0)"
    prompt = torch.eye(4)[[0, 0, 1, 2, 1]][None]
    weights = torch.tensor([2.0, 2.0, 3.0, 0.0]).softmax(0)
    expected = torch.stack([weights[:2].sum(), weights[2], weights[3], torch.tensor(0.0)])
    torch.testing.assert_close(attention_to_features(model, prompt, torch.eye(4))[0], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        attention_to_features(model, prompt[:, :1], torch.eye(4)), torch.zeros(1, 4), rtol=0, atol=0
    )


def test_one_feature_has_no_rival_and_wrong_widths_are_refused() -> None:
    model = HookedSoftmaxLayer(CONFIG)
    assert feature_scores(model, torch.eye(4)[:1]).margin.tolist() == [torch.inf]
    # The test run's type check sees the second call first; users meet the sentence in both.
    with pytest.raises(ValueError, match=r"feature_scores needs features \[feature 4\], got shape \[3, 3\]"):
        feature_scores(model, torch.eye(3))
    with pytest.raises((ValueError, TypeError), match="attention_to_features"):
        attention_to_features(model, torch.zeros(1, 2, 4), torch.eye(3))
    with pytest.raises(ValueError, match=r"someone needs features \[feature 4\], got shape \[4\]"):
        _check_features("someone", torch.ones(4), 4)


def test_the_gradient_at_zero_is_huang_et_als() -> None:
    # dA_k and dB_{k,n} of the expected loss over w ~ (0, I), with orthonormal features, in closed form; x_q = v_0.
    model = HookedSoftmaxLayer(CONFIG).double()
    q = model.attention.W_KQ
    with torch.no_grad():
        q.copy_(torch.randn(4, 4, generator=torch.Generator().manual_seed(0)))
    chosen = [0, 1, 1, 2, 0, 3, 0]  # the last is the query
    xs = torch.eye(4).double()[chosen][None].expand(4, -1, -1)
    labels = torch.eye(4).double()[:, chosen]  # one prompt for each w = e_j: their sum is the expectation over cov I
    loss = 0.5 * (model(xs, labels, points=[-1])[:, 0] - labels[:, -1]).square().sum()
    (grad,) = torch.autograd.grad(loss, [q])
    attn = attention_to_features(model, xs[:1].double(), torch.eye(4).double())[0]
    rest = attn[1:].square().sum()
    own = -attn[0] * (rest + (1 - attn[0]) ** 2)
    others = -attn[1:] * (rest - attn[1:] - attn[0] * (1 - attn[0]))
    torch.testing.assert_close(grad[0, 0], own, rtol=0, atol=1e-12)
    torch.testing.assert_close(grad[1:, 0], others, rtol=0, atol=1e-12)
    torch.testing.assert_close(grad[:, 1:], torch.zeros(4, 3).double(), rtol=0, atol=1e-12)
