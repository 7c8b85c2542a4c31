"""Every detector on planted and untrained models, beside raw inputs; options, families without a residual width."""

import math

import numpy as np
import pytest
import torch

from icl_interp.activations import collect
from icl_interp.measure.detectors.report import _NOT_APPLICABLE, detector_report
from icl_interp.measure.detectors.watch import HIDDEN_DETECTORS, _check_pooling, pooled
from icl_interp.measure.errors import prompt_errors
from icl_interp.measure.families import draw_families
from icl_interp.models.build import build_model
from icl_interp.models.config import ModelConfig
from icl_interp.models.hook_names import hook_name
from icl_interp.predictors import least_squares
from probes.detection import detection_report
from probes.ood import fit_gram, fit_mahalanobis, fit_norm, fit_null_space, fit_signature_detector, prediction_gap
from probes.risk_coverage import risk_coverage

SHIFTS = ["x_scale=3", "label_noise=1"]
RAW = ("‖X‖", "‖y‖", "raw statistics XᵀX, Xᵀy")


@pytest.fixture(scope="module")
def untrained(tiny_model, tiny_task):
    return detector_report(tiny_model, tiny_task, shifts=SHIFTS, n_prompts=32, n_controls=3)


@pytest.fixture(scope="module")
def planted(signing_model, tiny_task):
    return detector_report(signing_model, tiny_task, shifts=["label_noise=1"], n_prompts=32)


def test_every_detector_and_every_baseline_has_a_row(untrained):
    assert list(untrained.detectors) == [*HIDDEN_DETECTORS, "|model - ridge|", *RAW]
    assert [found.reads for found in untrained.detectors.values()][-4:] == ["predictions", *["raw inputs"] * 3]
    assert untrained.shifts == SHIFTS
    assert untrained.n_tests == 16 * 2
    assert untrained.left_out == _NOT_APPLICABLE


def test_a_planted_signature_is_seen_in_hidden_states_alone(planted):
    assert planted.seen_by("hidden states") == ["label_noise=1"]
    assert planted.seen_by("raw inputs") == []
    assert planted.beats_raw("hidden states", "label_noise=1")
    for name in ("signature A (pairs)", "signature B (directions)", "signature C (overlap)"):
        assert planted.detectors[name].shifts["label_noise=1"].auroc > 0.99
        assert planted.detectors[name].excess.verdict == "evidence"


def test_an_untrained_network_shows_nothing_beyond_untrained_ones(untrained):
    verdicts = {found.excess.verdict for found in untrained.detectors.values() if found.excess is not None}
    assert verdicts <= {"negligible", "inconclusive"}


def test_raw_inputs_see_a_change_of_scale_without_any_network(untrained):
    assert "x_scale=3" in untrained.seen_by("raw inputs")
    assert not untrained.beats_raw("hidden states", "x_scale=3")
    assert all(untrained.detectors[name].excess is None for name in RAW)
    assert untrained.detectors["‖X‖"].shifts["x_scale=3"].auroc == 1.0


def test_roc_curves_belong_to_the_scores_of_the_report(planted, untrained):
    perfect = planted.roc("signature C (overlap)", "label_noise=1")
    np.testing.assert_allclose(perfect.false_positives, [0, 0, 1])  # the planted signature tells all apart
    np.testing.assert_allclose(perfect.true_positives, [0, 1, 1])
    for name, found in untrained.detectors.items():
        for label, report in found.shifts.items():
            curve = untrained.roc(name, label)
            area = float(torch.trapezoid(curve.true_positives, curve.false_positives))
            np.testing.assert_allclose(area, report.auroc, atol=1e-12)
    with pytest.raises(ValueError, match=r"roc needs a detector out of signature A .* got 'x' and 'label_noise=1'"):
        untrained.roc("x", "label_noise=1")


def test_roc_curves_of_one_shift_are_drawn_and_the_others_can_be_chosen(untrained):
    leaders = untrained.leaders()
    assert "signature C (overlap)" in leaders
    assert {untrained.detectors[name].reads for name in leaders} == {"hidden states", "predictions", "raw inputs"}
    figure = untrained.plot_roc()
    assert [trace.name for trace in figure.data if trace.visible] == leaders
    assert [trace.meta["shift"] for trace in figure.data] == [label for label in SHIFTS for _ in leaders]
    assert {trace.meta["shift"] for trace in figure.data if trace.visible} == {SHIFTS[0]}
    (alone,) = untrained.plot_roc(detectors=["‖X‖"]).data[:1]
    np.testing.assert_allclose([alone.x, alone.y], [[0, 0, 1], [0, 1, 1]])  # norms see a change of scale


def test_a_shift_that_changes_nothing_is_at_chance_for_all(signing_model, tiny_task):
    report = detector_report(signing_model, tiny_task, shifts=["x_scale=1"], n_prompts=16, n_controls=0)
    for found in report.detectors.values():
        np.testing.assert_allclose(found.shifts["x_scale=1"].auroc, 0.5, rtol=1e-12)  # the same prompts twice
        assert found.p_values["x_scale=1"] == 1.0


def test_scores_are_those_of_the_pure_detectors(tiny_model, tiny_task, untrained):
    families = draw_families(tiny_task, shifts=SHIFTS, n_prompts=32)
    hook = hook_name("resid_post", -1, n_layers=2)
    own, shifted = families.in_distribution.prompts, families.by_label["x_scale=3"].prompts
    fit, inside, outside = (collect(tiny_model, p, hook)[hook] for p in (families.fit, own, shifted))
    detectors = {
        "signature A (pairs)": fit_signature_detector(fit, variant="pairwise"),
        "signature B (directions)": fit_signature_detector(fit, variant="alignment"),
        "signature C (overlap)": fit_signature_detector(fit),
        "Gram ranges": fit_gram(fit),
    }
    pairs = {name: (detector.score(inside), detector.score(outside)) for name, detector in detectors.items()}
    for name, detector in {
        "Mahalanobis": fit_mahalanobis(fit[:, -1]),
        "null space of the read-out": fit_null_space(tiny_model.W_U.detach()[:, :1].T),
    }.items():
        pairs[name] = (detector.score(inside[:, -1]), detector.score(outside[:, -1]))
    norms = fit_norm(families.fit.ys)
    pairs["‖y‖"] = (norms.score(own.ys), norms.score(shifted.ys))
    with torch.no_grad():
        gaps = [prediction_gap(tiny_model(p.xs, p.ys), least_squares()(p.xs, p.ys)) for p in (own, shifted)]
    pairs["|model - ridge|"] = (gaps[0], gaps[1])
    for name, (low, high) in pairs.items():
        expected = detection_report(low.double(), high.double(), paired=True, n_bootstrap=1)
        report = untrained.detectors[name].shifts["x_scale=3"]
        # batches of another size round float32 activations differently, which may swap two prompts of 32 x 32
        np.testing.assert_allclose(report.auroc, expected.auroc, atol=3 / 32**2)


def test_risk_is_that_of_the_excess_loss(tiny_model, tiny_task, untrained):
    families = draw_families(tiny_task, shifts=SHIFTS, n_prompts=32)
    norms = fit_norm(families.fit.xs.double())
    scores, losses = [], []
    for family in families.by_label.values():
        p = family.prompts
        with torch.no_grad():
            own = prompt_errors(tiny_model(p.xs, p.ys), family)
        losses.append(own - prompt_errors(least_squares()(p.xs, p.ys), family))
        scores.append(norms.score(p.xs.double()))
    expected = risk_coverage(torch.cat(scores), torch.cat(losses), n_bootstrap=10)
    np.testing.assert_allclose(untrained.detectors["‖X‖"].aurc.value, expected.aurc.value, rtol=1e-5)
    np.testing.assert_allclose(untrained.detectors["‖X‖"].gain.value, expected.gain.value, rtol=1e-5)


def test_p_values_are_adjusted_over_all_tests(untrained):
    found = [p for detector in untrained.detectors.values() for p in detector.p_values.values()]
    assert len(found) == untrained.n_tests
    # the least p-value of 3200 exchanges, times the tests
    np.testing.assert_allclose(min(found), untrained.n_tests / 3201, rtol=1e-12)
    correlations = [detector.correlation_p for detector in untrained.detectors.values()]
    assert all(0 <= p <= 1 for p in correlations)


def test_the_means_are_over_the_shifts(untrained):
    for found in untrained.detectors.values():
        np.testing.assert_allclose(found.mean.value, np.mean([d.auroc for d in found.shifts.values()]), rtol=1e-12)
        assert found.mean.low <= found.mean.value <= found.mean.high
    own = untrained.detectors["Mahalanobis"]
    np.testing.assert_allclose(own.excess.control, np.mean(list(own.untrained.values())), rtol=1e-12)


def test_normalised_neighbours_are_said_to_be_blind_to_scale(tiny_task):
    # One linear layer keeps the inputs' scale in its stream; a label noise of 0.1 leaves it as it is.
    linear = build_model(ModelConfig(family="lsa", n_dims=3, n_points=8), seed=0)
    report = detector_report(linear, tiny_task, shifts=["x_scale=3", "label_noise=0.1"], n_prompts=24, n_controls=0)
    assert report.blind_to_scale == ("x_scale=3",)


@pytest.mark.parametrize("family", ["lsa", "ltb"])
def test_query_only_families_are_measured(family, tiny_task):
    model = build_model(ModelConfig(family=family, n_dims=3, n_points=8), seed=0)
    report = detector_report(model, tiny_task, shifts=["x_scale=3"], n_prompts=16, n_controls=2)
    assert report.left_out["null space of the read-out"] == "the network's answer is an entry of its stream"
    assert "Mahalanobis" in report.detectors
    assert all(0 <= found.shifts["x_scale=3"].auroc <= 1 for found in report.detectors.values())


def test_a_network_of_zeros_leaves_detectors_out_and_says_why(tiny_config, tiny_task):
    model = build_model(tiny_config, seed=0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    report = detector_report(model, tiny_task, shifts=["x_scale=3"], n_prompts=12, n_controls=0)
    assert "vary" in report.left_out["PCA residual"]
    assert "Mahalanobis" not in report.detectors
    assert set(RAW) <= set(report.detectors)


def test_without_controls_there_is_no_claim(signing_model, tiny_task):
    report = detector_report(signing_model, tiny_task, shifts=["label_noise=1"], n_prompts=12, n_controls=0)
    assert {found.excess.verdict for found in report.detectors.values() if found.excess} == {"not applicable"}
    assert all(found.untrained == {} and math.isnan(found.untrained_correlation) for found in report.detectors.values())


@pytest.fixture(scope="module")
def plain(tiny_model, tiny_task):
    return detector_report(tiny_model, tiny_task, shifts=["x_mean"], n_prompts=12, n_controls=0)


@pytest.mark.parametrize(
    "options",
    [{"pooling": "mean"}, {"layer": 0}, {"site": "final_norm"}, {"tokens": "x"}, {"n_points": 5}, {"seed": 1}],
    ids=str,
)
def test_each_option_reaches_the_vectors(tiny_model, tiny_task, plain, options):
    other = detector_report(tiny_model, tiny_task, shifts=["x_mean"], n_prompts=12, n_controls=0, **options)
    assert other.describe() != plain.describe() or "n_points" in options or "seed" in options
    assert not plain.to_frame().equals(other.to_frame())


@pytest.mark.parametrize("options", [{"center": True}, {"side": "left"}, {"k": 1}], ids=str)
def test_each_spectral_option_reaches_the_signatures(tiny_model, tiny_task, plain, options):
    report = detector_report(tiny_model, tiny_task, shifts=["x_mean"], n_prompts=12, n_controls=0, **options)
    own, other = plain.to_frame()["auroc"], report.to_frame()["auroc"]
    assert own["Mahalanobis"].equals(other["Mahalanobis"])
    assert not own["signature A (pairs)"].equals(other["signature A (pairs)"])


def test_the_map_and_the_frame_hold_the_same_numbers(untrained):
    frame = untrained.to_frame()
    assert len(frame) == untrained.n_tests
    (map_,) = untrained.plot().data
    row = list(map_.y).index("kNN")
    np.testing.assert_allclose(np.array(map_.z[row], dtype=float), frame.loc["kNN", "auroc"], rtol=1e-12)
    (other,) = untrained.plot(of="untrained").data
    assert not set(RAW) & set(other.y)
    assert untrained.describe() in untrained.plot().layout.title.text
    assert "plotly" in untrained._repr_html_()


def test_pooling_and_missing_shifts_are_refused(tiny_model, tiny_task):
    with pytest.raises(ValueError, match="pooling to be one of last, mean, got 'max'"):
        _check_pooling("max")
    with pytest.raises(ValueError, match="detectors need a shift whose activations are read"):
        detector_report(tiny_model, tiny_task, shifts=["random_quadrants"], n_prompts=8, n_controls=0)


def test_pooling_by_hand():
    rows = torch.tensor([[[1.0, 2.0], [3.0, 6.0]]])
    torch.testing.assert_close(pooled(rows, "last"), torch.tensor([[3.0, 6.0]]))
    torch.testing.assert_close(pooled(rows, "mean"), torch.tensor([[2.0, 4.0]]))
