"""Permutation tests and Holm's method: all orders as the truth, scipy and hand truth, calibration, errors."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from probes.permutation import holm, permutation_p_value, permutation_test_auroc, permutation_test_correlation


def draw(n: int = 40, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.randn(2, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


@pytest.mark.parametrize("kind", ["spearman", "pearson"])
def test_statistic_agrees_with_scipy(kind: str) -> None:
    score, error = draw()
    score = score.mul(2).round()  # ties
    oracle = {"spearman": stats.spearmanr, "pearson": stats.pearsonr}[kind](score.numpy(), error.numpy()).statistic
    found = permutation_test_correlation(score, error, kind=kind, n_permutations=9)
    np.testing.assert_allclose(found.statistic, oracle)


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_p_value_agrees_with_all_orders(alternative: str) -> None:
    score = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    error = torch.tensor([2.0, 1.0, 4.0, 3.0, 5.0])
    every = [float(np.corrcoef(score, error[list(order)])[0, 1]) for order in itertools.permutations(range(5))]
    observed = float(np.corrcoef(score, error)[0, 1])
    above, below = np.mean(np.array(every) >= observed - 1e-9), np.mean(np.array(every) <= observed + 1e-9)
    expected = {"greater": above, "less": below, "two-sided": min(1.0, 2 * min(above, below))}[alternative]
    found = permutation_test_correlation(score, error, alternative=alternative, n_permutations=4000)
    # 4000 draws of a share around 0.07 (0.14 two-sided) have a deviation of 0.004 (0.008).
    np.testing.assert_allclose(found.p_value, expected, atol=0.025)


def test_auroc_agrees_with_mann_whitney() -> None:
    inside, outside = draw(25)
    outside = outside[:12] + 0.4
    found = permutation_test_auroc(inside, outside, n_permutations=4000)
    oracle = stats.mannwhitneyu(outside.numpy(), inside.numpy(), alternative="greater", method="exact")
    np.testing.assert_allclose(found.statistic, oracle.statistic / (25 * 12))
    np.testing.assert_allclose(found.p_value, oracle.pvalue, atol=0.02)


@pytest.mark.parametrize("paired", [False, True])
def test_auroc_controls(paired: bool) -> None:
    inside, other = draw(60, seed=3)
    assert permutation_test_auroc(inside, inside + 2, paired=paired, n_permutations=400).p_value < 0.01
    assert permutation_test_auroc(inside, other, paired=paired, n_permutations=400).p_value > 0.05


def test_pairs_see_a_small_common_shift() -> None:
    inside, _ = draw(20)
    alone, paired = (
        permutation_test_auroc(inside, inside + 0.2, paired=p, n_permutations=400).p_value for p in (False, True)
    )
    assert paired < 0.01 < 0.1 < alone


def test_under_the_null_p_values_are_uniform() -> None:
    found = [permutation_test_correlation(*draw(12, seed=s), n_permutations=39).p_value for s in range(100)]
    # The mean of 100 uniform numbers has a deviation of 0.029; the share below 0.1 one of 0.03.
    np.testing.assert_allclose(np.mean(found), 0.5, atol=0.09)
    np.testing.assert_allclose(np.mean(np.array(found) <= 0.1), 0.1, atol=0.09)


def test_groups_take_differences_between_families_into_the_null() -> None:
    score, error = draw()
    far = torch.arange(40) % 2 * 10.0  # two families that differ in both
    groups = ["near", "far"] * 20
    pooled = permutation_test_correlation(score + far, error + far, n_permutations=400)
    within = permutation_test_correlation(score + far, error + far, groups=groups, n_permutations=400)
    np.testing.assert_allclose(pooled.statistic, within.statistic)
    assert pooled.p_value < 0.01 < 0.05 < within.p_value
    # A real association inside the families is still found.
    real = permutation_test_correlation(score + far, score + far, groups=groups, n_permutations=400)
    assert real.p_value < 0.01


def test_seed_and_chunks() -> None:
    score, error = draw(501)
    first, again = (permutation_test_correlation(score, error, n_permutations=2001).p_value for _ in range(2))
    assert first == again
    assert permutation_test_correlation(score, error, n_permutations=2001, seed=1).p_value != first


def test_p_value_is_never_zero() -> None:
    np.testing.assert_allclose(permutation_p_value(5.0, torch.zeros(9)), 0.1)
    np.testing.assert_allclose(permutation_p_value(5.0, torch.zeros(9), alternative="less"), 1.0)
    np.testing.assert_allclose(permutation_p_value(5.0, torch.zeros(9), alternative="two-sided"), 0.2)


def test_holm_by_hand_and_against_the_slow_definition() -> None:
    torch.testing.assert_close(holm(torch.tensor([0.02, 0.5, 0.01])), torch.tensor([0.04, 0.5, 0.03]))
    p_values = torch.rand(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ordered = np.sort(p_values.numpy())
    slow = [max(min(1.0, (9 - j) * ordered[j]) for j in range(i + 1)) for i in range(9)]
    np.testing.assert_allclose(holm(p_values).sort().values, slow)


def test_holm_keeps_false_claims_rare() -> None:
    generator = torch.Generator().manual_seed(0)
    nulls = torch.rand(500, 20, generator=generator, dtype=torch.float64)
    any_claim = torch.stack([(holm(row) <= 0.05).any() for row in nulls]).double().mean()
    # 500 families of a chance of 0.049 have a deviation of 0.01; without Holm it would be 0.64.
    np.testing.assert_allclose(float(any_claim), 0.049, atol=0.03)


def test_repr_is_short() -> None:
    found = permutation_test_auroc(torch.zeros(6), torch.ones(6), n_permutations=9)
    assert repr(found).startswith("PermutationTest(statistic=1.000, p_value=0.1")


ONE = torch.arange(4.0)
ERRORS = {
    "outside": (lambda: holm(torch.tensor([0.1, 1.2])), r"p-values in \[0, 1\], got 1 outside"),
    "NaN p": (lambda: holm(torch.tensor([torch.nan])), r"p-values in \[0, 1\], got 1 outside"),
    "no tests": (lambda: holm(torch.ones(0)), "at least one entry along test"),
    "null": (lambda: permutation_p_value(1.0, ONE * torch.nan), "null without NaN"),
    "constant": (lambda: permutation_test_correlation(ONE, 0 * ONE + 0.1), "score and error to vary, got a constant"),
    "groups": (lambda: permutation_test_correlation(ONE, ONE, groups=["a"]), "as many samples as groups, got 4 and 1"),
    "n": (lambda: permutation_test_correlation(ONE, ONE, n_permutations=0), "n_permutations of at least 1"),
    "pairs": (
        lambda: permutation_test_auroc(ONE, ONE[:2], paired=True),
        "as many paired scores_in as scores_out, got 4 and 2",
    ),
    "seed": (lambda: permutation_test_auroc(ONE, ONE, seed=-1), "seed of at least 0, got -1"),
    "NaN": (lambda: permutation_test_auroc(ONE * torch.nan, ONE), "scores_in without NaN"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
