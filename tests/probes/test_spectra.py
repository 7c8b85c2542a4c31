"""Spectra and leading directions: references, hand truth, ties, edges."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import Tensor

from probes.spectra import (
    SWAP_THRESHOLD,
    effective_rank,
    leading_directions,
    participation_ratio,
    singular_values,
)

SHAPES = {"wide": (3, 5, 12), "tall": (3, 12, 5), "square": (7, 7), "one row": (1, 6), "one column": (6, 1)}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def steep(rows: int, cols: int, smallest: float) -> Tensor:
    # Singular values from 1 down to `smallest` in even ratios.
    rank = min(rows, cols)
    left = torch.linalg.qr(random(rows, rank)).Q
    right = torch.linalg.qr(random(cols, rank, seed=1)).Q
    return left @ torch.diag(torch.logspace(0, np.log10(smallest), rank, dtype=torch.float64)) @ right.T


def assert_orthonormal(directions: Tensor) -> None:
    eye = torch.eye(directions.shape[-2], dtype=directions.dtype).expand(*directions.shape[:-2], -1, -1)
    # A few units in the last place of each entry of the product.
    atol = 10 * torch.finfo(directions.dtype).eps
    torch.testing.assert_close(directions @ directions.mT, eye, rtol=0, atol=atol)


def test_canary_the_shape_checks_are_on() -> None:
    singular_values(torch.ones(2, 3))
    with pytest.raises(TypeCheckError):
        singular_values(torch.ones(3))


@each_dtype
@each_shape
def test_singular_values_agree_with_numpy(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    matrix = random(*shape).to(dtype)
    expected = torch.from_numpy(np.linalg.svd(matrix.double().numpy(), compute_uv=False)).to(dtype)
    # Relative to the largest value: 1e-6 is what style allows the float64 Gram matrix of float32 input.
    atol = 1e-6 * float(expected.max())
    torch.testing.assert_close(singular_values(matrix), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40)], ids=["wide", "tall"])
def test_fast_path_agrees_with_svd_on_a_steep_spectrum(shape: tuple[int, int]) -> None:
    matrix = steep(*shape, smallest=1e-5).float()
    expected = torch.linalg.svdvals(matrix.double()).float()
    torch.testing.assert_close(singular_values(matrix), expected, rtol=0, atol=1e-6)  # the largest is 1
    found = leading_directions(matrix, k=3)
    torch.testing.assert_close(found.singular_values, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("center", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("k", [1, 2, 5])
@each_dtype
@pytest.mark.parametrize("shape", [(3, 6, 12), (3, 12, 6), (2, 2, 7, 7)], ids=str)
def test_directions_agree_with_numpy(
    shape: tuple[int, ...], dtype: torch.dtype, k: int, side: str, center: bool
) -> None:
    matrix = random(*shape).to(dtype)
    found = leading_directions(matrix, k, side=side, center=center)
    exact = matrix.double()
    exact = exact - exact.mean(dim=-2, keepdim=True) if center else exact
    left, values, right = np.linalg.svd(exact.numpy(), full_matrices=False)
    vectors = right if side == "right" else left.swapaxes(-1, -2)
    expected = torch.from_numpy(vectors[..., :k, :].copy()).to(dtype)
    cosines = (found.directions * expected).sum(dim=-1).abs()
    # The cosine is off one by the square of the angle, so rounding of single entries dominates.
    torch.testing.assert_close(cosines, torch.ones_like(cosines), rtol=0, atol=20 * torch.finfo(dtype).eps)
    assert_orthonormal(found.directions)
    atol = 1e-6 * float(values.max())  # as above
    torch.testing.assert_close(found.singular_values, torch.from_numpy(values).to(dtype), rtol=0, atol=atol)
    assert found.directions.dtype == dtype
    assert not found.tied.any()


@pytest.mark.parametrize("side", ["right", "left"])
def test_directions_reconstruct_the_matrix(side: str) -> None:
    # The formula, literally: H = sum_i s_i u_i v_i^T, here of rank 2.
    matrix = random(6, 2) @ random(2, 4, seed=1)
    found = leading_directions(matrix, k=2, side=side)
    projector = found.directions.T @ found.directions
    projected = matrix @ projector if side == "right" else projector @ matrix
    torch.testing.assert_close(projected, matrix)


def test_hand_truth() -> None:
    matrix = torch.tensor([  # x    y    z
        [0.0, 3.0, 0.0],
        [0.0, 0.0, 0.0],
        [2.0, 0.0, 0.0],
    ])
    found = leading_directions(matrix)
    torch.testing.assert_close(found.directions.abs(), torch.tensor([[0.0, 1, 0], [1, 0, 0]]))
    torch.testing.assert_close(found.singular_values, torch.tensor([3.0, 2.0, 0.0]))
    torch.testing.assert_close(found.swap_ratio, torch.tensor(2 / 3))
    left = leading_directions(matrix, side="left")
    torch.testing.assert_close(left.directions.abs(), torch.tensor([[1.0, 0, 0], [0, 0, 1]]))


def test_centring_removes_the_mean_row() -> None:
    matrix = random(9, 5) + 100 * torch.eye(5, dtype=torch.float64)[0]
    assert leading_directions(matrix, k=1).directions[0, 0].abs() > 0.99
    assert leading_directions(matrix, k=1, center=True).directions[0, 0].abs() < 0.9


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)], ids=["wide", "tall"])
@pytest.mark.parametrize("smallest", [1e-3, 1e-6, 1e-9], ids=str)
def test_weak_directions_fall_back_to_the_svd(shape: tuple[int, int], smallest: float) -> None:
    # Two matrices in one batch, of which only the first needs the careful path at k = 2.
    left, right = torch.linalg.qr(random(shape[0], 2)).Q, torch.linalg.qr(random(shape[1], 2)).Q
    weak = left @ torch.diag(torch.tensor([1.0, smallest], dtype=torch.float64)) @ right.T
    batch = torch.stack([weak.float(), random(*shape, seed=3).float()])
    found = leading_directions(batch)
    expected = torch.linalg.svd(batch.double(), full_matrices=False).Vh[:, :2].float()
    assert_orthonormal(found.directions)
    cosines = (found.directions * expected).sum(dim=-1).abs()
    torch.testing.assert_close(cosines, torch.ones(2, 2), rtol=0, atol=1e-6)  # ten float32 eps


@each_dtype
@pytest.mark.parametrize("shape", [(2, 4, 9), (2, 9, 4)], ids=["wide", "tall"])
def test_rank_deficient_and_zero_matrices_give_orthonormal_flagged_directions(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    batch = torch.zeros(shape, dtype=dtype)
    batch[0] = torch.outer(random(shape[1]), random(shape[2], seed=1)).to(dtype)  # rank 1, k = 2
    found = leading_directions(batch)
    assert_orthonormal(found.directions)
    torch.testing.assert_close(found.tied, torch.tensor([True, True]))
    torch.testing.assert_close(found.swap_ratio[1], torch.zeros((), dtype=dtype))
    assert not leading_directions(batch[:1], k=1).tied.any()


def test_ties_and_swaps_are_flagged() -> None:
    spectra = {"apart": [3.0, 2.0, 1.0], "swap": [2.0, 1.9, 1.0], "tie": [3.0, 1.0, 1.0], "both": [1.0, 1, 1]}
    found = leading_directions(torch.stack([torch.diag(torch.tensor(s)) for s in spectra.values()]))
    torch.testing.assert_close(found.swapped, torch.tensor([False, True, False, True]))
    torch.testing.assert_close(found.tied, torch.tensor([False, False, True, True]))
    torch.testing.assert_close(found.swapped, found.swap_ratio > SWAP_THRESHOLD)


def test_all_of_space_is_never_tied() -> None:
    assert not leading_directions(torch.eye(3), k=3).tied
    assert not leading_directions(torch.zeros(5, 2), k=2).tied


def test_swap_ratio_is_zero_without_a_second_direction() -> None:
    torch.testing.assert_close(leading_directions(torch.eye(3), k=1).swap_ratio, torch.tensor(0.0))
    torch.testing.assert_close(leading_directions(torch.ones(1, 4), k=1).swap_ratio, torch.tensor(0.0))


def test_batches_are_independent() -> None:
    batch = random(4, 5, 8).float()
    together = leading_directions(batch)
    alone = torch.stack([leading_directions(matrix).directions for matrix in batch])
    cosines = (together.directions * alone).sum(dim=-1).abs()
    torch.testing.assert_close(cosines, torch.ones(4, 2))


def test_an_empty_batch_stays_empty() -> None:
    found = leading_directions(torch.ones(0, 3, 4))
    assert found.directions.shape == (0, 2, 4)
    assert singular_values(torch.ones(0, 3, 4)).shape == (0, 3)


def test_half_precision_is_computed_in_float64() -> None:
    matrix = random(6, 4).bfloat16()
    expected = singular_values(matrix.double()).float()
    torch.testing.assert_close(singular_values(matrix), expected)


def test_repr_is_short() -> None:
    found = leading_directions(torch.zeros(2, 3, 4))
    assert repr(found) == "LeadingDirections(directions=(2, 2, 4), tied=2, swapped=0)"


def test_effective_rank_formula() -> None:
    s = torch.tensor([3.0, 1.0, 0.5])
    p = s / s.sum()
    torch.testing.assert_close(effective_rank(s), torch.exp(-(p * p.log()).sum()))


def test_participation_ratio_formula() -> None:
    s = torch.tensor([3.0, 1.0, 0.5])
    torch.testing.assert_close(participation_ratio(s), (s**2).sum() ** 2 / (s**4).sum())


@pytest.mark.parametrize("measure", [effective_rank, participation_ratio])
def test_dimensions_of_flat_and_single_spectra(measure: object) -> None:
    spectra = torch.tensor([[2.0, 2.0, 2.0, 2.0], [5.0, 0.0, 0.0, 0.0], [1e30, 0.0, 1e30, 0.0]])
    torch.testing.assert_close(measure(spectra), torch.tensor([4.0, 1.0, 2.0]))


ERRORS = {
    "k zero": (lambda: leading_directions(torch.ones(3, 4), k=0), "needs 1 <= k <= 3 .*got k=0"),
    "k too large": (lambda: leading_directions(torch.ones(3, 4), k=4), "needs 1 <= k <= 3 .*got k=4"),
    "NaN": (lambda: leading_directions(torch.full((3, 4), torch.nan)), "finite matrix, got 12 NaN"),
    "infinite": (lambda: singular_values(torch.full((2, 2), torch.inf)), "singular_values needs finite"),
    "no rows": (lambda: singular_values(torch.ones(0, 4)), "at least one entry along row"),
    "all zero": (lambda: effective_rank(torch.zeros(4)), "at least one non-zero singular value, got 4 zeros"),
    "one of many zero": (lambda: participation_ratio(torch.eye(2) * torch.tensor([[1.0], [0]])), "non-zero"),
    "negative": (lambda: effective_rank(torch.tensor([1.0, -2.0])), "non-negative .* least one of -2"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
