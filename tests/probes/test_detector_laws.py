"""Laws that every detector obeys: a new detector is one line in a table and inherits them all."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from probes import ood


class Detector(NamedTuple):
    fit: Callable[[Any, Any], Any]  # of samples and groups, each a tensor or a list of batches
    power: int  # doubling fitted and scored samples multiplies the score by 2 ** power
    low: float
    high: float
    matrices: bool  # a sample is a matrix, else a vector
    outliers: Callable[[Tensor], Tensor]  # moves in-distribution samples out
    rotates: bool = True


def mirrored(x: Tensor) -> Tensor:
    return x.flip(-1)  # strong directions become weak and weak ones strong; lengths stay


def ungrouped(x: Tensor) -> Tensor:
    return torch.where(x[:, 2:3] > 0, x - GAP, x + GAP)  # onto the middle between the two groups


class Foreign:
    """Mahalanobis distance by numpy, in scikit-learn's protocol: larger is further in."""

    def fit(self, x: np.ndarray) -> None:
        self.offset_ = x.mean(axis=0)
        self.precision = np.linalg.inv(np.cov(x.T))

    def decision_function(self, x: np.ndarray) -> np.ndarray:
        return -np.einsum("ni,ij,nj->n", x - self.offset_, self.precision, x - self.offset_)


INF = math.inf
GAP = torch.tensor([0.0, 0, 8, 0, 0, 0], dtype=torch.float64)
DETECTORS = {
    "Mahalanobis": Detector(lambda x, _: ood.fit_mahalanobis(x), 0, 0, INF, False, mirrored),
    "Mahalanobis, no shrinkage": Detector(
        lambda x, _: ood.fit_mahalanobis(x, shrinkage=False), 0, 0, INF, False, mirrored
    ),
    "relative Mahalanobis": Detector(ood.fit_relative_mahalanobis, 0, -INF, INF, False, ungrouped),
    "PCA residual": Detector(lambda x, _: ood.fit_pca_residual(x), 2, 0, INF, False, mirrored),
    "PCA residual, 2": Detector(lambda x, _: ood.fit_pca_residual(x, n_components=2), 2, 0, INF, False, mirrored),
    "null space": Detector(lambda x, _: ood.fit_null_space(x, tolerance=0.2), 0, 0, 1, False, mirrored),
    "kNN": Detector(lambda x, _: ood.fit_nearest_neighbors(x), 1, 0, INF, False, mirrored),
    "kNN, normalised": Detector(
        lambda x, _: ood.fit_nearest_neighbors(x, k=3, normalize=True), 0, 0, 2, False, mirrored
    ),
    "Gram": Detector(lambda x, _: ood.fit_gram(x), 0, 0, INF, True, mirrored, rotates=False),
    "KDE": Detector(lambda x, _: ood.fit_kde(x, n_components=6), 0, -INF, INF, False, mirrored),
    "GMM": Detector(lambda x, _: ood.fit_gmm(x, n_components=6, n_mixtures=1), 0, -INF, INF, False, mirrored),
    "norm": Detector(lambda x, _: ood.fit_norm(x), 0, 0, INF, False, lambda x: 5 * x),
    "norm, one-sided": Detector(lambda x, _: ood.fit_norm(x, two_sided=False), 0, -INF, INF, True, lambda x: 5 * x),
    "foreign estimator": Detector(lambda x, _: ood.fit_estimator(x, Foreign()), 0, 0, INF, False, mirrored),
    "signature, overlap": Detector(lambda x, _: ood.fit_signature_detector(x), 0, 0, 1, True, mirrored),
    "signature, alignment": Detector(
        lambda x, _: ood.fit_signature_detector(x, variant="alignment"), 0, 0, 1, True, mirrored
    ),
    "signature, pairwise": Detector(
        lambda x, _: ood.fit_signature_detector(x, variant="pairwise"), 0, 0, 1, True, mirrored
    ),
}
each_detector = pytest.mark.parametrize("case", DETECTORS.values(), ids=DETECTORS)


def samples(case: Detector, n: int, seed: int) -> Tensor:
    # Falling scales keep directions apart; the sign of column 2 tells two groups.
    generator = torch.Generator().manual_seed(seed)
    scales = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.25], dtype=torch.float64)
    shape = (n, 7, 6) if case.matrices else (n, 6)
    drawn = torch.randn(shape, generator=generator, dtype=torch.float64) * scales + scales / 4
    return drawn + torch.where(torch.arange(n) % 2 == 0, 1.0, -1.0).reshape(-1, *[1] * (len(shape) - 1)) * GAP


def groups(n: int) -> Tensor:
    return torch.arange(n) % 2


def auroc(inside: Tensor, outside: Tensor) -> float:
    return float((outside[:, None] > inside).double().mean() + (outside[:, None] == inside).double().mean() / 2)


def assert_equal_scores(actual: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    # float64 throughout: a few thousand operations and the conditioning of a covariance with scales of 32 to 1.
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


@each_detector
def test_finds_outliers_and_nothing_in_fresh_samples(case: Detector) -> None:
    detector = case.fit(samples(case, 300, seed=0), groups(300))
    inside, fresh = (detector.score(samples(case, 200, seed=seed)) for seed in (1, 2))
    outside = detector.score(case.outliers(samples(case, 200, seed=3)))
    assert auroc(inside, outside) > 0.9
    # The standard error of an AUROC of two sets of 200 is 0.03; four of them.
    assert abs(auroc(inside, fresh) - 0.5) < 0.12


@each_detector
def test_batches_give_the_same_scores_as_one_tensor(case: Detector) -> None:
    fitted, new = samples(case, 60, seed=0), samples(case, 9, seed=1)
    expected = case.fit(fitted, groups(60)).score(new)
    for size in (1, 7, 60):
        batches, ids = list(fitted.split(size)), list(groups(60).split(size))
        assert_equal_scores(case.fit(batches, ids).score(new), expected, tolerance=1e-10)


@each_detector
def test_order_of_fitted_samples_does_not_matter(case: Detector) -> None:
    fitted, new = samples(case, 60, seed=0), samples(case, 9, seed=1)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    expected = case.fit(fitted, groups(60)).score(new)
    assert_equal_scores(case.fit(fitted[order], groups(60)[order]).score(new), expected)


@each_detector
def test_each_sample_is_scored_by_itself(case: Detector) -> None:
    fitted, new = samples(case, 60, seed=0), samples(case, 9, seed=1)
    detector = case.fit(fitted, groups(60))
    together = detector.score(new)
    assert_equal_scores(torch.cat([detector.score(one) for one in new.split(1)]), together)
    assert_equal_scores(detector.score(new.flip(0)), together.flip(0))


@each_detector
def test_fitting_and_scoring_again_changes_nothing(case: Detector) -> None:
    fitted, new = samples(case, 60, seed=0), samples(case, 9, seed=1)
    kept = fitted.clone(), new.clone()
    detector = case.fit(fitted, groups(60))
    first = detector.score(new)
    torch.testing.assert_close(detector.score(new), first, rtol=0, atol=0)
    torch.testing.assert_close(case.fit(fitted, groups(60)).score(new), first, rtol=0, atol=0)
    torch.testing.assert_close((fitted, new), kept, rtol=0, atol=0)


@pytest.mark.parametrize(
    "case", [c for c in DETECTORS.values() if c.rotates], ids=[n for n in DETECTORS if n != "Gram"]
)
def test_rotating_the_features_changes_nothing(case: Detector) -> None:
    fitted, new = samples(case, 60, seed=0), samples(case, 9, seed=1)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)).Q
    expected = case.fit(fitted, groups(60)).score(new)
    assert_equal_scores(case.fit(fitted @ rotation, groups(60)).score(new @ rotation), expected)


@each_detector
def test_permuting_the_features_changes_nothing(case: Detector) -> None:
    fitted, new = samples(case, 60, seed=0), samples(case, 9, seed=1)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    expected = case.fit(fitted, groups(60)).score(new)
    assert_equal_scores(case.fit(fitted[..., order], groups(60)).score(new[..., order]), expected)


@pytest.mark.parametrize("factor", [0.5, 1e-6, 1e6], ids=["half", "tiny", "huge"])
@each_detector
def test_scaling_law(case: Detector, factor: float) -> None:
    fitted, new = samples(case, 60, seed=0), samples(case, 9, seed=1)
    expected = case.fit(fitted, groups(60)).score(new)
    scaled = case.fit(factor * fitted, groups(60)).score(factor * new) / factor**case.power
    assert_equal_scores(scaled, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@each_detector
def test_range_and_dtype(case: Detector, dtype: torch.dtype) -> None:
    detector = case.fit(samples(case, 60, seed=0).to(dtype), groups(60))
    scores = detector.score(samples(case, 40, seed=1).to(dtype))
    assert scores.dtype == dtype
    assert scores.shape == (40,)
    assert bool(((scores >= case.low) & (scores <= case.high)).all())


@each_detector
def test_repr_is_one_short_line(case: Detector) -> None:
    text = repr(case.fit(samples(case, 60, seed=0), groups(60)))
    assert len(text) < 160
    assert "\n" not in text


@each_detector
def test_wrong_samples_are_refused(case: Detector) -> None:
    with pytest.raises(ValueError, match="finite"):
        case.fit(samples(case, 60, seed=0) * torch.nan, groups(60))
    detector = case.fit(samples(case, 60, seed=0), groups(60))
    with pytest.raises(ValueError, match="finite"):
        detector.score(samples(case, 3, seed=0) * torch.inf)
    with pytest.raises(ValueError, match="at least one batch"):
        case.fit(iter([]), iter([]))


sees_widths = {name: case for name, case in DETECTORS.items() if name not in {"norm", "norm, one-sided"}}


@pytest.mark.parametrize("case", sees_widths.values(), ids=sees_widths)
def test_another_width_is_refused(case: Detector) -> None:
    detector = case.fit(samples(case, 60, seed=0), groups(60))
    with pytest.raises(ValueError, match=r"as many (dimensions|columns)|shapes"):
        detector.score(samples(case, 3, seed=0)[..., :4])
