"""Sign-free agreement of directions and subspaces, and the subspace that many subspaces share.

A subspace is given by orthonormal rows [k dim], as `probes.spectra.leading_directions` returns them. Signs,
order and rotations of these rows do not matter to anything here.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.results import in_dtype
from probes.pairwise import mean_pairwise_overlap, mean_projector, pairwise_cosines, pairwise_overlaps

__all__ = [
    "MeanSubspace", "SetAlignment", "chordal_distance", "cosine_similarity", "geodesic_distance",
    "mean_pairwise_overlap", "mean_projector", "mean_subspace", "pairwise_cosines", "pairwise_overlaps",
    "principal_angles", "set_alignment", "subspace_overlap",
]  # fmt: skip


@dataclass(frozen=True, eq=False, repr=False)
class MeanSubspace:
    """The subspace closest to many subspaces, and how much they share."""

    basis: Float[Tensor, "k dim"]
    """Orthonormal rows, most shared first; signs are arbitrary."""
    eigenvalues: Float[Tensor, " dim"]
    """Eigenvalues of the mean projector, largest first, in [0, 1]: 1 means in every sample's subspace; they sum to the
    samples' k."""
    n_samples: int
    """Number of averaged subspaces."""

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


@takes_arrays
def mean_subspace(directions: Float[Tensor, "sample k dim"], k: int | None = None) -> MeanSubspace:
    """Find the subspace that many subspaces share.

    Formula: the top k eigenvectors of P = (1/n) sum_p V_p^T V_p, which maximise the mean overlap with the samples.
    Arbitrary where the k-th eigenvalue repeats (`tied`), as for samples without a common direction.

    Args:
        directions: Orthonormal rows for each sample.
        k: Dimensions of the mean; as many as each sample has, unless given.

    Returns:
        The basis and all eigenvalues of P, computed in float64, dtype of the input.

    Raises:
        InputError: If rows are not orthonormal, or k is not in 1..dim.

    Example:
        >>> eye = torch.eye(3)
        >>> mean = mean_subspace(torch.stack([eye[[0, 1]], eye[[0, 2]], eye[[0, 1]]]), k=1)
        >>> torch.testing.assert_close(mean.basis.abs(), eye[:1])
        >>> torch.testing.assert_close(mean.eigenvalues, torch.tensor([1.0, 2 / 3, 1 / 3]))
    """
    projector = mean_projector(directions)
    wanted = directions.shape[-2] if k is None else k
    checks.k("mean_subspace", wanted, directions.shape[-1], "the dimensions of the space")
    eigenvalues, vectors = torch.linalg.eigh(projector)
    return MeanSubspace(
        basis=in_dtype(vectors.flip(-1)[:, :wanted].mT.contiguous(), directions.dtype),
        eigenvalues=in_dtype(eigenvalues.flip(-1).clamp(0.0, 1.0), directions.dtype),
        n_samples=len(directions),
    )


@takes_arrays
def set_alignment(
    directions: Float[Tensor, "sample k dim"], reference: Float[Tensor, "k dim"] | None = None
) -> SetAlignment:
    """Measure how each subspace of a set agrees with a reference.

    Formula: overlap_p = ||V_p R^T||_F^2 / k and cosine_pj = |<v_j(p), r_j>|. Without a reference R is the mean subspace
    of the set itself, which each member has pulled towards itself: compare with k / dim only for large sets.

    Args:
        directions: Orthonormal rows for each sample.
        reference: Orthonormal rows; the set's mean subspace unless given.

    Returns:
        Numbers in [0, 1], dimensionless, computed in float64, dtype of the directions.

    Raises:
        InputError: If rows are not orthonormal.

    Example:
        >>> eye = torch.eye(3)
        >>> found = set_alignment(torch.stack([eye[[0, 1]], eye[[1, 2]]]), eye[[0, 1]])
        >>> torch.testing.assert_close(found.overlap, torch.tensor([1.0, 0.5]))
        >>> torch.testing.assert_close(found.cosines, torch.tensor([[1.0, 1.0], [0.0, 0.0]]))
    """
    who = "set_alignment"
    basis = mean_subspace(directions).basis if reference is None else reference
    for name, value, axes in (("directions", directions, "sample k dim"), ("reference", basis, "k dim")):
        checks.activations(who, name, value, axes)
        checks.orthonormal(who, name, value)
    checks.same_shape(who, ("one sample's directions", "the reference"), directions[0], basis)
    exact, rows = directions.double(), basis.double()
    overlap = (exact @ rows.mT).square().sum(dim=(1, 2)) / len(rows)
    cosines = (exact * rows).sum(dim=2).abs()
    return SetAlignment(
        reference=basis,
        overlap=in_dtype(overlap.clamp_max(1.0), directions.dtype),
        cosines=in_dtype(cosines.clamp_max(1.0), directions.dtype),
    )


@takes_arrays
def cosine_similarity(a: Float[Tensor, "*batch dim"], b: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch"]:
    """Measure how far two directions agree, whatever their signs.

    Formula: |<a, b>| / (||a|| ||b||). Meaningless for a zero vector, which is refused. Two random
    directions of d dimensions have about sqrt(2 / (pi d)), not 0.

    Args:
        a: Directions of any length and unit.
        b: The directions to compare with, one for each in `a`; nothing is broadcast.

    Returns:
        Numbers in [0, 1], dimensionless, computed in float64, dtype of `a`.

    Raises:
        InputError: If a vector is zero.

    Example:
        >>> up, diagonal = torch.tensor([0.0, -2.0]), torch.tensor([1.0, 1.0])
        >>> torch.testing.assert_close(cosine_similarity(up, diagonal), torch.tensor(0.5).sqrt())
    """
    for name, value in (("a", a), ("b", b)):
        checks.activations("cosine_similarity", name, value, "*batch dim")
    checks.same_shape("cosine_similarity", ("a", "b"), a, b)
    lengths = [torch.linalg.vector_norm(x.double(), dim=-1, keepdim=True) for x in (a, b)]
    for name, length in zip(("a", "b"), lengths, strict=True):
        checks.nonzero("cosine_similarity", name, length)
    cosine = ((a.double() / lengths[0]) * (b.double() / lengths[1])).sum(dim=-1)
    return in_dtype(cosine.abs().clamp_max(1.0), a.dtype)


@takes_arrays
def principal_angles(
    a: Float[Tensor, "*batch k dim"], b: Float[Tensor, "*batch l dim"]
) -> Float[Tensor, "*batch angle"]:
    """Measure the angles between two subspaces.

    Formula: cos(theta_i) = sigma_i(A B^T); small angles through their sines sigma_i(B - B A^T A), since a
    cosine near 1 has lost them. The subspaces may differ in dimension.

    Args:
        a: Orthonormal rows.
        b: Orthonormal rows.

    Returns:
        min(k, l) angles in radians in [0, pi/2], smallest first, computed in float64, dtype of `a`.

    Raises:
        InputError: If rows are not orthonormal.

    Source:
        Björck and Golub (1973), "Numerical methods for computing angles between linear subspaces".

    Example:
        >>> eye = torch.eye(3)
        >>> angles = principal_angles(eye[:2], eye[1:])
        >>> torch.testing.assert_close(angles, torch.tensor([0.0, torch.pi / 2]))
    """
    _check_bases("principal_angles", a, b)
    large, small = (a.double(), b.double()) if a.shape[-2] >= b.shape[-2] else (b.double(), a.double())
    products = small @ large.mT
    cosines = torch.linalg.svdvals(products)
    sines = torch.linalg.svdvals(small - products @ large).flip(-1)
    return in_dtype(torch.atan2(sines[..., : cosines.shape[-1]], cosines), a.dtype)


@takes_arrays
def subspace_overlap(a: Float[Tensor, "*batch k dim"], b: Float[Tensor, "*batch k dim"]) -> Float[Tensor, "*batch"]:
    """Measure how much of one subspace lies in another of the same dimension.

    Formula: ||A B^T||_F^2 / k, the mean squared cosine of the principal angles. Random subspaces of d
    dimensions have k / d, not 0.

    Args:
        a: Orthonormal rows.
        b: Orthonormal rows, one subspace for each in `a`; nothing is broadcast.

    Returns:
        Numbers in [0, 1], dimensionless, computed in float64, dtype of `a`.

    Raises:
        InputError: If rows are not orthonormal.

    Source:
        Variant C of the signature's score; the definition is our choice, since the abstract of Hill, Eyre and
        Creager (2025) states none.

    Example:
        >>> eye = torch.eye(3)
        >>> torch.testing.assert_close(subspace_overlap(eye[:2], eye[1:]), torch.tensor(0.5))
        >>> torch.testing.assert_close(subspace_overlap(eye[:2], -eye[[1, 0]]), torch.tensor(1.0))
    """
    checks.same_shape("subspace_overlap", ("a", "b"), a, b)
    _check_bases("subspace_overlap", a, b)
    products = a.double() @ b.double().mT
    return in_dtype((products.square().sum(dim=(-2, -1)) / a.shape[-2]).clamp_max(1.0), a.dtype)


@takes_arrays
def chordal_distance(a: Float[Tensor, "*batch k dim"], b: Float[Tensor, "*batch k dim"]) -> Float[Tensor, "*batch"]:
    """Measure how far two subspaces of one dimension are apart, by the sines of their angles.

    Formula: sqrt(sum_i sin^2 theta_i) = ||A^T A - B^T B||_F / sqrt(2). A metric; random subspaces of d dimensions
    are about sqrt(k (1 - k / d)) apart.

    Args:
        a: Orthonormal rows.
        b: Orthonormal rows, one subspace for each in `a`; nothing is broadcast.

    Returns:
        Numbers in [0, sqrt(k)], dimensionless, computed in float64, dtype of `a`.

    Raises:
        InputError: If rows are not orthonormal.

    Source:
        Conway, Hardin and Sloane (1996), "Packing lines, planes, etc.: packings in Grassmannian spaces".

    Example:
        >>> eye = torch.eye(3)
        >>> torch.testing.assert_close(chordal_distance(eye[:2], eye[1:]), torch.tensor(1.0))
    """
    checks.same_shape("chordal_distance", ("a", "b"), a, b)
    sines = principal_angles(a.double(), b.double()).sin()
    return in_dtype(torch.linalg.vector_norm(sines, dim=-1), a.dtype)


@takes_arrays
def geodesic_distance(a: Float[Tensor, "*batch k dim"], b: Float[Tensor, "*batch k dim"]) -> Float[Tensor, "*batch"]:
    """Measure how far one subspace has to turn to become another of the same dimension.

    Formula: sqrt(sum_i theta_i^2), the length of the shortest path on the Grassmann manifold. A metric, and never
    below the chordal distance.

    Args:
        a: Orthonormal rows.
        b: Orthonormal rows, one subspace for each in `a`; nothing is broadcast.

    Returns:
        Numbers in [0, sqrt(k) pi / 2] in radians, computed in float64, dtype of `a`.

    Raises:
        InputError: If rows are not orthonormal.

    Source:
        Edelman, Arias and Smith (1998), "The geometry of algorithms with orthogonality constraints", section 4.3.

    Example:
        >>> eye = torch.eye(3)
        >>> torch.testing.assert_close(geodesic_distance(eye[:2], eye[1:]), torch.tensor(torch.pi / 2))
        >>> assert geodesic_distance(eye[:2], eye[1:]) > chordal_distance(eye[:2], eye[1:])
    """
    checks.same_shape("geodesic_distance", ("a", "b"), a, b)
    angles = principal_angles(a.double(), b.double())
    return in_dtype(torch.linalg.vector_norm(angles, dim=-1), a.dtype)


def _check_bases(who: str, a: Tensor, b: Tensor) -> None:
    for name, value in (("a", a), ("b", b)):
        checks.activations(who, name, value, "*batch k dim")
        checks.orthonormal(who, name, value)
    checks.same_length(who, ("dimensions in a", "in b"), a.shape[-1], b.shape[-1])
    checks.same_shape(who, ("the leading axes of a", "of b"), a[..., 0, 0], b[..., 0, 0])
