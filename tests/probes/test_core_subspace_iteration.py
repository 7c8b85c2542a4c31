"""The fast path to leading directions: right where it is sure, and sure of nothing false."""

import pytest
import torch
from torch import Tensor

from probes._core.decompositions import _iterate
from probes.spectra import leading_directions

ROWS, COLUMNS = 60, 90


def with_spectrum(values: Tensor, n: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    left = torch.linalg.qr(torch.randn(n, ROWS, ROWS, generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(n, COLUMNS, ROWS, generator=generator, dtype=torch.float64)).Q
    return (left * values @ right.mT).float()


INDEX = torch.arange(1, ROWS + 1, dtype=torch.float64)
DECAYING = 1 / INDEX
SPECTRA = {
    "decaying": (DECAYING, True),
    "steep": (10 ** (-0.5 * INDEX), True),
    "flat": (torch.linspace(2, 1, ROWS, dtype=torch.float64), False),
    "tied": (DECAYING.clone().index_fill_(0, torch.tensor([1, 2]), 0.5), False),
    "swapped": (DECAYING.clone().index_fill_(0, torch.tensor([0, 1]), 1.0), False),
    "zero": (0 * INDEX, False),
    "overflowing": (1e25 * DECAYING, False),
    "vanishing": (1e-30 * DECAYING, False),
}
each_spectrum = pytest.mark.parametrize(("values", "proven"), SPECTRA.values(), ids=SPECTRA)


@each_spectrum
def test_only_clear_spectra_are_proven(values: Tensor, proven: bool) -> None:
    torch.testing.assert_close(_iterate(with_spectrum(values), 2).proven, torch.full((3,), proven))


@pytest.mark.parametrize("center", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("turned", [False, True], ids=["wide", "tall"])
@pytest.mark.parametrize("name", ["decaying", "steep", "flat", "overflowing", "vanishing"])
def test_fast_directions_agree_with_the_exact_ones(name: str, turned: bool, side: str, center: bool) -> None:
    matrix = with_spectrum(SPECTRA[name][0])
    matrix = matrix.mT.contiguous() if turned else matrix
    fast = leading_directions(matrix, side=side, center=center, spectrum="leading")
    full = leading_directions(matrix, side=side, center=center)
    cosines = (fast.directions.double() * full.directions.double()).sum(dim=-1).abs()
    # The proven sine is 1e-5, so the cosine is off by float32's rounding alone.
    torch.testing.assert_close(cosines, torch.ones(3, 2).double(), rtol=0, atol=3e-7)
    assert fast.singular_values.shape == (3, 3)
    torch.testing.assert_close(fast.singular_values[:, :2], full.singular_values[:, :2])
    torch.testing.assert_close(fast.swap_ratio, full.swap_ratio)
    assert not fast.tied.any()


def test_ties_are_flagged_on_the_fast_path_as_well() -> None:
    plain, tied = with_spectrum(DECAYING), torch.diag(SPECTRA["tied"][0]).float()[None]
    tied = torch.nn.functional.pad(tied, (0, COLUMNS - ROWS))
    found = leading_directions(torch.cat([plain, tied, 0 * tied]), spectrum="leading")
    torch.testing.assert_close(found.tied, torch.tensor([False, False, False, True, True]))


def test_a_direction_that_the_start_cannot_see_is_not_missed() -> None:
    # The strongest direction is orthogonal to the fixed random start, so only the left-over energy betrays it.
    start = torch.randn(8, ROWS, generator=torch.Generator().manual_seed(0))
    blind = torch.linalg.svd(start.double(), full_matrices=True).Vh[-1]
    noise = with_spectrum(1e-3 * DECAYING, n=1)[0]
    noise = noise - torch.outer(blind, blind @ noise.double()).float()
    matrix = noise + 10 * torch.outer(blind, torch.eye(COLUMNS, dtype=torch.float64)[0]).float()
    direction = leading_directions(matrix, k=2, side="left", spectrum="leading").directions[0]
    assert (direction.double() @ blind).abs() > 1 - 1e-6


@pytest.mark.parametrize("k", [1, 2, 4])
def test_number_of_directions_and_values(k: int) -> None:
    found = leading_directions(with_spectrum(DECAYING), k, spectrum="leading")
    assert found.directions.shape == (3, k, COLUMNS)
    expected = DECAYING[: k + 1].float().expand(3, -1)
    # The last value, of a direction that is not asked for, has converged less.
    torch.testing.assert_close(found.singular_values, expected, rtol=1e-3, atol=0)


def test_batch_size_does_not_change_a_bit() -> None:
    batch = with_spectrum(DECAYING, n=9)
    together = leading_directions(batch, spectrum="leading").directions
    for size in (1, 4):
        parts = [leading_directions(part, spectrum="leading").directions for part in batch.split(size)]
        torch.testing.assert_close(torch.cat(parts), together, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(2, 2, 60, 70), (60, 70), (0, 60, 70), (3, 5, 7), (2, 1, 4)], ids=str)
def test_shapes(shape: tuple[int, ...]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = leading_directions(matrix, k=1, spectrum="leading")
    assert found.directions.shape == (*shape[:-2], 1, shape[-1])
    assert found.singular_values.shape == (*shape[:-2], min(2, *shape[-2:]))
    assert found.tied.shape == shape[:-2]


def test_float64_input_takes_the_svd() -> None:
    matrix = with_spectrum(DECAYING).double()
    fast, full = (leading_directions(matrix, spectrum=spectrum) for spectrum in ("leading", "full"))
    torch.testing.assert_close(fast.directions, full.directions, rtol=0, atol=0)
    assert fast.singular_values.shape == (3, 3)


def test_an_unknown_spectrum_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="spectrum to be one of 'full', 'leading', got 'half'"):
        leading_directions.__wrapped__(torch.ones(3, 4), spectrum="half")
