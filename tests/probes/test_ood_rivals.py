"""Densities, foreign estimators, dumb baselines: references, protocols, controls, errors."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde, multivariate_normal
from sklearn.base import BaseEstimator
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import LocalOutlierFactor
from sklearn.svm import OneClassSVM
from torch import Tensor

from probes.ood import (
    ensemble_disagreement,
    fit_estimator,
    fit_gmm,
    fit_kde,
    fit_mahalanobis,
    fit_norm,
    fit_prompt_statistics,
    prediction_gap,
    prompt_statistics,
)


def features(n: int = 60, dims: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, dims, generator=generator, dtype=torch.float64) * torch.arange(dims, 0, -1) + 1


FLAT = features() * torch.tensor([1.0, 1, 0, 0])


def prompts(n: int = 80, factor: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    xs = factor * torch.randn(n, 9, 3, generator=generator, dtype=torch.float64)
    weights = torch.randn(n, 3, 1, generator=generator, dtype=torch.float64)
    return xs, (xs @ weights)[..., 0]


def whitened(x: Tensor, new: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
    scale = vectors.flip(1)[:, :k] / values.flip(0)[:k].sqrt()
    return tuple(((y - x.mean(dim=0)) @ scale).numpy() for y in (x, new))


@pytest.mark.parametrize("bandwidth", ["scott", "silverman", 0.5])
def test_kde_agrees_with_a_slow_sum(bandwidth: str | float) -> None:
    x, new = features(), features(7, seed=1)
    found = fit_kde(x, n_components=2, bandwidth=bandwidth).score(new)
    a, b = whitened(x, new, 2)
    h = {"scott": 60 ** (-1 / 6), "silverman": (60 * 4 / 4) ** (-1 / 6)}.get(bandwidth, bandwidth)
    density = [np.mean([multivariate_normal(z, h**2 * np.eye(2)).pdf(y) for z in a]) for y in b]
    torch.testing.assert_close(found, torch.from_numpy(-np.log(density)))
    assert gaussian_kde(a.T).factor == pytest.approx(60 ** (-1 / 6))  # scipy's Scott factor is the same


def test_one_gaussian_agrees_with_scipy_and_mahalanobis() -> None:
    x, new = features(), features(7, seed=1)
    found = fit_gmm(x, n_components=4, n_mixtures=1).score(new)
    a, b = whitened(x, new, 4)
    expected = -multivariate_normal(a.mean(axis=0), np.eye(4)).logpdf(b)
    # scikit-learn adds 1e-6 to the variances.
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=1e-5, atol=1e-5)
    half_distance = fit_mahalanobis(x, shrinkage=False).score(new) / 2
    torch.testing.assert_close(found, half_distance + 2 * math.log(2 * math.pi), rtol=1e-5, atol=1e-5)


def test_a_mixture_sees_the_gap_between_its_parts() -> None:
    x = features(200) + 40 * (torch.arange(200) % 2)[:, None]
    middle = features(50, seed=1) + 20
    mixture = fit_gmm(x, n_components=2, n_mixtures=2)
    assert mixture.score(middle).min() > mixture.score(x).max()
    single = fit_gmm(x, n_components=2, n_mixtures=1)
    assert single.score(middle).mean() < single.score(x).mean()


@pytest.mark.parametrize("fit", [fit_kde, fit_gmm])
def test_default_components_are_those_that_vary_and_at_most_eight(fit: object) -> None:
    assert fit(FLAT).n_components == 2
    assert fit(features(dims=12)).n_components == 8


@pytest.mark.parametrize("fit", [fit_kde, fit_gmm])
def test_densities_keep_a_capped_seeded_sample(fit: object) -> None:
    x, new = features(200), features(7, seed=1)
    found = fit(x, n_components=2, capacity=50)
    assert (found.n_kept, found.n_samples) == (50, 200)
    torch.testing.assert_close(fit(iter(x.split(9)), n_components=2, capacity=50).score(new), found.score(new))
    assert not torch.allclose(fit(x, n_components=2, capacity=50, seed=1).score(new), found.score(new))
    assert fit(x.float(), n_components=2).score(new.float()).dtype == torch.float32


class LikePyOD:
    """PyOD's protocol: decision_scores_ after the fit, and larger is further out."""

    def fit(self, x: np.ndarray) -> "LikePyOD":
        self.centre = x.mean(axis=0)
        self.decision_scores_ = self.decision_function(x)
        return self

    def decision_function(self, x: np.ndarray) -> np.ndarray:
        return np.linalg.norm(x - self.centre, axis=1)


class Silent(BaseEstimator):
    """Neither protocol's mark."""

    def fit(self, x: np.ndarray) -> None:
        self.centre = x.mean(axis=0)

    def decision_function(self, x: np.ndarray) -> np.ndarray:
        return -np.linalg.norm(x - self.centre, axis=1)


ESTIMATORS = {
    "isolation forest": (IsolationForest(n_estimators=20, random_state=0), "auto", -1),
    "local outlier factor": (LocalOutlierFactor(n_neighbors=10, novelty=True), "auto", -1),
    "one-class SVM": (OneClassSVM(nu=0.1), "auto", -1),
    "elliptic envelope": (EllipticEnvelope(random_state=0), "auto", -1),
    "PyOD's protocol": (LikePyOD(), "auto", 1),
    "told inlier": (Silent(), "inlier", -1),
    "told outlier": (LikePyOD(), "outlier", 1),
}


@pytest.mark.parametrize(("estimator", "larger", "sign"), ESTIMATORS.values(), ids=ESTIMATORS)
def test_foreign_estimators_get_the_right_sign(estimator: object, larger: str, sign: int) -> None:
    x = features()
    found = fit_estimator(x.float(), estimator, larger=larger)
    scores = [found.score(y.float()) for y in (features(seed=1), features(seed=1) + 30)]
    assert scores[1].min() > scores[0].median()
    assert scores[0].dtype == torch.float32
    assert found.sign == sign
    assert not any(name.endswith("_") and not name.startswith("_") for name in vars(estimator))  # it was copied


def test_a_capped_stream_for_foreign_estimators() -> None:
    x = features(200)
    found = fit_estimator(iter(x.split(9)), LikePyOD(), capacity=50)
    assert len(found.estimator.decision_scores_) == 50
    torch.testing.assert_close(found.score(x), fit_estimator(x, LikePyOD(), capacity=50).score(x), rtol=0, atol=0)


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("which", [0, 1], ids=["xs", "ys"])
def test_norm_formula(which: int, two_sided: bool) -> None:
    fitted, new = prompts()[which], prompts(7, seed=1)[which]
    logs, literal = (x.flatten(1).norm(dim=1).log() for x in (fitted, new))
    z = (literal - logs.mean()) / logs.std(correction=0)
    found = fit_norm(fitted, two_sided=two_sided)
    torch.testing.assert_close(found.score(new), z.abs() if two_sided else z)
    assert "two_sided" in repr(found)


def test_norms_and_raw_statistics_see_a_change_of_scale() -> None:
    (xs, ys), fresh = prompts(200), prompts(200, seed=1)
    for factor in (3.0, 1 / 3):
        shifted = prompts(200, factor=factor, seed=2)
        norm = fit_norm(xs)
        assert norm.score(shifted[0]).median() > 3 * norm.score(fresh[0]).median()
    statistics = fit_prompt_statistics(xs, ys)
    large = prompts(200, factor=3.0, seed=2)
    assert statistics.score(*large).median() > 10 * statistics.score(*fresh).median()
    # The negative control: a fresh set looks as the fitted one, up to overfitting nine statistics.
    assert statistics.score(*fresh).median() < 1.5 * statistics.score(xs, ys).median()
    assert repr(statistics).startswith("PromptStatisticsBaseline(Mahalanobis(Covariance(dim=9")


def test_prompt_statistics_formula() -> None:
    xs, ys = prompts(3)
    found = prompt_statistics(xs, ys)
    for x, y, statistics in zip(xs, ys, found, strict=True):
        second = x.T @ x / 9
        upper = torch.stack([second[i, j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))])
        torch.testing.assert_close(statistics, torch.cat([upper, x.T @ y / 9]))
    torch.testing.assert_close(
        fit_prompt_statistics(*prompts()).score(xs, ys), fit_mahalanobis(prompt_statistics(*prompts())).score(found)
    )


def test_prompt_statistics_in_batches() -> None:
    (xs, ys), new = prompts(), prompts(7, seed=1)
    expected = fit_prompt_statistics(xs, ys).score(*new)
    for size in (1, 9):
        streamed = fit_prompt_statistics(iter(xs.split(size)), iter(ys.split(size)))
        torch.testing.assert_close(streamed.score(*new), expected, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match="shorter"):
        fit_prompt_statistics(iter(xs.split(9)), [ys[:9]])


def test_prediction_scores_literally() -> None:
    a, b, c = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prediction_gap(a, b), (a - b).abs().sum(dim=1) / 4)
    torch.testing.assert_close(prediction_gap(a, a), torch.zeros(5))
    votes = torch.stack([a, b, c])
    literal = ((votes - votes.mean(0)) ** 2).sum(0) / 2
    torch.testing.assert_close(ensemble_disagreement(votes), literal.mean(dim=1))
    torch.testing.assert_close(ensemble_disagreement(votes.flip(0)), ensemble_disagreement(votes))
    torch.testing.assert_close(ensemble_disagreement(torch.stack([a, a])), torch.zeros(5))
    torch.testing.assert_close(ensemble_disagreement(votes[:, :1]).shape, torch.Size([1]))


ERRORS = {
    "flat KDE": (lambda: fit_kde(FLAT, n_components=3), "n_components of at most 2, .* 60 kept samples vary, got 3"),
    "many components": (lambda: fit_kde(features(), n_components=8), "n_components of at most 4, .* got 8"),
    "no components": (lambda: fit_gmm(features(), n_components=0), "n_components of at least 1, got 0"),
    "no mixtures": (lambda: fit_gmm(features(), n_mixtures=0), "n_mixtures of at least 1"),
    "few samples": (lambda: fit_gmm(features(2), n_components=1), "kept samples for n_mixtures=3 of at least 3, got 2"),
    "unknown sign": (lambda: fit_estimator(features(), Silent()), "got Silent with neither decision_scores_"),
    "larger": (
        lambda: fit_estimator.__wrapped__(features(), LikePyOD(), larger="up"),
        "larger to be one of 'auto', 'inlier', 'outlier', got 'up'",
    ),
    "equal norms": (lambda: fit_norm(torch.ones(9, 3)), "lengths that vary, got 9 equal ones"),
    "zero prompt": (lambda: fit_norm(torch.zeros(9, 3)), "non-zero directions in inputs, got 9"),
    "one axis": (lambda: fit_norm(torch.ones(9)), "needs inputs with axes"),
    "labels of another shape": (
        lambda: prompt_statistics.__wrapped__(torch.ones(2, 3, 4), torch.ones(2, 2)),
        "xs without its last axis and ys of one shape",
    ),
    "gap": (
        lambda: prediction_gap.__wrapped__(torch.ones(2, 3), torch.ones(2, 1)),
        "predictions and reference of one shape",
    ),
    "one member": (lambda: ensemble_disagreement(torch.ones(1, 2, 3)), "number of members of at least 2, got 1"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("estimator", [LinearRegression(), LocalOutlierFactor()], ids=["regression", "no novelty"])
def test_what_is_no_outlier_estimator_is_refused(estimator: object) -> None:
    with pytest.raises(TypeError, match="without decision_function; scikit-learn's LocalOutlierFactor has them with"):
        fit_estimator(features(), estimator)
