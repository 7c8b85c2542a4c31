"""The chapter and the card of the atlas: what they count, and what they leave out."""

import json
import re
from dataclasses import replace

import atlas_cases
import pytest
from golden import masked

from icl_interp.measure.subspace_use import SignatureUse
from icl_interp.report.chapters import atlas as chapters
from icl_interp.report.chapters import ood, signature, use
from icl_interp.report.numbers import study_json
from probes.bootstrap import Estimate

LEAVES, STAYS = {("block 1", "label_noise=1"): 3.0}, {("block 0", "w_scale=1/2"): -3.0}
EVERYWHERE = {(site.label, shift): 4.0 for site in atlas_cases.SITES for shift in atlas_cases.SHIFTS}


def with_atlas(study_of, atlas):
    return replace(study_of, results={**study_of.results, "atlas": atlas})


def card_of(study_of, planted, **options):
    (card,) = chapters.chapter(with_atlas(study_of, atlas_cases.atlas(planted, **options))).cards
    return card


def counts(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"(?<![\w=/.])\d+(?:\.\d+)?(?![\w/]|\.\d)", text)]


@pytest.mark.parametrize(("planted", "tone"), [(LEAVES, "evidence"), (STAYS, "opposite"), ({}, "inconclusive")])
def test_the_tone_is_the_verdict(small_study, planted, tone):
    card = card_of(small_study, planted, again=planted)
    assert card.tone == tone
    assert ("with 80 % power" in card.sentence) is (tone == "inconclusive")
    assert "20 untrained" in card.sentence if tone == "inconclusive" else "1 of 1." in card.sentence


def test_few_cells_are_named_and_the_other_shifts_counted(small_study):
    card = card_of(small_study, {**LEAVES, **STAYS})
    for name in ("block 1", "label_noise=1", "block 0", "w_scale=1/2", "1 other shift"):
        assert name in card.sentence
    assert "x_scale=3" not in card.sentence
    assert card.points == (
        "Cells that detect shifted prompts better than norms alone: 2 of 2.",
        "Shifts that keep the energy of inputs and labels and show something: 1 of 1.",
    )


def test_many_cells_are_counted_and_the_strongest_named(small_study):
    atlas = atlas_cases.atlas(EVERYWHERE)
    (card,) = chapters.chapter(with_atlas(small_study, atlas)).cards
    leaving = [cell for cell in atlas.found if cell.verdict == "evidence"]
    assert len(leaving) > 4
    assert counts(card.sentence)[0] == len(leaving)
    assert f"{leaving[0].site} under {leaving[0].shift}" in card.sentence
    assert len(card.sentence) < 300


def test_its_sentences(small_study, golden):
    both = {**LEAVES, **STAYS}
    made = {
        "one": atlas_cases.atlas(LEAVES, again=LEAVES),
        "one, not confirmed": atlas_cases.atlas(STAYS, again={}),
        "both": atlas_cases.atlas(both, again=both),
        "many": atlas_cases.atlas(EVERYWHERE, again=EVERYWHERE),
        "nothing": atlas_cases.atlas({}),
        "few controls": atlas_cases.atlas(LEAVES, 3),
        "no controls": atlas_cases.atlas(LEAVES, 0),
    }
    lines = []
    for name, atlas in made.items():
        written = chapters.chapter(with_atlas(small_study, atlas))
        (card,), (view,) = written.cards, written.section.figures
        lines += [f"{name}: {text}" for text in (card.sentence, *card.points, card.detail or "", view.sentence) if text]
    golden("sentences-atlas.txt", "\n".join(map(masked, lines)) + "\n")


def test_tables_hold_what_was_found(small_study):
    atlas = atlas_cases.atlas({**LEAVES, **STAYS}, again={**LEAVES, **STAYS})
    section = chapters.chapter(with_atlas(small_study, atlas)).section
    found, kept, readings = section.tables
    assert [row[:2] for row in found.rows] == [(cell.site, cell.shift) for cell in atlas.found]
    assert [row[6] for row in found.rows] == ["more" if cell.z > 0 else "less" for cell in atlas.found]
    assert [row[-1] for row in found.rows] == ["yes", "yes"]
    assert [row[0] for row in kept.rows] == ["label_noise=1"]
    assert kept.rows[0][1] == "block 1"
    assert [row[0] for row in readings.rows] == [site.label for site in atlas_cases.SITES]
    (view,) = section.figures
    assert len(view.data.rows) == len(atlas.cells) == 9
    assert len(view.figure.layout.shapes) == 2


def test_means_over_shifts_answer_only_where_the_atlas_is_not_judged(small_study):
    judged = with_atlas(small_study, atlas_cases.atlas({}))
    titles = [card.title for write in (signature.chapter, ood.chapter) for card in write(judged).cards]
    assert titles == ["Does a prompt's overlap predict its error?"]
    assert small_study.atlas.reason is not None
    assert len(signature.chapter(small_study).cards) == 2


def test_use_names_the_sites_that_the_atlas_gave(small_study):
    ((last, found),) = small_study.use.by_site.items()

    def asked(by_site, named):
        given = SignatureUse(by_site, named)
        verdicts = {**small_study.verdicts, "use": given.excess(small_study.n_verdicts)}
        return use.chapter(replace(small_study, results={**small_study.results, "use": given}, verdicts=verdicts))

    assert "after the last block " in use.chapter(small_study).section.lead
    one = asked({"block 0": found}, ("block 0",))
    assert "after block 0 " in one.section.lead
    assert "The atlas names this site" in one.section.lead
    assert one.cards[0].points == ()
    # Where it does much at one of three sites, that one answers, and every site has a line of its own.
    harm = replace(found.effect, change=Estimate(9.0, 8.9, 9.1), changes=0 * found.effect.changes + 9)
    used = replace(found, effect=harm)
    three = {"block 0": found, "final norm": used, last: found}
    several = asked(three, (*three, "block 7", "block 8"))
    assert "after block 0, the final norm and the last block " in several.section.lead
    assert "names 5 sites" in several.section.lead
    judged = SignatureUse(three).excesses(small_study.n_verdicts)
    points = several.cards[0].points  # in the order of the network
    assert [point.partition(":")[0] for point in points] == ["Block 0", "Block 1", "Final norm"]
    assert all(
        f" {use._SAID[judged[site].verdict]}." in point
        for site, point in zip(("block 0", last, "final norm"), points, strict=True)
    )
    trivial = "(only what the read-out reads can matter there)."
    assert [point.endswith(trivial) for point in points] == [False, True, True]
    assert "changes by 9 [8.9, 9.1] of E[y²]" in points[2]
    assert judged["final norm"].verdict == "evidence"
    assert "signature directions at the final norm" in several.cards[0].sentence
    view, frame = several.section.figures[0], SignatureUse(three).to_frame()
    assert len(view.data.rows) == len(frame) == 3 * len(found.to_frame())
    assert list(dict.fromkeys(view.figure.data[2].y)) == [f"{site}: this subspace" for site in three]


def test_the_json_holds_the_verdicts(small_study, small_checkpoint):
    atlas = atlas_cases.atlas(LEAVES, again=LEAVES)
    found = json.loads(study_json(with_atlas(small_study, atlas), small_checkpoint, {}))["study"]["atlas"]
    assert (found["verdict"], found["n_controls"], len(found["scores"])) == ("evidence", 20, 21)
    (cell,) = (cell for cell in found["cells"] if cell["verdict"] == "evidence")
    assert (cell["site"], cell["shift"], cell["confirmed"]) == ("block 1", "label_noise=1", True)
    assert cell["p_value"] == found["p_value"] == pytest.approx(1 / 21)
    assert len(found["readings"][0]["log_labels"]["span"]) == 2
