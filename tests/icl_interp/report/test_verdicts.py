"""The cards of untrained, uncontrolled and planted models."""

import re
from dataclasses import replace

import pytest

from icl_interp.measure.verdicts import Excess
from icl_interp.report.chapters import probes
from icl_interp.report.chapters.errors import _likeness
from icl_interp.report.contents import CONTENTS
from icl_interp.report.model import lay_out
from icl_interp.report.sentences import listing, number
from probes.bootstrap import Estimate

TITLES = [
    "Does it learn in context?",
    "Does it learn under shifts too?",
    "Does it act like a known algorithm?",
    "Does the answer arise along its layers?",
    "Does the model use its signature?",
    "Does the model use what is decodable?",
    "Are quantities of known algorithms decodable?",
    "Do shifted prompts leave the signature?",
    "Do spectra react to shifts?",
    "Are leading directions shared?",
    "Does a prompt's overlap predict its error?",
    "Does the signature detect shifts?",
]
OPENINGS = {
    "evidence": "Yes",
    "mixed": ("Yes", "Partly"),
    "opposite": "The opposite. ",
    "none": "No, nothing that matters. ",
    "inconclusive": "Not shown. ",
    "unknown": ("Not asked, since ", "Not asked: ", "No verdict, since "),
}


def cards_of(study_of):
    return lay_out(CONTENTS, study_of)[1]


@pytest.mark.parametrize("name", ["small_study", "uncontrolled_study", "signing_study"])
def test_cards_answer_first_and_by_their_verdict(request, name):
    cards = cards_of(request.getfixturevalue(name))
    assert [card.title for card in cards] == TITLES
    for card in cards:
        assert card.sentence.startswith(OPENINGS[card.tone])
        assert (card.detail is None) is (card.tone == "unknown")
        assert ("smallest detectable effect" in card.sentence) is (card.tone == "inconclusive")
        assert "not a number" not in card.sentence


def test_nothing_is_found_in_an_untrained_network(small_study):
    tones = {card.title: card.tone for card in cards_of(small_study)}
    assert set(tones.values()) <= {"none", "inconclusive", "unknown"}
    # What presupposes learning is not asked, nor is what presupposes that something is decodable.
    unknown = {title for title, tone in tones.items() if tone == "unknown"}
    few = "Do shifted prompts leave the signature?"  # five untrained networks cannot judge it
    assert unknown == {TITLES[1], TITLES[2], TITLES[5], few}
    for card in cards_of(small_study)[1:3]:
        assert card.sentence.startswith("Not asked, since in-context learning is not shown.")
    erased = cards_of(small_study)[5].sentence
    assert re.match(r"Not asked: at block \d no linear probe is shown to read ", erased)
    assert "so there is nothing to erase. Erasing" in erased
    detail = r"Excess over control \S+ \[\S+, \S+\], p (=|<) \S+ \(.*\)\."
    assert all(re.fullmatch(detail, card.detail) for card in cards_of(small_study) if card.detail)


def test_without_controls_nothing_is_claimed(uncontrolled_study):
    for card in cards_of(uncontrolled_study):
        assert card.sentence.startswith("No verdict, since there are no untrained networks to compare with.")
        assert card.tone == "unknown"


@pytest.mark.parametrize("title", ["Are leading directions shared?", "Does the signature detect shifts?"])
def test_a_planted_signature_is_found(signing_study, title):
    (card,) = (card for card in cards_of(signing_study) if card.title == title)
    assert card.tone == "evidence"
    assert "in untrained networks" in card.sentence


def test_a_planted_signature_changes_no_other_card(signing_study):
    by_title = {card.title: card for card in cards_of(signing_study)}
    for title in ("Does it learn in context?", "Are quantities of known algorithms decodable?"):
        assert by_title[title].tone in ("none", "inconclusive")


def with_verdicts(study_of, **changed):
    return replace(study_of, verdicts={**study_of.verdicts, **changed})


@pytest.mark.parametrize(("low", "tone"), [(0.9, "none"), (0.01, "evidence")], ids=["falls short", "nowhere"])
def test_what_falls_short_under_some_shift_survives_partly(small_study, low, tone):
    found = Excess(0.9, (0.1, 0.1), 0.7, 0.9, 0.05, 0.001)
    families = {
        label: replace(errors, gap_to_best=errors.gap_to_best.each(lambda _: Estimate(low + 1, low, low + 2)))
        for label, errors in small_study.errors.families.items()
    }
    results = {**small_study.results, "errors": replace(small_study.errors, families=families)}
    card = cards_of(replace(with_verdicts(small_study, **{"under shift": found}), results=results))[1]
    assert card.tone == tone
    nowhere = (
        "No. It reduces the error (90 % on average; untrained networks 10 %) but falls short of the best reference "
        "under all 2 shifts (x_scale=3 and label_noise=1). "
    )
    assert card.sentence.startswith("Yes. " if tone == "evidence" else nowhere)
    assert "Partly" not in card.sentence


@pytest.mark.parametrize("as_near", [True, False])
def test_a_second_reference_within_the_interval_of_the_nearest_is_as_near(small_study, as_near):
    own = small_study.errors.in_distribution
    first, second, *_ = own.nearest()
    near = {first: Estimate(0.17, 0.15, 0.19), second: Estimate(0.183 if as_near else 0.2, 0.16, 2.0)}
    distances = own.distances.each(lambda name: near.get(name, Estimate(9.0, 9.0, 9.0)))
    families = {**small_study.errors.families, own.family.label: replace(own, distances=distances)}
    results = {**small_study.results, "errors": replace(small_study.errors, families=families)}
    excess = Excess(0.9, (0.1, 0.1), 0.7, 0.9, 0.05, chance=0.0, value_low=0.8)
    card = cards_of(replace(with_verdicts(small_study, algorithm=excess), results=results))[2]
    partly = f"Partly. {first} is nearest (17 % apart), but {second} is as near (18.3 %). Of all"
    assert card.sentence.startswith(partly if as_near else "Yes. Of all")


def test_without_a_positive_r2_no_reference_explains_the_predictions(small_study):
    lost = Excess(-0.01, (-0.1, 0.1), -0.2, 0.2, 0.05, detectable=0.5)
    card = cards_of(with_verdicts(small_study, algorithm=lost))[2]
    assert "No reference explains its predictions (best R² -0.01)" in card.sentence


@pytest.mark.parametrize(
    ("verdicts", "tone", "without"),
    [
        ("none none none none none none none", "inconclusive", []),
        ("evidence none none none none none none", "mixed", [1, 2, 3, 4, 5, 6]),
        ("none none evidence evidence evidence evidence evidence", "mixed", [0, 1]),
        ("evidence none evidence evidence evidence evidence evidence", "mixed", [1]),
        ("evidence evidence evidence evidence evidence evidence evidence", "evidence", []),
        ("unknown unknown unknown unknown unknown unknown unknown", "unknown", []),
    ],
)
def test_read_outs_of_some_algorithms_only_are_mixed(small_study, verdicts, tone, without):
    made = {
        "evidence": Excess(0.9, (0.1, 0.1), 0.7, 0.9, 0.05, chance=0.0, value_low=0.8),
        "none": Excess(0.2, (0.1, 0.1), -0.1, 0.3, 0.05, detectable=0.5, chance=0.0, value_low=0.1),
        "unknown": Excess(0.2, (), float("nan"), float("nan"), 0.05, chance=0.0),
    }
    excesses = {name: made["none"] for name in small_study.verdicts}
    targets = [f"probe: {target}" for target in small_study.probes.targets]
    excesses |= {target: made[verdict] for target, verdict in zip(targets, verdicts.split(), strict=True)}
    changed = replace(small_study, verdicts=excesses)
    (card,) = probes.chapter(changed).cards
    assert card.tone == tone
    missing = listing([small_study.probes.targets[i] for i in without])
    assert card.sentence.endswith(f" Not shown for {missing}.") is bool(without)
    assert ("Not shown for" in card.sentence) is bool(without)


def test_targets_beside_a_readable_one_are_sorted_by_their_verdict(small_study):
    made = [
        Excess(0.9, (0.1, 0.1), 0.7, 0.9, 0.05),
        Excess(-0.9, (0.1, 0.1), -1.2, -0.8, 0.05),
        Excess(0.1, (0.1, 0.1), -0.01, 0.01, 0.05),
        *[Excess(0.1, (0.1, 0.1), -0.2, 0.2, 0.05)] * 4,
    ]
    targets = small_study.probes.targets
    excesses = {f"probe: {target}": excess for target, excess in zip(targets, made, strict=True)}
    (card,) = probes.chapter(with_verdicts(small_study, **excesses)).cards
    assert card.tone == "mixed"
    said = (
        f" Not shown for {listing(targets[3:])}. Nothing that matters for {targets[2]}. The opposite for {targets[1]}."
    )
    assert card.sentence.endswith(said)


def test_the_detection_card_names_its_rival(signing_study, small_study):
    planted, untrained = cards_of(signing_study)[-1], cards_of(small_study)[-1]
    assert " 0 of 2 shifts" in planted.sentence
    better = sum(d.norms.auroc >= d.signature.auroc for d in small_study.ood.shifts.values())
    assert better > 0
    reach = number(small_study.ood.mean_norm_auroc)
    assert f" {reach}, " in untrained.sentence
    assert f" {better} of 2 shifts" in untrained.sentence


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
    assert "(they differ by 12,300 % of E[y²])" in cards_of(changed)[0].sentence
