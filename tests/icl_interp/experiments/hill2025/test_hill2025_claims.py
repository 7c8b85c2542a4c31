"""The claims of Hill et al.: all hold for ideal numbers, each fails where its numbers are spoilt; table and figures."""

import math

import numpy as np
import pytest
from golden import page_text
from hill_cases import CONVENTIONS, EIGHT, ONE, SEEDS, ideal_measures, with_all, with_families, with_records
from scipy import stats

from icl_interp.experiments.experiment import Outcome, experiment
from icl_interp.experiments.hill2025.claims import _FRACTIONS
from icl_interp.experiments.hill2025.figures import COLUMNS
from icl_interp.experiments.hill2025.measures import Reader
from icl_interp.experiments.hill2025.paper import PAPER, UNKNOWNS
from icl_interp.experiments.hill2025.setting import KINDS, Run
from icl_interp.report import render
from icl_interp.report.chapters.claims import claims_page

EXPERIMENT = experiment("hill2025")

claims, panels = EXPERIMENT.judged, EXPERIMENT.drawn


@pytest.fixture(scope="module")
def ideal():
    return ideal_measures()


def verdicts(found, sizes=EIGHT):
    return {claim.key: claim.verdict for claim in claims(found, sizes)}


def never_fails(_, family):
    return {"fails": {**family.fails, "model": False}, "late": {**family.late, "model": 0.5}}


def bayes_fails_too(label, family):
    """Both fail under every shift but those of inputs, which both handle."""
    easy = label == "in distribution" or label.startswith("x_")
    late = {**family.late, "Bayes": 0.0 if easy else 1.0}
    return {"fails": {**family.fails, "Bayes": not easy, "model": not easy}, "late": late}


def shrinks(_label, _family):
    return {"growth": (-1.0, 0.0, 0.0)}


def same_everywhere(run, measured):
    return measured.model_copy(update={"common": {"in distribution": 0.1 + 0.01 * ((run.seed * 7) % 3), "x": 0.5}})


SPOILT = {
    "ood-failure": lambda found: with_families(found, never_fails),
    "not-only-bayes": lambda found: with_families(found, bayes_fails_too),
    "shared-directions-plain": lambda found: with_records(found, "readings", contrast=(-0.1, -0.2, -0.2)),
    "shared-directions": lambda found: with_records(found, "cells", untrained=0.99, z=-9.0),
    "score-and-loss": lambda found: with_records(found, "readings", within=(0.1, 0.3, 0.2), pooled=(0.1, 0.3, 0.2)),
    "training-data": lambda found: with_all(found, same_everywhere),
    "detection": lambda found: with_records(found, "cells", norms=0.99),
    "singular-values": lambda found: with_families(found, shrinks),
}

FAILS_WITH = {
    # A model that never fails cannot fail where Bayes does not, either.
    "ood-failure": ("not-only-bayes",),
    # What untrained networks show more clearly is no detection beyond them.
    "shared-directions": ("detection",),
}


def test_ideal_numbers_reproduce_every_claim(ideal):
    found = verdicts(ideal)
    assert found.pop("fractions") == "no target"
    assert set(found) == set(SPOILT)
    assert set(found.values()) == {"reproduced"}


@pytest.mark.parametrize("key", SPOILT)
def test_a_claim_fails_on_spoilt_numbers_alone(ideal, key):
    found = verdicts(SPOILT[key](ideal))
    failed = {other for other, verdict in found.items() if verdict == "contradicted"}
    assert failed == {key, *FAILS_WITH.get(key, ())}


def test_a_correlation_that_norms_have_as_well_is_no_evidence(ideal):
    norms = with_all(ideal, lambda _, measured: measured.model_copy(update={"norms_within": 0.95}))
    assert verdicts(norms)["score-and-loss"] == "mixed"
    (claim,) = [claim for claim in claims(norms, EIGHT) if claim.key == "score-and-loss"]
    failed = [check.label for check in claim.checks if check.verdict == "contradicts"]
    assert len(failed) == len(KINDS)
    assert all("beyond that of norms alone" in label for label in failed)


def test_one_spoilt_law_makes_a_claim_mixed(ideal):
    spoilt = {**ideal, **{Run("scale", seed): SPOILT["detection"](ideal)[Run("scale", seed)] for seed in SEEDS}}
    assert verdicts(spoilt)["detection"] == "mixed"


def checks_of(found, key, start, sizes=EIGHT):
    (claim,) = [claim for claim in claims(found, sizes) if claim.key == key]
    return [check for check in claim.checks if check.key.startswith(start)]


def test_a_share_of_models_is_judged_by_its_exact_interval(ideal):
    def leaves(n):
        quiet = with_records(ideal, "cells", p_value=0.5)
        found = {run: (ideal if run.seed < n else quiet)[run] for run in ideal}
        return checks_of(found, "shared-directions", "leaves.")[0]

    for n, verdict in ((8, "agrees"), (7, "undecided"), (4, "undecided"), (0, "contradicts")):
        assert (sum(leaves(n).values), leaves(n).verdict) == (n, verdict)
    low, high = stats.binomtest(6, 8).proportion_ci()
    np.testing.assert_allclose([leaves(6).interval.low, leaves(6).interval.high], [low, high], rtol=1e-9)
    assert leaves(8).note == "all 8 seeds gave the same answer"
    unjudged = with_all(ideal, lambda _, measured: measured.model_copy(update={"judged": False}))
    check = checks_of(unjudged, "shared-directions", "leaves.")[0]
    assert (check.verdict, check.note) == ("undecided", "8 of 8 seeds gave no number")


def test_cells_that_are_chosen_on_one_half_of_the_seeds_are_judged_on_the_other(ideal):
    # What stands out in the first half alone is chosen, and not found in the second.
    lucky = with_all(
        ideal,
        lambda run, m: m.model_copy(update={"cells": tuple(c.model_copy(update=chance(run.seed, c)) for c in m.cells)}),
    )
    (check, *others) = checks_of(lucky, "shared-directions", "beyond.")
    assert check.label.startswith("isotropic training, final norm under x_scale=1/3: AUROC beyond untrained")
    assert len(check.values) == 4
    np.testing.assert_allclose(check.values, -0.1)
    assert {check.verdict for check in (check, *others)} == {"contradicts"}


def chance(seed, cell):
    if (cell.site, cell.shift) != ("final norm", "x_scale=1/3"):
        return {"z": 1.0}
    return {"z": 5.0, "auroc": 0.9} if seed < 4 else {"z": -5.0, "auroc": 0.45}


def test_sites_that_tell_the_error_are_chosen_likewise(ideal):
    def change(run, measured):
        within = {"block 0": 0.99 if run.seed < 4 else 0.1}
        readings = [r.model_copy(update={"within": (within.get(r.site, 0.8), 0.1, 0.0)}) for r in measured.readings]
        return measured.model_copy(update={"readings": tuple(readings)})

    (check, *_) = checks_of(with_all(ideal, change), "score-and-loss", "best-within.")
    assert check.label == "isotropic training, block 0: Spearman inside families"
    assert (check.values, check.verdict) == ((0.1,) * 4, "contradicts")


def test_detection_is_chosen_where_it_exceeds_its_controls(ideal):
    for check in checks_of(ideal, "detection", "beyond."):
        assert "block 0 under x_scale=3" in check.label
        np.testing.assert_allclose(check.values, [0.35 + 0.001 * seed for seed in range(4, 8)])
    drowned = with_records(ideal, "cells", norms=0.97)
    assert {check.verdict for check in checks_of(drowned, "detection", "beyond.")} == {"contradicts"}


def test_one_seed_chooses_nothing():
    one = ideal_measures((0,))
    assert checks_of(one, "shared-directions", "beyond.", ONE) == checks_of(one, "detection", "auroc.", ONE) == []
    assert len(checks_of(one, "shared-directions", "leaves.", ONE)) == len(KINDS)


def test_one_seed_is_not_judged():
    assert set(verdicts(ideal_measures((0,)), ONE).values()) == {"inconclusive", "no target"}


def test_failures_count_only_where_the_reference_works(ideal):
    measured = ideal[Run("weights", 0)]
    assert measured.failure_rate("least squares") == 1.0
    spoilt = with_families({Run("weights", 0): measured}, bayes_fails_too)[Run("weights", 0)]
    assert spoilt.failure_rate("Bayes") == 0.0
    n = len(measured.families) - 1
    easy = sum(label.startswith("x_") for label in measured.families)
    assert 1 < easy < n
    assert spoilt.failure_rate("least squares") == (n - easy) / n


def descends_badly(label, family):
    """10-step GD fails everywhere by the tolerance; only inputs scaled by 3 add to what it has in distribution."""
    error = 0.5 if label == "x_scale=3" else 0.15
    return {"fails": {**family.fails, "10-step GD": True}, "late": {**family.late, "10-step GD": error}}


def test_what_gradient_descent_handles_is_judged_by_its_own_error_in_distribution(ideal):
    found = with_families(ideal, descends_badly)
    n = len(ideal[Run("isotropic", 0)].families) - 1
    assert len(found[Run("isotropic", 0)].handled("10-step GD")) == n - 1
    labels = {check.label: check for check in claims(found, EIGHT)[0].checks}
    share = labels["isotropic training: share of shifts that 10-step GD handles and the model does not"]
    assert share.values == (1.0,) * 8
    assert labels[f"isotropic training: shifts out of {n} that 10-step GD handles"].values == (n - 1.0,) * 8


def handles_nothing(name):
    def change(label, family):
        late = 0.0 if label == "in distribution" else 1.0
        return {"fails": {**family.fails, name: True}, "late": {**family.late, name: late}}

    return change


@pytest.mark.parametrize(
    ("place", "name", "said"), [(0, "10-step GD", "10-step GD"), (0, "least squares", "least squares"),
                                (1, "Bayes", "its Bayes predictor")],
)  # fmt: skip
def test_a_share_of_no_shift_is_undecided(ideal, place, name, said):
    spoilt = with_families({run: ideal[run] for run in ideal if run.kind == "scale"}, handles_nothing(name))
    claim = claims({**ideal, **spoilt}, EIGHT)[place]
    assert math.isnan(spoilt[Run("scale", 0)].failure_rate(name))
    shares = [check for check in claim.checks if f"share of shifts that {said} handles and the model" in check.label]
    assert [check.note == "8 of 8 seeds gave no number" for check in shares] == [False, False, False, True, False]
    assert {check.verdict for check in shares[3:4]} <= {"undecided", "no target"}
    (count,) = [c for c in claim.checks if f"that {said} handles" in c.label and "cube: shifts out of" in c.label]
    assert count.values == (0.0,) * 8
    panels({**ideal, **spoilt}, EIGHT)


def test_without_a_failure_none_is_beyond_bayes(ideal):
    claim = claims(with_families(ideal, never_fails), EIGHT)[1]
    beyond = [check for check in claim.checks if "share of the model's failures" in check.label]
    assert [check.note for check in beyond] == ["8 of 8 seeds gave no number"] * len(KINDS)
    assert [c.values for c in claim.checks if "on which the model fails" in c.label] == [(0.0,) * 8] * len(KINDS)


def test_numbers_that_are_none_leave_checks_undecided_and_end_nothing(ideal):
    lost = {field: (math.nan,) * 3 for field in ("contrast", "within", "pooled", "auroc")}
    cells = dict.fromkeys(("auroc", "untrained", "norms", "z", "p_value"), math.nan)

    def without(_, family):
        return {"late": {**family.late, "model": math.nan}, "growth": (math.nan,) * 3}

    spoilt = with_families(with_records(with_records(ideal, "readings", **lost), "cells", **cells), without)
    spoilt = with_all(spoilt, lambda _, measured: measured.model_copy(update={"judged": False}))
    found = claims(spoilt, EIGHT)
    undecided = {
        claim.key for claim in found if all(c.note.endswith("gave no number") for c in claim.checks if c.expects)
    }
    assert {"shared-directions", "score-and-loss", "detection", "singular-values"} <= undecided
    outcome = Outcome(PAPER, "laptop", SEEDS, (), (), found, panels(spoilt, EIGHT))
    assert "8 of 8 seeds gave no number" in render(claims_page(outcome, {}), plotlyjs="directory")


def test_laws_are_recognised_where_patterns_differ_and_not_elsewhere(ideal):
    assert Reader(ideal, EIGHT).recognised() == (1.0,) * 8
    assert max(Reader(with_all(ideal, same_everywhere), EIGHT).recognised()) <= 0.25
    with pytest.raises(ValueError, match=r"needs models of two seeds or more, got one"):
        Reader(ideal, ONE).recognised()


def test_the_table_has_every_convention_with_its_strongest_cell(ideal):
    panel = next(panel for panel in panels(ideal, EIGHT) if panel.id == "conventions")
    assert panel.columns == COLUMNS
    assert [row[:4] for row in panel.rows] == [
        (tokens, "uncentred", "right", variant) for tokens, variant in CONVENTIONS
    ]  # fmt: skip
    assert panel.rows[0][4:8] == ("8 of 8", "block 0, x_scale=3 in 8: 0.90, untrained 0.50", "0.39 [0.39, 0.40]",
                                  "0.90 [0.90, 0.91]")  # fmt: skip
    assert panel.rows[2][7] == "undefined"  # single prompts have no score where prompts are rows
    assert panel.sentence.startswith("By every convention 100% of models do at some site")


def test_a_convention_by_which_no_model_differs_has_no_strongest_cell(ideal):
    quiet = with_records(ideal, "conventions", p_value=0.06)
    panel = next(panel for panel in panels(quiet, EIGHT) if panel.id == "conventions")
    assert {row[4:6] for row in panel.rows} == {("0 of 8", "none")}


def test_the_atlas_frames_what_most_models_show(ideal):
    panel = next(panel for panel in panels(ideal, EIGHT) if panel.id == "atlas-isotropic")
    assert panel.sentence.startswith(
        "Beside untrained networks, shifted prompts leave the signature more often in 8 of 8 models at block 0 under "
        "x_scale=3 (AUROC 0.95, untrained 0.55)"
    )
    (frame,) = panel.figure.layout.shapes
    shifts = list(panel.figure.data[0].y)
    assert (frame.x0, frame.y0) == (-0.5, shifts.index("x_scale=3") - 0.5)
    np.testing.assert_allclose(panel.figure.data[0].z[shifts.index("x_scale=3")], [0.4035, 0.0535])


def test_fractions_say_what_a_third_and_a_quarter_may_mean(ideal):
    (claim,) = [claim for claim in claims(ideal, EIGHT) if claim.key == "fractions"]
    said = " ".join(check.label for check in claim.checks)
    assert all(label in said for label in _FRACTIONS)
    assert {check.low for check in claim.checks} | {check.high for check in claim.checks} == {None}


def test_the_page_renders_with_every_panel(ideal):
    drawn = panels(ideal, EIGHT)
    outcome = Outcome(PAPER, "laptop", SEEDS, ("As set.",), UNKNOWNS, claims(ideal, EIGHT), drawn)
    html = render(claims_page(outcome, {"torch": "2"}), plotlyjs="directory")
    assert html.count('class="figure"') == len(drawn) == 5 + 1 + 2 + 5 + 3
    assert "Of 9 claims: 8 reproduced, 1 no target." in html
    failures = next(panel for panel in drawn if panel.id == "failures")
    assert "fail on 100% (isotropic training)" in failures.sentence
    assert len({row[0] for row in failures.rows}) == len(KINDS)


def test_the_words_of_the_page(ideal, golden):
    setting = EXPERIMENT.setting_of("laptop", EIGHT.seeds)
    outcome = Outcome(PAPER, "laptop", EIGHT.seeds, setting, UNKNOWNS, claims(ideal, EIGHT), panels(ideal, EIGHT))
    golden("paper-hill2025.txt", page_text(render(claims_page(outcome, {}), plotlyjs="directory")))
