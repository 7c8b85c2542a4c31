"""The claims of Carroll et al.: all hold for planted numbers as the paper has them, and each fails on spoilt ones."""

import math
from dataclasses import replace

import pytest
from carroll_cases import INFINITE, THREE, ideal_measures, spoil, spoil_all
from golden import page_text

from icl_interp.experiments.carroll2025.measures import Plane
from icl_interp.experiments.experiment import Outcome, experiment
from icl_interp.report import render
from icl_interp.report.chapters.claims import claims_page

EXPERIMENT = experiment("carroll2025")

claims = EXPERIMENT.judged


@pytest.fixture(scope="module")
def ideal():
    return ideal_measures()


def verdicts(found):
    return {claim.key: claim.verdict for claim in claims(found, THREE)}


def test_the_papers_numbers_reproduce_every_claim(ideal):
    found = verdicts(ideal)
    assert set(found.values()) == {"reproduced"}
    assert len(found) == 10


def ood(*losses):
    return {"ood": tuple(float(loss) for loss in losses)}


def ends(ratio):
    return {"to_dmmse": (*(2.0 for _ in range(6)), ratio)}


def same_llc(_):
    return {"llc": 40.0}


def backwards(found):
    for m in THREE.pools:
        found = spoil(found, m, lambda run: {"ood": run.ood[::-1], "steps": run.steps})
    return found


def walks(found):
    planes = {
        seed: Plane((0.2, 0.1), (0.6, 0.2), dict.fromkeys(p.landmarks, (0.0, 0.0))) for seed, p in planes_of(found)
    }
    return spoil_all(replace(found, planes=planes), lambda run: {"place": tuple((0.0, x) for x in run.ood)})


def planes_of(found):
    return found.planes.items()


def grows(found):
    """The gap to dMMSE grows over all pools, and only networks of M = 64 are better than ridge."""
    networks = spoil(spoil(found, 64, lambda _: {"own": (4.0, 0.5)}), 4, lambda _: {"own": (4.0, 1.7)})
    return replace(networks, pool_gaps=(1.5, 1.6, 1.4))


SPOILT = {
    "low-diversity": lambda m: spoil(m, 4, lambda _: {**ood(4.1, 3, 2, 1.6, 2, 3, 4), **ends(3.0)}),
    "transient-ridge": lambda m: spoil(
        m, 16, lambda _: {**ood(4.1, 4, 3.95, 3.94, 3.93, 3.9, 3.91), "to_dmmse": (0.5,) * 6 + (3.0,)}
    ),
    "stays-at-ridge": lambda m: spoil(
        spoil(m, 64, lambda _: {**ood(4.1, 2, 2, 1.7, 2, 2, 2.5), **ends(0.2)}),
        INFINITE, lambda _: ood(4.1, 2, 2, 1.7, 1.7, 1.7, 2.0),
    ),
    "t-crit": backwards,
    "threshold": lambda m: spoil_all(m, lambda _: {"to_dmmse": (3.0,) * 7}),
    "final-losses": lambda m: spoil(
        spoil(m, 4, lambda run: {"own": tuple(1.5 * x for x in run.own)}),
        INFINITE, lambda run: {"own": tuple(1.5 * x for x in run.own)},
    ),
    "trajectories": walks,
    "complexity": lambda m: spoil(spoil(m, 4, lambda _: {"llc": 45.0}), 16, lambda _: {"llc": 30.0}),
    "loss-gap": grows,
    "crossover": lambda m: spoil(spoil_all(m, same_llc), 4, lambda _: {"llc": 60.0}),
}  # fmt: skip


@pytest.mark.parametrize("key", SPOILT)
def test_a_claim_whose_numbers_are_spoilt_is_contradicted(ideal, key):
    assert verdicts(SPOILT[key](ideal))[key] == "contradicted"


CHECKS = {
    ("low-diversity", "share of the way"): lambda m: spoil(m, 4, lambda _: ood(4.1, 3, 1.6, 4, 4, 4, 1.6)),
    ("low-diversity", "rise of the loss"): lambda m: spoil(m, 4, lambda _: ood(4.1, 3.9, 3.9, 4, 4, 4, 6.0)),
    ("transient-ridge", "rise minus noise"): lambda m: spoil(m, INFINITE, lambda _: ood(4, 1, 4, 3, 3, 2, 1)),
    ("transient-ridge", "t_crit: distance"): lambda m: spoil(m, 16, lambda _: {"to_ridge": (9.0,) * 6 + (1.0,)}),
    ("stays-at-ridge", "learned"): lambda m: spoil(m, INFINITE, lambda _: ood(4.1, 2, 2, 1.7, 1.7, 1.7, 2.0)),
    ("threshold", "rank"): lambda m: spoil(spoil_all(m, lambda _: ends(0.5)), 64, lambda _: ends(5.0)),
    ("trajectories", "walks"): lambda m: replace(
        m, planes={seed: replace(plane, null=(0.6, 0.25)) for seed, plane in m.planes.items()}
    ),
    ("trajectories", "octaves"): lambda m: spoil(m, 16, lambda run: {"place": run.place[1:] + run.place[:1]}),
    ("complexity", "M = 16 minus M = ∞"): lambda m: spoil(m, INFINITE, lambda _: {"llc": 55.0}),
    ("loss-gap", "over pools"): lambda m: replace(m, pool_gaps=(1.5, 1.6, 1.4)),
    ("loss-gap", "the network's, M = 64 / M = 4"): lambda m: spoil(m, 64, lambda _: {"own": (4.0, 0.5)}),
    ("crossover", "rank"): lambda m: spoil(m, 64, lambda _: {"llc": 39.0}),
}


@pytest.mark.parametrize(("key", "label"), CHECKS)
def test_one_spoilt_number_is_told_by_its_check(ideal, key, label):
    found = {claim.key: claim for claim in claims(CHECKS[key, label](ideal), THREE)}[key]
    first = next(check for check in found.checks if label in check.label)
    assert first.verdict == "contradicts"
    assert found.verdict == "mixed"


def test_one_seed_is_not_judged():
    sizes = replace(THREE, seeds=(0,))
    assert {claim.verdict for claim in claims(ideal_measures(sizes), sizes)} == {"inconclusive"}


def test_a_sampler_that_diverged_leaves_its_checks_undecided(ideal):
    runs = {run: replace(one, llc=math.nan) if run == (16, 1) else one for run, one in ideal.runs.items()}
    found = {claim.key: claim for claim in claims(replace(ideal, runs=runs), THREE)}
    assert [found[key].verdict for key in ("complexity", "crossover")] == ["inconclusive", "inconclusive"]
    checks = {check.key: check for check in found["complexity"].checks}
    assert {key for key, check in checks.items() if check.note.endswith("gave no number")} == {
        "rises",
        "middle",
        "large",
    }
    assert checks["rises"].note == "1 of 3 seeds gave no number"
    assert checks["low"].verdict == "agrees"
    assert {check.key for check in found["crossover"].checks if check.note.endswith("gave no number")} == {
        "middle",
        "order",
    }


def test_numbers_that_are_none_leave_checks_undecided_and_end_nothing(ideal):
    lost = (math.nan,) * 7
    spoilt = spoil(ideal, 16, lambda _: {"ood": lost, "own": lost, "to_dmmse": lost, "llc": math.nan})
    found = claims(spoilt, THREE)
    assert "undecided" in {check.verdict for claim in found for check in claim.checks}
    assert next(claim for claim in found if claim.key == "threshold").checks[0].note == "3 of 3 seeds gave no number"
    outcome = Outcome(EXPERIMENT.paper, "laptop", THREE.seeds, (), (), found, EXPERIMENT.drawn(spoilt, THREE))
    assert "3 of 3 seeds gave no number" in render(claims_page(outcome, {}), plotlyjs="directory")


def test_flagged_estimates_are_counted(ideal):
    flagged = spoil(ideal, 8, lambda _: {"llc_flags": ("rhat",)})
    claim = next(claim for claim in claims(flagged, THREE) if claim.key == "complexity")
    assert claim.checks[-1].values == (1.0, 1.0, 1.0)
    assert "out of 6" in claim.checks[-1].label


def test_gaps_are_ratios_and_undefined_where_the_network_is_no_better_than_ridge(ideal):
    claim = next(claim for claim in claims(ideal, THREE) if claim.key == "loss-gap")
    assert claim.checks[0].values == (0.7, 0.6, 0.5)
    assert claim.checks[1].values == pytest.approx([(1.6 - 1.02 * 1.6) / (1.6 - 1.02 * 1.05)] * 3)
    bad = next(c for c in claims(spoil(ideal, 4, lambda _: {"own": (4.0, 1.7)}), THREE) if c.key == "loss-gap")
    assert [check.verdict for check in bad.checks[:3]] == ["agrees", "undecided", "contradicts"]
    assert bad.checks[1].note == "3 of 3 seeds gave no number"
    assert bad.verdict == "mixed"


def test_reasons_say_how_coarse_a_rank_correlation_is(ideal):
    reasons = [check.reason for claim in claims(ideal, THREE) for check in claim.checks if "swap" in check.reason]
    assert [reason.rpartition("; ")[2] for reason in reasons] == [
        "with 5 points 0.8 allows 2 swaps of neighbours",
        "with 5 points 0.8 allows 2 swaps of neighbours",
        "with 6 points 0.8 allows 3 swaps of neighbours",
        "with 5 points 0.8 allows 2 swaps of neighbours",
    ]


def test_the_words_of_the_page(ideal, golden):
    setting = EXPERIMENT.setting_of("laptop", THREE.seeds)
    outcome = Outcome(
        EXPERIMENT.paper,
        "laptop",
        THREE.seeds,
        setting,
        EXPERIMENT.unknowns,
        claims(ideal, THREE),
        EXPERIMENT.drawn(ideal, THREE),
    )
    golden("paper-carroll2025.txt", page_text(render(claims_page(outcome, {}), plotlyjs="directory")))
