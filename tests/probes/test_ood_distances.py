"""Mahalanobis, PCA residual, null space, neighbours and Gram: formulas, references, traps, edges."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors as SklearnNeighbors
from torch import Tensor

from probes.ood import (
    fit_gram,
    fit_mahalanobis,
    fit_nearest_neighbors,
    fit_null_space,
    fit_pca_residual,
    fit_relative_mahalanobis,
)


def features(n: int = 40, dims: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, dims, generator=generator, dtype=torch.float64) * torch.arange(1, dims + 1) + 1


def two_groups(n: int = 40) -> tuple[Tensor, Tensor]:
    x, groups = features(n), torch.arange(n) % 2
    return x + 9 * groups[:, None], groups


def distance(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    return torch.einsum("ni,ij,nj->n", x - mean, torch.linalg.inv(covariance), x - mean)


def test_mahalanobis_formula() -> None:
    x, new = features(), features(7, seed=1)
    literal = distance(new, x.mean(dim=0), torch.cov(x.T, correction=0))
    torch.testing.assert_close(fit_mahalanobis(x, shrinkage=False).score(new), literal)
    shrunk = fit_mahalanobis(x)
    torch.testing.assert_close(shrunk.score(new), distance(new, x.mean(dim=0), shrunk.covariance.matrix))


def test_mahalanobis_with_fewer_samples_than_dimensions() -> None:
    x = features(6, 30).float()
    scores = fit_mahalanobis(x).score(x)
    assert scores.isfinite().all()
    assert fit_mahalanobis(x).score(20 * x).min() > scores.max()


def test_relative_mahalanobis_formula() -> None:
    (x, groups), new = two_groups(), features(7, seed=1)
    parts = [x[groups == g] for g in (0, 1)]
    within = sum(torch.cov(part.T, correction=0) / 2 for part in parts)
    nearest = torch.stack([distance(new, part.mean(dim=0), within) for part in parts]).amin(dim=0)
    literal = nearest - distance(new, x.mean(dim=0), torch.cov(x.T, correction=0))
    torch.testing.assert_close(fit_relative_mahalanobis(x, groups, shrinkage=False).score(new), literal)


def test_pca_residual_formula() -> None:
    x, new = features(), features(7, seed=1)
    found = fit_pca_residual(x, n_components=2)
    vectors = np.linalg.svd((x - x.mean(dim=0)).numpy(), full_matrices=False)[2][:2]
    outside = torch.eye(5).double() - torch.from_numpy(vectors.T @ vectors)
    torch.testing.assert_close(found.score(new), ((new - x.mean(dim=0)) @ outside).norm(dim=1) ** 2)


@pytest.mark.parametrize(("variance", "expected"), [(0.5, 1), (0.8, 2), (0.95, 3)])
def test_pca_residual_takes_the_fewest_components_that_explain_enough(variance: float, expected: int) -> None:
    x = torch.cat([torch.diag(s * torch.tensor([4.0, 3.0, 2.0, 1.0])) for s in (1, -1)])  # energies 16, 9, 4, 1
    found = fit_pca_residual(x, variance=variance)
    assert len(found.components) == expected
    assert found.explained == pytest.approx(sum([16, 9, 4, 1][:expected]) / 30)


def test_null_space_of_a_weight_and_of_features() -> None:
    weight = features(2, 5)
    found = fit_null_space(weight)
    torch.testing.assert_close(found.basis @ weight.T, torch.zeros(3, 2).double(), rtol=0, atol=1e-12)
    new = features(7, seed=1)
    torch.testing.assert_close(found.score(new), (new @ found.basis.T).norm(dim=1) / new.norm(dim=1))
    flat = features() * torch.tensor([1.0, 1, 1, 1, 0])
    inside, outside = fit_null_space(flat).score(flat), fit_null_space(flat).score(torch.eye(5)[4:].double())
    torch.testing.assert_close(inside, torch.zeros(40).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(outside, torch.ones(1).double())
    torch.testing.assert_close(found.score(torch.zeros(1, 5).double()), torch.zeros(1).double())


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("k", [1, 4])
def test_neighbours_agree_with_scikit_learn(k: int, normalize: bool) -> None:
    x, new = features(), features(7, seed=1)
    found = fit_nearest_neighbors(x, k=k, normalize=normalize).score(new)
    a, b = (y / y.norm(dim=1, keepdim=True) if normalize else y for y in (x, new))
    distances, _ = SklearnNeighbors(n_neighbors=k).fit(a.numpy()).kneighbors(b.numpy())
    torch.testing.assert_close(found, torch.from_numpy(distances[:, -1]))


def test_normalised_neighbours_warn_where_they_are_blind() -> None:
    x = features(100)
    raw, normalised = fit_nearest_neighbors(x), fit_nearest_neighbors(x, normalize=True)
    fresh = features(100, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the negative control: no warning in distribution
        expected = normalised.score(fresh)
    for factor in (3.0, 1 / 3):
        with pytest.warns(UserWarning, match="blind to scale, and the median length .* report normalize=False"):
            blind = normalised.score(factor * fresh)
        torch.testing.assert_close(blind, expected)
    assert raw.score(3 * fresh).median() > 2 * raw.score(fresh).median()


def test_neighbours_keep_a_capped_seeded_sample() -> None:
    x, new = features(200), features(7, seed=1)
    found = fit_nearest_neighbors(x, capacity=50)
    assert (len(found.samples), found.n_samples) == (50, 200)
    assert bool((found.samples[:, None] == x).all(dim=2).any(dim=1).all())
    streamed = fit_nearest_neighbors(iter(x.split(7)), capacity=50)
    torch.testing.assert_close(streamed.score(new), found.score(new), rtol=0, atol=0)
    other = fit_nearest_neighbors(x, capacity=50, seed=1)
    assert not torch.equal(other.samples, found.samples)
    firsts = [fit_nearest_neighbors(x, capacity=50, seed=seed).samples[0] for seed in range(40)]
    positions = torch.stack([(x == first).all(dim=1).nonzero()[0, 0] for first in firsts]).double()
    # Each sample stays with probability 1/4, so the first one that stayed is number 3 on average; standard error 0.5.
    assert 1 < positions.mean() < 5


@pytest.mark.parametrize("powers", [(1,), (2,), (1, 2, 3)], ids=str)
def test_gram_formula(powers: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    fitted, new = torch.randn(2, 30, 7, 3, generator=generator, dtype=torch.float64)
    found = fit_gram(fitted, powers=powers).score(2 * new)
    expected = torch.zeros(30, dtype=torch.float64)
    for power in powers:
        grams = [(a**power).mT @ a**power for a in (fitted, 2 * new)]
        inside, outside = (g.sign() * g.abs() ** (1 / power) for g in grams)
        for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
            low, high = inside[:, i, j].min(), inside[:, i, j].max()
            excess = torch.maximum(low - outside[:, i, j], outside[:, i, j] - high).clamp_min(0)
            expected += excess / (high - low) / (6 * len(powers))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(fit_gram(fitted, powers=powers).score(fitted), torch.zeros(30).double())


def test_gram_judges_a_dead_channel_by_the_mean_range() -> None:
    fitted = torch.randn(20, 7, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.0, 0.0])
    alive = fitted + torch.tensor([0.0, 0.0, 5.0])
    scores = fit_gram(fitted).score(alive)
    assert scores.isfinite().all()
    assert scores.min() > 0.1


RELATIVE = fit_relative_mahalanobis
ERRORS = {
    "one group": (
        lambda: RELATIVE(features(), torch.zeros(40, dtype=torch.int64)),
        "needs at least two groups, got one; with one group the score is 0 everywhere: use fit_mahalanobis",
    ),
    "groups of another length": (
        lambda: RELATIVE.__wrapped__(features(), torch.arange(3)),
        "as many samples as groups, got 40 and 3",
    ),
    "too few batches of groups": (
        lambda: RELATIVE(iter(features().split(20)), torch.arange(20) % 2),
        "needs as many batches of groups as of features, got no more groups after batch 1; cut both alike",
    ),
    "too few batches of features": (
        lambda: RELATIVE(features(), iter((torch.arange(80) % 2).split(40))),
        "fit_relative_mahalanobis needs as many batches .*got no more features after batch 1",
    ),
    "no shrinkage": (
        lambda: fit_mahalanobis(features(5, 5), shrinkage=False),
        "more samples than dimensions when shrinkage is off, got 5 samples of 5",
    ),
    "relative without shrinkage": (
        lambda: RELATIVE(features(4), torch.arange(4) % 2, shrinkage=False),
        "fit_relative_mahalanobis needs more samples than dimensions",
    ),
    "one prompt": (lambda: fit_mahalanobis(features(1)), "features that vary, got 1 equal samples"),
    "constant feature": (
        lambda: fit_mahalanobis(features() * torch.tensor([1.0, 1, 1, 1, 0]), shrinkage=False),
        "fit_mahalanobis needs a covariance of full rank, got 1 of 5",
    ),
    "all components": (lambda: fit_pca_residual(features(), n_components=5), "fewer components .*got 5 of 5"),
    "no components": (lambda: fit_pca_residual(features(), n_components=0), "n_components of at least 1, got 0"),
    "variance": (lambda: fit_pca_residual(features(), variance=1.0), "0 < variance < 1, got 1"),
    "constant PCA": (lambda: fit_pca_residual(torch.ones(9, 3)), "features that vary"),
    "full rank": (lambda: fit_null_space(features()), "leave a direction unused, got rank 5 of 5"),
    "zero rows": (lambda: fit_null_space(torch.zeros(3, 3)), "at least one non-zero row"),
    "tolerance": (lambda: fit_null_space(features(), tolerance=0.0), r"tolerance in \[1e-7, 1\), got 0"),
    "k": (lambda: fit_nearest_neighbors(features(), k=0), "a k of at least 1, got 0"),
    "too few neighbours": (lambda: fit_nearest_neighbors(features(3)), "kept samples for k=10 of at least 10, got 3"),
    "capacity": (lambda: fit_nearest_neighbors(features(), capacity=0), "capacity of at least 1"),
    "zero vector": (lambda: fit_nearest_neighbors(0 * features(), normalize=True), "non-zero directions in features"),
    "one Gram": (lambda: fit_gram(torch.ones(1, 3, 3)), "number of samples of at least 2, got 1"),
    "equal Grams": (lambda: fit_gram(torch.ones(4, 3, 3)), "activations that vary, got 4 equal samples"),
    "no powers": (lambda: fit_gram(torch.ones(4, 3, 3), powers=()), "number of powers of at least 1"),
    "power": (lambda: fit_gram(torch.ones(4, 3, 3), powers=(0, 1)), "powers of at least 1, got 0"),
    "rows of a Gram": (
        lambda: fit_gram(torch.randn(4, 8, 3)).score(torch.ones(2, 5, 3)),
        "GramRange.score needs as many rows as in the fitted activations, got 5 and 8",
    ),
    "rows of batches": (
        lambda: fit_gram(iter([torch.randn(4, 8, 3), torch.randn(4, 5, 3)])),
        "fit_gram needs as many rows as in earlier batches, got 5 and 8",
    ),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
