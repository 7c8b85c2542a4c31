"""The page of a reproduced paper: cards with verdicts and numbers, all tables, warnings where nothing is judged."""

from dataclasses import replace

import pytest
from zhang_cases import THREE, ideal_measures, with_risks

from icl_interp.experiments.claims import Check, Claim
from icl_interp.experiments.monte_carlo import Risk
from icl_interp.experiments.outcome import Outcome
from icl_interp.experiments.zhang2024.claims import claims
from icl_interp.experiments.zhang2024.figures import panels
from icl_interp.experiments.zhang2024.paper import PAPER, UNKNOWNS
from icl_interp.report import render
from icl_interp.report.chapters.claims import claims_page


@pytest.fixture(scope="module")
def outcome():
    found = ideal_measures()
    return Outcome(PAPER, "laptop", THREE.seeds, ("As set.",), UNKNOWNS, claims(found, THREE), panels(found, THREE))


def test_a_card_a_claim_with_its_numbers(outcome):
    page = claims_page(outcome, {"torch": "2"})
    assert [card.title.partition(":")[0] for card in page.verdicts] == ["Reproduced"] * 10 + ["Unknown in the paper"]
    assert [card.tone for card in page.verdicts] == ["evidence"] * 10 + ["unknown"]
    assert (
        page
        .verdicts[0]
        .detail.partition("by formula. ")[2]
        .startswith("LTB risk: 2.73 [2.73, 2.73] (expected from 2.673 to 2.782); ")
    )
    assert page.verdicts[0].sentence == "Agrees: 2 checks (first “LTB risk”)."
    assert page.verdicts[-1].sentence == "The paper states nothing that 12 checks could be compared with."
    assert "Of 11 claims: 10 reproduced, 1 unknown in the paper." in page.subtitle
    assert page.warnings == ()


def test_long_claims_say_how_many_numbers_are_left(outcome):
    number, many = next((n, claim) for n, claim in enumerate(outcome.claims) if len(claim.checks) > 3)
    assert f"and {len(many.checks) - 3} more below" in claims_page(outcome, {}).verdicts[number].detail


def test_a_card_says_what_a_claim_is_about_and_where_it_stands(outcome):
    titles = [card.title for card in claims_page(outcome, {}).verdicts]
    assert titles[1] == "Reproduced: Attention without an MLP has an error that no training removes"
    for card, claim in zip(claims_page(outcome, {}).verdicts, outcome.claims, strict=True):
        assert claim.statement.rstrip(".") in card.title + card.detail
        assert f"{claim.source}. {claim.measure}" in card.detail


def test_what_contradicts_is_named_and_comes_first():
    found = with_risks(ideal_measures(), 100.0, kind="gpt2 pinned")
    page = claims_page(Outcome(PAPER, "laptop", THREE.seeds, (), (), claims(found, THREE)), {})
    card = page.verdicts[8]
    assert (card.title.partition(":")[0], card.tone) == ("Partly", "mixed")
    of = "error / error of answering <b*, x>"
    assert card.sentence == (
        f"Agrees: 5 checks (first “b* = 0, GPT-2, free read-out: {of}”). "
        f"Contradicts: 2 checks (first “b* = 0, GPT-2, pinned read-out: {of}”). "
        "Nothing expected: 1 check (“b* = (10, ..., 10), pinned read-out: error without MLP / with MLP”)."
    )
    first, second, third = card.detail.split("is in no interval. ")[1].split("; ")[:3]
    assert first == f"contradicts: b* = 0, GPT-2, pinned read-out: {of}: 3.33 [3.33, 3.33] (expected at most 0.05)"
    assert second.startswith("contradicts: ")
    assert third.startswith("agrees: ")


def test_numbers_that_straddle_are_undecided():
    checks = (Check("a", (1.0, 2.0, 3.0), 2.0), Check("b", (3.0,) * 3, 2.0))
    claim = Claim("one", "A holds.", "Figure 1", "m", checks)
    (card,) = claims_page(Outcome(PAPER, "laptop", (0, 1, 2), (), (), (claim,)), {}).verdicts
    assert card.title == "Partly: A holds"
    assert card.sentence == "Agrees: 1 check (“b”). Undecided: 1 check (“a”)."
    assert card.detail.startswith("Figure 1. m undecided: a: 2 [")


def test_every_number_is_in_a_table(outcome):
    sections = {section.id: section for section in claims_page(outcome, {}).sections}
    tables = [part.tables[0] for part in sections["claims"].parts]
    assert [len(table.rows) for table in tables] == [len(claim.checks) for claim in outcome.claims]
    assert len(sections["unknowns"].tables[0].rows) == len(UNKNOWNS)


def test_each_card_leads_to_its_own_numbers(outcome):
    page = claims_page(outcome, {})
    parts = {part.id: part for section in page.sections for part in section.parts}
    captions = [parts[card.anchor].tables[0].caption for card in page.verdicts]
    assert captions == [claim.statement for claim in outcome.claims]


def test_too_few_seeds_are_warned_of(outcome):
    sizes = replace(THREE, seeds=(0,))
    few = replace(outcome, claims=claims(ideal_measures(sizes), sizes))
    (warning,) = claims_page(few, {}).warnings
    assert warning.startswith("Too few seeds")
    assert claims_page(few, {}).verdicts[0].sentence == "Too few seeds: 2 checks (first “LTB risk”)."


def test_the_figures_show_theory_beside_what_was_trained(outcome):
    first = outcome.panels[0]
    names = [trace.name for trace in first.figure.data if trace.showlegend is not False]
    assert names == ["LSA", "least risk of LSA, 4.557", "LTB", "least risk of LTB, 2.727"]
    assert "the risk of LTB is 2.727, that of LSA 4.557" in first.sentence
    assert [panel.id for panel in outcome.panels] == ["figure-1", "norms", "lengths", "parts", "moved", "table-1"]


def test_the_standard_error_of_what_was_tested_on_prompts_is_told():
    found = replace(ideal_measures(), bayes=Risk(7.0, 0.0123))
    assert "and 7 ± 0.012 (standard error) for the Bayes predictor" in panels(found, THREE)[3].sentence


def test_gpt2_is_drawn_beside_the_answer_that_reads_no_example(outcome):
    panel = outcome.panels[-1]
    assert [shape.x0 for shape in panel.figure.layout.shapes] == [1.0]
    assert panel.columns[-1] == "error / d"
    row = next(row for row in panel.rows if row[:2] == ("GPT-2, free read-out", 10.0))
    assert row[2:] == pytest.approx((0.1, 0.1, 0.1, 0.1 / 3))
    assert "has 0.033 of the error of always answering <b*, x> with MLPs and 1 without; at 1" in panel.sentence


def test_the_page_renders(outcome):
    html = render(claims_page(outcome, {"git commit": "abc"}), plotlyjs="directory")
    assert html.count('class="figure"') == 6
    assert "Reproduced: Trained, the linear block reaches the least risk" in html
