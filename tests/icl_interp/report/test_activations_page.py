"""The report on given activations: which chapters it has, what it leaves out and why, and that it renders."""

import json
from functools import cache

import numpy as np
import pytest
from golden import page_text

import icl_interp as icl
from icl_interp.measure.study.table import MEASURES
from icl_interp.report import render
from icl_interp.report.assemble import build_activations_page
from icl_interp.report.contents import CONTENTS, CONTENTS_OF_ACTIVATIONS
from icl_interp.report.numbers import activations_json


def normal(n: int, pos: int = 6, *, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return scale * np.random.default_rng(seed).standard_normal((n, pos, 5)) + 4 * np.eye(5)[0]


def families(seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    return {
        "in distribution": {site: normal(40, seed=seed + i) for i, site in enumerate("ab")},
        "louder": {site: normal(20, scale=3.0, seed=seed + 2 + i) for i, site in enumerate("ab")},
    }


SAID = {"in distribution": np.ones((40, 3)), "louder": np.ones((20, 3))}
NOISE = {label: values + np.random.default_rng(0).standard_normal(values.shape) for label, values in SAID.items()}

STUDIES = {
    "everything": lambda: icl.activation_study(
        families(), controls=[families(seed) for seed in (10, 20, 30)], predictions=SAID, targets=NOISE,
        inputs={label: normal(len(values), 3)[..., :2] for label, values in SAID.items()},
    ),
    "errors": lambda: icl.activation_study(families(), predictions=SAID, targets=NOISE),
    "controls": lambda: icl.activation_study(families(), controls=[families(seed) for seed in (10, 20)]),
    "one control": lambda: icl.activation_study(families(), controls=[families(10)]),
    "families": lambda: icl.activation_study({label: sites["a"] for label, sites in families().items()}),
    "one family": lambda: icl.activation_study({"in distribution": normal(40)}),
}  # fmt: skip
CHAPTERS = {
    "everything": {
        "atlas",
        "detector-details",
        "ood",
        "signature",
        "similarity",
        "controls",
        "assumptions",
        "unmeasured",
    },
    "errors": {"atlas", "detector-details", "ood", "signature", "similarity", "assumptions", "unmeasured"},
    "controls": {
        "atlas",
        "detector-details",
        "ood",
        "signature",
        "similarity",
        "controls",
        "assumptions",
        "unmeasured",
    },
    "one control": {"atlas", "detector-details", "ood", "signature", "similarity", "assumptions", "unmeasured"},
    "families": {"atlas", "detector-details", "ood", "signature", "assumptions", "unmeasured"},
    "one family": {"ood", "signature", "assumptions", "unmeasured"},
}


@cache
def made(name: str) -> icl.ActivationStudy:
    return STUDIES[name]()


@pytest.fixture(params=STUDIES)
def name(request) -> str:
    return request.param


@pytest.fixture
def page(name):
    return build_activations_page(made(name), "mine.npz", "0" * 64, {"torch": "2"})


def test_chapters_that_apply_are_there_and_no_others(name, page):
    assert {part.id for section in page.sections for part in section.parts} == CHAPTERS[name]
    assert [section.id for section in page.sections] == ["familiar", "worth"]


def test_the_page_renders_whatever_was_given(page):
    text = render(page, plotlyjs="directory")
    assert "What the activations in mine.npz show" in text
    assert "--shifts" not in text
    assert "switched off" not in text


def unmeasured(page) -> dict[str, str]:
    parts = {part.id: part for section in page.sections for part in section.parts}
    return {str(row[0]): str(row[1]) for row in parts["unmeasured"].tables[0].rows}


def test_what_was_left_out_has_a_reason_each(name, page):
    reasons, study = unmeasured(page), made(name)
    titles = {measure.name: measure.title for measure in MEASURES}
    assert set(titles) - {"survey", "ood", "atlas", "detectors", "similarity"} <= set(study.absent)
    for measure, reason in study.absent.items():
        assert reasons[titles[measure]] == reason
        assert reason.endswith(".")
    assert ("verdicts" in reasons) == (len(study.untrained) < 2 and name != "one family")
    assert ("score and error" in reasons) == (study.ood.correlation is None)
    assert "activations alone have no read-out" in reasons.get("detector: null space of the read-out", "") or (
        name == "one family"
    )


def test_cards_answer_what_can_be_asked(name, page):
    titles = [card.title for card in page.verdicts]
    assert ("Does a prompt's overlap predict its error?" in titles) == (name in ("everything", "errors"))
    assert "Does the signature detect shifts?" in titles
    assert {card.tone for card in page.verdicts} & {"evidence", "opposite", "none", "inconclusive"} or name not in (
        "everything",
        "controls",
    )
    if name in ("families", "errors", "one control", "one family"):
        assert {card.tone for card in page.verdicts} == {"unknown"}


def test_without_controls_a_warning_says_how_to_give_them(name, page):
    said = "pass controls=[{...}, {...}]"
    assert (said in " ".join(page.warnings)) == (name in ("families", "errors", "one control"))
    if name == "one control":
        assert "one untrained network was given" in page.warnings[0]


def test_the_json_is_whole_and_plain(name):
    found = json.loads(activations_json(made(name), "mine.npz", "0" * 64, {}))
    assert found["study"]["absent"] == made(name).absent
    assert set(found["verdicts"]) == set(made(name).verdicts)
    assert found["study"]["families"]["by_label"]["in distribution"]["prompts"]["n_prompts"] == 20
    assert not set(found["study"]) & set(made(name).absent)


def test_both_tables_of_contents_share_their_chapters():
    ours = {line.chapter for line in CONTENTS_OF_ACTIVATIONS}
    assert len(ours & {line.chapter for line in CONTENTS}) >= 6


ODD = {
    "zeros": {"a": np.zeros((40, 3, 4)), "b": np.zeros((20, 3, 4))},
    "zeros against noise": {"a": np.zeros((40, 3, 4)), "b": normal(20)[:, :3, :4]},
    "constants": {"a": np.ones((40, 3, 4)), "b": np.ones((20, 3, 4))},
    "width 1": {"a": normal(40)[..., :1], "b": normal(20)[..., :1]},
    "one position": {"a": normal(40, 1), "b": normal(20, 1)},
    "one number": {"a": normal(40, 1)[..., :1], "b": normal(20, 1)[..., :1]},
    "the fewest samples": {"a": normal(16), "b": normal(8)},
    "scales far apart": {"a": 1e30 * normal(40), "b": 1e-30 * normal(20)},
    "sites of other widths": {
        "a": {"s": normal(40), "t": normal(40, 9)[..., :2]}, "b": {"s": normal(20), "t": normal(20, 9)[..., :2]},
    },
}  # fmt: skip


@pytest.mark.parametrize("given", ODD.values(), ids=ODD)
def test_odd_activations_give_reports(given):
    found = icl.activation_study(given, controls=[given] * 2)
    assert "What was not measured" in render(build_activations_page(found, "odd.npz", "0", {}), plotlyjs="directory")
    json.loads(activations_json(found, "odd.npz", "0", {}))


def test_the_words_of_a_report_on_activations(golden):
    page = build_activations_page(made("everything"), "mine.npz", "0" * 64, {})
    golden("report-activations.txt", page_text(render(page, plotlyjs="directory")))
