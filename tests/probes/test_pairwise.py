"""Agreement over all pairs: slow loops, shared random numbers, streamed sums, controls, edges."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from probes.pairwise import (
    mean_pairwise_overlap,
    mean_projector,
    overlap_between,
    overlap_within,
    pairwise_alignment,
)
from probes.subspaces import subspace_overlap

EYE = torch.eye(5, dtype=torch.float64)


def bases(n: int, k: int, dims: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(n, dims, k, generator=generator, dtype=torch.float64)).Q.mT


def shared_bases(n: int, k: int, dims: int, seed: int) -> tuple[Tensor, Tensor]:
    # Sample i of both sets is the same draw, up to a little noise: the sets are alike in the pairs (i, i) alone.
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(n, dims, k, generator=generator, dtype=torch.float64)
    noise = 0.2 * torch.randn(n, dims, k, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(draw).Q.mT, torch.linalg.qr(draw + noise).Q.mT


def mean_over(measure: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor, *, same_index: bool) -> Tensor:
    pairs = [measure(x, y) for p, x in enumerate(a) for q, y in enumerate(b) if same_index or p != q]
    return torch.stack(pairs).mean(dim=0)


def alignment(x: Tensor, y: Tensor) -> Tensor:
    return (x * y).sum(dim=1).abs()


def test_mean_projector_formula() -> None:
    directions = bases(3, 2, 5)
    torch.testing.assert_close(mean_projector(directions), sum(v.T @ v for v in directions) / 3)


@pytest.mark.parametrize(
    ("mean", "measure"),
    [(mean_pairwise_overlap, subspace_overlap), (pairwise_alignment, alignment)],
    ids=["overlap", "alignment"],
)
@pytest.mark.parametrize("k", [1, 2, 5])
class TestAgainstALoop:
    def test_within(self, k: int, mean: Callable[..., Tensor], measure: Callable[..., Tensor]) -> None:
        a = bases(6, k, 5)
        torch.testing.assert_close(mean(a), mean_over(measure, a, a, same_index=False))

    def test_between(self, k: int, mean: Callable[..., Tensor], measure: Callable[..., Tensor]) -> None:
        a, b = bases(6, k, 5), bases(4, k, 5, seed=1)
        expected = mean_over(measure, a, b, same_index=True)
        torch.testing.assert_close(mean(a, b), expected)
        torch.testing.assert_close(mean(a, b, paired=False), expected)

    def test_paired(self, k: int, mean: Callable[..., Tensor], measure: Callable[..., Tensor]) -> None:
        a, b = shared_bases(6, k, 5, seed=1)
        torch.testing.assert_close(mean(a, b, paired=True), mean_over(measure, a, b, same_index=False))
        # A set against itself: the same pairs as within it.
        torch.testing.assert_close(mean(a, a, paired=True), mean(a))


@pytest.mark.parametrize(
    ("mean", "chance"),
    [(mean_pairwise_overlap, 1 / 8), (pairwise_alignment, math.gamma(4) / (math.sqrt(math.pi) * math.gamma(4.5)))],
    ids=["overlap", "alignment"],
)
def test_shared_randomness_looks_like_agreement_unless_paired(mean: Callable[..., Tensor], chance: float) -> None:
    # k = 1 of 8 dimensions; E|<u, v>| = Gamma(d/2) / (sqrt(pi) Gamma((d + 1)/2)).
    sets = [shared_bases(8, 1, 8, seed) for seed in range(200)]
    paired, alone = (torch.stack([mean(a, b, paired=p) for a, b in sets]).mean() for p in (True, False))
    # 200 sets of 56 pairs, of standard deviation below 0.25: standard error 0.0025; four of them.
    torch.testing.assert_close(paired, torch.tensor(chance).double(), rtol=0, atol=0.01)
    assert alone > chance + 0.05  # one pair in eight agrees almost completely


def test_alignment_controls() -> None:
    generator = torch.Generator().manual_seed(0)
    planted = 5 * EYE[:2].mT + 0.1 * torch.randn(40, 5, 2, generator=generator, dtype=torch.float64)
    assert pairwise_alignment(torch.linalg.qr(planted).Q.mT).min() > 0.95
    chance = torch.tensor([math.sqrt(2 / (math.pi * 64))]).double()
    # 300 directions, 45,000 dependent pairs; 5 % of the chance level is several standard errors.
    torch.testing.assert_close(pairwise_alignment(bases(300, 1, 64)), chance, rtol=0.05, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("k", [1, 3])
class TestStreamedSums:
    @staticmethod
    def projector(directions: Tensor) -> Tensor:
        batches = [batch.flatten(0, 1) for batch in directions.split(4)]
        return sum(rows.mT @ rows for rows in batches) / len(directions)

    def test_within(self, k: int, dtype: torch.dtype) -> None:
        a = bases(10, k, 5)
        found = overlap_within(self.projector(a).to(dtype), n_samples=10, k=k)
        expected = mean_over(subspace_overlap, a, a, same_index=False)
        assert found.dtype == dtype
        torch.testing.assert_close(found, expected.to(dtype))

    def test_between(self, k: int, dtype: torch.dtype) -> None:
        a, b = bases(10, k, 5), bases(7, k, 5, seed=1)
        found = overlap_between(self.projector(a).to(dtype), self.projector(b).to(dtype), k=k)
        assert found.dtype == dtype
        torch.testing.assert_close(found, mean_over(subspace_overlap, a, b, same_index=True).to(dtype))

    def test_between_paired(self, k: int, dtype: torch.dtype) -> None:
        a, b = shared_bases(10, k, 5, seed=2)
        found = overlap_between(
            self.projector(a).to(dtype),
            self.projector(b).to(dtype),
            k=k,
            n_samples=10,
            same_index_overlap=float(subspace_overlap(a, b).mean()),
        )
        torch.testing.assert_close(found, mean_over(subspace_overlap, a, b, same_index=False).to(dtype))


def test_overlap_formulas() -> None:
    a, b = shared_bases(6, 2, 5, seed=3)
    first, second, n, k = mean_projector(a), mean_projector(b), 6, 2
    within = (n**2 * (first @ first).trace() - n * k) / (n * (n - 1) * k)
    torch.testing.assert_close(overlap_within(first, n_samples=n, k=k), within)
    between = (first @ second).trace() / k
    torch.testing.assert_close(overlap_between(first, second, k=k), between)
    same = sum((v @ w.mT).norm() ** 2 / k for v, w in zip(a, b, strict=True)) / n
    paired = overlap_between(first, second, k=k, n_samples=n, same_index_overlap=float(same))
    torch.testing.assert_close(paired, (n * between - same) / (n - 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_identical_and_orthogonal_subspaces_reach_the_ends(dtype: torch.dtype) -> None:
    one, other = (rows.expand(3, -1, -1).to(dtype) for rows in (EYE[:2], EYE[2:4]))
    for options in ({}, {"paired": True}):
        torch.testing.assert_close(mean_pairwise_overlap(one, one, **options), torch.ones((), dtype=dtype))
        torch.testing.assert_close(mean_pairwise_overlap(one, other, **options), torch.zeros((), dtype=dtype))
    torch.testing.assert_close(mean_pairwise_overlap(one), torch.ones((), dtype=dtype))


PAIR = EYE[None, :2].expand(2, -1, -1)
HALF = EYE[:4, :4] / 2  # two samples of two directions: trace 2
ERRORS = {
    "NaN": (lambda: mean_projector(torch.full((1, 1, 2), torch.nan)), "finite directions, got 2"),
    "one sample": (lambda: mean_pairwise_overlap(EYE[None, :2]), "number of samples of at least 2, got 1"),
    "one sample aligned": (lambda: pairwise_alignment(EYE[None, :2]), "number of samples of at least 2, got 1"),
    "paired alone": (
        lambda: mean_pairwise_overlap(PAIR, paired=True),
        "mean_pairwise_overlap needs a second set when paired=True, got one set; leave",
    ),
    "aligned alone": (
        lambda: pairwise_alignment(PAIR, paired=True),
        "pairwise_alignment needs a second set when paired=True, got one set; leave",
    ),
    "paired lengths": (
        lambda: mean_pairwise_overlap(PAIR, PAIR[:1], paired=True),
        "mean_pairwise_overlap needs as many samples in one of the paired sets as in the other, got 2 and 1; align",
    ),
    "aligned lengths": (
        lambda: pairwise_alignment(PAIR, PAIR[:1], paired=True),
        "pairwise_alignment needs as many samples in one of the paired sets as in the other, got 2 and 1; align",
    ),
    "one pair": (
        lambda: mean_pairwise_overlap(PAIR[:1], PAIR[:1], paired=True),
        "number of paired samples of at least 2, got 1",
    ),
    "sum": (lambda: overlap_within(2 * HALF, n_samples=2, k=2), "overlap_within needs .* trace k=2 .* got trace 4;"),
    "other is a sum": (lambda: overlap_between(HALF, 2 * HALF, k=2), "trace k=2 as other, got trace 4; divide"),
    "k": (lambda: overlap_within(HALF, n_samples=2, k=0), "a k of at least 1, got 0"),
    "n_samples": (lambda: overlap_within(HALF, n_samples=1, k=2), "number of samples of at least 2, got 1"),
    "infinite": (lambda: overlap_within(HALF / 0, n_samples=2, k=2), "finite projector, got 16"),
    "n_samples alone": (
        lambda: overlap_between(HALF, HALF, k=2, n_samples=2),
        "needs n_samples and same_index_overlap together, got 2 and None; give both",
    ),
    "same index alone": (
        lambda: overlap_between(HALF, HALF, k=2, same_index_overlap=0.5),
        "needs n_samples and same_index_overlap together, got None and 0.5; give both",
    ),
    "one paired sample": (
        lambda: overlap_between(HALF, HALF, k=2, n_samples=1, same_index_overlap=0.5),
        "overlap_between needs a number of samples of at least 2, got 1",
    ),
    "same index sum": (
        lambda: overlap_between(HALF, HALF, k=2, n_samples=2, same_index_overlap=2.0),
        r"same_index_overlap in \[0, 1\], got 2; divide",
    ),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
