"""Detection metrics: scikit-learn as the oracle, hand truth, ties, controls, paired resamples."""

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from probes.bootstrap import bootstrap_counts
from probes.detection import DetectionReport, detection_report, roc_curve


def draw(n_in: int, n_out: int, shift: float, *, ties: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n_in + n_out, generator=generator)
    scores = scores.mul(2).round() if ties else scores
    return scores[:n_in], scores[n_in:] + shift


CASES = {
    "plain": draw(60, 40, 1.0, ties=False),
    "ties": draw(60, 40, 1.0, ties=True),
    "wrong sign": draw(50, 50, -1.0, ties=True),
    "separated": draw(30, 20, 50.0, ties=False),
    "few": draw(3, 2, 0.5, ties=False),
    "one each": draw(1, 1, 0.5, ties=False),
}
each_case = pytest.mark.parametrize(("inside", "outside"), CASES.values(), ids=CASES)


@each_case
def test_agrees_with_sklearn(inside: Tensor, outside: Tensor) -> None:
    report = detection_report(inside, outside)
    scores = np.concatenate([inside.numpy(), outside.numpy()]).astype(np.float64)
    is_out = np.repeat([0, 1], [len(inside), len(outside)])
    fpr, tpr, _ = metrics.roc_curve(is_out, scores, drop_intermediate=False)
    fpr_in, tpr_in, _ = metrics.roc_curve(1 - is_out, -scores, drop_intermediate=False)
    # 1e-12 is float64 rounding; the threshold at 95 % allows it too, since sklearn divides.
    np.testing.assert_allclose(report.auroc, roc_auc_score(is_out, scores), atol=1e-12)
    np.testing.assert_allclose(report.aupr_out, average_precision_score(is_out, scores), atol=1e-12)
    np.testing.assert_allclose(report.aupr_in, average_precision_score(1 - is_out, -scores), atol=1e-12)
    np.testing.assert_allclose(report.detection_error, ((fpr + 1 - tpr) / 2).min(), atol=1e-12)
    np.testing.assert_allclose(report.fpr95_ood_positive, fpr[tpr >= 0.95 - 1e-12].min(), atol=1e-12)
    np.testing.assert_allclose(report.fpr95_id_positive, fpr_in[tpr_in >= 0.95 - 1e-12].min(), atol=1e-12)
    assert (report.n_in, report.n_out) == (len(inside), len(outside))


@each_case
def test_roc_curves_are_those_of_sklearn(inside: Tensor, outside: Tensor) -> None:
    curve = roc_curve(inside, outside)
    fpr, tpr, _ = metrics.roc_curve(np.repeat([0, 1], [len(inside), len(outside)]), torch.cat([inside, outside]))
    area = float(torch.trapezoid(curve.true_positives, curve.false_positives))
    np.testing.assert_allclose(area, detection_report(inside, outside).auroc, atol=1e-12)  # float64 rounding
    # Ours has no points on straight pieces, theirs has some: at theirs, in both directions, the two are equal.
    along = fpr + tpr  # grows along the curve
    ours = curve.false_positives.numpy() + curve.true_positives.numpy()
    assert (np.diff(ours) > 0).all()
    np.testing.assert_allclose(np.interp(along, ours, curve.false_positives), fpr, atol=1e-12)
    np.testing.assert_allclose(np.interp(ours, along, fpr), curve.false_positives, atol=1e-12)


def test_a_roc_curve_by_hand_and_its_refusals() -> None:
    curve = roc_curve(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([2.0, 3.0, 4.0]))
    # Above 3 nothing wrong is flagged; the shared 2 gives the slanted piece.
    np.testing.assert_allclose(curve.false_positives, [0, 0, 1 / 3, 1])
    np.testing.assert_allclose(curve.true_positives, [0, 2 / 3, 1, 1])
    constant = roc_curve(torch.ones(4), torch.ones(2))
    np.testing.assert_allclose(torch.stack([constant.false_positives, constant.true_positives]), [[0, 1], [0, 1]])
    with pytest.raises(ValueError, match="NaN"):
        roc_curve(torch.tensor([0.0, torch.nan]), torch.ones(2))


def test_auroc_formula() -> None:
    inside, outside = CASES["ties"]
    pairs = outside[:, None] - inside[None]
    literal = (pairs > 0).double().mean() + (pairs == 0).double().mean() / 2
    np.testing.assert_allclose(detection_report(inside, outside).auroc, float(literal))


def test_both_definitions_of_fpr95_by_hand() -> None:
    # 20 ID prompts score 0..19, 20 OOD prompts 10..29; 95 % is 19 of 20.
    report = detection_report(torch.arange(20.0), torch.arange(10.0, 30.0))
    np.testing.assert_allclose(report.fpr95_ood_positive, 9 / 20)  # threshold 11 flags ID 11..19
    np.testing.assert_allclose(report.fpr95_id_positive, 9 / 20)  # threshold 18 accepts OOD 10..18
    uneven = detection_report(torch.arange(20.0), torch.tensor([18.5, 30.0]))
    np.testing.assert_allclose(uneven.fpr95_ood_positive, 1 / 20)  # both OOD are needed: threshold 18.5
    np.testing.assert_allclose(uneven.fpr95_id_positive, 0.0)  # threshold 18 accepts none


def test_constant_scores_tell_nothing() -> None:
    report = detection_report(torch.ones(5), torch.ones(3))
    np.testing.assert_allclose(report.auroc, 0.5)
    np.testing.assert_allclose(report.auroc_interval, (0.5, 0.5))
    np.testing.assert_allclose(report.detection_error, 0.5)
    np.testing.assert_allclose([report.fpr95_ood_positive, report.fpr95_id_positive], [1.0, 1.0])
    np.testing.assert_allclose([report.aupr_in, report.aupr_out], [5 / 8, 3 / 8])


def test_infinite_scores_have_a_rank() -> None:
    report = detection_report(torch.tensor([-torch.inf, 0.0]), torch.tensor([torch.inf, 1.0]))
    np.testing.assert_allclose(report.auroc, 1.0)


def test_controls_on_the_interval() -> None:
    shifted = detection_report(*draw(100, 100, 1.0, ties=False))
    assert shifted.auroc_interval.low > 0.6
    same = detection_report(*draw(100, 100, 0.0, ties=False))
    assert same.auroc_interval.low < 0.5 < same.auroc_interval.high


def test_replicates_equal_a_slow_loop() -> None:
    inside, outside = draw(12, 9, 0.5, ties=True)
    report = detection_report(inside, outside, seed=4, n_bootstrap=30)
    expected = [
        roc_auc_score(
            np.repeat([0, 1], [12, 9]),
            np.concatenate([np.repeat(inside.numpy(), a), np.repeat(outside.numpy(), b)]),
        )
        for a, b in zip(
            bootstrap_counts(12, seed=4, n_bootstrap=30).numpy(),
            bootstrap_counts(9, seed=4, n_bootstrap=30, stream=1).numpy(),
            strict=True,
        )
    ]
    np.testing.assert_allclose(report.auroc_replicates.numpy(), expected, atol=1e-12)


def test_two_scores_on_the_same_prompts_are_resampled_identically() -> None:
    inside, outside = draw(40, 30, 0.8, ties=False)
    plain, bent = detection_report(inside, outside), detection_report(inside.exp(), outside.exp())
    # The same ranks, so under the same resamples the same replicates.
    torch.testing.assert_close(bent.auroc_replicates, plain.auroc_replicates)
    # The ID resamples do not depend on how many OOD prompts there are: a constant OOD set shows that.
    few, many = (detection_report(inside, torch.full((n,), 0.5)).auroc_replicates for n in (1, 30))
    torch.testing.assert_close(few, many)


def shared_noise(seed: int, n_shifts: int = 3, n: int = 40) -> tuple[Tensor, list[Tensor]]:
    # Prompt i of each shift is the i-th in-distribution prompt, moved, with a little noise of its own.
    generator = torch.Generator().manual_seed(seed)
    inside = torch.randn(n, generator=generator)
    return inside, [inside + 0.5 + 0.3 * torch.randn(n, generator=generator) for _ in range(n_shifts)]


@pytest.mark.parametrize("n_shifts", [1, 3], ids=["one shift", "mean of three"])
def test_paired_gives_the_spread_over_seeds_where_sets_share_their_noise(n_shifts: int) -> None:
    def mean_auroc(seed: int) -> float:
        inside, shifts = shared_noise(seed, n_shifts)
        return float((torch.stack(shifts)[..., None] > inside).double().mean())

    def bootstrap_spread(seed: int, *, paired: bool) -> float:
        inside, shifts = shared_noise(seed, n_shifts)
        reports = [detection_report(inside, out, paired=paired, n_bootstrap=200) for out in shifts]
        return float(torch.stack([report.auroc_replicates for report in reports]).mean(dim=0).std())

    spread = np.std([mean_auroc(seed) for seed in range(300)])
    paired, alone = (np.mean([bootstrap_spread(seed, paired=p) for seed in range(20)]) for p in (True, False))
    # The spread over 300 seeds is known to 4 %, the mean of 20 bootstrap ones to 4 %; about three of both. The
    # bootstrap draws a pair (i, i) twice as often as another, which adds a few per cent for 40 prompts.
    np.testing.assert_allclose(paired / spread, 1.05, atol=0.17)
    assert alone > 2 * spread


def test_paired_replicates_equal_a_slow_loop() -> None:
    inside, outside = draw(12, 12, 0.5, ties=True)
    report = detection_report(inside, outside, paired=True, seed=4, n_bootstrap=30)
    counts = bootstrap_counts(12, seed=4, n_bootstrap=30)
    expected = [
        roc_auc_score(np.repeat([0, 1], [12, 12]), np.concatenate([np.repeat(x.numpy(), c) for x in (inside, outside)]))
        for c in counts.numpy()
    ]
    np.testing.assert_allclose(report.auroc_replicates.numpy(), expected, atol=1e-12)


def test_paired_changes_the_interval_alone() -> None:
    inside, (outside,) = shared_noise(0, 1)
    plain, default, paired = (
        detection_report(inside, outside, **options) for options in ({"paired": False}, {}, {"paired": True})
    )
    torch.testing.assert_close(default.auroc_replicates, plain.auroc_replicates, rtol=0, atol=0)
    for field in ("auroc", "aupr_in", "aupr_out", "detection_error", "fpr95_ood_positive", "fpr95_id_positive"):
        np.testing.assert_allclose(getattr(paired, field), getattr(plain, field), rtol=0, atol=0)
    low, high = paired.auroc_interval
    assert plain.auroc_interval.low < low < paired.auroc < high < plain.auroc_interval.high


def test_same_index_pairs_move_the_auroc_by_at_most_one_in_n() -> None:
    inside, (outside,) = shared_noise(1, 1)
    above = (outside[:, None] > inside[None]).double()
    others = (above.sum() - above.diagonal().sum()) / (40 * 39)
    assert 0 < abs(detection_report(inside, outside, paired=True).auroc - others) < 1 / 40


def test_paired_reports_are_resampled_identically() -> None:
    inside, (first, second) = shared_noise(0, 2)
    # Both shifts as one statistic of the resample: the mean of the replicates is the replicate of the mean.
    counts = bootstrap_counts(40, n_bootstrap=10).double()
    expected = [[(c[:, None] * c * (out[:, None] > inside)).sum() / 40**2 for c in counts] for out in (first, second)]
    found = [detection_report(inside, out, paired=True, n_bootstrap=10).auroc_replicates for out in (first, second)]
    torch.testing.assert_close(torch.stack(found).mean(dim=0), torch.tensor(expected).double().mean(dim=0))


@pytest.mark.parametrize("seed", [0, 1])
def test_seed(seed: int) -> None:
    scores = draw(20, 20, 0.5, ties=False)
    first, second = (detection_report(*scores, seed=seed).auroc_replicates for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert (detection_report(*scores, seed=seed + 1).auroc_replicates != first).any()


def test_confidence_and_n_bootstrap() -> None:
    scores = draw(40, 40, 0.5, ties=False)
    wide, narrow = (detection_report(*scores, confidence=c, n_bootstrap=500) for c in (0.99, 0.5))
    assert wide.auroc_interval.low < narrow.auroc_interval.low < narrow.auroc_interval.high
    assert len(wide.auroc_replicates) == 500


def test_repr_is_short() -> None:
    report = detection_report(torch.zeros(2), torch.ones(3))
    assert repr(report) == "DetectionReport(auroc=1.000 [1.000, 1.000], n_in=2, n_out=3)"
    assert isinstance(report, DetectionReport)


ONE = torch.ones(3)
ERRORS = {
    "NaN": (lambda: detection_report(ONE * torch.nan, ONE), "scores_in without NaN, got 3 NaN of 3"),
    "NaN out": (lambda: detection_report(ONE, ONE * torch.nan), "scores_out without NaN"),
    "empty": (lambda: detection_report(ONE, torch.ones(0)), "at least one entry along sample of scores_out"),
    "paired": (
        lambda: detection_report(ONE, torch.ones(2), paired=True),
        "detection_report needs as many paired scores_in as scores_out, got 3 and 2; align",
    ),
    "n_bootstrap": (lambda: detection_report(ONE, ONE, n_bootstrap=0), "n_bootstrap of at least 1"),
    "seed": (lambda: detection_report(ONE, ONE, seed=-1), "seed of at least 0, got -1"),
    "confidence": (lambda: detection_report(ONE, ONE, confidence=95.0), "0 < confidence < 1, got 95.0"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
