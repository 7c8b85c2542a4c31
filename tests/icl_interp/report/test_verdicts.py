"""The cards of untrained, uncontrolled and planted models."""

import re
from dataclasses import replace

import pytest

from icl_interp.measure.controls import Excess
from icl_interp.report.chapters import probes
from icl_interp.report.chapters.errors import _likeness
from icl_interp.report.contents import CONTENTS
from icl_interp.report.model import lay_out
from icl_interp.report.sentences import listing, number

TITLES = [
    "Does it learn in context?",
    "Does that survive shifts?",
    "Does it act like a known algorithm?",
    "Does the answer arise along its layers?",
    "Is its signature used?",
    "Can known algorithms be read out?",
    "Do spectra react to shifts?",
    "Are leading directions shared?",
    "Does the score tell the error?",
    "Does it detect shifts?",
]


def cards_of(study_of):
    return lay_out(CONTENTS, study_of)[1]


def test_an_untrained_network_is_told_that_it_is_one(small_study):
    cards = cards_of(small_study)
    assert [card.title for card in cards] == TITLES
    for card in cards:
        assert "No evidence beyond an untrained network" in card.sentence
        assert card.tone == "none"
        joint = r"Excess \S+, bounds \[\S+, \S+\] \(one-sided, together 95 %\)\."
        alone = r"p = \S+ by 20 random subspaces, for itself, not among the joint claims\."
        assert re.fullmatch(f"{joint}|{alone}", card.detail)


def test_without_controls_nothing_is_claimed(uncontrolled_study):
    for card in cards_of(uncontrolled_study):
        assert card.sentence.startswith("No verdict")
        assert "there are no untrained networks to compare with" in card.sentence
        assert card.tone == "unknown"
        assert card.detail is None


@pytest.mark.parametrize("title", ["Are leading directions shared?", "Does it detect shifts?"])
def test_a_planted_signature_is_the_opposite(signing_study, title):
    (card,) = (card for card in cards_of(signing_study) if card.title == title)
    assert card.tone == "evidence"
    assert "No evidence" not in card.sentence
    assert "in untrained networks)" in card.sentence


def test_a_planted_signature_changes_no_other_card(signing_study):
    by_title = {card.title: card for card in cards_of(signing_study)}
    assert by_title["Does it learn in context?"].tone == "none"
    assert by_title["Can known algorithms be read out?"].tone == "none"


@pytest.mark.parametrize(
    ("verdicts", "tone", "without"),
    [
        ("none none none none none none none", "none", []),
        ("evidence none none none none none none", "mixed", [1, 2, 3, 4, 5, 6]),
        ("none none evidence evidence evidence evidence evidence", "mixed", [0, 1]),
        ("evidence none evidence evidence evidence evidence evidence", "mixed", [1]),
        ("evidence evidence evidence evidence evidence evidence evidence", "evidence", []),
        ("unknown unknown unknown unknown unknown unknown unknown", "unknown", []),
    ],
)
def test_read_outs_of_some_algorithms_only_are_mixed(small_study, verdicts, tone, without):
    made = {
        "evidence": Excess(0.9, (0.1, 0.1), 0.7, 0.9, 0.95, 0.0, 0.8),
        "none": Excess(0.2, (0.1, 0.1), -0.1, 0.3, 0.95, 0.0, 0.1),
        "unknown": Excess(0.2, (), float("nan"), float("nan"), 0.95, 0.0),
    }
    excesses = {name: made["none"] for name in small_study.verdicts}
    targets = [f"probe: {target}" for target in small_study.probes.targets]
    excesses |= {target: made[verdict] for target, verdict in zip(targets, verdicts.split(), strict=True)}
    changed = replace(small_study, verdicts=excesses)
    (card,) = probes.chapter(changed).cards
    assert card.tone == tone
    missing = listing([small_study.probes.targets[i] for i in without])
    assert card.sentence.endswith(f" No evidence for {missing}.") is bool(without)
    assert ("No evidence for" in card.sentence) is bool(without)


def test_the_detection_card_names_its_rival(signing_study, small_study):
    planted, untrained = cards_of(signing_study)[-1], cards_of(small_study)[-1]
    assert planted.sentence.endswith(" and do as well or better under 0 of 2.")
    better = sum(d.norms.auroc >= d.signature.auroc for d in small_study.ood.shifts.values())
    assert better > 0
    reach = number(small_study.ood.mean_norm_auroc)
    assert untrained.sentence.endswith(f" Norms alone reach {reach} and do as well or better under {better} of 2.")


def test_the_first_card_names_the_algorithm_that_is_nearest(small_study):
    own = small_study.errors.in_distribution
    assert _likeness(own) in cards_of(small_study)[0].sentence
    assert own.closest().lower() in _likeness(own).lower()


def test_cards_follow_the_numbers(small_study):
    # The same study with an error of 5 times E[y²] says so.
    own = small_study.errors.in_distribution
    closest = own.closest()
    far = replace(own.distances[closest], value=123.0)
    distances = own.distances.each(lambda _: far)
    families = {**small_study.errors.families, own.family.label: replace(own, distances=distances)}
    errors = replace(small_study.errors, families=families)
    changed = replace(small_study, results={**small_study.results, "errors": errors})
    assert "mean squared difference 123 " in cards_of(changed)[0].sentence
