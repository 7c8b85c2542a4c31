"""Tests of many scores at once agree with the tests of single ones."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from icl_interp.measure.detectors.scores import (
    mean_auroc_replicates,
    mean_rank_correlation,
    paired_auroc_p_values,
    permutations_for,
)
from probes.detection import detection_report
from probes.permutation import permutation_test_auroc


def noise(seed: int, n: int = 24, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_permutations_grow_with_the_tests():
    assert permutations_for(3) == 2000
    assert permutations_for(240) == 24_000
    assert 240 / (permutations_for(240) + 1) < 0.05  # so that Holm can reject at all


@pytest.mark.parametrize("shift", [-0.4, 0.0, 0.4])
def test_p_values_are_those_of_single_tests(shift):
    pairs = [(noise(i), noise(i + 100, shift=shift)) for i in range(3)]
    found = paired_auroc_p_values(pairs, n_permutations=8000)
    single = [permutation_test_auroc(*pair, paired=True, n_permutations=8000).p_value for pair in pairs]
    # two Monte Carlo estimates of one probability: a standard error of 0.008 at most
    np.testing.assert_allclose(found, single, atol=0.04)


def test_chance_is_not_evidence_and_a_planted_shift_is():
    same, moved = (noise(0), noise(2)), (noise(0), noise(0) + 3)
    null, planted = paired_auroc_p_values([same, moved], n_permutations=2000, seed=3)
    assert null > 0.05
    np.testing.assert_allclose(planted, 1 / 2001, rtol=1e-12)


def test_the_mean_correlation_is_the_mean_of_spearmans():
    scores = {label: noise(i) for i, label in enumerate("abc")}
    errors = {label: noise(i + 10) + score for i, (label, score) in enumerate(scores.items())}
    value, p_value = mean_rank_correlation(scores, errors)
    singles = [scipy.stats.spearmanr(scores[label], errors[label]).statistic for label in scores]
    np.testing.assert_allclose(value, np.mean(singles), rtol=1e-12)
    assert p_value < 0.01


def test_families_of_one_prompt_set_are_no_independent_evidence():
    # Four copies of one unrelated pair of columns: independent permutations would take them for four tests.
    score, error = noise(4), noise(7)
    once = mean_rank_correlation({"a": score}, {"a": error})
    copies = mean_rank_correlation({name: score for name in "abcd"}, {name: error for name in "abcd"})
    np.testing.assert_allclose(copies, once, rtol=1e-9)


def test_constant_families_are_left_out_of_the_mean():
    ramp, flat = torch.arange(9.0), torch.ones(9)
    both = mean_rank_correlation({"a": ramp, "b": flat}, {"a": ramp, "b": ramp})
    assert both[0] > 0.999
    assert all(math.isnan(value) for value in mean_rank_correlation({"b": flat}, {"b": ramp}))


def test_replicates_are_the_mean_of_each_shift_s_own():
    scores = {"in": noise(0), "near": noise(1, shift=0.3).round(decimals=1), "far": noise(2, shift=1)}
    scores["in"] = scores["in"].round(decimals=1)  # ties
    value, replicates = mean_auroc_replicates(scores, "in", seed=5, n_bootstrap=40)
    reports = [
        detection_report(scores["in"], scores[label], paired=True, seed=5, n_bootstrap=40) for label in ("near", "far")
    ]
    np.testing.assert_allclose(value, np.mean([report.auroc for report in reports]), rtol=1e-12)
    expected = torch.stack([report.auroc_replicates for report in reports]).mean(0)
    torch.testing.assert_close(replicates, expected, rtol=1e-12, atol=1e-12)


def test_without_a_shift_there_is_no_mean():
    value, replicates = mean_auroc_replicates({"in": noise(0)}, "in", seed=0, n_bootstrap=3)
    assert math.isnan(value)
    assert bool(replicates.isnan().all())
