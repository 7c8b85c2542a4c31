"""Lasso and preprocess-then-gradient-descent beyond the common laws."""

import sys

import numpy as np
import pytest
import torch

from icl_interp.predictors import gradient_descent, lasso, least_squares, preprocess_then_gradient_descent


def sparse_prompts(n_prompts, n_pairs, noise, seed=0):
    # d = 16 with 4 active weights, the setting of Chen, Zhao and Zou; the last label has no noise.
    generator = torch.Generator().manual_seed(seed)
    xs = torch.randn(n_prompts, n_pairs + 1, 16, generator=generator)
    support = torch.rand(n_prompts, 16, generator=generator).argsort(dim=1) < 4
    weights = torch.randn(n_prompts, 16, generator=generator) * support
    clean = (xs @ weights[..., None])[..., 0]
    ys = clean + noise * torch.randn(n_prompts, n_pairs + 1, generator=generator)
    return xs, torch.cat([ys[:, :-1], clean[:, -1:]], dim=1)


def risk(predictor, xs, ys):
    return float((predictor(xs, ys, points=[-1])[:, 0] - ys[:, -1]).square().mean())


def best_risk(build, xs, ys):
    return min(risk(build(steps), xs, ys) for steps in (1, 2, 4, 8, 16, 32, 64, 128, 256, 600))


@pytest.mark.parametrize(
    ("noise", "n_pairs", "plain", "reweighted"),
    [(0.3, 10, 1.64, 1.07), (1.0, 20, 1.40, 0.98), (0.0, 40, 0.0, 0.021)],
)
def test_reweighting_helps_when_pairs_are_few_or_noisy(noise, n_pairs, plain, reweighted):
    xs, ys = sparse_prompts(2500, n_pairs, noise)
    # Heavy-tailed errors, stopping times on a grid: 15 % of the numbers from notes on the paper.
    np.testing.assert_allclose(best_risk(preprocess_then_gradient_descent, xs, ys), reweighted, rtol=0.15)
    np.testing.assert_allclose(
        best_risk(lambda steps: gradient_descent(steps, "per_prefix"), xs, ys), plain, rtol=0.15, atol=0.004
    )


def test_lasso_finds_sparse_weights_that_least_squares_misses():
    xs, ys = sparse_prompts(60, 12, 0.0)
    assert risk(lasso(0.02), xs, ys) < 0.6 * risk(least_squares(), xs, ys)


def test_lasso_remembers_its_fits(monkeypatch):
    xs, ys = sparse_prompts(2, 4, 0.1)
    predictor = lasso(0.1)
    first = predictor(xs, ys)
    from icl_interp.predictors import sparse

    class Refusing:
        def __init__(self, **options):
            self.options = options

        def fit(self, inputs, labels):
            raise AssertionError(f"asked for another fit of {inputs.shape} and {labels.shape}")

    monkeypatch.setattr(sparse, "_lasso_class", lambda: Refusing)
    torch.testing.assert_close(predictor(xs, ys), first, rtol=0, atol=0)
    torch.testing.assert_close(predictor(xs, ys, points=[-1]), first[:, -1:], rtol=0, atol=0)
    with pytest.raises(AssertionError, match="another fit"):
        predictor(xs, ys + 1)


def test_lasso_forgets_the_oldest_fits(monkeypatch):
    from icl_interp.predictors import sparse

    monkeypatch.setattr(sparse, "_REMEMBERED_FITS", 3)
    xs, ys = sparse_prompts(2, 4, 0.1)
    predictor = lasso(0.1)
    predictor(xs, ys)
    assert len(predictor.remembered) == 3


def test_lasso_without_scikit_learn_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    xs, ys = sparse_prompts(1, 3, 0.1)
    with pytest.raises(ImportError, match="lasso needs scikit-learn; run `pip install scikit-learn`"):
        lasso(0.1)(xs, ys)


def test_a_constant_step_diverges_on_some_prompts_and_stays_finite():
    xs, ys = sparse_prompts(500, 10, 0.3)
    constant = preprocess_then_gradient_descent(200, 1.0)(xs, ys)
    assert bool(torch.isfinite(constant).all())
    assert float(constant.abs().max()) > 1e6
