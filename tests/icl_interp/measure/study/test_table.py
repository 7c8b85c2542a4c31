"""One more line in the table of measures: claims, progress, JSON, meanings and what was left out follow from it."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from icl_interp.measure.study import table
from icl_interp.measure.study.measure import Absent, Claim, Measure
from icl_interp.measure.study.plan import plan_study
from icl_interp.measure.study.run import run_study
from icl_interp.measure.verdicts import excess_over_controls
from icl_interp.predictors.references import References
from icl_interp.report.chapters import worth
from icl_interp.report.numbers import study_json


def judge(result: dict[str, float], _, n_claims: int):
    return excess_over_controls(result["seven"], [0.0, 0.1], n_verdicts=n_claims, chance=0.0)


def claim(_) -> list[Claim]:
    return [Claim("it is seven", "always seven", judge)]


SEVENS = Measure("sevens", "counting of sevens", lambda _: {"seven": 7.0}, cost=lambda *_: 11, claims=claim)
WINGS = Measure(
    "wings", "flight", lambda _: pytest.fail("run"), group="mechanism", without=lambda _: "It has no wings.",
    cost=lambda *_: 1000, claims=lambda _: [Claim("it flies", "height", lambda *_: pytest.fail("judged"))],
)  # fmt: skip
SEEN_LATE = Measure("colour", "its colour", lambda _: Absent("It is grey."), cost=lambda *_: 1)
OPTIONS = {"n_prompts": 8, "n_points": 3, "shifts": ["x_scale=3"], "layers": [], "n_controls": 2}


@pytest.fixture(scope="module")
def plans(tiny_model, tiny_task):
    usual = plan_study(tiny_model, tiny_task, **OPTIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "MEASURES", (*table.MEASURES, SEVENS, WINGS, SEEN_LATE))
        return usual, plan_study(tiny_model, tiny_task, **OPTIONS)


@pytest.fixture(scope="module")
def longer(plans):
    ticks: list[tuple[int, str]] = []
    return run_study(plans[1], lambda *tick: ticks.append(tick)), ticks


def test_a_line_more_is_in_the_plan_before_anything_runs(plans):
    usual, more = plans
    assert len(more.claims) == len(usual.claims) + 1
    assert more.reads == usual.reads + 8 * 11 + 8 * 1
    assert more.absent == {**usual.absent, "wings": "It has no wings."}


def test_a_line_more_is_told_in_progress(plans, longer):
    assert (8 * 11, "counting of sevens") in longer[1]
    assert sum(done for done, _ in longer[1]) == plans[1].reads


def test_a_line_more_shares_the_level_of_all_claims(plans, longer):
    study, _ = longer
    assert study.n_verdicts == len(study.verdicts) == len(plans[0].claims) + 1
    assert study.verdicts["it is seven"].value == 7.0
    levels = [excess.level for excess in study.verdicts.values()]
    np.testing.assert_allclose(levels, 0.05 / study.n_verdicts, rtol=1e-15)


def test_a_line_more_is_an_attribute(longer):
    study, _ = longer
    assert (study.sevens, study.wings, study.colour) == ({"seven": 7.0}, None, None)
    assert {"sevens", "errors"} <= set(dir(study))
    assert copy.copy(study).sevens is study.sevens
    with pytest.raises(AttributeError, match=r"a Study has errors, .*got 'eights'"):
        _ = study.eights


def test_a_line_more_is_in_the_json(plans, longer, small_checkpoint):
    contents = json.loads(study_json(longer[0], small_checkpoint, {}))
    assert contents["study"]["sevens"] == {"seven": 7.0}
    assert contents["study"]["absent"] == {"colour": "It is grey."}
    assert contents["study"]["mechanism"]["wings"] is None
    assert contents["study"]["mechanism"]["absent"] == {**plans[0].absent, "wings": "It has no wings."}
    assert math.isclose(contents["verdicts"]["it is seven"]["value"], 7)


def test_a_line_more_is_in_the_report(longer):
    rows = {row[0]: row for row in worth.chapter(longer[0]).section.tables[0].rows}
    assert rows["it is seven"][1:3] == ("always seven", 7.0)
    assert "it flies" not in rows
    left_out = dict(worth.unmeasured(longer[0]).section.tables[0].rows)
    assert (left_out["flight"], left_out["its colour"]) == ("It has no wings.", "It is grey.")


def test_references_are_asked_once_for_each_family(plans):
    asked: list[str] = []

    class Counted:
        def __init__(self, name, predictor):
            self.name, self.predictor = name, predictor

        def __call__(self, xs, ys, *, points=None):
            if xs.shape == given.xs.shape and bool((xs == given.xs).all()):
                asked.append(self.name)
            return self.predictor(xs, ys, points=points)

    usual = plans[0]
    given = usual.families.in_distribution.prompts
    counted = References.of({name: Counted(name, f) for name, f in usual.references.items()})
    run_study(replace(usual, references=counted))
    assert asked == list(counted)
