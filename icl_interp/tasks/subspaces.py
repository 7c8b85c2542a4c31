"""Random subspaces: one rotation for a training subspace and its complement, others for shifts and features."""

import torch
from jaxtyping import Float64
from pydantic import Field
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.prompts import stream
from icl_interp.settings import Settings


class Subspace(Settings):
    """A random subspace or its complement, which configs write in place of a covariance matrix.

    In YAML or on the command line `{rank: 10, seed: 0, complement: true}`; see `subspace_covariance`.

    Args:
        rank: Dimension of the subspace (not of its complement).
        seed: Seed of the rotation.
        complement: Whether the other dimensions are meant.

    Example:
        >>> Subspace(rank=2).covariance(6).equal(subspace_covariance(6, 2))
        True
    """

    rank: int = Field(ge=1)
    seed: int = 0
    complement: bool = False

    def covariance(self, n_dims: int) -> Float64[Tensor, "dim other"]:
        """Write the matrix out in n_dims dimensions, see `subspace_covariance`."""
        return subspace_covariance(n_dims, self.rank, seed=self.seed, complement=self.complement)


def random_basis(n_dims: int, *, seed: int, purpose: str = "subspace") -> Float64[Tensor, "dim rank"]:
    """Draw an orthonormal basis: Q of the QR decomposition of a Gaussian matrix."""
    gaussian = torch.randn(n_dims, n_dims, generator=stream(seed, f"rotation: {purpose}"), dtype=torch.float64)
    return torch.linalg.qr(gaussian).Q


def subspace_covariance(
    n_dims: int, rank: int, *, seed: int = 0, complement: bool = False
) -> Float64[Tensor, "dim other"]:
    """Write the covariance of a Gaussian in a random subspace, with the energy of a standard one.

    Formula: (d / r) Q Q' with Q the first r columns of `random_basis`, or (d / (d - r)) P P' with the other columns:
    samples are those of N(0, I) in the subspace, times sqrt(d / r), so that E|x|^2 = d. For `x_cov` or `w_cov` of
    `LinearRegression`; a subspace and its complement share their seed.

    Args:
        n_dims: Number of dimensions d.
        rank: Dimension r of the subspace, from 1 to d.
        seed: Seed of the rotation.
        complement: Whether to take the other d - r dimensions.

    Returns:
        Symmetric, of rank r or d - r.

    Raises:
        InputError: If the rank is out of range, or the complement is empty.

    Source:
        Garg et al. (2022), section 5, whose half-subspace inputs are normalised so.

    Example:
        >>> train, test = (subspace_covariance(6, 2, complement=c) for c in (False, True))
        >>> torch.testing.assert_close(train @ test, torch.zeros(6, 6).double())
        >>> float(train.trace().round()), float(test.trace().round())
        (6.0, 6.0)
    """
    kept = n_dims - rank if complement else rank
    if not (1 <= rank <= n_dims and kept >= 1):
        raise InputError(
            f"subspace_covariance needs a rank from 1 to {n_dims - 1 if complement else n_dims}, got {rank}; "
            "change rank or n_dims."
        )
    basis = random_basis(n_dims, seed=seed)
    basis = basis[:, rank:] if complement else basis[:, :rank]
    cov = basis @ basis.T * (n_dims / kept)
    return (cov + cov.T) / 2
