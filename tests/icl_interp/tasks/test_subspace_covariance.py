"""Random subspaces and their complements."""

import pytest
import torch

from icl_interp import LinearRegression, shifted, subspace_covariance
from icl_interp.tasks.subspaces import random_basis


@pytest.mark.parametrize(("n_dims", "rank"), [(1, 1), (4, 1), (5, 2), (5, 4), (6, 6)])
def test_energy_is_kept_in_the_subspace(n_dims: int, rank: int) -> None:
    values = torch.linalg.eigvalsh(subspace_covariance(n_dims, rank, seed=3))
    expected = torch.tensor([0.0] * (n_dims - rank) + [n_dims / rank] * rank, dtype=torch.float64)
    torch.testing.assert_close(values, expected, rtol=1e-12, atol=1e-12)  # rounding of float64


@pytest.mark.parametrize(("n_dims", "rank"), [(4, 1), (5, 2), (5, 4)])
def test_a_complement_is_the_rest_with_the_same_energy(n_dims: int, rank: int) -> None:
    inside, outside = (subspace_covariance(n_dims, rank, seed=3, complement=c) for c in (False, True))
    rest = torch.eye(n_dims, dtype=torch.float64) * n_dims
    torch.testing.assert_close(inside * rank + outside * (n_dims - rank), rest, rtol=0, atol=1e-12)
    assert float(outside.trace()) == pytest.approx(n_dims)


def test_samples_are_standard_ones_projected_and_stretched() -> None:
    task = LinearRegression(6, w_cov=subspace_covariance(6, 3, seed=1))
    basis = random_basis(6, seed=1)[:, :3].float()
    standard, restricted = LinearRegression(6).sample(5, seed=0).ws, task.sample(5, seed=0).ws
    # sqrt(d / r), and rounding of float32.
    torch.testing.assert_close(restricted, 2**0.5 * standard @ basis @ basis.T, rtol=1e-5, atol=1e-5)
    assert task.weight_rank == 3


def test_the_complement_is_where_the_rotation_ends() -> None:
    train = LinearRegression(5, w_cov=subspace_covariance(5, 2, seed=1))
    turned = shifted(train, "w_complement").weight_cov
    torch.testing.assert_close(turned, subspace_covariance(5, 2, seed=1, complement=True), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("rank", "complement"), [(0, False), (5, False), (4, True), (-1, True)])
def test_refused(rank: int, complement: bool) -> None:
    with pytest.raises(ValueError, match=rf"needs a rank from 1 to {3 if complement else 4}, got {rank}; change rank"):
        subspace_covariance(4, rank, complement=complement)
