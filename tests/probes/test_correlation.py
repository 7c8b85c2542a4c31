"""Score against error: scipy as the oracle, controls for pooling, degenerate groups, paired and clustered resamples."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from probes._core import ranks
from probes._core.ranks import pearson, spearman_over_means, weighted_covariance
from probes.bootstrap import bootstrap_counts
from probes.correlation import score_error_correlation

GROUPS = ["id"] * 30 + ["near"] * 40 + ["far"] * 20 + ["scale"] * 10
SLICES = {"id": slice(0, 30), "near": slice(30, 70), "far": slice(70, 90), "scale": slice(90, 100)}


def draw(slope: float = 1.0, *, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    score, noise = torch.randn(2, 100, generator=generator, dtype=torch.float64)
    score = score.mul(4).round() / 4  # with ties
    covariates = torch.randn(100, 2, generator=generator, dtype=torch.float64)
    return score, slope * score + noise + covariates[:, 0], covariates


def test_agrees_with_scipy() -> None:
    score, error, covariates = draw()
    report = score_error_correlation(score, error, groups=GROUPS, covariates=covariates)
    spearman = {g: scipy.stats.spearmanr(score[s], error[s]).statistic for g, s in SLICES.items()}
    assert list(report.within) == list(SLICES)
    np.testing.assert_allclose([e.value for e in report.within.values()], list(spearman.values()))
    np.testing.assert_allclose(report.within_mean.value, np.mean(list(spearman.values())))
    np.testing.assert_allclose(report.pooled.value, scipy.stats.spearmanr(score, error).statistic)
    np.testing.assert_allclose(report.pooled_pearson.value, scipy.stats.pearsonr(score, error).statistic)
    means = [[float(x[s].mean()) for s in SLICES.values()] for x in (score, error)]
    np.testing.assert_allclose(report.between.value, scipy.stats.spearmanr(*means).statistic)


def test_partial_formula() -> None:
    score, error, covariates = draw()
    report = score_error_correlation(score, error, groups=GROUPS, covariates=covariates)
    ranks = [scipy.stats.rankdata(x) for x in (score, error, *covariates.T)]
    design = np.column_stack([np.ones(100), *ranks[2:]])
    residuals = [r - design @ np.linalg.lstsq(design, r, rcond=None)[0] for r in ranks[:2]]
    np.testing.assert_allclose(report.partial.value, np.corrcoef(residuals)[0, 1])


def test_replicates_equal_a_slow_loop() -> None:
    score, error, covariates = draw()
    report = score_error_correlation(score, error, groups=GROUPS, covariates=covariates, seed=5, n_bootstrap=20)
    counts = [
        bootstrap_counts(s.stop - s.start, seed=5, n_bootstrap=20, stream=i) for i, s in enumerate(SLICES.values())
    ]
    within, pooled = [], []
    for b in range(20):
        parts = [
            [np.repeat(x[s].numpy(), c[b].numpy()) for x in (score, error)]
            for s, c in zip(SLICES.values(), counts, strict=True)
        ]
        within.append(np.mean([scipy.stats.spearmanr(*part).statistic for part in parts]))
        pooled.append(scipy.stats.spearmanr(*(np.concatenate(x) for x in zip(*parts, strict=True))).statistic)
    np.testing.assert_allclose(report.within_mean_replicates.numpy(), within)
    np.testing.assert_allclose(report.pooled_replicates.numpy(), pooled)


def test_interleaved_groups_equal_sorted_ones() -> None:
    score, error, covariates = draw()
    shuffled = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    mixed = score_error_correlation(
        score[shuffled],
        error[shuffled],
        groups=[GROUPS[i] for i in shuffled],
        covariates=covariates[shuffled],
    )
    plain = score_error_correlation(score, error, groups=GROUPS, covariates=covariates)
    for name in SLICES:
        np.testing.assert_allclose(mixed.within[name].value, plain.within[name].value)
    np.testing.assert_allclose(mixed.partial.value, plain.partial.value)
    np.testing.assert_allclose(mixed.between.value, plain.between.value)


def test_positive_and_negative_control() -> None:
    found = score_error_correlation(*draw(2.0)[:2], groups=GROUPS)
    assert found.within_mean.low > 0.3
    nothing = score_error_correlation(*draw(0.0)[:2], groups=GROUPS)
    assert nothing.within_mean.low < 0 < nothing.within_mean.high


def test_pooling_alone_makes_a_correlation_that_the_groups_do_not_have() -> None:
    score, error, _ = draw(0.0)
    level = torch.tensor([10.0 * list(SLICES).index(g) for g in GROUPS])
    report = score_error_correlation(score + level, error + level, groups=GROUPS)
    assert report.pooled.low > 0.8
    np.testing.assert_allclose(report.between.value, 1.0)
    assert report.within_mean.low < 0 < report.within_mean.high
    # Given the level itself, nothing is left.
    given = score_error_correlation(score + level, error + level, groups=GROUPS, covariates=level[:, None].double())
    assert given.partial.low < 0.1


def test_monotone_transforms_change_ranks_nowhere() -> None:
    score, error, covariates = draw()
    plain = score_error_correlation(score, error, groups=GROUPS, covariates=covariates)
    bent = score_error_correlation(score.exp(), error.sinh(), groups=GROUPS, covariates=covariates.exp())
    # The same prompts, seed and ranks: the same resamples, so the same replicates and intervals.
    torch.testing.assert_close(bent.within_mean_replicates, plain.within_mean_replicates)
    for name in ("within_mean", "pooled", "partial"):
        a, b = getattr(bent, name), getattr(plain, name)
        np.testing.assert_allclose((a.value, a.low, a.high), (b.value, b.low, b.high))


def test_the_sign_of_the_score_is_the_sign_of_the_result() -> None:
    score, error, _ = draw()
    plain, turned = (score_error_correlation(s, error, groups=GROUPS) for s in (score, -score))
    torch.testing.assert_close(turned.within_mean_replicates, -plain.within_mean_replicates)
    np.testing.assert_allclose(turned.pooled.value, -plain.pooled.value)


def test_constant_groups_are_named_and_left_out() -> None:
    score, error, _ = draw()
    score[SLICES["near"]] = 0.1
    error[SLICES["far"]] = 0.3
    report = score_error_correlation(score, error, groups=GROUPS)
    assert math.isnan(report.within["near"].value)
    assert report.within["near"].reason == "constant score in this group"
    assert report.within["far"].reason == "constant error in this group"
    kept = [report.within[g].value for g in ("id", "scale")]
    np.testing.assert_allclose(report.within_mean.value, np.mean(kept))
    assert math.isfinite(report.within_mean.low)


def test_everything_undefined_is_nan_with_a_reason() -> None:
    flat = torch.full((4,), 0.1)
    report = score_error_correlation(flat, torch.arange(4.0), groups=["a", "a", "b", "b"])
    undefined = (report.within_mean, report.pooled, report.pooled_pearson, report.between, report.partial)
    for estimate in undefined:
        assert math.isnan(estimate.value)
        assert estimate.reason
    assert report.within_mean_replicates.isnan().all()


def test_the_rounding_of_a_constant_is_no_variance() -> None:
    for n in range(3, 40):  # at some sizes the mean of n times 0.1 is off by 1e-17
        values = torch.arange(2.0 * n, dtype=torch.float64).reshape(1, 2, n)
        values[0, 0] = 0.1
        weights = torch.ones(1, n, dtype=torch.float64)
        assert pearson(weighted_covariance(values, weights)).isnan().all()
        values[0, 0, 0] = 0.2
        assert pearson(weighted_covariance(values, weights)).isfinite().all()


def test_reasons_for_too_few_groups_and_no_covariates() -> None:
    score, error, _ = draw()
    report = score_error_correlation(score, error, groups=[1] * 50 + [2] * 50)
    assert report.between.reason == "needs at least three groups, got 2"
    assert report.partial.reason == "no covariates were given"
    assert list(report.within) == [1, 2]


def test_a_covariate_that_explains_the_score_leaves_nothing() -> None:
    score, error, _ = draw()
    report = score_error_correlation(score, error, groups=GROUPS, covariates=score[:, None])
    assert math.isnan(report.partial.value)
    assert report.partial.reason


def test_collinear_covariates_count_once() -> None:
    score, error, covariates = draw()
    once = score_error_correlation(score, error, groups=GROUPS, covariates=covariates[:, :1])
    twice = score_error_correlation(score, error, groups=GROUPS, covariates=covariates[:, [0, 0]])
    np.testing.assert_allclose(twice.partial.value, once.partial.value)


def test_one_sample_a_group() -> None:
    report = score_error_correlation(torch.arange(3.0), torch.arange(3.0), groups=["a", "b", "c"])
    np.testing.assert_allclose(report.between.value, 1.0)
    assert report.within["a"].reason == "constant score and error in this group"


def test_float32_and_float64_agree() -> None:
    score, error, _ = draw()
    single, double = (
        score_error_correlation(score, error.to(t), groups=GROUPS) for t in (torch.float32, torch.float64)
    )
    np.testing.assert_allclose(single.pooled.value, double.pooled.value)


def test_confidence_seed_and_repr() -> None:
    score, error, _ = draw()
    wide = score_error_correlation(score, error, groups=GROUPS, confidence=0.99, seed=3)
    narrow = score_error_correlation(score, error, groups=GROUPS, confidence=0.5, seed=3, n_bootstrap=200)
    assert wide.pooled.low < narrow.pooled.low < narrow.pooled.high < wide.pooled.high
    torch.testing.assert_close(narrow.pooled_replicates, wide.pooled_replicates[:200])
    assert repr(wide).startswith("CorrelationReport(within_mean=Estimate(")


def repeated(values: Tensor, groups: list[str], clusters: list[int], counts: Tensor) -> dict[str, np.ndarray]:
    drawn = {group: [] for group in groups}
    for value, group, cluster in zip(values.tolist(), groups, clusters, strict=True):
        drawn[group] += [value] * int(counts[cluster])
    return {group: np.array(column) for group, column in drawn.items()}


def test_clustered_replicates_equal_a_slow_loop() -> None:
    score, error, covariates = draw()
    # The second group has 30 ids in 40 samples, so that some recur within it; the last two lack some.
    clusters = [i % 30 for s in SLICES.values() for i in range(s.stop - s.start)]
    report = score_error_correlation(
        score, error, groups=GROUPS, covariates=covariates, clusters=clusters, seed=5, n_bootstrap=20
    )
    within, pooled, pearson, between, partial = [], [], [], [], []
    for counts in bootstrap_counts(30, seed=5, n_bootstrap=20):
        columns = [repeated(x, GROUPS, clusters, counts) for x in (score, error, *covariates.T)]
        parts = [[column[g] for column in columns[:2]] for g in SLICES]
        whole = [np.concatenate(list(column.values())) for column in columns]
        ranks = [scipy.stats.rankdata(x) for x in whole]
        design = np.column_stack([np.ones(len(ranks[0])), *ranks[2:]])
        residuals = [r - design @ np.linalg.lstsq(design, r, rcond=None)[0] for r in ranks[:2]]
        within.append([scipy.stats.spearmanr(*part).statistic for part in parts])
        pooled.append(scipy.stats.spearmanr(*whole[:2]).statistic)
        pearson.append(scipy.stats.pearsonr(*whole[:2]).statistic)
        between.append(scipy.stats.spearmanr(*([x.mean() for x in xs] for xs in zip(*parts, strict=True))).statistic)
        partial.append(np.corrcoef(residuals)[0, 1])
    np.testing.assert_allclose(report.within_mean_replicates.numpy(), np.mean(within, axis=1))
    np.testing.assert_allclose(report.pooled_replicates.numpy(), pooled)
    expected = {"pooled_pearson": pearson, "between": between, "partial": partial}
    for name, replicates in (*expected.items(), *zip(SLICES, np.transpose(within), strict=True)):
        found = report.within[name] if name in SLICES else getattr(report, name)
        np.testing.assert_allclose((found.low, found.high), np.quantile(replicates, [0.025, 0.975]), err_msg=name)


def shared_noise(seed: int) -> tuple[Tensor, Tensor]:
    # Prompt i of each of four shifts is the same draw of score and error, up to a little noise of its own.
    generator = torch.Generator().manual_seed(seed)
    u, v = torch.randn(2, 40, generator=generator)
    own = 0.3 * torch.randn(2, 4, 40, generator=generator)
    return (u + own[0]).flatten(), (0.5 * u + v + own[1]).flatten()


SHIFTS, IDS = [shift for shift in range(4) for _ in range(40)], list(range(40)) * 4


def test_clusters_give_the_spread_over_seeds_where_groups_share_their_noise() -> None:
    def spearman(score: Tensor, error: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([score, error]).argsort(dim=1).argsort(dim=1).double())[0, 1])

    def once(seed: int) -> tuple[float, float]:
        score, error = shared_noise(seed)
        groups = zip(score.split(40), error.split(40), strict=True)
        return float(np.mean([spearman(*group) for group in groups])), spearman(score, error)

    report = score_error_correlation(*shared_noise(0), groups=SHIFTS, n_bootstrap=1)
    np.testing.assert_allclose(once(0), (report.within_mean.value, report.pooled.value), rtol=1e-9)  # another order
    spread = np.std([once(s) for s in range(200)], axis=0)

    def bootstrap_spread(clusters: list[int] | None) -> np.ndarray:
        reports = [
            score_error_correlation(*shared_noise(s), groups=SHIFTS, clusters=clusters, n_bootstrap=200)
            for s in range(20)
        ]
        return np.mean([(float(r.within_mean_replicates.std()), float(r.pooled_replicates.std())) for r in reports], 0)

    # The spread over 200 seeds is known to 5 %, the mean of 20 bootstrap ones to about 3 %: three of both.
    np.testing.assert_allclose(bootstrap_spread(IDS) / spread, 1.0, atol=0.17)
    # Four groups taken for independent: at worst half of the spread.
    assert (bootstrap_spread(None) < 0.7 * spread).all()


def test_clusters_leave_the_values_alone() -> None:
    score, error, covariates = draw()
    plain, clustered = (
        score_error_correlation(score, error, groups=GROUPS, covariates=covariates, clusters=c)
        for c in (None, list(range(100)))
    )
    values = [
        [e.value for e in (*r.within.values(), r.within_mean, r.pooled, r.pooled_pearson, r.between, r.partial)]
        for r in (plain, clustered)
    ]
    np.testing.assert_allclose(values[1], values[0], rtol=0, atol=0)


def test_one_group_of_clusters_is_the_plain_bootstrap() -> None:
    score, error, _ = draw()
    plain, clustered = (score_error_correlation(score, error, groups=[0] * 100, clusters=c) for c in (None, range(100)))
    torch.testing.assert_close(clustered.pooled_replicates, plain.pooled_replicates)
    assert clustered.within[0] == plain.within[0]


def test_clustered_resamples_depend_on_the_number_of_clusters_and_the_seed_alone() -> None:
    score, error = shared_noise(0)
    plain = score_error_correlation(score, error, groups=SHIFTS, clusters=IDS, seed=3)
    renamed = torch.tensor(IDS) * 7 - 20
    shuffled = torch.randperm(160, generator=torch.Generator().manual_seed(1))
    again = score_error_correlation(
        score[shuffled].exp(),
        error[shuffled],
        groups=[SHIFTS[i] for i in shuffled],
        clusters=renamed[shuffled],
        seed=3,
    )
    torch.testing.assert_close(again.within_mean_replicates, plain.within_mean_replicates)
    torch.testing.assert_close(again.pooled_replicates, plain.pooled_replicates)
    # A group more changes nothing for those there were.
    fewer = score_error_correlation(score[:80], error[:80], groups=SHIFTS[:80], clusters=IDS[:80], seed=3)
    assert [fewer.within[shift] for shift in (0, 1)] == [plain.within[shift] for shift in (0, 1)]
    other = score_error_correlation(score, error, groups=SHIFTS, clusters=IDS, seed=4)
    assert (other.pooled_replicates != plain.pooled_replicates).any()


def test_chunks_do_not_change_clustered_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = score_error_correlation(*shared_noise(0), groups=SHIFTS, clusters=IDS, n_bootstrap=50)
    monkeypatch.setattr(ranks, "_CHUNK_ENTRIES", 1000)  # six resamples of 160 samples
    chunked = score_error_correlation(*shared_noise(0), groups=SHIFTS, clusters=IDS, n_bootstrap=50)
    torch.testing.assert_close(chunked.pooled_replicates, at_once.pooled_replicates)


def test_a_group_that_a_resample_misses_is_undefined_there() -> None:
    score, error, _ = draw()
    groups = ["a"] * 40 + ["b"] * 40 + ["rare"] * 20
    clusters = [*range(40), *range(40), *[0, 1] * 10]  # 13 % of the resamples draw neither 0 nor 1
    report = score_error_correlation(score, error, groups=groups, clusters=clusters)
    missed = (bootstrap_counts(40, n_bootstrap=1000)[:, :2] == 0).all(dim=1)
    assert 50 < missed.sum() < 250
    assert report.within_mean_replicates.isfinite().all()  # the mean of the other two
    assert math.isfinite(report.within["rare"].low)
    assert math.isfinite(report.between.low)
    weights = bootstrap_counts(40, n_bootstrap=1000).double()[:, clusters]
    means = spearman_over_means(torch.stack([score, error]), weights, [40, 40, 20])
    torch.testing.assert_close(means.isnan(), missed)


def test_one_cluster_has_no_spread() -> None:
    score, error, _ = draw()
    pooled = score_error_correlation(score, error, groups=GROUPS, clusters=[5] * 100).pooled
    np.testing.assert_allclose((pooled.low, pooled.high), pooled.value)


def test_clusters_are_integers() -> None:
    with pytest.raises(TypeError, match=r"needs integers as clusters, got torch.bool; number the clusters from 0"):
        score_error_correlation(ONE, ONE, groups=list("abc"), clusters=[True, False, True])


ONE = torch.arange(3.0)
ERRORS = {
    "clusters": (
        lambda: score_error_correlation(ONE, ONE, groups=list("abc"), clusters=[0, 1]),
        "score_error_correlation needs as many samples as clusters, got 3 and 2; align",
    ),
    "no clusters": (
        lambda: score_error_correlation(ONE, ONE, groups=list("abc"), clusters=[]),
        "at least one entry along sample of clusters",
    ),
    "NaN": (lambda: score_error_correlation(ONE * torch.nan, ONE, groups=list("abc")), "finite score, got 3"),
    "infinite": (
        lambda: score_error_correlation(ONE, ONE.log(), groups=list("abc")),
        "finite log_error, got 1",
    ),
    "groups": (
        lambda: score_error_correlation(ONE, ONE, groups=list("ab")),
        "as many scores as groups, got 3 and 2",
    ),
    "empty": (lambda: score_error_correlation(ONE[:0], ONE[:0], groups=[]), "at least one entry"),
    "n_bootstrap": (
        lambda: score_error_correlation(ONE, ONE, groups=list("abc"), n_bootstrap=0),
        "n_bootstrap of at least 1",
    ),
    "seed": (lambda: score_error_correlation(ONE, ONE, groups=list("abc"), seed=-1), "seed of at least 0"),
    "confidence": (
        lambda: score_error_correlation(ONE, ONE, groups=list("abc"), confidence=0.0),
        "0 < confidence < 1",
    ),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_without_resamples_across_groups_all_else_is_equal():
    torch.manual_seed(5)
    score, covariates = torch.randn(40), torch.randn(40, 2)
    error, groups = score + torch.randn(40), ["a"] * 20 + ["b"] * 12 + ["c"] * 8
    whole, inside = (
        score_error_correlation(score, error, groups=groups, covariates=covariates, n_bootstrap=50, resample=resample)
        for resample in ("all", "within")
    )
    assert inside.within == whole.within
    assert inside.within_mean == whole.within_mean
    torch.testing.assert_close(inside.within_mean_replicates, whole.within_mean_replicates, rtol=0, atol=0)
    for name in ("pooled", "pooled_pearson", "between", "partial"):
        found = getattr(inside, name)
        assert found.value == getattr(whole, name).value
        assert math.isnan(found.low)
        assert math.isnan(found.high)
    assert bool(inside.pooled_replicates.isnan().all())
