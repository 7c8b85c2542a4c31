"""One seed beside a committed summary: agreement, difference, and what cannot be compared."""

from dataclasses import replace

import pytest

from icl_interp.experiments.claims import Check, Claim
from icl_interp.experiments.comparison import differences
from icl_interp.experiments.outcome import Outcome, Paper
from icl_interp.experiments.summary import read_summary, write_summary

PAPER = Paper("who2024", "A title", "Who (2024), arXiv 1")


def outcome(*values: tuple[float, ...]) -> Outcome:
    # Within 0.5 to 1.5; at least 2; nothing expected.
    risk, gap, cell = values
    checks = (Check("risk", risk, 0.5, 1.5), Check("gap", gap, 2.0), Check("cell", cell))
    claim = Claim("one", "A holds.", "Figure 1", "m", checks)
    return Outcome(PAPER, "laptop", tuple(range(len(risk))), ("Set.",), (), (claim,))


@pytest.fixture
def committed(tmp_path):
    # reproduced, not reproduced, unknown.
    full = outcome((1.0, 1.1, 0.9), (1.0, 1.1, 0.9), (3.0, 4.0, 5.0))
    return read_summary(write_summary(full, tmp_path / "who2024.json", {}))


def test_a_seed_on_the_same_sides_agrees(committed):
    assert differences(outcome((1.4,), (1.9,), (9.0,)), committed) == []


def test_a_seed_on_another_side_differs_either_way(committed):
    found = differences(outcome((1.6,), (2.1,), (9.0,)), committed)
    assert [(each.check, each.value, each.committed) for each in found] == [
        ("risk", 1.6, "reproduced"),
        ("gap", 2.1, "not reproduced"),
    ]
    # Standard deviation 0.1 of three seeds: 1 ± 4.303 * 0.1 * sqrt(1 + 1/3).
    assert str(found[0]) == (
        "one: risk is 1.6, and the summary says reproduced; that is beyond what its seeds scatter by, [0.5032, 1.497]."
    )
    assert [each.contradicts for each in found] == [True, True]


def test_what_seeds_scatter_by_contradicts_nothing(tmp_path):
    # The mean is known to be above 2, and one more seed may still come out below.
    full = read_summary(write_summary(outcome((1.0,) * 3, (2.3, 2.4, 2.5), (3.0,) * 3), tmp_path / "who2024.json", {}))
    (near,), (far,) = (differences(outcome((1.0,), (gap,), (1.0,)), full) for gap in (1.95, 1.0))
    assert (near.committed, near.contradicts, far.contradicts) == ("reproduced", False, True)
    assert "within what its seeds scatter by" in str(near)
    more = outcome((1.0,) * 3, (1.9, 1.95, 2.0), (1.0,) * 3)  # three more seeds scatter less than one
    assert [each.contradicts for each in differences(more, full)] == [True]


def test_summaries_are_compared_alike(committed, tmp_path):
    other = read_summary(write_summary(outcome((1.6,), (1.9,), (9.0,)), tmp_path / "other.json", {}))
    assert [each.check for each in differences(other, committed)] == ["risk"]


def test_a_check_that_straddles_agrees_with_both_sides(tmp_path):
    full = outcome((1.0, 1.6, 1.4), (3.0, 3.1, 3.2), (1.0, 1.0, 1.0))
    summary = read_summary(write_summary(full, tmp_path / "who2024.json", {}))
    assert summary.claims[0].checks[0].verdict == "partly"
    assert differences(outcome((9.0,), (3.0,), (1.0,)), summary) == []
    assert differences(outcome((1.0,), (3.0,), (1.0,)), summary) == []


def test_other_papers_sizes_and_versions_are_refused(committed):
    one = outcome((1.0,), (1.0,), (1.0,))
    with pytest.raises(ValueError, match="needs a summary of who2024 at size smoke, got one of who2024 at size laptop"):
        differences(replace(one, preset="smoke"), committed)
    with pytest.raises(ValueError, match="needs a summary of x at size laptop, got one of who2024"):
        differences(replace(one, paper=replace(PAPER, name="x")), committed)
    renamed = replace(one.claims[0], key="two")
    with pytest.raises(ValueError, match="has all claims and checks of this run, got one of another version"):
        differences(replace(one, claims=(renamed,)), committed)


def test_a_check_that_needs_several_seeds_is_left_out(committed):
    one = outcome((1.0,), (1.0,), (1.0,))
    fewer = replace(one.claims[0], checks=one.claims[0].checks[:1])
    assert differences(replace(one, claims=(fewer,)), committed) == []


def test_a_number_of_which_nothing_is_expected_may_be_new(committed):
    one = outcome((1.0,), (1.0,), (1.0,))
    more = replace(one.claims[0], checks=(*one.claims[0].checks, Check("count", (4.0,))))
    assert differences(replace(one, claims=(more,)), committed) == []
    judged = replace(one.claims[0], checks=(*one.claims[0].checks, Check("count", (4.0,), 1.0)))
    with pytest.raises(ValueError, match="got one of another version"):
        differences(replace(one, claims=(judged,)), committed)
