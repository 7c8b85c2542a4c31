"""Stable rank and spectral gap: formulas, ties, edges."""

import pytest
import torch

from probes.spectra import singular_values, spectral_gap, stable_rank


def test_stable_rank_formula() -> None:
    matrix = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.linalg.matrix_norm(matrix) ** 2 / torch.linalg.matrix_norm(matrix, ord=2) ** 2
    torch.testing.assert_close(stable_rank(singular_values(matrix)), expected)
    torch.testing.assert_close(stable_rank(torch.tensor([1e30, 1e30, 0.0])), torch.tensor(2.0))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_spectral_gap_formula(k: int) -> None:
    s = torch.tensor([4.0, 3.0, 1.0])
    following = torch.cat([s, torch.zeros(1)])
    found = spectral_gap(s, k)
    torch.testing.assert_close(found.gap, 1 - following[k] / s[k - 1])
    assert found.k == k
    assert not found.tied


def test_ties_are_flagged_where_the_subspace_is_arbitrary() -> None:
    spectra = torch.tensor([[2.0, 1.0, 1.0], [2.0, 1.0, 1.0 - 1e-7], [2.0, 2.0, 1.0], [2.0, 0.0, 0.0]])
    found = spectral_gap(spectra)
    torch.testing.assert_close(found.tied, torch.tensor([True, True, False, True]))
    torch.testing.assert_close(found.gap, torch.tensor([0.0, 1e-7, 0.5, 0.0]), rtol=0, atol=1e-7)
    assert repr(found) == "SpectralGap(k=2, mean gap=0.125, tied=3 of 4)"
    assert "nan" in repr(spectral_gap(torch.ones(0, 3)))


ERRORS = {
    "zero": (lambda: stable_rank(torch.zeros(3)), "stable_rank needs at least one non-zero"),
    "gap of zero": (lambda: spectral_gap(torch.zeros(3)), "spectral_gap needs at least one non-zero"),
    "rising": (lambda: spectral_gap(torch.tensor([1.0, 2.0])), "largest first, got rising ones"),
    "k": (lambda: spectral_gap(torch.ones(3), 4), "1 <= k <= 3 .*got k=4"),
}


@pytest.mark.parametrize(("call", "message"), ERRORS.values(), ids=ERRORS)
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
