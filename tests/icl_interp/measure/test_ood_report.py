"""Detection of shifts by the signature: planted and untrained models, rivals, and shifts that change nothing."""

import math

import numpy as np
import pytest
import torch

from icl_interp.measure.errors import prompt_errors
from icl_interp.measure.families import IN_DISTRIBUTION, draw_families
from icl_interp.measure.ood import N_BOOTSTRAP, log_norms_of, ood_report
from icl_interp.measure.signature import spectral_signature
from icl_interp.measure.sites import Conventions
from icl_interp.measure.verdicts import excess_of_replicates
from icl_interp.models.hook_names import hook_name
from icl_interp.tasks.linear_regression import LinearRegression
from probes.correlation import score_error_correlation
from probes.detection import detection_report

SHIFTS = ["x_scale=3", "label_noise=1"]


@pytest.fixture(scope="module")
def planted(signing_model, tiny_task):
    return ood_report(signing_model, tiny_task, shifts=["label_noise=1", "label_noise=2"], n_prompts=32)


@pytest.fixture(scope="module")
def untrained(tiny_model, tiny_task):
    return ood_report(tiny_model, tiny_task, shifts=SHIFTS, n_prompts=32)


def test_a_planted_signature_detects_the_shifts(planted):
    assert list(planted.shifts) == ["label_noise=1", "label_noise=2"]
    for detection in planted.shifts.values():
        assert detection.signature.auroc > 0.99
        assert detection.excess.verdict == "evidence"
        assert detection.norms.auroc < 0.8  # the plant is not in the norms
    assert planted.detection_excess().verdict == "evidence"


def test_an_untrained_model_detects_nothing_beyond_untrained_models(untrained):
    found = {untrained.detection_excess().verdict, untrained.correlation_excess().verdict}
    found |= {detection.excess.verdict for detection in untrained.shifts.values()}
    assert found <= {"negligible", "inconclusive"}


def test_the_area_below_a_roc_curve_is_the_auroc(untrained):
    for label, detection in untrained.shifts.items():
        curve = untrained.roc(label)
        area = float(torch.trapezoid(curve.true_positives, curve.false_positives))
        np.testing.assert_allclose(area, detection.signature.auroc, atol=1e-12)
    with pytest.raises(ValueError, match="roc needs a shift out of x_scale=3, label_noise=1, got 'x_scale=2'"):
        untrained.roc("x_scale=2")


def test_permuted_labels_leave_nothing_to_detect(planted):
    scores = torch.cat([planted.scores[IN_DISTRIBUTION], planted.scores["label_noise=1"]])
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))
    report = detection_report(scores[order[:32]], scores[order[32:]], n_bootstrap=200)
    # 32 against 32: a standard error of 0.07
    np.testing.assert_allclose(report.auroc, 0.5, atol=0.2)
    assert report.auroc_interval.low < 0.5 < report.auroc_interval.high


@pytest.mark.parametrize("label", ["x_scale=1", "label_noise=0"])
def test_a_shift_that_changes_nothing_is_at_chance(signing_model, tiny_task, label):
    report = ood_report(signing_model, tiny_task, shifts=[label], n_prompts=16, n_controls=0)
    # the same prompts twice: every pair is balanced by its mirror image
    np.testing.assert_allclose(report.shifts[label].signature.auroc, 0.5, rtol=1e-12)
    np.testing.assert_allclose(report.shifts[label].norms.auroc, 0.5, rtol=1e-12)
    # and so it stays in every resample, which takes prompt i from both or from neither
    np.testing.assert_allclose(report.shifts[label].signature.auroc_replicates, 0.5, rtol=1e-12)
    np.testing.assert_allclose(report.shifts[label].norms.auroc_replicates, 0.5, rtol=1e-12)


def test_norms_alone_see_a_change_of_scale(untrained):
    assert untrained.shifts["x_scale=3"].norms.auroc > 0.99
    assert untrained.mean_norm_auroc > 0.6


def test_scores_are_one_minus_overlap_and_errors_are_the_model_s(tiny_model, tiny_task, untrained):
    families = draw_families(tiny_task, shifts=SHIFTS, n_prompts=32)
    assert list(untrained.scores) == list(untrained.errors) == list(families.by_label)
    for label, family in families.by_label.items():
        with torch.no_grad():
            expected = prompt_errors(tiny_model(family.prompts.xs, family.prompts.ys), family)
        # batches of another size round the float32 forward pass differently
        torch.testing.assert_close(untrained.errors[label], expected, rtol=1e-5, atol=1e-7)
        assert (untrained.scores[label] >= 0).all()
        assert (untrained.scores[label] <= 1).all()


def test_each_shift_s_excess_is_over_its_own_controls(untrained):
    for label, detection in untrained.shifts.items():
        # Prompt i is prompt i of every family, before and after the shift.
        expected = detection_report(
            untrained.scores[IN_DISTRIBUTION], untrained.scores[label], paired=True, n_bootstrap=N_BOOTSTRAP
        )
        np.testing.assert_allclose(detection.signature.auroc, expected.auroc, rtol=1e-12)  # the same function
        torch.testing.assert_close(detection.signature.auroc_replicates, expected.auroc_replicates, rtol=0, atol=0)
        assert detection.excess.controls == tuple(report.auroc for report in detection.untrained)
        np.testing.assert_allclose(detection.excess.value, detection.signature.auroc, rtol=0)
        literal = excess_of_replicates(
            (detection.signature.auroc, detection.signature.auroc_replicates),
            [(report.auroc, report.auroc_replicates) for report in detection.untrained],
            n_verdicts=2,
            chance=0.5,
            scale="logit",
            n_prompts=32,
        )
        assert detection.excess == literal
        np.testing.assert_allclose(detection.excess.level, 0.05 / 2, rtol=1e-15)


def test_the_mean_excess_is_that_of_mean_aurocs(untrained):
    detections = list(untrained.shifts.values())
    excess = untrained.detection_excess(n_verdicts=5)
    np.testing.assert_allclose(excess.value, np.mean([d.signature.auroc for d in detections]), rtol=1e-12)
    controls = [np.mean([d.untrained[i].auroc for d in detections]) for i in range(10)]
    np.testing.assert_allclose(excess.controls, controls, rtol=1e-12)
    np.testing.assert_allclose([excess.chance, excess.level], [0.5, 0.01], rtol=1e-12)
    own = torch.stack([d.signature.auroc_replicates for d in detections]).mean(0)
    theirs = [torch.stack([d.untrained[i].auroc_replicates for d in detections]).mean(0) for i in range(10)]
    assert excess == excess_of_replicates(
        (excess.value, own),
        list(zip(excess.controls, theirs, strict=True)),
        n_verdicts=5,
        chance=0.5,
        scale="logit",
        n_prompts=32,
    )


def test_the_correlation_excess_is_over_untrained_scores_with_the_same_errors(untrained):
    excess = untrained.correlation_excess(n_verdicts=3)
    np.testing.assert_allclose(excess.value, untrained.correlation.within_mean.value, rtol=0)
    expected = [report.within_mean.value for report in untrained.untrained_correlations]
    np.testing.assert_allclose(excess.controls, expected, rtol=0)
    np.testing.assert_equal([excess.chance, excess.smallest], [0.0, 0.1])  # that of correlations
    assert excess.scale == "identity"


def test_the_correlation_resamples_prompts_and_not_rows(untrained, tiny_task):
    families = draw_families(tiny_task, shifts=SHIFTS, n_prompts=32)
    labels = [label for label in families.by_label for _ in range(32)]
    expected = score_error_correlation(
        torch.cat(list(untrained.scores.values())),
        torch.cat(list(untrained.errors.values())).clamp(min=1e-12).log(),
        groups=labels,
        clusters=[*range(32)] * 3,
        covariates=torch.cat([log_norms_of(family.prompts) for family in families.by_label.values()]),
        n_bootstrap=N_BOOTSTRAP,
    )
    assert untrained.correlation.within_mean == expected.within_mean
    assert untrained.correlation.pooled == expected.pooled


def test_the_mean_auroc_is_over_the_shifts(untrained):
    values = [detection.signature.auroc for detection in untrained.shifts.values()]
    np.testing.assert_allclose(untrained.mean_auroc, np.mean(values), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ({"layer": 0}, hook_name("resid_post", 0, n_layers=2)),
        ({"site": "final_norm"}, hook_name("final_norm", -1, n_layers=2)),
        ({"site": "resid_mid"}, hook_name("resid_mid", -1, n_layers=2)),
        ({"tokens": "x"}, "block 1"),
        ({"tokens": "y"}, "block 1"),
        ({"center": True}, "block 1"),
        ({"side": "left"}, "block 1"),
        ({"k": 1}, "block 1"),
        ({"n_points": 5}, "block 1"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_each_option_reaches_the_scores(tiny_model, tiny_task, options, where):
    common = {"shifts": ["x_scale=3"], "n_prompts": 8, "n_controls": 0}
    report = ood_report(tiny_model, tiny_task, **common, **options)
    assert report.site.label == where
    for name in ("tokens", "center", "side", "k"):
        assert getattr(report.conventions, name) == options.get(name, getattr(report.conventions, name))
    plain = ood_report(tiny_model, tiny_task, **common)
    assert not torch.equal(report.scores[IN_DISTRIBUTION], plain.scores[IN_DISTRIBUTION])


def test_without_controls_there_are_no_claims(tiny_model, tiny_task):
    report = ood_report(tiny_model, tiny_task, shifts=["x_scale=3"], n_prompts=8, n_controls=0)
    assert report.detection_excess().verdict == report.correlation_excess().verdict == "not applicable"
    assert report.shifts["x_scale=3"].untrained == ()
    assert math.isnan(report.to_frame().loc["x_scale=3", "auroc_untrained"])
    assert [trace.name for trace in report.plot().data] == ["norms alone", "signature of this model"]


def test_plot_sets_the_rivals_side_by_side(untrained):
    norms, control, own = untrained.plot().data
    assert [norms.name, control.name, own.name] == ["norms alone", "untrained networks", "signature of this model"]
    assert list(own.y) == SHIFTS
    np.testing.assert_allclose(own.x, [d.signature.auroc for d in untrained.shifts.values()], rtol=0)
    np.testing.assert_allclose(control.x, [d.excess.control for d in untrained.shifts.values()], rtol=0)
    assert untrained.plot().layout.title.text == untrained.describe()
    assert "plotly" in untrained._repr_html_()


def test_a_report_says_where_and_how_it_looked(tiny_model, tiny_task):
    report = ood_report(tiny_model, tiny_task, shifts=["x_mean"], n_prompts=4, n_controls=0, layer=0, tokens="x", k=1)
    hook = hook_name("resid_post", 0, n_layers=2)
    assert report.describe() == f"{hook}, {Conventions(tokens='x', k=1).describe()}"


def test_to_frame_has_a_row_a_shift(untrained):
    frame = untrained.to_frame()
    assert list(frame.index) == SHIFTS
    assert list(frame.columns) == [
        "auroc", "low", "high", "fpr95_ood_positive", "fpr95_id_positive", "auroc_norms", "auroc_untrained", "excess",
        "excess_low", "excess_high",
    ]  # fmt: skip
    np.testing.assert_allclose(frame["excess"], frame["auroc"] - frame["auroc_untrained"], rtol=1e-12)
    assert (frame["low"] <= frame["auroc"]).all()
    assert (frame["auroc"] <= frame["high"]).all()


def test_the_seed_decides_everything(tiny_model, tiny_task):
    common = {"shifts": ["x_scale=3"], "n_prompts": 8, "n_controls": 2}
    a, b, other = (ood_report(tiny_model, tiny_task, **common, seed=seed).to_frame() for seed in (1, 1, 2))
    assert a.equals(b)
    assert not a.equals(other)


def test_progress_counts_every_prompt_that_is_read(tiny_model, tiny_task):
    ticks: list[int] = []
    ood_report(tiny_model, tiny_task, shifts=["x_mean"], n_prompts=8, n_controls=1, on_batch=ticks.append)
    assert sum(ticks) == 8 * 3 * 2  # fit, in distribution, one shift; two networks


def test_the_fit_prompts_are_those_of_a_signature(tiny_model, tiny_task):
    report = ood_report(tiny_model, tiny_task, shifts=["x_mean"], n_prompts=16, n_controls=0)
    families = draw_families(tiny_task, shifts=["x_mean"], n_prompts=16)
    both = torch.cat([families.fit.xs, families.in_distribution.prompts.xs])
    labels = torch.cat([families.fit.ys, families.in_distribution.prompts.ys])
    joined = type(families.fit)(xs=both, ys=labels)
    result = spectral_signature(tiny_model, joined, n_controls=0)
    # spectral_signature fits its first half, which are the fit prompts here; batches round differently
    torch.testing.assert_close(report.scores[IN_DISTRIBUTION].float(), result.scores.ood_score, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (LinearRegression(n_dims=3, n_points=8), {"shifts": ["nope"]}, "unknown shift"),
        (LinearRegression(n_dims=3, n_points=8), {"layer": 5}, "in a model of 2 layers, got 5"),
        (LinearRegression(n_dims=3, n_points=8), {"n_prompts": 1}, "at least 2 a family"),
        (LinearRegression(n_dims=3, n_points=11), {}, "positions for 10 points, got 11"),
        (LinearRegression(n_dims=3, n_points=10), {"shifts": ["longer_prompts"]}, "for more than 10 points, got 10"),
        (LinearRegression(n_dims=2), {}, "reads inputs of 3 dimensions, got 2"),
    ],
    ids=[
        "unknown shift",
        "no such layer",
        "one prompt",
        "too many points",
        "no room for longer prompts",
        "another width",
    ],
)
def test_what_cannot_be_measured_is_refused(tiny_model, task, options, message):
    with pytest.raises(ValueError, match=message):
        ood_report(tiny_model, task, **{"shifts": ["x_mean"], "n_prompts": 4, "n_controls": 0, **options})
