"""Covariance, shrinkage, whitening: scikit-learn, streaming, edges."""

import pytest
import torch
from sklearn.covariance import LedoitWolf
from torch import Tensor

from probes.covariance import MomentAccumulator, fit_covariance, ledoit_wolf_shrinkage


def features(n: int = 40, dims: int = 5, offset: float = 0.0, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    scales = torch.arange(1, dims + 1, dtype=torch.float64)
    return torch.randn(n, dims, generator=generator, dtype=torch.float64) * scales + offset


@pytest.mark.parametrize("shape", [(40, 5), (6, 30), (3, 3)], ids=str)
def test_ledoit_wolf_agrees_with_scikit_learn(shape: tuple[int, int]) -> None:
    x = features(*shape)
    expected = LedoitWolf().fit(x.numpy())
    found = fit_covariance(x)
    assert found.shrinkage == pytest.approx(expected.shrinkage_, rel=1e-9, abs=1e-12)
    torch.testing.assert_close(found.matrix, torch.from_numpy(expected.covariance_))
    distances = torch.from_numpy(expected.mahalanobis(x.numpy()))
    torch.testing.assert_close(found.squared_distance(x), distances)


def test_moments_literally() -> None:
    x = features(offset=2.0)
    moments = MomentAccumulator()
    moments.update(x)
    torch.testing.assert_close(moments.mean(), x.mean(dim=0))
    torch.testing.assert_close(moments.covariance(), torch.cov(x.T, correction=0))
    fourth = (x - x.mean(dim=0)).norm(dim=1) ** 4
    torch.testing.assert_close(moments.mean_fourth_power(), fourth.mean())


def test_shrinkage_formula() -> None:
    x = features()
    s = torch.cov(x.T, correction=0)
    mu = s.trace() / 5
    d = (s - mu * torch.eye(5)).square().sum()
    fourth = ((x - x.mean(dim=0)).norm(dim=1) ** 4).mean()
    b = (fourth - s.square().sum()) / 40
    expected = float(torch.minimum(b, d) / d)
    assert ledoit_wolf_shrinkage(s, fourth, 40) == pytest.approx(expected)
    found = fit_covariance(x, shrinkage=0.3)
    torch.testing.assert_close(found.matrix, 0.7 * s + 0.3 * mu * torch.eye(5))
    assert ledoit_wolf_shrinkage(torch.eye(3).double(), torch.tensor(9.0).double(), 10) == 1.0


@pytest.mark.parametrize("offset", [0.0, 1e6], ids=["centred", "far away"])
@pytest.mark.parametrize("size", [1, 7, 40])
def test_batches_do_not_matter(size: int, offset: float) -> None:
    x = features(offset=offset)
    at_once, streamed = fit_covariance(x), fit_covariance(batch for batch in x.split(size))
    tolerance = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(streamed.mean, at_once.mean, **tolerance)
    torch.testing.assert_close(streamed.matrix, at_once.matrix, **tolerance)
    assert streamed.shrinkage == pytest.approx(at_once.shrinkage, abs=1e-10)


def test_a_large_mean_costs_no_digits() -> None:
    near, far = fit_covariance(features()), fit_covariance(features(offset=1e6))
    # The input itself has lost ten of its sixteen digits' worth of 1e6.
    torch.testing.assert_close(far.matrix, near.matrix, rtol=1e-8, atol=1e-8)


def test_whitening_gives_unit_variance_and_the_distance() -> None:
    x = features()
    found = fit_covariance(x, shrinkage=False)
    white = found.whiten(x)
    torch.testing.assert_close(torch.cov(white.T, correction=0), torch.eye(5).double())
    torch.testing.assert_close(found.squared_distance(x), white.square().sum(dim=1))
    centred = x - x.mean(dim=0)
    literal = torch.einsum("ni,ij,nj->n", centred, torch.linalg.inv(found.matrix), centred)
    torch.testing.assert_close(found.squared_distance(x), literal)
    torch.testing.assert_close(found.eigenvectors @ found.matrix @ found.eigenvectors.T, torch.diag(found.eigenvalues))
    assert repr(found) == "Covariance(dim=5, n_samples=40, shrinkage=0)"


def never_fitted() -> object:
    return MomentAccumulator().covariance()


CONSTANT_COLUMN = features() * torch.tensor([1.0, 1, 1, 1, 0])
ERRORS = {
    "too few": (
        lambda: fit_covariance(features(4, 5), shrinkage=False),
        "more samples than dimensions when shrinkage is off, got 4 samples of 5 dimensions; pass shrinkage=True",
    ),
    "one sample": (lambda: fit_covariance(features(1)), "features that vary, got 1 equal"),
    "constant": (lambda: fit_covariance(torch.ones(9, 3)), "features that vary, got 9 equal"),
    "share": (lambda: fit_covariance(features(), shrinkage=1.5), r"shrinkage in \[0, 1\], got 1.5"),
    "singular": (
        lambda: fit_covariance(CONSTANT_COLUMN, shrinkage=False).whiten(CONSTANT_COLUMN),
        "full rank, got 1 of 5 directions without variance",
    ),
    "no batches": (lambda: fit_covariance([]), "at least one batch of features, got none"),
    "widths": (lambda: fit_covariance([features(), features(dims=4)]), "as many columns of features as in earlier"),
    "nothing fitted": (never_fitted, "number of samples of at least 1, got 0"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_what_cannot_be_batches_is_refused() -> None:
    with pytest.raises(TypeError, match="iterable of tensors as features, got int"):
        fit_covariance.__wrapped__(3)
