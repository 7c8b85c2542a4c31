"""Sections three and four: what is in sight, what is folded, and sentences that follow the numbers."""

from dataclasses import replace

import pytest

from icl_interp.report.assemble import build_page
from icl_interp.report.chapters.detectors import detector_sentence, detector_table, detectors_chapter
from icl_interp.report.chapters.familiar import familiar_chapter
from icl_interp.report.chapters.worth import all_claims, worth_chapter


def with_p_values(report, lows):
    """The same report with all tests at p = 1, but for those of `lows`: (detector, shift) pairs at 0.001."""
    detectors = {
        name: replace(found, p_values={s: 0.001 if (name, s) in lows else 1.0 for s in found.shifts})
        for name, found in report.detectors.items()
    }
    return replace(report, detectors=detectors)


def test_a_section_has_its_map_in_sight_and_the_rest_folded(small_study):
    section = familiar_chapter(small_study)
    assert [figure.id for figure in section.figures] == ["detectors", "auroc", "score-error"]
    assert [part.id for part in section.parts] == ["detector-details", "ood", "signature", "similarity"]
    assert all(part.folded for part in section.parts)
    assert section.n_plots_in_sight == 3


def test_every_claim_is_in_one_table(small_study):
    section = worth_chapter(small_study)
    (table,) = section.tables
    assert [row[0] for row in table.rows] == list(all_claims(small_study))
    assert {row[-1] for row in table.rows} == {"none"}  # an untrained network
    assert [part.id for part in section.parts] == ["controls", "assumptions", "unmeasured"]
    assert section.figures[0].sentence.startswith(f"Of {len(table.rows)} claims 0 hold beyond untrained networks")


def test_the_page_keeps_to_its_budget_of_figures(small_study, small_checkpoint):
    assert build_page(small_study, small_checkpoint, {}).n_plots_in_sight <= 12


def test_sections_three_and_four_keep_to_their_share(small_study):
    assert familiar_chapter(small_study).n_plots_in_sight + worth_chapter(small_study).n_plots_in_sight <= 4


SEEN = {
    "nothing": (set(), "above chance under 0 of 2 shifts", "nothing of the network"),
    "hidden states alone": (
        {("Mahalanobis", "label_noise=1")},
        "Seen in hidden states alone: label_noise=1.",
        "raw inputs see",
    ),
    "raw inputs too": (
        {("Mahalanobis", "x_scale=3"), ("‖X‖", "x_scale=3")},
        "Under 1 of these raw inputs see the shift as well, so that it shows in hidden states says nothing of",
        "sees more",
    ),
    "predictions": (
        {("|model - ridge|", "label_noise=1")},
        "sees more than raw inputs under label_noise=1.",
        "raw inputs see",
    ),
}


@pytest.mark.parametrize(("lows", "said", "unsaid"), SEEN.values(), ids=SEEN)
def test_the_sentence_follows_the_p_values(small_study, lows, said, unsaid):
    sentence = detector_sentence(with_p_values(small_study.detectors, lows))
    assert said in sentence
    assert unsaid not in sentence
    assert "No evidence beyond an untrained network" in sentence


def test_a_planted_signature_is_beyond_untrained_networks(signing_study):
    assert "Beyond untrained networks, in mean AUROC:" in detector_sentence(signing_study.detectors)


def test_without_controls_nothing_is_claimed(uncontrolled_study):
    assert "controls were switched off" in detector_sentence(uncontrolled_study.detectors)
    assert detectors_chapter(uncontrolled_study.detectors).figures == ()
    section = worth_chapter(uncontrolled_study)
    assert section.figures[0].sentence.startswith("No claim has an interval")
    assert ("every excess", "the controls were switched off") in section.parts[-1].tables[0].rows


def test_the_table_holds_the_numbers_of_the_report(small_study):
    table = detector_table(small_study.detectors)
    for row, found in zip(table.rows, small_study.detectors.detectors.values(), strict=True):
        assert row[2] == found.mean.value
        assert row[-2:] == tuple(detection.auroc for detection in found.shifts.values())
