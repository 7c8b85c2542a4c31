"""Verdicts are functions of numbers: intervals inside, outside or across what is expected, or none; one seed beside a
committed summary: agreement, difference, and what cannot be compared."""

import math
from dataclasses import replace
from typing import ClassVar, get_args

import numpy as np
import pytest
from scipy import stats

from icl_interp.experiments.claims import (
    Check,
    CheckVerdict,
    Claim,
    Interval,
    Row,
    Stated,
    Verdict,
    differences,
    judge,
    over_seeds,
)


def test_rounding_decides_nothing():
    # The mean of three times -0.8 is -0.8000000000000002 or so, and the interval has that width.
    check = Check("order", "rank correlation", (-0.8, -0.8, -0.8), None, -0.8)
    assert check.interval.high != check.interval.low
    assert check.verdict == "agrees"
    assert Check("order", "rank correlation", (-0.8, -0.8, -0.8), None, -0.8001).verdict == "contradicts"


def claim(*checks: Check) -> Claim:
    return Claim("key", "What is said.", "Figure 1", "What is measured.", checks)


def test_the_interval_is_students():
    values = (2.0, 2.5, 3.1, 2.2)
    found = Check("risk", "risk", values).interval
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    # The same formula in float64: rounding only.
    np.testing.assert_allclose([found.value, found.low, found.high], [np.mean(values), low, high], rtol=1e-12)


@pytest.mark.parametrize("values", [(2.0,), (2.0, 2.1)], ids=len)
def test_too_few_seeds_are_undecided_with_the_reason(values):
    check = Check("risk", "risk", values, 1.0, 3.0)
    assert (check.verdict, check.note) == ("undecided", f"too few seeds: {len(values)}, and a check needs 3")
    assert claim(check).verdict == "inconclusive"
    assert claim(check).lacks_seeds
    assert Check("risk", "risk", values).note == ""
    assert not claim(Check("risk", "risk", values)).lacks_seeds


def test_one_seed_is_its_own_interval():
    assert Check("risk", "risk", (2.0,), 1.0, 3.0).interval == Interval(2.0, 2.0, 2.0)


def test_equal_seeds_are_said_to_be_so_and_a_count_is_known_to_half_a_step():
    share = Check("share", "share", (0.75,) * 3, 0.7, step=0.25)
    assert share.interval == Interval(0.75, 0.625, 0.875)
    assert (share.verdict, share.note) == ("undecided", "all 3 seeds gave the same number, known to ±0.12")
    assert replace(share, low=0.625).verdict == "agrees"
    assert replace(share, low=0.9).verdict == "contradicts"
    assert replace(share, step=None).note == "all 3 seeds gave the same number"
    assert replace(share, step=None).interval == Interval(0.75, 0.75, 0.75)
    # Other values have Student's interval, whatever the step.
    other = (0.75, 0.75, 1.0)
    assert Check("share", "share", other, step=0.25).interval == over_seeds(other) == Check("a", "a", other).interval
    assert Check("share", "share", other).note == ""


def test_a_yes_or_no_per_seed_has_the_exact_binomial_interval():
    for yes in range(9):
        check = Check("found", "share of models", (1.0,) * yes + (0.0,) * (8 - yes), 0.6, step=1.0)
        low, high = stats.binomtest(yes, 8).proportion_ci(0.95)
        found = check.interval
        np.testing.assert_allclose([found.value, found.low, found.high], [yes / 8, low, high], rtol=1e-9, atol=1e-12)
        assert check.note == ("all 8 seeds gave the same answer" if yes in (0, 8) else "")
    # Counts in steps of 1 that are no yes or no keep the resolution of a count.
    assert Check("n", "shifts", (2.0,) * 8, step=1.0).interval == Interval(2.0, 1.5, 2.5)
    assert Check("found", "share", (1.0, 1.0, 0.0)).interval == over_seeds((1.0, 1.0, 0.0))


def test_a_check_contradicts_at_its_share_of_the_level():
    values = (1.9, 2.0, 2.1)
    ends = {}
    for among in (1, 4):
        half = stats.t.ppf(1 - 0.05 / among / 2, 2) * 0.1 / np.sqrt(3)
        ends[among] = 2.0 + half
        for edge, verdict in ((1e-6, "contradicts"), (-1e-6, "undecided")):
            assert Check("a", "a", values, low=ends[among] + edge, among=among).verdict == verdict
        # It agrees at 95 % whatever the number of checks.
        agreeing = 2.0 - stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
        assert Check("a", "a", values, low=agreeing - 1e-6, among=among).verdict == "agrees"
        assert Check("a", "a", values, low=agreeing + 1e-6, among=among).verdict == "undecided"
    assert ends[4] > ends[1]


def test_a_claim_tells_its_checks_how_many_share_the_level():
    found = claim(GOOD, BAD, OPEN, replace(OPEN, key="more"))
    assert [check.among for check in found.checks] == [2] * 4
    between = Check("between", "between", (1.9, 2.0, 2.1), low=2.3)
    assert [each.verdict for each in claim(between).checks] == ["contradicts"]
    assert claim(between, GOOD).checks[0].verdict == "undecided"
    assert [check.among for check in claim(OPEN).checks] == [1]


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.0, 4.0, "agrees"),
        (None, 4.0, "agrees"),
        (0.0, None, "agrees"),
        (2.0, 4.0, "undecided"),  # the mean is inside, the lower end of the interval is not
        (2.1, 4.0, "undecided"),
        (3.0, 4.0, "contradicts"),
        (None, 1.0, "contradicts"),
        (None, None, "no target"),
    ],
)
def test_a_check_is_judged_by_its_interval(low, high, verdict):
    check = Check("risk", "risk", (1.9, 2.0, 2.1), low, high)  # [1.75, 2.25]
    assert check.verdict == verdict
    assert verdict in get_args(CheckVerdict)
    assert verdict in repr(check)


def test_an_end_belongs_to_the_range():
    assert judge(Interval(2.0, 2.0, 2.0), 2.0, 2.0) == "agrees"


GOOD = Check("good", "good", (1.0, 1.0, 1.0), 0.0, 2.0)
BAD = Check("bad", "bad", (9.0, 9.0, 9.0), 0.0, 2.0)
OPEN = Check("open", "open", (9.0, 9.0, 9.0))
LOST = Check("lost", "lost", (1.0, math.nan, 1.0), 0.0, 2.0)
FEW = Check("few", "few", (1.0, 1.0), 0.0, 2.0)


def checks_of(agree: int, contradict: int, undecided: int, no_target: int) -> list[Check]:
    kinds = [GOOD] * agree + [BAD] * contradict + [LOST] * undecided + [OPEN] * no_target
    return [replace(kind, key=f"check-{i}") for i, kind in enumerate(kinds)]


@pytest.mark.parametrize(
    ("counts", "verdict"),
    [
        ((1, 0, 0, 0), "reproduced"),
        ((3, 0, 0, 5), "reproduced"),
        ((0, 1, 0, 0), "contradicted"),
        ((0, 2, 0, 1), "contradicted"),
        ((0, 2, 2, 0), "contradicted"),  # half are decided
        ((0, 2, 3, 0), "inconclusive"),
        ((1, 0, 1, 0), "partly reproduced"),
        ((7, 0, 1, 0), "partly reproduced"),
        ((1, 0, 2, 9), "inconclusive"),
        ((1, 1, 0, 0), "mixed"),
        ((1, 1, 2, 0), "mixed"),
        ((1, 1, 3, 0), "inconclusive"),
        ((0, 0, 8, 0), "inconclusive"),
        ((0, 0, 0, 2), "no target"),
    ],
)
def test_a_claim_is_what_its_three_counts_say(counts, verdict):
    found = claim(*checks_of(*counts))
    assert found.counts == counts[:3]
    assert found.counted == "{} agree, {} contradict, {} undecided".format(*counts[:3])
    assert found.verdict == verdict
    assert verdict in get_args(Verdict)
    assert verdict in repr(found)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (GOOD, "from 0 to 2"),
        (Check("x", "x", (1.0,), 0.5556), "at least 0.5556"),
        (Check("x", "x", (1.0,), None, 2.0), "at most 2"),
        (OPEN, "nothing stated"),
    ],
)
def test_expectations_in_words(check, text):
    assert check.expected() == text


def test_a_seed_without_a_number_leaves_its_check_undecided_with_the_reason():
    for lost in (math.nan, math.inf):
        check = Check("risk", "risk", (1.0, lost, 1.0), 0.0, 2.0)
        assert (check.verdict, check.note) == ("undecided", "1 of 3 seeds gave no number")
        assert math.isnan(check.interval.value)
    assert Check("risk", "risk", (1.0, 1.0, 1.0), 0.0, 2.0).verdict == "agrees"
    assert Check("risk", "risk", (math.nan,), 0.0).verdict == "undecided"
    assert Check("risk", "risk", (math.nan,) * 3).verdict == "no target"


def test_values_and_keys_are_needed():
    for key, values in (("risk", ()), ("", (1.0,))):
        with pytest.raises(ValueError, match="needs a key and one value per seed"):
            Check(key, "risk", values)


def test_keys_of_a_claim_differ():
    with pytest.raises(ValueError, match="needs a key of its own for each check, got good twice"):
        claim(GOOD, GOOD)


class Read:
    words: ClassVar = {"n": 3, "size": 0.25}

    def __init__(self, *values):
        self.values = values


def test_a_stated_claim_is_filled_in_by_a_reader():
    def more(read):
        yield Check("more", "more", read.values)

    row = Row(
        "risk", "risk at {size}", lambda read: read.values, 0.0, reason="of {n}", step=lambda read: read.words["size"]
    )
    found = Stated("one", "Figure 1", "A holds.", "Of {n} seeds.", (row, more)).judged(Read(1.0, 1.1, 0.9))
    assert (found.statement, found.source, found.measure) == ("A holds.", "Figure 1", "Of 3 seeds.")
    assert found.checks[0] == Check("risk", "risk at 0.25", (1.0, 1.1, 0.9), 0.0, None, "of 3", 0.25)
    assert [check.key for check in found.checks] == ["risk", "more"]


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="needs low <= high, got 2 and 1"):
        Check("risk", "risk", (1.0,), 2.0, 1.0)


def test_a_claim_needs_all_of_its_texts():
    with pytest.raises(ValueError, match="needs statement, checks; none may be empty"):
        Claim("key", "", "Figure 1", "measure", ())


def run(*values: tuple[float, ...]) -> tuple[Claim]:
    # Within 0.5 to 1.5; at least 2; nothing expected.
    risk, gap, cell = values
    checks = (
        Check("risk", "the risk", risk, 0.5, 1.5), Check("gap", "the gap", gap, 2.0), Check("cell", "a cell", cell)
    )  # fmt: skip
    return (Claim("one", "A holds.", "Figure 1", "m", checks),)


@pytest.fixture
def committed():
    # agrees, contradicts, no target.
    return run((1.0, 1.1, 0.9), (1.0, 1.1, 0.9), (3.0, 4.0, 5.0))


def test_a_seed_on_the_same_sides_agrees(committed):
    assert differences(run((1.4,), (1.9,), (9.0,)), committed) == []


def test_a_seed_on_another_side_differs_either_way(committed):
    found = differences(run((1.6,), (2.1,), (9.0,)), committed)
    assert [(each.check, each.value, each.committed) for each in found] == [
        ("risk", 1.6, "agrees"),
        ("gap", 2.1, "contradicts"),
    ]
    # Standard deviation 0.1 of three seeds: 1 ± 4.303 * 0.1 * sqrt(1 + 1/3).
    assert str(found[0]) == (
        "one: the risk is 1.6, which contradicts, where the summary agrees; that is outside the 95 % prediction "
        "interval of its seeds, [0.5032, 1.497]."
    )
    assert [each.contradicts for each in found] == [True, True]


def test_what_seeds_scatter_by_contradicts_nothing():
    # The mean is known to be above 2, and one more seed may still come out below.
    full = run((1.0,) * 3, (2.3, 2.4, 2.5), (3.0,) * 3)
    (near,), (far,) = (differences(run((1.0,), (gap,), (1.0,)), full) for gap in (1.95, 1.0))
    assert (near.committed, near.contradicts, far.contradicts) == ("agrees", False, True)
    assert "inside the 95 % prediction interval" in str(near)
    more = run((1.0,) * 3, (1.9, 1.95, 2.0), (1.0,) * 3)  # three more seeds scatter less than one
    assert [each.contradicts for each in differences(more, full)] == [True]


def test_a_check_that_straddles_agrees_with_both_sides():
    full = run((1.0, 1.6, 1.4), (3.0, 3.1, 3.2), (1.0, 1.0, 1.0))
    assert full[0].checks[0].verdict == "undecided"
    assert differences(run((9.0,), (3.0,), (1.0,)), full) == []
    assert differences(run((1.0,), (3.0,), (1.0,)), full) == []


def test_a_check_without_a_number_differs_from_nothing(committed):
    assert differences(run((math.nan,), (1.0,), (1.0,)), committed) == []
    assert differences(run((1.0,), (1.0,), (1.0,)), run((math.nan,) * 3, (1.0, 1.1, 0.9), (3.0,) * 3)) == []


def with_checks(claims, *checks):
    return (replace(claims[0], checks=checks),)


def test_checks_are_compared_by_their_keys_and_not_by_their_sentences(committed):
    said_anew = with_checks(committed, *(replace(check, label="another sentence") for check in committed[0].checks))
    assert [each.check for each in differences(run((1.6,), (1.0,), (1.0,)), said_anew)] == ["risk"]
    renamed = with_checks(committed, *(replace(check, key=f"{check.key}-2") for check in committed[0].checks))
    with pytest.raises(ValueError, match="has all claims and checks of this run, got one of another version"):
        differences(run((1.0,), (1.0,), (1.0,)), renamed)


def test_a_check_that_needs_several_seeds_is_left_out(committed):
    one = run((1.0,), (1.0,), (1.0,))
    assert differences(with_checks(one, one[0].checks[0]), committed) == []


def test_a_number_of_which_nothing_is_expected_may_be_new(committed):
    one = run((1.0,), (1.0,), (1.0,))
    assert differences(with_checks(one, *one[0].checks, Check("count", "count", (4.0,))), committed) == []
    with pytest.raises(ValueError, match="got one of another version"):
        differences(with_checks(one, *one[0].checks, Check("count", "count", (4.0,), 1.0)), committed)
