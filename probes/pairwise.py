"""Agreement of samples with each other: all pairs of leading directions, or of the subspaces they span."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from probes._checks import _check_activations, _check_count, _check_orthonormal, _check_same_length

__all__ = ["mean_pairwise_overlap", "mean_projector", "pairwise_alignment"]


def mean_projector(directions: Float[Tensor, "sample k dim"]) -> Float[Tensor, "dim dim"]:
    """Average the projectors onto many subspaces.

    Formula: P = (1/n) sum_p V_p^T V_p. An average of the directions themselves would depend on their
    arbitrary signs.

    Args:
        directions: Orthonormal rows for each sample.

    Returns:
        A symmetric matrix with trace k and eigenvalues in [0, 1], dimensionless, always float64.

    Raises:
        TypeError: If the directions are no floating-point tensor.
        ValueError: If an axis is missing or empty, or rows are not finite and orthonormal.

    Source:
        Variant C of the signature's score, our choice.

    Example:
        >>> both_axes = torch.eye(2)[:, None]
        >>> torch.testing.assert_close(mean_projector(both_axes), torch.eye(2).double() / 2)
    """
    _check_activations("mean_projector", "directions", directions, "sample k dim")
    _check_orthonormal("mean_projector", "directions", directions)
    rows = rearrange(directions.double(), "sample k dim -> (sample k) dim")
    return rows.mT @ rows / len(directions)


def mean_pairwise_overlap(
    directions: Float[Tensor, "sample k dim"], others: Float[Tensor, "other k dim"] | None = None
) -> Float[Tensor, ""]:
    """Measure how much two sets of subspaces, or the members of one set, overlap on average.

    Formula: tr(P_a P_b) / k between two sets; (n^2 tr(P^2) - n k) / (n (n-1) k) within one, where no
    subspace is compared with itself. Exact, though no pair is ever formed. Random subspaces of d dimensions
    have k / d.

    Args:
        directions: Orthonormal rows for each sample.
        others: The other set; without it, the pairs within `directions`.

    Returns:
        A number in [0, 1], dimensionless, computed in float64, dtype of the input.

    Raises:
        TypeError: If an argument is no floating-point tensor.
        ValueError: If rows are not finite and orthonormal, the sets differ in k or dimension, or one set
            has fewer than two samples.

    Source:
        Our choice: the exact mean of variant C over all pairs.

    Example:
        >>> eye = torch.eye(3)
        >>> pair = torch.stack([eye[[0, 1]], eye[[0, 2]]])
        >>> torch.testing.assert_close(mean_pairwise_overlap(pair), torch.tensor(0.5))
    """
    projector = mean_projector(directions)
    k, n = directions.shape[1], len(directions)
    if others is None:
        _check_count("mean_pairwise_overlap", "a number of samples", n, 2)
        return _within_overlap(projector.square().sum(), n, k).to(directions.dtype)
    other_projector = mean_projector(others)
    _check_same_space("mean_pairwise_overlap", directions, others)
    return ((projector * other_projector).sum() / k).clamp(0.0, 1.0).to(directions.dtype)


def pairwise_alignment(
    directions: Float[Tensor, "sample k dim"], others: Float[Tensor, "other k dim"] | None = None
) -> Float[Tensor, " k"]:
    """Measure how far the j-th directions of different samples agree (variant A).

    Formula: A_j = mean over pairs p, q of |<v_j(p), v_j(q)>|; within one set no sample is compared with
    itself. Two random directions of d dimensions have about sqrt(2 / (pi d)). Meaningless where v_j and
    v_{j+1} swap.

    Args:
        directions: Orthonormal rows for each sample.
        others: The other set; without it, the pairs within `directions`. Memory grows with the number of
            pairs.

    Returns:
        Numbers in [0, 1], dimensionless, computed in float64, dtype of the input.

    Raises:
        TypeError: If an argument is no floating-point tensor.
        ValueError: If rows are not finite and orthonormal, the sets differ in k or dimension, or a lone set
            has fewer than two samples.

    Source:
        Variant A of the signature's score, our choice.

    Example:
        >>> eye = torch.eye(2)
        >>> three = torch.stack([eye[:1], -eye[:1], eye[1:]])
        >>> torch.testing.assert_close(pairwise_alignment(three), torch.tensor([1 / 3]))
    """
    who, n = "pairwise_alignment", len(directions)
    pool = directions if others is None else others
    for name, value in (("directions", directions), ("others", pool)):
        _check_activations(who, name, value, "sample k dim")
        _check_orthonormal(who, name, value)
    _check_same_space(who, directions, pool)
    cosines = torch.einsum("pjd,qjd->jpq", directions.double(), pool.double()).abs().clamp_max(1.0)
    if others is not None:
        return cosines.mean(dim=(1, 2)).to(directions.dtype)
    _check_count(who, "a number of samples", n, 2)
    own = cosines.diagonal(dim1=1, dim2=2).sum(dim=1)
    return ((cosines.sum(dim=(1, 2)) - own) / (n * (n - 1))).to(directions.dtype)


# tr(P^2) counts all n^2 ordered pairs; each of the n pairs of a subspace with itself adds k.
def _within_overlap(squared_trace: Float[Tensor, ""], n: int, k: int) -> Float[Tensor, ""]:
    return ((n * n * squared_trace - n * k) / (n * (n - 1) * k)).clamp(0.0, 1.0)


def _check_same_space(who: str, directions: Tensor, others: Tensor) -> None:
    for axis, what in ((1, "directions a sample"), (2, "dimensions")):
        names = (f"{what} in one set", "in the other")
        _check_same_length(who, names, directions.shape[axis], others.shape[axis])
