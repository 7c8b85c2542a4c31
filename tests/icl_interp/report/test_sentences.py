"""Sentences are functions of the numbers: tables of numbers and what is said of them."""

from dataclasses import replace

import pytest

from icl_interp.measure.verdicts import Excess, excess_over_controls
from icl_interp.report.sentences import _FLAT, answer, card, extremes, interval, listing, number, percent, trend

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (-0.5, "-0.5"),
        (0.00421, "0.00421"),
        (0.0001, "0.0001"),
        (0.00009, "9.0e-5"),
        (-0.00009, "-9.0e-5"),
        (1.366, "1.37"),
        (12.34, "12.3"),
        (999.6, "1000"),
        (1234.5, "1230"),
        (-1234.5, "-1230"),
        (9999.6, "10000"),
        (10_000.0, "1.0e4"),
        (548458700.0, "5.5e8"),
        (1e-12, "1.0e-12"),
        (NAN, "not a number"),
        (INF, "infinite"),
        (-INF, "infinite"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.1, 0.3, "[0.1, 0.3]"), (-1.0, 1234.0, "[-1, 1230]"), (NAN, INF, "[not a number, infinite]")],
)
def test_intervals(low, high, text):
    assert interval(low, high) == text


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ([], "none"),
        (["a"], "a"),
        (["a", "b"], "a and b"),
        (["a", "b", "c"], "a, b and c"),
        (["a", "b", "c", "d"], "a, b, c and d"),
        (["a", "b", "c", "d", "e"], "a, b, c, d and 1 more"),
        (list("abcdefgh"), "a, b, c, d and 4 more"),
    ],
    ids=len,
)
def test_listings(names, text):
    assert listing(names) == text


@pytest.mark.parametrize(("most", "text"), [(1, "a and 2 more"), (2, "a, b and 1 more"), (3, "a, b and c")])
def test_listings_count_the_rest(most, text):
    assert listing(["a", "b", "c"], most=most) == text


def said_of(values: list[float]) -> str:
    return trend("The error", values, start="at first", end="at last")


CURVES = {
    "rises": ([0.1, 5.0, 1.0], "The error rises from 0.1 at first to 1 at last."),
    "stays flat": ([1.0, 9.0, 1.05], "The error stays flat: 1 at first, 1.05 at last."),
    "falls": ([1.0, 0.5, 0.01], "The error falls from 1 at first to 0.01 at last."),
    "cannot be followed": ([1.0, NAN, 0.1], "The error cannot be followed: 1 of 3 values are not numbers."),
}


@pytest.mark.parametrize(("values", "sentence"), CURVES.values(), ids=CURVES)
def test_rising_flat_falling_and_missing_data_have_sentences_of_their_own(values, sentence):
    assert said_of(values) == sentence


def test_the_four_sentences_differ():
    assert len({said_of(values) for values, _ in CURVES.values()}) == 4


@pytest.mark.parametrize(
    ("values", "verb"),
    [
        ([0.0, 0.0], "stays flat"),
        ([1.0], "stays flat"),
        ([1.0, 1 - 0.9 * _FLAT], "stays flat"),
        ([1.0, 1 - 1.1 * _FLAT], "falls"),
        ([1.0, 1 + 1.05 * _FLAT], "stays flat"),  # a share of the larger one
        ([-1.0, 1.0], "rises"),
        ([-1.0, -2.0], "falls"),
        ([0.0, 1e-9], "rises"),
        ([1.0, INF], "cannot be followed"),
        ([NAN, NAN], "cannot be followed"),
    ],
    ids=str,
)
def test_trends_at_the_edges(values, verb):
    assert f"The error {verb}" in said_of(values)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100 %"),
        (0.9968, "99.7 %"),
        (0.0041, "0.41 %"),
        (-0.12, "-12 %"),
        (0.000499, "none"),
        (0.0, "none"),
        (1.2345, "123 %"),
        (123.0, "12,300 %"),
        (1e300, "1.0e302 %"),
        (INF, "infinite"),
        (NAN, "not a number"),
    ],
)
def test_percents(share, text):
    assert percent(share) == text


LOW = [0.1, 0.12, 0.08, 0.1, 0.1]
ANSWERS = {
    "evidence": (excess_over_controls(0.9, LOW), "evidence"),
    "too small": (excess_over_controls(0.13, [0.1, 0.101, 0.099, 0.1]), "evidence"),
    "opposite": (excess_over_controls(-0.9, LOW), "opposite"),
    "negligible": (excess_over_controls(0.1, LOW), "none"),
    "inconclusive": (excess_over_controls(0.2, [0.0, 0.4]), "inconclusive"),
    "above controls, below chance": (excess_over_controls(0.3, LOW, chance=0.5), "inconclusive"),
    "controls off": (excess_over_controls(0.9, []), "unknown"),
    "one control": (excess_over_controls(0.9, [0.1]), "unknown"),
    "not finite": (excess_over_controls(INF, LOW), "unknown"),
    "gated": (replace(excess_over_controls(0.9, LOW), gate="learning"), "unknown"),
    "gated, controls off": (replace(excess_over_controls(0.9, []), gate="learning"), "unknown"),
}


def said_by(excess: Excess) -> str:
    here, there = f"it has {number(excess.value)}", f"untrained networks have {number(excess.control)}"
    return answer(excess, here=here, there=there)


@pytest.mark.parametrize(("excess", "tone"), ANSWERS.values(), ids=ANSWERS)
def test_a_card_has_the_tone_of_its_verdict(excess: Excess, tone: str):
    made = card("Does it?", excess, said_by(excess), anchor="it")
    assert (made.tone, made.detail is None) == (tone, tone == "unknown")


def test_answers(golden):
    golden("sentences-answers.txt", "".join(f"{name}: {said_by(excess)}\n" for name, (excess, _) in ANSWERS.items()))


def test_a_card_s_detail_has_the_interval_and_p():
    assert card("Does it?", excess_over_controls(0.2, [0.0, 0.4]), "S.", anchor="it").detail == (
        "Excess over control 0 [-4.4, 4.4], p = 1 (corrected for all claims of the report)."
    )
    assert ", p < 0.001 (" in card("Does it?", excess_over_controls(9.9, LOW), "S.", anchor="it").detail


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"a": 1.0, "b": 3.0, "c": 2.0}, ("a", "b")),
        ({"a": 1.0}, ("a", "a")),
        ({"a": NAN, "b": 2.0, "c": INF, "d": 1.0}, ("d", "b")),
    ],
    ids=["three", "one", "some missing"],
)
def test_extremes_pass_over_what_is_no_number(values, names):
    assert extremes(values) == names


def test_extremes_of_nothing_but_missing_values_are_names_all_the_same():
    assert set(extremes({"a": NAN, "b": NAN})) <= {"a", "b"}
