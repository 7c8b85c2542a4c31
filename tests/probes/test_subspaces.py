"""Agreement of directions and subspaces: references, hand truth, controls, edges."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from probes.spectra import leading_directions
from probes.subspaces import (
    cosine_similarity,
    mean_subspace,
    principal_angles,
    subspace_overlap,
)

EYE = torch.eye(5, dtype=torch.float64)


def bases(n: int, k: int, dims: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, dims, k, generator=generator, dtype=torch.float64)).Q.mT


def test_cosine_formula() -> None:
    a, b = torch.tensor([1.0, 2.0, -1.0]), torch.tensor([-3.0, 0.5, 1.0])
    torch.testing.assert_close(cosine_similarity(a, b), (a @ b).abs() / (a.norm() * b.norm()))


def test_cosine_ignores_signs_and_lengths() -> None:
    a, b = bases(2, 3, 5)
    torch.testing.assert_close(cosine_similarity(-7 * a, b), cosine_similarity(a, b))
    torch.testing.assert_close(cosine_similarity(a, -a), torch.ones(3).double())


@pytest.mark.parametrize(("k", "l"), [(1, 1), (2, 2), (1, 3), (3, 2), (5, 2)])
def test_principal_angles_agree_with_scipy(k: int, l: int) -> None:  # noqa: E741
    a, b = bases(1, k, 5)[0], bases(1, l, 5, seed=1)[0]
    expected = np.sort(scipy.linalg.subspace_angles(a.numpy().T, b.numpy().T))
    # Both combine sines and cosines; a sine near one leaves half of the digits.
    torch.testing.assert_close(principal_angles(a, b), torch.from_numpy(expected), rtol=0, atol=1e-7)


def test_small_angles_are_not_lost() -> None:
    angle = 1e-9  # its cosine is 1 in float64
    tilted = math.cos(angle) * EYE[:1] + math.sin(angle) * EYE[1:2]
    torch.testing.assert_close(principal_angles(EYE[:1], tilted), torch.tensor([angle]).double())


def test_overlap_formula_and_angles() -> None:
    a, b = bases(4, 2, 5), bases(4, 2, 5, seed=1)
    literal = torch.stack([(x @ y.T).norm() ** 2 / 2 for x, y in zip(a, b, strict=True)])
    torch.testing.assert_close(subspace_overlap(a, b), literal)
    torch.testing.assert_close(subspace_overlap(a, b), principal_angles(a, b).cos().square().mean(dim=-1))


def test_overlap_ignores_the_basis() -> None:
    a, b = bases(2, 2, 5)
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]]).double()
    torch.testing.assert_close(subspace_overlap(turn @ a, b), subspace_overlap(a, b))
    torch.testing.assert_close(subspace_overlap(turn @ a, a), torch.tensor(1.0).double())


def test_random_subspaces_overlap_by_k_over_dims() -> None:
    a, b = bases(4000, 2, 8), bases(4000, 2, 8, seed=1)
    # Standard error about 0.16 / sqrt(4000) = 0.0025; four of them.
    torch.testing.assert_close(subspace_overlap(a, b).mean(), torch.tensor(0.25).double(), rtol=0, atol=0.01)


def test_mean_subspace_finds_a_planted_one() -> None:
    noise = 0.05 * torch.randn(50, 2, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    planted = leading_directions(EYE[:2] * torch.tensor([[2.0], [1.0]]).double() + noise).directions
    mean = mean_subspace(planted)
    assert subspace_overlap(mean.basis, EYE[:2]) > 0.999
    assert mean.eigenvalues[1] > 0.95
    assert not mean.tied
    # The negative control: unrelated subspaces share nothing beyond k / d.
    assert mean_subspace(bases(500, 2, 5)).eigenvalues[0] < 0.5


def test_mean_subspace_maximises_the_mean_overlap() -> None:
    directions = bases(30, 2, 5)
    best = mean_subspace(directions)
    achieved = subspace_overlap(best.basis.expand(30, -1, -1), directions).mean()
    torch.testing.assert_close(achieved, best.eigenvalues[:2].mean())
    for rival in bases(50, 2, 5, seed=2):
        assert subspace_overlap(rival.expand(30, -1, -1), directions).mean() <= achieved


@pytest.mark.parametrize("k", [None, 1, 2, 5], ids=str)
def test_mean_subspace_k(k: int | None) -> None:
    mean = mean_subspace(bases(10, 2, 5).float(), k)
    assert mean.basis.shape == (k or 2, 5)
    assert mean.basis.dtype == torch.float32
    torch.testing.assert_close(mean.eigenvalues.sum(), torch.tensor(2.0))


def test_one_sample_is_its_own_mean() -> None:
    directions = bases(1, 2, 5)
    mean = mean_subspace(directions)
    torch.testing.assert_close(subspace_overlap(mean.basis, directions[0]), torch.tensor(1.0).double())
    assert mean.n_samples == 1


def test_mean_subspace_flags_ties() -> None:
    assert mean_subspace(EYE[:2, None]).tied  # e1 and e2 equally often
    assert not mean_subspace(EYE[:2, None], k=2).tied
    assert not mean_subspace(EYE[:2, None], k=5).tied
    assert "n_samples=2" in repr(mean_subspace(EYE[:2, None]))


ERRORS = {
    "zero direction": (
        lambda: cosine_similarity(torch.zeros(3), torch.ones(3)),
        "non-zero directions in a, got 1",
    ),
    "not orthonormal": (lambda: principal_angles(2 * EYE[:2], EYE[:2]), "orthonormal rows in a, got 2 rows"),
    "second not orthonormal": (lambda: subspace_overlap(EYE[:1], 3 * EYE[:1]), "orthonormal rows in b"),
    "mean of lengths": (lambda: mean_subspace(2 * EYE[None, :2]), "mean_projector needs orthonormal"),
    "mean k": (lambda: mean_subspace(EYE[None, :2], k=6), "needs 1 <= k <= 5 .*got k=6"),
    "no samples": (lambda: mean_subspace(torch.ones(0, 2, 5)), "at least one entry along sample"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
