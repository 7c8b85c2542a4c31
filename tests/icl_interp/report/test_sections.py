"""Sections three and four: what is in sight, what is folded, and sentences that follow the numbers."""

import importlib
import inspect
import re
from dataclasses import replace
from functools import reduce

import numpy as np

import icl_interp
from icl_interp.measure.detectors.watch import OVERLAP
from icl_interp.report.assemble import build_page
from icl_interp.report.chapters.detectors import _detector_sentence, _detector_table, details
from icl_interp.report.chapters.worth import _ELSEWHERE, HEAD_MEANS, MLPS, _all_claims
from icl_interp.report.contents import CONTENTS
from icl_interp.report.model import lay_out
from icl_interp.report.sentences import listing


def question(study_of, name):
    """One of the questions of the page, with all that stands under it."""
    ((section,), _) = lay_out([line for line in CONTENTS if line.question.id == name], study_of)
    return section


def with_p_values(report, lows):
    """The same report with all tests at p = 1, but for those of `lows`: (detector, shift) pairs at 0.001."""
    detectors = {
        name: replace(found, p_values={s: 0.001 if (name, s) in lows else 1.0 for s in found.shifts})
        for name, found in report.detectors.items()
    }
    return replace(report, detectors=detectors)


def test_a_section_has_its_map_in_sight_and_the_rest_folded(small_study):
    section = question(small_study, "familiar")
    assert [figure.id for figure in section.figures] == ["detectors", "score-error"]
    folded = ["detector-details", "ood", "signature-view", "signature", "similarity"]
    assert [part.id for part in section.parts] == ["atlas", *folded]
    assert [part.id for part in section.parts if not part.folded] == ["atlas"]
    assert section.n_plots_in_sight == 3


def test_every_claim_is_in_one_table(small_study):
    section = question(small_study, "worth")
    (table,) = section.tables
    assert [row[0] for row in table.rows] == list(_all_claims(small_study))
    said = [row[10] for row in table.rows]
    assert said == [excess.verdict for excess in small_study.verdicts.values()]
    assert set(said) == {"negligible", "inconclusive", "not applicable"}  # an untrained network
    for row, excess in zip(table.rows, _all_claims(small_study).values(), strict=True):
        numbers = [excess.value, excess.control, excess.excess, excess.low, excess.high]
        np.testing.assert_allclose(row[2:7], numbers, rtol=0)
        np.testing.assert_equal([row[7], row[11]], [excess.p_value, excess.detectable])
        assert row[8:10] == ((None, None) if row[0] == "spectra" else (excess.value_low, excess.chance))
    assert [row[1] for row in table.rows if row[0] == "layers"] == [small_study.meanings["layers"]]
    assert [part.id for part in section.parts] == ["controls", "assumptions", "unmeasured"]
    counts = "; ".join(f"{said.count(word)} {word}" for word in ("negligible", "inconclusive", "not applicable"))
    assert section.figures[0].sentence.endswith(f"Of {len(table.rows)} claims: {counts}.")


def test_the_signature_s_detection_is_one_claim(small_study):
    claims = _all_claims(small_study)
    same = small_study.detectors.detectors[OVERLAP].excess
    np.testing.assert_allclose(claims["detection"].value, same.value, rtol=1e-9)  # the same float64 means
    others = {f"detector: {name}" for name, found in small_study.detectors.detectors.items() if found.excess}
    assert {name for name in claims if name.startswith("detector: ")} == others - {f"detector: {OVERLAP}"}
    assert f"detector: {OVERLAP}" in others
    assert (same.level, same.verdict) == (claims["detection"].level, claims["detection"].verdict)


def unmeasured(study_of) -> dict[str, str]:
    return dict(question(study_of, "worth").parts[-1].tables[0].rows)


def test_what_a_report_leaves_out_names_a_call_that_exists(small_study):
    said = " ".join(unmeasured(small_study)[what] for what in _ELSEWHERE)
    calls = re.findall(r"(?:icl|probes|Prompts)(?:\.\w+)+", said)
    assert len(calls) >= len(_ELSEWHERE)
    for call in calls:
        home, *names = call.split(".")
        first = "icl_interp" if home in ("icl", "Prompts") else f"probes.{names.pop(0)}"
        names = ["Prompts", *names] if home == "Prompts" else names
        assert reduce(getattr, names, importlib.import_module(first)) is not None
    assert "method" in inspect.signature(icl_interp.layer_readouts).parameters
    assert "means" in inspect.signature(icl_interp.interventions.ablate_heads).parameters
    assert "hook" in inspect.signature(icl_interp.signature_use).parameters


def test_what_a_network_has_not_is_not_left_out(small_study):
    assert {MLPS, HEAD_MEANS} <= set(unmeasured(small_study))
    bare = replace(
        small_study,
        config=small_study.config.model_copy(update={"attn_only": True}),
        results={**small_study.results, "heads": None},
        absent={"heads": "It has none."},
    )
    assert not {MLPS, HEAD_MEANS} & set(unmeasured(bare))


def test_the_page_keeps_to_its_budget_of_figures(small_study, small_checkpoint):
    assert build_page(small_study, small_checkpoint, {}).n_plots_in_sight <= 12


def test_sections_three_and_four_keep_to_their_share(small_study):
    assert question(small_study, "familiar").n_plots_in_sight + question(small_study, "worth").n_plots_in_sight <= 4


SEEN = {
    "nothing": set(),
    "hidden states alone": {("Mahalanobis", "label_noise=1")},
    "raw inputs too": {("Mahalanobis", "x_scale=3"), ("‖X‖", "x_scale=3")},
    "predictions": {("|model - ridge|", "label_noise=1")},
}


def test_the_sentence_follows_the_p_values(small_study, golden):
    said = {name: _detector_sentence(with_p_values(small_study.detectors, lows)) for name, lows in SEEN.items()}
    golden("sentences-detectors.txt", "".join(f"{name}: {sentence}\n" for name, sentence in said.items()))


def test_a_planted_signature_is_beyond_untrained_networks(signing_study):
    verdicts = {name: d.excess.verdict for name, d in signing_study.detectors.reading("hidden states").items()}
    assert verdicts[OVERLAP] == "evidence"
    better = [name for name, verdict in verdicts.items() if verdict == "evidence"]
    said = _detector_sentence(signing_study.detectors)
    assert f" {len(better)} of {len(verdicts)} scores" in said
    assert f" ({listing(better)}) " in said


def test_without_controls_nothing_is_claimed(uncontrolled_study):
    assert "no untrained networks" in _detector_sentence(uncontrolled_study.detectors)
    assert [figure.id for figure in details(uncontrolled_study).section.figures] == ["roc"]
    section = question(uncontrolled_study, "worth")
    assert section.figures[0].sentence.startswith("No claim has an interval")
    assert "every excess over control" in [row[0] for row in section.parts[-1].tables[0].rows]


def test_the_table_holds_the_numbers_of_the_report(small_study):
    table = _detector_table(small_study.detectors)
    for row, found in zip(table.rows, small_study.detectors.detectors.values(), strict=True):
        assert row[2] == found.mean.value
        assert row[-2:] == tuple(detection.auroc for detection in found.shifts.values())
