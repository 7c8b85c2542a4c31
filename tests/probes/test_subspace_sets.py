"""Distances between subspaces, matrices over pairs, agreement of a set with its reference."""

import math

import pytest
import torch
from torch import Tensor

from probes.pairwise import mean_pairwise_overlap, pairwise_alignment
from probes.subspaces import (
    chordal_distance,
    geodesic_distance,
    mean_subspace,
    pairwise_cosines,
    pairwise_overlaps,
    principal_angles,
    set_alignment,
    subspace_overlap,
)

EYE = torch.eye(5, dtype=torch.float64)


def bases(n: int, k: int = 2, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, 5, k, generator=generator, dtype=torch.float64)).Q.mT


def test_distances_literally() -> None:
    a, b = bases(4), bases(4, seed=1)
    projectors = torch.linalg.matrix_norm(a.mT @ a - b.mT @ b) / math.sqrt(2)
    torch.testing.assert_close(chordal_distance(a, b), projectors)
    torch.testing.assert_close(chordal_distance(a, b), (2 - 2 * subspace_overlap(a, b)).sqrt())
    torch.testing.assert_close(geodesic_distance(a, b), principal_angles(a, b).square().sum(dim=1).sqrt())


@pytest.mark.parametrize("distance", [chordal_distance, geodesic_distance])
def test_distances_are_metrics(distance: object) -> None:
    a, b, c = bases(50), bases(50, seed=1), bases(50, seed=2)
    torch.testing.assert_close(distance(a, b), distance(b, a))
    assert bool((distance(a, c) <= distance(a, b) + distance(b, c) + 1e-12).all())
    torch.testing.assert_close(distance(a, -a.flip(1)), torch.zeros(50).double(), rtol=0, atol=1e-14)
    tilted = math.cos(1e-9) * EYE[:1] + math.sin(1e-9) * EYE[1:2]
    torch.testing.assert_close(distance(EYE[:1], tilted), torch.tensor(1e-9).double())
    assert distance(a.float(), b.float()).dtype == torch.float32


def test_matrices_over_pairs_literally() -> None:
    a, b = bases(4), bases(3, seed=1)
    cosines, overlaps = pairwise_cosines(a, b), pairwise_overlaps(a, b)
    for p in range(4):
        for q in range(3):
            torch.testing.assert_close(cosines[:, p, q], (a[p] * b[q]).sum(dim=1).abs())
            torch.testing.assert_close(overlaps[p, q], subspace_overlap(a[p], b[q]))


def test_matrices_within_a_set_average_to_the_pairwise_means() -> None:
    a = bases(6)
    off = ~torch.eye(6, dtype=torch.bool)
    torch.testing.assert_close(pairwise_overlaps(a)[off].mean(), mean_pairwise_overlap(a))
    torch.testing.assert_close(pairwise_cosines(a)[:, off].mean(dim=1), pairwise_alignment(a))
    torch.testing.assert_close(pairwise_overlaps(a).diagonal(), torch.ones(6).double())
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    torch.testing.assert_close(pairwise_overlaps(a[order]), pairwise_overlaps(a)[order][:, order])


def test_set_alignment_finds_a_planted_reference_and_not_a_shuffled_one() -> None:
    turned = 0.1 * torch.randn(30, 2, 5, generator=torch.Generator().manual_seed(0)).double() + EYE[:2]
    planted = torch.linalg.qr(turned.mT).Q.mT
    assert set_alignment(planted).overlap.min() > 0.8
    assert set_alignment(planted, EYE[:2]).cosines.min() > 0.8
    assert set_alignment(planted, EYE[2:4]).overlap.max() < 0.2
    # Unrelated subspaces: k / dim = 0.4 with any fixed one; standard error 0.2 / sqrt(400), four of them.
    random = set_alignment(bases(400), EYE[:2]).overlap.mean()
    torch.testing.assert_close(random, torch.tensor(0.4).double(), rtol=0, atol=0.04)


def test_set_alignment_literally() -> None:
    a, reference = bases(5), bases(1, seed=3)[0]
    found = set_alignment(a, reference)
    torch.testing.assert_close(found.overlap, subspace_overlap(a, reference.expand(5, -1, -1)))
    torch.testing.assert_close(found.cosines, torch.stack([(v * reference).sum(dim=1).abs() for v in a]))
    own = set_alignment(a)
    torch.testing.assert_close(own.reference, mean_subspace(a).basis)
    torch.testing.assert_close(own.overlap.mean(), mean_subspace(a).eigenvalues[:2].mean())
    assert repr(own).startswith("SetAlignment(n_samples=5, mean overlap=0.")
    torch.testing.assert_close(set_alignment(a[:1]).overlap, torch.ones(1).double())


ERRORS = {
    "chordal": (lambda: chordal_distance(2 * EYE[:2], EYE[:2]), "orthonormal rows in a"),
    "geodesic": (lambda: geodesic_distance.__wrapped__(EYE[:2], EYE[:1]), "a and b of one shape"),
    "cosines": (lambda: pairwise_cosines(2 * EYE[None, :2]), "orthonormal rows in directions"),
    "overlaps": (lambda: pairwise_overlaps.__wrapped__(bases(2), bases(2, 1)), "as many directions a sample"),
    "reference": (lambda: set_alignment.__wrapped__(bases(2), EYE[:1]), "one sample's directions and the reference"),
    "reference length": (lambda: set_alignment(bases(2), 2 * EYE[:2]), "orthonormal rows in reference"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
