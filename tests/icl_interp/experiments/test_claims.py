"""Verdicts are functions of numbers: intervals inside, outside or across what is expected."""

import math

import numpy as np
import pytest
from scipy import stats

from icl_interp.experiments.claims import _VERDICTS, Check, Claim, Interval, judge


def test_rounding_decides_nothing():
    # The mean of three times -0.8 is -0.8000000000000002 or so, and the interval has that width.
    check = Check("rank correlation", (-0.8, -0.8, -0.8), None, -0.8)
    assert check.interval.high != check.interval.low
    assert check.verdict == "reproduced"
    assert Check("rank correlation", (-0.8, -0.8, -0.8), None, -0.8001).verdict == "not reproduced"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (((1.0,) * 3, (1.1,) * 3), "reproduced"),
        (((1.0,) * 3, (5.0,) * 3), "partly"),
        (((5.0,) * 3, (6.0,) * 3), "not reproduced"),
        (((5.0,) * 3, (1.0, 1.9, 2.8)), "not reproduced"),  # one contradicts, one cannot be told, none agrees
        (((1.0, 1.9, 2.8), (1.0, 1.9, 2.8)), "partly"),
    ],
)
def test_a_claim_needs_a_number_that_agrees(values, verdict):
    assert claim(*(Check(f"risk {i}", found, None, 2.0) for i, found in enumerate(values))).verdict == verdict


def claim(*checks: Check) -> Claim:
    return Claim("key", "What is said.", "Figure 1", "What is measured.", checks)


def test_the_interval_is_students():
    values = (2.0, 2.5, 3.1, 2.2)
    found = Check("risk", values).interval
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    # The same formula in float64: rounding only.
    np.testing.assert_allclose([found.value, found.low, found.high], [np.mean(values), low, high], rtol=1e-12)


def test_one_seed_is_its_own_interval_and_is_not_judged():
    check = Check("risk", (2.0,), 1.0, 3.0)
    assert check.interval == Interval(2.0, 2.0, 2.0)
    assert check.verdict == "not judged"
    assert claim(check).verdict == "not judged"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.0, 4.0, "reproduced"),
        (None, 4.0, "reproduced"),
        (0.0, None, "reproduced"),
        (2.0, 4.0, "partly"),  # the mean is inside, the lower end of the interval is not
        (2.1, 4.0, "partly"),
        (3.0, 4.0, "not reproduced"),
        (None, 1.0, "not reproduced"),
        (None, None, "unknown in the paper"),
    ],
)
def test_a_check_is_judged_by_its_interval(low, high, verdict):
    check = Check("risk", (1.9, 2.0, 2.1), low, high)  # [1.75, 2.25]
    assert check.verdict == verdict
    assert verdict in _VERDICTS
    assert verdict in repr(check)


def test_an_end_belongs_to_the_range():
    assert judge(Interval(2.0, 2.0, 2.0), 2.0, 2.0) == "reproduced"


GOOD = Check("good", (1.0, 1.0, 1.0), 0.0, 2.0)
BAD = Check("bad", (9.0, 9.0, 9.0), 0.0, 2.0)
OPEN = Check("open", (9.0, 9.0, 9.0))
FEW = Check("few", (1.0, 1.0), 0.0, 2.0)


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        ((GOOD, GOOD), "reproduced"),
        ((BAD, BAD), "not reproduced"),
        ((GOOD, BAD), "partly"),
        ((GOOD, OPEN), "reproduced"),
        ((OPEN,), "unknown in the paper"),
        ((GOOD, FEW), "not judged"),
    ],
    ids=["all", "none", "some", "one without expectation", "no expectation", "too few seeds"],
)
def test_a_claim_is_what_its_checks_are(checks, verdict):
    assert claim(*checks).verdict == verdict
    assert verdict in repr(claim(*checks))


def test_a_claim_has_the_seeds_of_its_poorest_check():
    assert claim(GOOD, FEW).n_seeds == 2


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (GOOD, "from 0 to 2"),
        (Check("x", (1.0,), 0.5556), "at least 0.5556"),
        (Check("x", (1.0,), None, 2.0), "at most 2"),
        (OPEN, "nothing stated"),
    ],
)
def test_expectations_in_words(check, text):
    assert check.expected() == text


@pytest.mark.parametrize("values", [(), (1.0, math.nan), (math.inf,)])
def test_values_have_to_be_numbers(values):
    with pytest.raises(ValueError, match="needs one finite value a seed, got"):
        Check("risk", values)


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="needs low <= high, got 2 and 1"):
        Check("risk", (1.0,), 2.0, 1.0)


def test_a_claim_needs_all_of_its_texts():
    with pytest.raises(ValueError, match="needs statement, checks; none may be empty"):
        Claim("key", "", "Figure 1", "measure", ())
