"""One p-value a claim, from the interval that decides its verdict."""

import math

import numpy as np
import pytest
import scipy.stats

from icl_interp.measure.controls import _claim_p_value, excess_over_controls, holm_p_values

CONTROLS = (0.1, 0.14, 0.08, 0.12, 0.06)


@pytest.mark.parametrize("value", [0.0, 0.15, 0.2, 0.25, 0.9])
@pytest.mark.parametrize("n_verdicts", [1, 12])
@pytest.mark.parametrize("sampling", [0.0, 0.001])
def test_evidence_is_a_p_value_below_the_claim_s_share(value, n_verdicts, sampling):
    excess = excess_over_controls(
        value, CONTROLS, n_verdicts=n_verdicts, sampling_variance=sampling, chance=0.05, value_variance=0.002
    )
    assert (_claim_p_value(excess) < 0.05 / n_verdicts) == (excess.verdict == "evidence")


def test_without_sampling_noise_it_is_student_s():
    excess = excess_over_controls(0.2, CONTROLS)
    t = excess.excess / math.sqrt(np.var(CONTROLS, ddof=1) * (1 + 1 / 5))
    np.testing.assert_allclose(_claim_p_value(excess), scipy.stats.t.sf(t, df=4), rtol=1e-6)


def test_without_spread_it_is_normal():
    excess = excess_over_controls(0.2, [0.1, 0.1, 0.1], sampling_variance=0.0025)
    np.testing.assert_allclose(_claim_p_value(excess), scipy.stats.norm.sf(2.0), rtol=1e-6)


def test_the_p_value_does_not_depend_on_the_number_of_verdicts():
    found = [
        _claim_p_value(excess_over_controls(0.2, CONTROLS, n_verdicts=n, sampling_variance=0.001)) for n in (1, 5, 40)
    ]
    np.testing.assert_allclose(found, found[0], rtol=1e-6)


def test_two_controls_have_the_widest_tails():
    excess = excess_over_controls(0.3, [0.1, 0.12])
    t = excess.excess / math.sqrt(np.var([0.1, 0.12], ddof=1) * 1.5)
    np.testing.assert_allclose(_claim_p_value(excess), scipy.stats.t.sf(t, df=1), rtol=1e-6)


def test_both_halves_of_a_claim_count():
    # Far beyond its controls, and below chance.
    excess = excess_over_controls(0.3, [-0.5, -0.51, -0.49], chance=0.5, value_variance=0.01)
    np.testing.assert_allclose(_claim_p_value(excess), scipy.stats.norm.cdf(2.0), rtol=1e-6)


@pytest.mark.parametrize(("value", "expected"), [(0.2, 0.0), (0.1, 0.5), (0.0, 1.0)])
def test_numbers_without_any_spread(value, expected):
    np.testing.assert_allclose(_claim_p_value(excess_over_controls(value, [0.1, 0.1, 0.1])), expected, atol=1e-12)


def test_less_than_the_controls_is_the_mirror_image():
    above, below = (_claim_p_value(excess_over_controls(0.1 + d, CONTROLS)) for d in (0.05, -0.05))
    np.testing.assert_allclose(above + below, 1.0, rtol=1e-6)


def test_claims_without_intervals_have_no_p_value_and_do_not_count():
    claims = {"none": excess_over_controls(0.9, []), "one": excess_over_controls(0.2, CONTROLS)}
    found = holm_p_values(claims)
    assert math.isnan(found["none"])
    np.testing.assert_allclose(found["one"], _claim_p_value(claims["one"]), rtol=1e-12)
    assert math.isnan(holm_p_values({"none": claims["none"]})["none"])


def test_holm_multiplies_by_the_number_of_claims():
    claims = {"low": excess_over_controls(0.3, CONTROLS), "high": excess_over_controls(0.11, CONTROLS)}
    found = holm_p_values(claims)
    np.testing.assert_allclose(found["low"], 2 * _claim_p_value(claims["low"]), rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-13, 1e13])
@pytest.mark.parametrize("value", [0.1, 0.15, 0.2])
def test_units_change_no_p_value(value, unit):
    def p_value(u):
        return _claim_p_value(
            excess_over_controls(value * u, [c * u for c in CONTROLS], sampling_variance=1e-3 * u * u)
        )

    np.testing.assert_allclose(p_value(unit), p_value(1.0), rtol=1e-6)
