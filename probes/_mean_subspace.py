"""The subspace that many subspaces share, and how each of them agrees with it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probes._checks import _check_activations, _check_k, _check_orthonormal, _check_same_shape
from probes._dtypes import _result
from probes.pairwise import mean_projector


@dataclass(frozen=True, eq=False, repr=False)
class MeanSubspace:
    """The subspace closest to many subspaces, and how much they share."""

    basis: Float[Tensor, "k dim"]
    """Orthonormal rows, most shared first; signs are arbitrary."""
    eigenvalues: Float[Tensor, " dim"]
    """Of the mean projector, largest first, in [0, 1]: 1 means in every sample's subspace; they sum to the
    samples' k."""
    n_samples: int
    """How many subspaces were averaged."""

    @property
    def tied(self) -> bool:
        """True where the basis ends inside a repeated eigenvalue, so that it is arbitrary."""
        k, dims = self.basis.shape
        tolerance = dims * torch.finfo(self.eigenvalues.dtype).eps
        return k < dims and bool(self.eigenvalues[k - 1] - self.eigenvalues[k] <= tolerance)

    def __repr__(self) -> str:
        shares = ", ".join(f"{value:.3f}" for value in self.eigenvalues[: len(self.basis)].tolist())
        return f"MeanSubspace(n_samples={self.n_samples}, eigenvalues=[{shares}, ...])"


@dataclass(frozen=True, eq=False, repr=False)
class SetAlignment:
    """How each subspace of a set agrees with one reference."""

    reference: Float[Tensor, "k dim"]
    """Orthonormal rows that the set was compared with."""
    overlap: Float[Tensor, " sample"]
    """||V R^T||_F^2 / k in [0, 1]; k / dim for random subspaces."""
    cosines: Float[Tensor, "sample k"]
    """|<v_j, r_j>| in [0, 1], direction by direction."""

    def __repr__(self) -> str:
        return f"SetAlignment(n_samples={len(self.overlap)}, mean overlap={float(self.overlap.double().mean()):.3f})"


def mean_subspace(directions: Float[Tensor, "sample k dim"], k: int | None = None) -> MeanSubspace:
    """Find the subspace that many subspaces share.

    Formula: the top k eigenvectors of P = (1/n) sum_p V_p^T V_p, which maximise the mean overlap with the
    samples. Arbitrary where the k-th eigenvalue repeats (`tied`), as for samples without a common
    direction.

    Args:
        directions: Orthonormal rows for each sample.
        k: Dimensions of the mean; as many as each sample has, unless given.

    Returns:
        The basis and all eigenvalues of P, computed in float64, dtype of the input.

    Raises:
        InputTypeError: If the directions are no floating-point tensor.
        InputError: If an axis is missing or empty, rows are not finite and orthonormal, or k is not in
            1..dim.

    Source:
        Variant C of the signature's score, our choice.

    Example:
        >>> eye = torch.eye(3)
        >>> mean = mean_subspace(torch.stack([eye[[0, 1]], eye[[0, 2]], eye[[0, 1]]]), k=1)
        >>> torch.testing.assert_close(mean.basis.abs(), eye[:1])
        >>> torch.testing.assert_close(mean.eigenvalues, torch.tensor([1.0, 2 / 3, 1 / 3]))
    """
    projector = mean_projector(directions)
    wanted = directions.shape[-2] if k is None else k
    _check_k("mean_subspace", wanted, directions.shape[-1], "the dimensions of the space")
    eigenvalues, vectors = torch.linalg.eigh(projector)
    return MeanSubspace(
        basis=_result(vectors.flip(-1)[:, :wanted].mT.contiguous(), directions.dtype),
        eigenvalues=_result(eigenvalues.flip(-1).clamp(0.0, 1.0), directions.dtype),
        n_samples=len(directions),
    )


def set_alignment(
    directions: Float[Tensor, "sample k dim"], reference: Float[Tensor, "k dim"] | None = None
) -> SetAlignment:
    """Measure how each subspace of a set agrees with a reference.

    Formula: overlap_p = ||V_p R^T||_F^2 / k and cosine_pj = |<v_j(p), r_j>|. Without a reference R is the mean
    subspace of the set itself, which each member has pulled towards itself: compare with k / dim only for large
    sets.

    Args:
        directions: Orthonormal rows for each sample.
        reference: Orthonormal rows; the set's mean subspace unless given.

    Returns:
        Numbers in [0, 1], dimensionless, computed in float64, dtype of the directions.

    Raises:
        InputTypeError: If an argument is no floating-point tensor.
        InputError: If an axis is missing or empty, rows are not finite and orthonormal, or the reference has other
            axes than a sample.

    Source:
        Variants B and C of the signature's score, our choice.

    Example:
        >>> eye = torch.eye(3)
        >>> found = set_alignment(torch.stack([eye[[0, 1]], eye[[1, 2]]]), eye[[0, 1]])
        >>> torch.testing.assert_close(found.overlap, torch.tensor([1.0, 0.5]))
        >>> torch.testing.assert_close(found.cosines, torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    """
    who = "set_alignment"
    basis = mean_subspace(directions).basis if reference is None else reference
    for name, value, axes in (("directions", directions, "sample k dim"), ("reference", basis, "k dim")):
        _check_activations(who, name, value, axes)
        _check_orthonormal(who, name, value)
    _check_same_shape(who, ("one sample's directions", "the reference"), directions[0], basis)
    exact, rows = directions.double(), basis.double()
    overlap = (exact @ rows.mT).square().sum(dim=(1, 2)) / len(rows)
    cosines = (exact * rows).sum(dim=2).abs()
    return SetAlignment(
        reference=basis,
        overlap=_result(overlap.clamp_max(1.0), directions.dtype),
        cosines=_result(cosines.clamp_max(1.0), directions.dtype),
    )
