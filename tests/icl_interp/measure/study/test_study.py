"""The whole study: what an untrained network may never claim, what a planted one must, and where numbers come from."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from icl_interp.measure.controls import _N_RESAMPLES
from icl_interp.measure.detectors.report import DETECTORS as DETECTORS_OF_STUDY
from icl_interp.measure.errors import ERRORS
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.ood import OOD
from icl_interp.measure.signature import SURVEY
from icl_interp.measure.study.measure import Findings, Measure, seconds_per_sequence
from icl_interp.measure.study.plan import (
    _MAX_PROMPTS,
    _MIN_PROMPTS,
    _default_controls,
    _default_prompts,
    _probe_count,
    plan_study,
)
from icl_interp.measure.study.run import run_study, study
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.softmax.transformer import HookedICLTransformer
from icl_interp.predictors import least_squares
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.shifts.select import select_shifts
from probes.bootstrap import bootstrap_counts
from probes.ood import fit_mahalanobis

DETECTORS = [
    "signature A (pairs)", "signature B (directions)", "Mahalanobis", "PCA residual", "null space of the read-out",
    "kNN", "kNN, normalised", "Gram ranges", "kernel density", "Gaussian mixture", "isolation forest",
    "|model - ridge|",
]  # fmt: skip
CLAIMS = [
    "in-context learning", "under shift", "spectra", "shared directions", "score and error", "detection",
    *(f"detector: {name}" for name in DETECTORS), "algorithm", "layers",
]  # fmt: skip


def test_nothing_is_found_in_an_untrained_network(small_study):
    verdicts = small_study.verdicts
    assert list(verdicts) == [*CLAIMS, *(f"probe: {target}" for target in small_study.probes.targets), "use", "erasure"]
    assert {excess.verdict for excess in verdicts.values()} == {"negligible", "inconclusive", "not applicable"}
    assert {len(excess.controls) for excess in verdicts.values()} == {5}


def test_what_presupposes_learning_is_not_judged_without_it(small_study, signing_study):
    for study_of in (small_study, signing_study):
        found = {name: excess for name, excess in study_of.verdicts.items() if excess.verdict == "not applicable"}
        erased = {"erasure"} & set(study_of.verdicts)  # which presupposes a probe
        assert set(found) == {"under shift", "algorithm"} | erased
        assert {excess.gate for name, excess in found.items() if name not in erased} == {"in-context learning"}


def test_claims_about_detectors_are_those_of_their_report(small_study):
    detectors = small_study.detectors.detectors
    assert all(small_study.verdicts[f"detector: {name}"] == detectors[name].excess for name in DETECTORS)
    assert small_study.verdicts["use"] == small_study.use.excess(small_study.n_verdicts)


def test_a_detector_of_your_own_is_one_more_claim(tiny_model, tiny_task):
    def fit(features):
        return fit_mahalanobis(features)

    options = {"n_prompts": 8, "n_points": 4, "shifts": ["x_scale=3"], "layers": [], "n_controls": 2}
    own = plan_study(tiny_model, tiny_task, detectors={"mine": fit}, **options)
    assert len(own.claims) == len(plan_study(tiny_model, tiny_task, **options).claims) + 1
    found = run_study(replace(own, measures=(DETECTORS_OF_STUDY,)))
    assert found.verdicts["detector: mine"] == found.detectors.detectors["mine"].excess
    assert found.verdicts["detector: mine"].value == found.verdicts["detector: Mahalanobis"].value


def test_a_detector_that_cannot_be_fitted_has_no_verdict(tiny_config, tiny_task):
    model = build_model(tiny_config, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    plan = plan_study(model, tiny_task, n_prompts=8, n_points=4, shifts=["x_scale=3"], layers=[], n_controls=2)
    found = run_study(replace(plan, measures=(DETECTORS_OF_STUDY,)))
    assert "Mahalanobis" not in found.detectors.detectors
    lost = found.verdicts["detector: Mahalanobis"]
    assert (lost.verdict, lost.reason) == ("not applicable", "the model gives no such number")
    assert lost.level == 0.05 / found.n_verdicts


def test_without_controls_no_verdict_applies(uncontrolled_study):
    verdicts = uncontrolled_study.verdicts
    assert {excess.verdict for excess in verdicts.values()} == {"not applicable"}
    assert {excess.controls for excess in verdicts.values()} == {()}


@pytest.mark.parametrize("claim", ["shared directions", "detection"])
def test_a_planted_signature_is_evidence(signing_study, claim):
    assert signing_study.verdicts[claim].verdict == "evidence"


@pytest.mark.parametrize("claim", ["in-context learning", "under shift"])
def test_a_planted_signature_is_no_evidence_of_anything_else(signing_study, claim):
    assert signing_study.verdicts[claim].verdict not in ("evidence", "opposite")


def test_all_claims_share_one_level(small_study):
    m = 8 + 12 + len(small_study.probes.targets) + 2
    assert small_study.n_verdicts == len(small_study.verdicts) == m
    levels = [excess.level for excess in small_study.verdicts.values()]
    np.testing.assert_allclose(levels, 0.05 / m, rtol=1e-15)


def test_each_claim_is_formed_on_its_scale(small_study):
    scales = {name.partition(":")[0]: excess.scale for name, excess in small_study.verdicts.items()}
    logit = ("in-context learning", "under shift", "detection", "detector")
    assert scales == {
        **dict.fromkeys(scales, "identity"), **dict.fromkeys(logit, "logit"), "spectra": "log",
    }  # fmt: skip
    smallest = {name: excess.smallest for name, excess in small_study.verdicts.items() if excess.smallest != 0.05}
    assert smallest == {"score and error": 0.1}


def test_verdicts_are_the_numbers_that_they_name(small_study):
    verdicts, site = small_study.verdicts, small_study.main_site.label
    assert site == "block 1"
    late = {label: e.curves["model"].late.value for label, e in small_study.errors.families.items()}
    # Of zero, which is the best guess without labels for weights around 0: d = 3, so points 3 and later are late.
    base = {
        label: float(family.prompts.ys[:, 3:].double().square().mean()) / family.label_second_moment
        for label, family in small_study.families.by_label.items()
    }
    # the same float64 means in another order
    skill = 1 - late[IN_DISTRIBUTION] / base[IN_DISTRIBUTION]
    np.testing.assert_allclose(verdicts["in-context learning"].value, skill, rtol=1e-9)
    skill = np.mean([max(0.0, 1 - late[f.label] / base[f.label]) for f in small_study.families.shifted])
    np.testing.assert_allclose(verdicts["under shift"].value, skill, rtol=1e-6, atol=1e-7)  # a mean in float32
    records = {label: record.sites[site] for label, record in small_study.survey.families.items()}
    first = {label: float(record.spectrum[0]) for label, record in records.items()}
    changes = [abs(np.log(first[f.label] / first[IN_DISTRIBUTION])) for f in small_study.families.shifted]
    np.testing.assert_allclose(verdicts["spectra"].value, np.mean(changes), rtol=1e-5)  # float32 spectra
    overlaps = {label: float(record.scores.overlap.double().mean()) for label, record in records.items()}
    contrast = overlaps[IN_DISTRIBUTION] - np.mean([overlaps[f.label] for f in small_study.families.shifted])
    np.testing.assert_allclose(verdicts["shared directions"].value, contrast, rtol=1e-9)
    assert verdicts["detection"] == small_study.ood.detection_excess(small_study.n_verdicts)
    assert verdicts["score and error"] == small_study.ood.correlation_excess(small_study.n_verdicts)


def spectral_replicates(study_of, survey) -> list[float]:
    """One resample of the prompts at a time, alike in every family."""
    site = study_of.main_site.label
    first = {label: r.sites[site].leading_value.double() for label, r in survey.families.items()}
    shifts = [label for label in first if label != IN_DISTRIBUTION]
    n = len(first[IN_DISTRIBUTION])
    replicates = []
    for counts in bootstrap_counts(n, seed=0, n_bootstrap=_N_RESAMPLES).double():
        means = {label: float((counts * values).sum() / n) for label, values in first.items()}
        replicates.append(np.mean([abs(np.log(means[label] / means[IN_DISTRIBUTION])) for label in shifts]))
    return replicates


def test_the_change_of_spectra_has_replicates_and_no_level_of_chance(small_study):
    excess = small_study.verdicts["spectra"]
    own, *others = (
        np.log(spectral_replicates(small_study, survey)) for survey in (small_study.survey, *small_study.untrained)
    )
    spread = np.var(own - np.mean(others, axis=0), ddof=1)
    assert spread > 1e-6
    np.testing.assert_allclose(excess.sampling_variance, spread, rtol=1e-6)  # sums in another order
    # Chance decides nothing: the verdict is that of the excess.
    assert (excess.chance, excess.value_low) == (-np.inf, np.inf)


class Answering(HookedICLTransformer):
    """An untrained network whose answers are replaced."""

    def __init__(self, config: ModelConfig, answer) -> None:
        super().__init__(config, seed=11)
        self.answer = answer

    def forward(self, xs: Tensor, ys: Tensor, *, points: list[int] | None = None) -> Tensor:
        super().forward(xs, ys)  # for the hooks
        answers = self.answer(xs, ys)
        return answers if points is None else answers[:, points]


GUESSES = {
    "the mean weights, no label read": (lambda xs, ys: 2 * xs.sum(-1), 0.0, "not shown"),  # noqa: ARG005
    "zero": (lambda xs, ys: 0 * ys, None, "not shown"),  # noqa: ARG005
    "least squares": (least_squares(), 1.0, "evidence"),
}


@pytest.mark.parametrize(("answer", "value", "verdict"), GUESSES.values(), ids=GUESSES)
def test_knowing_the_mean_weights_is_no_learning_in_context(tiny_config, answer, value, verdict):
    task = LinearRegression(n_dims=3, n_points=8, w_mean=2.0)
    model = Answering(tiny_config, answer).eval()
    plan = plan_study(model, task, n_prompts=16, shifts=["x_scale=3"], layers=[], n_controls=5)
    found = run_study(replace(plan, measures=(ERRORS,)))
    excess = found.verdicts["in-context learning"]
    errors = found.errors.in_distribution
    prompts = found.families.in_distribution.prompts
    ours, guessed = (
        (said.double() - prompts.ys.double())[:, 3:].square().mean()
        for said in (answer(prompts.xs, prompts.ys), 2 * prompts.xs.double().sum(-1))
    )
    removed = float(1 - ours / guessed)
    np.testing.assert_allclose(excess.value, max(0.0, removed), rtol=1e-6, atol=1e-6)  # float32 answers
    if value is None:
        assert removed < -3  # E[y^2] = 15, of which 12 are known beforehand
    else:
        np.testing.assert_allclose(excess.value, value, atol=1e-6)  # float32 answers
    assert (excess.verdict == "evidence") is (verdict == "evidence")
    # What an error in units of E[y^2] would have called learning.
    assert (errors.curves["model"].late.value < 0.5) is (value is not None)


def test_sites_run_from_read_in_to_final_norm(small_study, signing_study):
    assert [site.label for site in small_study.sites] == ["read-in", "block 0", "block 1", "final norm"]
    assert [site.label for site in signing_study.sites] == ["read-in", "block 1", "final norm"]
    assert small_study.ood.site == small_study.main_site
    assert small_study.ood_final.site.label == "final norm"
    assert small_study.ood_final.untrained_correlations == ()


def test_probes_get_twice_as_many_prompts(small_study):
    families = small_study.families
    assert len(families.fit) == 16
    assert small_study.probes.n_prompts == 32
    assert len(small_study.untrained) == 5


def test_another_seed_gives_other_numbers(uncontrolled_study, small_checkpoint):
    families = uncontrolled_study.families
    common = {"n_prompts": 16, "n_points": 10, "shifts": [f.label for f in families.shifted], "n_controls": 0}
    plan = plan_study(small_checkpoint.model, small_checkpoint.task, **common, seed=1)
    other = run_study(replace(plan, measures=(ERRORS, SURVEY, OOD)))
    assert other.families.fit.ys.shape == families.fit.ys.shape
    assert not torch.equal(other.families.fit.ys, families.fit.ys)
    values = [[s.verdicts[claim].value for claim in other.verdicts] for s in (uncontrolled_study, other)]
    assert len(values[0]) == 6
    assert not np.isclose(*values).all()


def test_the_plan_s_reads_are_the_sum_of_the_ticks(tiny_model, tiny_task):
    ticks: list[tuple[int, str]] = []
    plan = plan_study(tiny_model, tiny_task, n_prompts=8, n_points=4, shifts=["x_scale"], layers=[], n_controls=1)
    run_study(plan, tick=lambda *t: ticks.append(t))
    efforts = plan.efforts.values()
    assert {effort.prompts for effort in efforts} == {8}
    # 6 shifts, in distribution and to fit, and twice as many for the probes; then what each measure asks of 8 prompts.
    own = 2 * (plan.probe_reads - 8 * 2) + plan.afterwards
    assert plan.reads == 8 * (6 + 4) * 2 + sum(effort.reads for effort in efforts) + own
    assert sum(done for done, _ in ticks) == plan.reads
    titles = {measure.title for measure in plan.running}
    assert {note for _, note in ticks} == {"this model", "untrained network 1"} | titles


def test_the_smallest_study(tiny_model, tiny_task):
    smallest = study(tiny_model, tiny_task, n_prompts=8, n_points=2, shifts=["label_noise"], layers=[], n_controls=2)
    assert smallest.families.fit.n_points == 2
    assert not {"evidence", "opposite"} & {excess.verdict for excess in smallest.verdicts.values()}


def test_the_number_of_prompts_has_a_default(tiny_model, monkeypatch):
    monkeypatch.setattr("icl_interp.measure.study.plan.WORK", 1.0)  # what a minute allows is as few as possible
    task = LinearRegression(n_dims=3, n_points=4)
    plan = plan_study(tiny_model, task, shifts=["x_mean"], layers=[], n_controls=0)
    assert plan.n_prompts == len(plan.families.fit) == _default_prompts(tiny_model.cfg, 1, 4, 0)
    assert len(plan.probe_prompts) == _probe_count(plan.n_prompts)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_prompts": 7}, "at least 8 prompts of 2 points, got 7 prompts of 8 points"),
        ({"n_points": 1}, "at least 8 prompts of 2 points, got 8 prompts of 1 points"),
        ({"n_points": 11}, "positions for 10 points, got 11"),
        ({"shifts": ["nope"]}, "unknown shift 'nope'"),
        ({"shifts": ["w_scale=0"]}, "labels that are not all zero"),
        ({"layers": [2]}, "in a model of 2 layers, got 2"),
    ],
    ids=["prompts", "points", "positions", "shift", "labels of zero", "layer"],
)
def test_what_cannot_be_studied_is_refused(tiny_model, tiny_task, options, message):
    with pytest.raises(ValueError, match=message):
        study(tiny_model, tiny_task, **{"n_prompts": 8, "n_controls": 0, **options})


def config(d_model: int, n_layers: int = 12) -> ModelConfig:
    return ModelConfig(n_dims=20, n_points=101, n_layers=n_layers, n_heads=8, d_model=d_model)


def test_default_prompts_stay_in_their_bounds_and_fall_with_width():
    counts = [_default_prompts(config(width), 20, 41) for width in (8, 64, 128, 256, 512, 1024, 4096)]
    assert counts[0] == _MAX_PROMPTS
    assert counts[-1] == _MIN_PROMPTS
    assert all(a >= b for a, b in itertools.pairwise(counts))


def test_default_prompts_are_their_formula_between_the_bounds(monkeypatch):
    n_shifts = len(select_shifts(LinearRegression(n_dims=20)))
    prompt = 2 * 2 * 41 * 12 * (4 * 256**2 + 2 * 256 * 1024)  # multiply-adds count twice, points have two tokens
    passes = 21 * (n_shifts + 4)  # networks times families, probes included
    monkeypatch.setattr("icl_interp.measure.study.plan.WORK", 70.5 * prompt * passes)
    assert _MIN_PROMPTS < 70 < _MAX_PROMPTS
    assert _default_prompts(config(256), n_shifts, 41) == 70


def test_default_prompts_grow_as_controls_go():
    assert _default_prompts(config(512), 20, 41, 0) > _default_prompts(config(512), 20, 41, 5)
    assert _default_prompts(config(128), 1, 41) > _default_prompts(config(128), 20, 41)


def test_untrained_networks_are_as_many_as_cost_less_than_a_minute(monkeypatch, tiny_model):
    plan = plan_study(tiny_model, LinearRegression(n_dims=3, n_points=4), shifts=["x_scale"])
    assert (plan.n_controls, plan.n_surveyed) == (20, 40)
    assert _default_controls(config(512), 13, 41, None) == (10, 20)
    one = seconds_per_sequence(config(64), 41, 14) / 2  # by two processes, with 12 blocks, read-in and final norm
    # 50 prompts of 13 shifts, the family itself and fit prompts; and twice as many for probes.
    measured, surveyed = 20 * 50 * (13 + 4) * one, 40 * 50 * (13 + 2) * one
    for minute, expected in (
        (1.001 * surveyed, (20, 40)),
        (0.999 * surveyed, (20, 20)),
        (1.001 * measured, (20, 20)),
        (0.999 * measured, (10, 20)),
    ):
        monkeypatch.setattr("icl_interp.measure.study.plan._A_MINUTE", minute)
        assert _default_controls(config(64), 13, 41, 50) == expected
    query_only = ModelConfig(family="lsa", n_dims=3, n_points=8)
    monkeypatch.setattr(
        "icl_interp.measure.study.plan._A_MINUTE", 20 * 50 * (13 + 4) * seconds_per_sequence(query_only, 8, 3)
    )
    assert _default_controls(query_only, 13, 8, 50) == (10, 20)  # eight passes for eight points
    one_layer = ModelConfig(n_dims=3, n_points=8, n_layers=1, n_heads=1, d_model=4)
    assert _default_controls(one_layer, 13, 8, 50) == (20, 40)


def test_the_number_of_untrained_networks_can_be_chosen(tiny_model, tiny_task):
    plan = plan_study(tiny_model, tiny_task, n_prompts=8, n_points=4, shifts=["x_scale"], layers=[], n_controls=3)
    assert (plan.n_controls, plan.n_surveyed) == (3, 3)


def test_further_networks_are_surveyed_and_asked_nothing_else(tiny_model, tiny_task):
    options = {"n_prompts": 8, "n_points": 4, "shifts": ["x_scale=3"], "layers": []}
    found, ticks, plans = [], [], [plan_study(tiny_model, tiny_task, **options, n_controls=n) for n in (3, 2)]
    plans[1] = replace(plans[1], n_surveyed=3)
    for plan in plans:
        run_study(replace(plan, measures=(KEEP,)), tick=lambda done, note: ticks.append((done, note)))
        found.append(KEPT.pop())
    assert sum(done for done, _ in ticks) == sum(replace(plan, measures=(KEEP,)).reads for plan in plans)
    assert (8, "untrained network 3") in ticks
    more = [plan.reads - plan.afterwards - _of_measures(plan) for plan in plans]
    assert more[0] - more[1] == plans[0].probe_reads
    three, two = found
    assert [len(three.surveys), len(three.further), len(two.surveys), len(two.further)] == [4, 0, 3, 1]
    assert len(two.read["keep"]) == 3
    for one, other in zip(three.surveys, [*two.surveys, *two.further], strict=True):
        for label, family in one.families.items():
            torch.testing.assert_close(family.predictions, other.families[label].predictions, rtol=0, atol=0)
            for site, record in other.families[label].sites.items():
                overlap = family.sites[site].scores.overlap
                torch.testing.assert_close(record.scores.overlap, overlap, rtol=0, atol=0)
    # The atlas, which they are read for, leaves the read-in out.
    sites = [list(survey.families[IN_DISTRIBUTION].sites) for survey in (two.surveys[0], two.further[0])]
    assert sites == [["read-in", "block 1", "final norm"], ["block 1", "final norm"]]


KEPT: list[Findings] = []
KEEP = Measure("keep", "keep", run=KEPT.append, read=lambda _plan, features, _of_model: features)


def _of_measures(plan) -> int:
    return sum(effort.reads for effort in plan.efforts.values())


@pytest.mark.parametrize(("n_prompts", "count"), [(8, 16), (127, 254), (128, 256), (129, 256), (1000, 256)])
def test_probes_get_twice_as_many_prompts_up_to_what_fits(n_prompts, count):
    assert _probe_count(n_prompts) == count
