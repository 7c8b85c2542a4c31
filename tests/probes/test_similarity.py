"""CKA and Procrustes: references, controls, edges."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from probes.similarity import linear_cka, procrustes_distance


def features(n: int = 25, dims: int = 6, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, dims, generator=generator, dtype=torch.float64) + 3


def biased(a: Tensor, b: Tensor) -> Tensor:
    n = len(a)
    centre = torch.eye(n).double() - 1 / n
    return (centre @ a @ a.T @ centre @ b @ b.T).trace()


def unbiased(a: Tensor, b: Tensor) -> Tensor:
    # Song et al. (2012), equation 5, with matrices.
    n, one = len(a), torch.ones(len(a), dtype=torch.float64)
    k, m = ((x @ x.T).fill_diagonal_(0) for x in (a, b))
    total = (k * m).sum() + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * (one @ k @ m @ one)) / (n * (n - 3))


@pytest.mark.parametrize(("debiased", "hsic"), [(False, biased), (True, unbiased)], ids=["plain", "debiased"])
def test_cka_formula(debiased: bool, hsic: object) -> None:
    a, b = features(), features(dims=4, seed=1) + features()[:, :4]
    expected = hsic(a, b) / (hsic(a, a) * hsic(b, b)).sqrt()
    torch.testing.assert_close(linear_cka(a, b, debiased=debiased), expected)


def test_debiased_cka_of_unrelated_features_is_zero_on_average() -> None:
    pairs = [(features(12, 8, seed=2 * i), features(12, 8, seed=2 * i + 1)) for i in range(60)]
    plain = torch.stack([linear_cka(a, b) for a, b in pairs])
    debiased = torch.stack([linear_cka(a, b, debiased=True) for a, b in pairs])
    assert plain.mean() > 0.3
    # Standard deviation about 0.2 each, so 0.026 of the mean; four of them.
    assert debiased.mean().abs() < 0.11
    assert linear_cka(pairs[0][0], 2 - pairs[0][0], debiased=True) > 0.999


def test_procrustes_agrees_with_scipy() -> None:
    a, b = features(), features(seed=1)
    normed = [(x - x.mean(0)) / torch.linalg.matrix_norm(x - x.mean(0)) for x in (a, b)]
    rotation, _ = scipy.linalg.orthogonal_procrustes(normed[1].numpy(), normed[0].numpy())
    expected = np.linalg.norm(normed[0].numpy() - normed[1].numpy() @ rotation)
    torch.testing.assert_close(procrustes_distance(a, b), torch.tensor(expected))
    nuclear = torch.linalg.matrix_norm(normed[0].T @ normed[1], ord="nuc")
    torch.testing.assert_close(procrustes_distance(a, b), (2 - 2 * nuclear).sqrt())


def test_procrustes_is_a_metric_that_ignores_rotation_scale_shift_and_padding() -> None:
    a, b, c = features(), features(seed=1), features(seed=2)
    turn = torch.linalg.qr(features(6, 6, seed=3)).Q
    torch.testing.assert_close(procrustes_distance(a, b), procrustes_distance(b, a))
    assert procrustes_distance(a, c) <= procrustes_distance(a, b) + procrustes_distance(b, c)
    # Rounding of float64 after centring features around 3; the subtraction formula would leave 1e-8.
    assert procrustes_distance(a, 7 * a @ turn - 5) < 1e-13
    padded = torch.cat([b, torch.zeros(25, 4).double()], dim=1)
    torch.testing.assert_close(procrustes_distance(a, padded), procrustes_distance(a, b))
    torch.testing.assert_close(procrustes_distance(padded, a), procrustes_distance(a, b))


def test_fewer_samples_than_dimensions_and_dtype() -> None:
    a, b = features(5, 30).float(), features(5, 30, seed=1).float()
    for measure in (linear_cka, procrustes_distance):
        assert measure(a, b).dtype == torch.float32
        assert measure(a, b).isfinite()


ERRORS = {
    "samples differ": (
        lambda: linear_cka.__wrapped__(features(5), features(6)),
        "as many samples in a as in b, got 5 and 6",
    ),
    "too few": (lambda: linear_cka(features(1), features(1)), "at least 2, got 1"),
    "too few to debias": (lambda: linear_cka(features(3), features(3), debiased=True), "at least 4, got 3"),
    "constant": (lambda: linear_cka(features(), torch.full((25, 2), 0.1)), "vary over samples, got a constant b"),
    "constant Procrustes": (lambda: procrustes_distance(0 * features(), features()), "got a constant a"),
    "NaN": (lambda: procrustes_distance(features() * torch.nan, features()), "finite a"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
