"""The claims of Hill et al.: all hold for ideal numbers, each fails where its numbers are spoilt; table and figures."""

import math

import pytest
from golden import page_text
from hill_cases import ONE, SEEDS, THREE, ideal_measures, with_all, with_families, with_readings

from icl_interp.experiments.experiment import Outcome, experiment
from icl_interp.experiments.hill2025.claims import _FRACTIONS
from icl_interp.experiments.hill2025.figures import COLUMNS, _count_holding, conventions
from icl_interp.experiments.hill2025.measures import NORMS, DetectorFound, Reader
from icl_interp.experiments.hill2025.paper import PAPER, UNKNOWNS
from icl_interp.experiments.hill2025.setting import KINDS, Run
from icl_interp.report import render
from icl_interp.report.chapters.claims import claims_page

EXPERIMENT = experiment("hill2025")

claims, panels = EXPERIMENT.judged, EXPERIMENT.drawn


@pytest.fixture(scope="module")
def ideal():
    return ideal_measures()


def verdicts(found, sizes=THREE):
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
    "shared-directions": lambda found: with_readings(found, contrast=(0.1, 0.2, 0.2)),
    "shared-directions-plain": lambda found: with_readings(found, contrast=(-0.1, -0.2, -0.2)),
    "score-and-loss": lambda found: with_readings(found, within=(0.1, 0.3, 0.2), pooled=(0.1, 0.3, 0.2)),
    "training-data": lambda found: with_all(found, same_everywhere),
    "detection": lambda found: with_readings(found, auroc=(0.5, 0.6, 0.6)),
    "singular-values": lambda found: with_families(found, shrinks),
}

FAILS_WITH = {
    # A model that never fails cannot fail where Bayes does not, either.
    "ood-failure": ("not-only-bayes",),
    # Without any contrast there is none beyond untrained networks.
    "shared-directions-plain": ("shared-directions",),
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
    (claim,) = [claim for claim in claims(norms, THREE) if claim.key == "score-and-loss"]
    failed = [check.label for check in claim.checks if check.verdict == "contradicts"]
    assert len(failed) == 8
    assert all("beyond that of norms alone" in label for label in failed)


def test_one_spoilt_law_makes_a_claim_mixed(ideal):
    spoilt = {**ideal, **{Run("scale", seed): SPOILT["detection"](ideal)[Run("scale", seed)] for seed in SEEDS}}
    assert verdicts(spoilt)["detection"] == "mixed"


def test_a_contrast_that_untrained_networks_show_as_well_is_no_evidence(ideal):
    found = with_readings(ideal, contrast=(0.5, 0.6, 0.6))
    said = verdicts(found)
    assert (said["shared-directions"], said["shared-directions-plain"]) == ("contradicted", "reproduced")
    (literal,) = [claim for claim in claims(found, THREE) if claim.key == "shared-directions-plain"]
    assert literal.statement.startswith("Taken literally, without a control: ")
    assert held(found)["contrast beyond untrained"][0] == 0


def test_rivals_of_the_signature_are_no_signatures_and_no_norms(ideal):
    def detectors(_, measured):
        aurocs = {"signature A (pairs)": 0.99, "signature C (overlap)": 0.96, "kNN": 0.97, "Mahalanobis": 0.5}
        planted = {
            name: DetectorFound(reads="hidden states", auroc=auroc, untrained=0.5) for name, auroc in aurocs.items()
        }
        norms = DetectorFound(reads="raw inputs", auroc=0.98, untrained=math.nan)
        return measured.model_copy(update={"detectors": {**planted, NORMS: norms}})

    (claim,) = [claim for claim in claims(with_all(ideal, detectors), THREE) if claim.key == "detection"]
    ranks = [check for check in claim.checks if "detectors out of" in check.label]
    assert len(ranks) == len(KINDS)
    assert all("detectors out of 2 other than" in check.label for check in ranks)
    assert {check.values for check in ranks} == {(1.0, 1.0, 1.0)}


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
    labels = {check.label: check for check in claims(found, THREE)[0].checks}
    share = labels["isotropic training: share of shifts that 10-step GD handles and the model does not"]
    assert share.values == (1.0, 1.0, 1.0)
    assert labels[f"isotropic training: shifts out of {n} that 10-step GD handles"].values == (n - 1.0,) * 3


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
    claim = claims({**ideal, **spoilt}, THREE)[place]
    assert math.isnan(spoilt[Run("scale", 0)].failure_rate(name))
    shares = [check for check in claim.checks if f"share of shifts that {said} handles and the model" in check.label]
    assert [check.note == "3 of 3 seeds gave no number" for check in shares] == [False, False, False, True]
    assert {check.verdict for check in shares[3:]} <= {"undecided", "no target"}
    (count,) = [c for c in claim.checks if f"that {said} handles" in c.label and "cube: shifts out of" in c.label]
    assert count.values == (0.0, 0.0, 0.0)
    panels({**ideal, **spoilt}, THREE)


def test_without_a_failure_none_is_beyond_bayes(ideal):
    claim = claims(with_families(ideal, never_fails), THREE)[1]
    beyond = [check for check in claim.checks if "share of the model's failures" in check.label]
    assert [check.note for check in beyond] == ["3 of 3 seeds gave no number"] * len(KINDS)
    assert [c.values for c in claim.checks if "on which the model fails" in c.label] == [(0.0, 0.0, 0.0)] * len(KINDS)


def test_numbers_that_are_none_leave_checks_undecided_and_end_nothing(ideal):
    lost = {field: (math.nan,) * 3 for field in ("contrast", "within", "pooled", "auroc")}

    def without(_, family):
        return {"late": {**family.late, "model": math.nan}, "within": math.nan, "growth": (math.nan,) * 3}

    spoilt = with_families(with_readings(ideal, **lost), without)
    found = claims(spoilt, THREE)
    undecided = {
        claim.key for claim in found if all(c.note.endswith("gave no number") for c in claim.checks if c.expects)
    }
    assert {"shared-directions", "score-and-loss", "detection", "singular-values"} <= undecided
    outcome = Outcome(PAPER, "laptop", SEEDS, (), (), found, panels(spoilt, THREE))
    assert "3 of 3 seeds gave no number" in render(claims_page(outcome, {}), plotlyjs="directory")


def test_laws_are_recognised_where_patterns_differ_and_not_elsewhere(ideal):
    assert Reader(ideal, THREE).recognised() == (1.0, 1.0, 1.0)
    assert max(Reader(with_all(ideal, same_everywhere), THREE).recognised()) <= 0.25
    with pytest.raises(ValueError, match=r"needs models of two seeds or more, got one"):
        Reader(ideal, ONE).recognised()


def held(found):
    return _count_holding(conventions(Reader(found, THREE)))


def rows_of(found):
    return [one.row for one in conventions(Reader(found, THREE))]


def test_the_table_has_every_convention_and_marks_what_holds(ideal):
    rows = rows_of(ideal)
    assert len(rows) == len(ideal[Run("isotropic", 0)].readings)
    assert {len(row) for row in rows} == {len(COLUMNS)}
    assert {row[COLUMNS.index("holds")] for row in rows} == {"yes"}
    assert all(cell.endswith("✓") for row in rows for cell in row[6:] if cell != "undefined")
    undefined = {(row[1], place % 4) for row in rows for place, cell in enumerate(row[6:]) if cell == "undefined"}
    assert undefined == {("last x, prompts as rows", place) for place in (1, 2, 3)}
    assert rows[0][:5] == ("read-in", "all", "uncentred", "right", "overlap")


def test_the_table_marks_nothing_that_fails_or_is_undefined(ideal):
    single = dict.fromkeys(("Spearman inside", "Spearman pooled", "AUROC"), (24, 24))
    assert held(ideal) == {"contrast beyond untrained": (36, 36), **single}
    low = held(with_readings(ideal, within=(0.5, 0.0, 0.0)))
    assert (low["Spearman inside"], low["Spearman pooled"]) == ((0, 36), (24, 24))
    spoilt = with_readings(ideal, within=(math.nan, 0.0, 0.0))
    assert held(spoilt)["Spearman inside"] == (0, 0)
    assert rows_of(spoilt)[0][7] == "undefined"


def test_conventions_are_sorted_and_counted(ideal):
    def contrasts(run, measured):
        # The first fails for one law, the second is undecided, the last is the best of what holds.
        values = {0: -0.5 if run.kind == "scale" else 0.9, 1: 0.11 + 0.1 * (run.seed - 1), 8: 0.8}
        readings = [
            reading.model_copy(update={"contrast": (values.get(n, 0.5) + 0.001 * run.seed, -0.1, 0.0)})
            for n, reading in enumerate(measured.readings)
        ]
        return measured.model_copy(update={"readings": tuple(readings)})

    found = with_all(ideal, contrasts)
    judged = conventions(Reader(found, THREE))
    assert [one.holds for one in judged] == ["yes"] * 7 + ["undecided", "no"]
    assert judged[0].beyond == pytest.approx(0.801)
    assert judged[-1].beyond == pytest.approx((3 * 0.901 - 0.499) / 4)
    panel = next(panel for panel in panels(found, THREE) if panel.id == "conventions")
    assert panel.sentence.startswith(
        "In 7 of 9 conventions the contrast is beyond untrained networks for every training law; in 1 it is below them "
        "for a law or more, and 1 are undecided. The best convention has 0.80 (final norm, tokens: last x, prompts as "
        "rows, uncentred, right vectors, overlap; yes), the worst 0.55 (read-in, tokens: all, uncentred, right "
        "vectors, overlap; no)"
    )
    assert panel.rows == tuple(one.row for one in judged)


def test_one_seed_decides_no_convention(ideal):
    one = {run: found for run, found in ideal.items() if run.seed == 0}
    assert {each.holds for each in conventions(Reader(one, ONE))} == {"undecided"}
    sentence = next(panel.sentence for panel in panels(one, ONE) if panel.id == "conventions")
    assert sentence.startswith("In none of 9 conventions the contrast is beyond")


def test_fractions_say_what_a_third_and_a_quarter_may_mean(ideal):
    (claim,) = [claim for claim in claims(ideal, THREE) if claim.key == "fractions"]
    said = " ".join(check.label for check in claim.checks)
    assert all(label in said for label in _FRACTIONS)
    assert {check.low for check in claim.checks} | {check.high for check in claim.checks} == {None}


def test_the_page_renders_with_every_panel(ideal):
    drawn = panels(ideal, THREE)
    outcome = Outcome(PAPER, "laptop", SEEDS, ("As set.",), UNKNOWNS, claims(ideal, THREE), drawn)
    html = render(claims_page(outcome, {"torch": "2"}), plotlyjs="directory")
    assert html.count('class="figure"') == len(drawn) == 4 + 1 + 2 + 5
    assert "Of 9 claims: 8 reproduced, 1 no target." in html
    failures = next(panel for panel in drawn if panel.id == "failures")
    assert "fail on 100% (isotropic training)" in failures.sentence
    assert len({row[0] for row in failures.rows}) == len(KINDS)


def test_the_words_of_the_page(ideal, golden):
    setting = EXPERIMENT.setting_of("laptop", THREE.seeds)
    outcome = Outcome(PAPER, "laptop", THREE.seeds, setting, UNKNOWNS, claims(ideal, THREE), panels(ideal, THREE))
    golden("paper-hill2025.txt", page_text(render(claims_page(outcome, {}), plotlyjs="directory")))
