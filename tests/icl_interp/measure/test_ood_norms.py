"""The norm baseline against an explicit Mahalanobis distance."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from icl_interp.measure.errors import prompt_errors
from icl_interp.measure.families import IN_DISTRIBUTION, draw_families
from icl_interp.measure.ood import _correlate, fit_norm_baseline, log_norms_of
from icl_interp.prompts import Prompts
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.shifts.select import shifted

TASK = LinearRegression(n_dims=3)


def test_log_norms_by_hand():
    prompts = Prompts(xs=torch.tensor([[[3.0, 0.0], [0.0, 4.0]]]), ys=torch.tensor([[5.0, 12.0]]))
    # ||X|| = 5 and ||y|| = 13, in float64
    torch.testing.assert_close(log_norms_of(prompts), torch.tensor([[5.0, 13.0]]).double().log(), rtol=1e-12, atol=0)


def test_labels_of_zero_stay_finite():
    prompts = Prompts(xs=torch.ones(2, 3, 2), ys=torch.zeros(2, 3))
    assert log_norms_of(prompts).isfinite().all()


def test_scores_are_squared_mahalanobis_distances():
    fit, other = TASK.sample(50, seed=0), TASK.sample(20, seed=1)
    features, points = log_norms_of(fit).numpy(), log_norms_of(other).numpy()
    centred = points - features.mean(0)
    inverse = np.linalg.inv(np.cov(features.T))
    expected = [row @ inverse @ row for row in centred]
    # inverse against pseudo-inverse of a well-conditioned 2 x 2 matrix, in float64
    np.testing.assert_allclose(fit_norm_baseline(fit).score(other), expected, rtol=1e-9)


def test_in_distribution_scores_average_to_the_number_of_features():
    prompts = TASK.sample(50, seed=0)
    mean = float(fit_norm_baseline(prompts).score(prompts).mean())
    # tr(C^-1 C) (n - 1) / n = 2 * 49 / 50 exactly
    np.testing.assert_allclose(mean, 2 * 49 / 50, rtol=1e-9)


@pytest.mark.parametrize("factor", [3.0, 1 / 3])
def test_a_change_of_scale_is_seen_in_either_direction(factor):
    baseline = fit_norm_baseline(TASK.sample(200, seed=0))
    inside = baseline.score(TASK.sample(200, seed=1))
    outside = baseline.score(shifted(TASK, "x_scale", factor).sample(200, seed=1))
    assert float(outside.median()) > float(inside.max())


def test_a_norm_that_does_not_vary_is_left_out():
    # All x equal: only ||y|| varies, and the pseudo-inverse keeps the other feature out of the score.
    task = LinearRegression(n_dims=2, x_mean=1.0, x_cov=0.0)
    fit = task.sample(40, seed=0)
    scores = fit_norm_baseline(fit).score(fit)
    only = log_norms_of(fit)[:, 1]
    expected = ((only - only.mean()) ** 2 / only.var()).numpy()
    np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-9)  # pseudo-inverse of a rank-1 matrix


@pytest.mark.parametrize("unit", [1e-13, 1.0, 1e13])
def test_norms_that_differ_by_rounding_alone_are_left_out(unit):
    xs = torch.randn(20, 3, 2, generator=torch.Generator().manual_seed(0))
    xs = xs / xs.flatten(1).norm(dim=1)[:, None, None]
    prompts = Prompts(xs=unit * xs, ys=torch.full((20, 3), 0.1 * unit))
    assert float(fit_norm_baseline(prompts).precision.abs().max()) == 0.0


@pytest.mark.parametrize("unit", [1e-13, 1e13])
def test_score_against_error_is_the_same_in_any_unit(unit):
    families = draw_families(TASK, shifts=["label_noise=1"], n_prompts=8)

    def correlations(unit):
        by_label = {
            label: replace(
                family,
                prompts=Prompts(xs=unit * family.prompts.xs, ys=unit * family.prompts.ys),
                label_second_moment=unit**2 * family.label_second_moment,
            )
            for label, family in families.by_label.items()
        }
        errors = {label: prompt_errors(1e-4 * family.prompts.ys, family) for label, family in by_label.items()}
        scores = {label: family.prompts.ys.double().mean(1) / unit for label, family in by_label.items()}
        log_norms = {label: log_norms_of(family.prompts) for label, family in by_label.items()}
        found = _correlate(scores, errors, log_norms, seed=0)
        return [found.pooled.value, found.partial.value, found.within[IN_DISTRIBUTION].low]

    np.testing.assert_allclose(correlations(unit), correlations(1.0), rtol=1e-6)
