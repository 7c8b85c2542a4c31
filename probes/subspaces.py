"""Sign-free agreement of directions and subspaces, and the mean of many subspaces.

A subspace is given by orthonormal rows [k dim], as `probes.spectra.leading_directions` returns them. Signs,
order and rotations of these rows do not matter to anything here.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from probes._checks import (
    _check_activations,
    _check_nonzero,
    _check_orthonormal,
    _check_same_length,
    _check_same_shape,
)
from probes._dtypes import _result
from probes._mean_subspace import MeanSubspace, SetAlignment, mean_subspace, set_alignment
from probes._pairwise_matrices import pairwise_cosines, pairwise_overlaps
from probes.pairwise import mean_pairwise_overlap, mean_projector

__all__ = [
    "MeanSubspace",
    "SetAlignment",
    "chordal_distance",
    "cosine_similarity",
    "geodesic_distance",
    "mean_pairwise_overlap",
    "mean_projector",
    "mean_subspace",
    "pairwise_cosines",
    "pairwise_overlaps",
    "principal_angles",
    "set_alignment",
    "subspace_overlap",
]


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
        InputTypeError: If an argument is no floating-point tensor.
        InputError: If the shapes differ, an entry is not finite, or a vector is zero.

    Source:
        Elementary.

    Example:
        >>> up, diagonal = torch.tensor([0.0, -2.0]), torch.tensor([1.0, 1.0])
        >>> torch.testing.assert_close(cosine_similarity(up, diagonal), torch.tensor(0.5).sqrt())
    """
    for name, value in (("a", a), ("b", b)):
        _check_activations("cosine_similarity", name, value, "*batch dim")
    _check_same_shape("cosine_similarity", ("a", "b"), a, b)
    lengths = [torch.linalg.vector_norm(x.double(), dim=-1, keepdim=True) for x in (a, b)]
    for name, length in zip(("a", "b"), lengths, strict=True):
        _check_nonzero("cosine_similarity", name, length)
    cosine = ((a.double() / lengths[0]) * (b.double() / lengths[1])).sum(dim=-1)
    return _result(cosine.abs().clamp_max(1.0), a.dtype)


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
        InputTypeError: If an argument is no floating-point tensor.
        InputError: If the leading axes or dimensions differ, or rows are not finite and orthonormal.

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
    return _result(torch.atan2(sines[..., : cosines.shape[-1]], cosines), a.dtype)


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
        InputTypeError: If an argument is no floating-point tensor.
        InputError: If the shapes differ, or rows are not finite and orthonormal.

    Source:
        Variant C of the signature's score; the definition is ours, since the abstract of Hill, Eyre and
        Creager (2025) states none.

    Example:
        >>> eye = torch.eye(3)
        >>> torch.testing.assert_close(subspace_overlap(eye[:2], eye[1:]), torch.tensor(0.5))
        >>> torch.testing.assert_close(subspace_overlap(eye[:2], -eye[[1, 0]]), torch.tensor(1.0))
    """
    _check_same_shape("subspace_overlap", ("a", "b"), a, b)
    _check_bases("subspace_overlap", a, b)
    products = a.double() @ b.double().mT
    return _result((products.square().sum(dim=(-2, -1)) / a.shape[-2]).clamp_max(1.0), a.dtype)


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
        InputTypeError: If an argument is no floating-point tensor.
        InputError: If the shapes differ, or rows are not finite and orthonormal.

    Source:
        Conway, Hardin and Sloane (1996), "Packing lines, planes, etc.: packings in Grassmannian spaces".

    Example:
        >>> eye = torch.eye(3)
        >>> torch.testing.assert_close(chordal_distance(eye[:2], eye[1:]), torch.tensor(1.0))
    """
    _check_same_shape("chordal_distance", ("a", "b"), a, b)
    sines = principal_angles(a.double(), b.double()).sin()
    return _result(torch.linalg.vector_norm(sines, dim=-1), a.dtype)


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
        InputTypeError: If an argument is no floating-point tensor.
        InputError: If the shapes differ, or rows are not finite and orthonormal.

    Source:
        Edelman, Arias and Smith (1998), "The geometry of algorithms with orthogonality constraints", section 4.3.

    Example:
        >>> eye = torch.eye(3)
        >>> torch.testing.assert_close(geodesic_distance(eye[:2], eye[1:]), torch.tensor(torch.pi / 2))
        >>> assert geodesic_distance(eye[:2], eye[1:]) > chordal_distance(eye[:2], eye[1:])
    """
    _check_same_shape("geodesic_distance", ("a", "b"), a, b)
    angles = principal_angles(a.double(), b.double())
    return _result(torch.linalg.vector_norm(angles, dim=-1), a.dtype)


def _check_bases(who: str, a: Tensor, b: Tensor) -> None:
    for name, value in (("a", a), ("b", b)):
        _check_activations(who, name, value, "*batch k dim")
        _check_orthonormal(who, name, value)
    _check_same_length(who, ("dimensions in a", "in b"), a.shape[-1], b.shape[-1])
    _check_same_shape(who, ("the leading axes of a", "of b"), a[..., 0, 0], b[..., 0, 0])
