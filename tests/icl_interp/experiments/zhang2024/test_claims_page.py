"""The page of a reproduced paper: cards with verdicts and numbers, all tables, warnings where nothing is judged."""

from dataclasses import replace

import pytest
from golden import page_text
from zhang_cases import THREE, ideal_measures, with_risks

from icl_interp.experiments.claims import Check, Claim
from icl_interp.experiments.experiment import Outcome, experiment
from icl_interp.experiments.linear_risk import Risk
from icl_interp.experiments.zhang2024.paper import PAPER, UNKNOWNS
from icl_interp.report import render
from icl_interp.report.chapters.claims import claims_page

EXPERIMENT = experiment("zhang2024")


@pytest.fixture(scope="module")
def outcome():
    found = ideal_measures()
    return Outcome(
        PAPER,
        "laptop",
        THREE.seeds,
        ("As set.",),
        UNKNOWNS,
        EXPERIMENT.judged(found, THREE),
        EXPERIMENT.drawn(found, THREE),
    )


def test_a_card_a_claim_with_its_numbers(outcome):
    page = claims_page(outcome, {"torch": "2"})
    assert [card.word for card in page.verdicts] == ["Reproduced"] * 11 + ["No target"]
    assert [card.tone for card in page.verdicts] == ["evidence"] * 11 + ["unknown"]
    assert (
        page.verdicts[0].points[0]
        == "agrees: LTB risk: 2.73 [2.73, 2.73] (expected from 2.673 to 2.782); all 3 seeds gave the same number"
    )
    assert "2 agree, 0 contradict, 0 undecided" in page.verdicts[0].sentence
    assert "18 numbers" in page.verdicts[-1].sentence
    assert "Of 12 claims: 11 reproduced, 1 no target." in page.subtitle
    assert page.warnings == ()


def test_long_claims_say_how_many_numbers_are_left(outcome):
    number, many = next((n, claim) for n, claim in enumerate(outcome.claims) if len(claim.checks) > 4)
    card = claims_page(outcome, {}).verdicts[number]
    assert len(card.points) == 3
    assert card.detail.endswith(f" {len(many.checks) - 3} more checks below.")
    four = next(card for card in claims_page(outcome, {}).verdicts if card.anchor == "claim-gap")
    assert four.detail.endswith(" 1 more check below.")


def test_a_card_says_what_a_claim_is_about_and_where_it_stands(outcome):
    for card, claim in zip(claims_page(outcome, {}).verdicts, outcome.claims, strict=True):
        assert card.title == claim.statement
        assert card.detail.startswith(f"{claim.source}. {claim.measure}")


def test_the_parts_of_the_table_have_names_as_people_write_them(outcome):
    claims_of = [replace(outcome.claims[0], key=key) for key in ("ood-failure", "near-bayes", "gpt2", "skip-and-mlp")]
    page = claims_page(replace(outcome, claims=tuple(claims_of)), {})
    (chapter,) = [section for section in page.sections if section.id == "claims"]
    names = [part.title.partition(" (")[0] for part in chapter.parts]
    assert names == ["OOD failure", "Near Bayes", "GPT-2", "Skip and MLP"]


def test_what_contradicts_is_named_and_comes_first():
    found = with_risks(ideal_measures(), 100.0, kind="gpt2 pinned")
    page = claims_page(Outcome(PAPER, "laptop", THREE.seeds, (), (), EXPERIMENT.judged(found, THREE)), {})
    card = page.verdicts[8]
    assert (card.word, card.tone) == ("Mixed", "mixed")
    of = "error / error of answering <b*, x>"
    assert "7 checks, 5 agree, 2 contradict, 0 undecided. 1 further number " in card.sentence
    first, second, third = card.points
    assert first.startswith(
        f"contradicts: b* = 0, GPT-2, pinned read-out: {of}: 3.33 [3.33, 3.33] (expected at most 0.05)"
    )
    assert second.startswith("contradicts: ")
    assert third.startswith("agrees: ")


def test_numbers_that_straddle_are_undecided():
    checks = (Check("a", "a", (1.0, 2.0, 3.0), 2.0), Check("b", "b", (3.0,) * 3, 2.0))
    claim = Claim("one", "A holds.", "Figure 1", "m", checks)
    (card,) = claims_page(Outcome(PAPER, "laptop", (0, 1, 2), (), (), (claim,)), {}).verdicts
    assert (card.title, card.word) == ("A holds.", "Partly reproduced")
    assert "1 agree, 0 contradict, 1 undecided" in card.sentence
    assert card.points[0].startswith("undecided: a: 2 [")
    assert card.points[1].startswith("agrees: b: 3 [")
    assert card.detail == "Figure 1. m"


def test_a_claim_that_no_check_decides_is_not_called_reproduced():
    claim = Claim("one", "A holds.", "Figure 1", "m", tuple(Check(key, key, (1.0, 2.0, 3.0), 2.0) for key in "ab"))
    (card,) = claims_page(Outcome(PAPER, "laptop", (0, 1, 2), (), (), (claim,)), {}).verdicts
    assert (card.word, card.tone) == ("Inconclusive", "inconclusive")
    assert "0 agree, 0 contradict, 2 undecided" in card.sentence


def test_the_page_says_what_undecided_checks_need_and_how_the_paper_is_known(outcome):
    assert "What next" not in {fact.label for fact in claims_page(outcome, {}).facts}
    claim = Claim("one", "A holds.", "Figure 1", "m", tuple(Check(key, key, (1.0, 2.0, 3.0), 2.0) for key in "ab"))
    known = replace(PAPER, caveat="From a summary.")
    page = claims_page(Outcome(known, "laptop", (0, 1, 2), (), (), (claim,)), {})
    assert page.facts[-1].value.startswith("Undecided checks need more seeds")
    assert page.warnings == ("From a summary.",)
    assert "fewer than half of the checks are decided" in render(page, plotlyjs="directory").split("page--glossary")[-1]


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
    few = replace(outcome, claims=EXPERIMENT.judged(ideal_measures(sizes), sizes))
    (warning,) = claims_page(few, {}).warnings
    assert warning.startswith("Too few seeds")
    card = claims_page(few, {}).verdicts[0]
    assert card.word == "Too few seeds"
    assert "0 agree, 0 contradict, 2 undecided" in card.sentence


def test_the_figures_show_theory_beside_what_was_trained(outcome):
    first = outcome.panels[0]
    names = [trace.name for trace in first.figure.data if trace.showlegend is not False]
    assert names == ["LSA", "least risk of LSA, 4.56", "LTB", "least risk of LTB, 2.73"]
    assert "LTB has 2.73, LSA 4.56" in first.sentence
    assert [panel.id for panel in outcome.panels] == ["figure-1", "norms", "lengths", "parts", "moved", "table-1"]


def test_the_standard_error_of_what_was_tested_on_prompts_is_told():
    found = replace(ideal_measures(), bayes=Risk(7.0, 0.0123))
    assert "7 ± 0.012 (standard error" in EXPERIMENT.drawn(found, THREE)[3].sentence


def test_gpt2_is_drawn_beside_the_answer_that_reads_no_example(outcome):
    panel = outcome.panels[-1]
    assert [shape.x0 for shape in panel.figure.layout.shapes] == [1.0]
    assert panel.columns[-1] == "error / d"
    row = next(row for row in panel.rows if row[:2] == ("GPT-2, free read-out", 10.0))
    assert row[2:] == pytest.approx((0.1, 0.1, 0.1, 0.1 / 3))
    assert "0.033 with and 1 without MLPs around b* = (10, ..., 10), 0.033 and 1 around (3, ..., 3)" in panel.sentence


def test_the_page_renders(outcome):
    html = render(claims_page(outcome, {"git commit": "abc"}), plotlyjs="directory")
    assert html.count('class="figure"') == 6
    assert '<h3><span class="unseen">Reproduced: </span>Trained, the linear block reaches the optimum' in html
    assert "<span>Reproduced</span>" in html
    assert "<li>agrees: LTB risk: 2.73 [2.73, 2.73] (expected from 2.673 to 2.782); all 3 seeds" in html


def test_the_words_of_the_page(outcome, golden):
    golden("paper-zhang2024.txt", page_text(render(claims_page(outcome, {}), plotlyjs="directory")))
