"""Agreement of every sample with every other, as matrices for heat maps."""

import torch
from jaxtyping import Float
from torch import Tensor

from probes._checks import _check_activations, _check_orthonormal, _check_same_length
from probes._dtypes import _result


def pairwise_cosines(
    directions: Float[Tensor, "sample k dim"], others: Float[Tensor, "other k dim"] | None = None
) -> Float[Tensor, "k sample other"]:
    """Compare the j-th direction of every sample with the j-th of every other.

    Formula: entry (j, p, q) is |<v_j(p), v_j(q)>|. Meaningless where v_j and v_{j+1} swap.

    Args:
        directions: Orthonormal rows for each sample.
        others: The other set; without it, the same set, with ones on the diagonals.

    Returns:
        One matrix a direction, entries in [0, 1], dimensionless, computed in float64, dtype of the input.

    Raises:
        InputTypeError: If an argument is no floating-point tensor.
        InputError: If rows are not finite and orthonormal, or the sets differ in k or dimension.

    Source:
        Variant A of the signature's score before averaging, our choice.

    Example:
        >>> first, second = torch.eye(2)[:1], torch.tensor([[0.6, 0.8]])
        >>> found = pairwise_cosines(torch.stack([first, second]))
        >>> torch.testing.assert_close(found, torch.tensor([[[1.0, 0.6], [0.6, 1.0]]]))
    """
    pool = _checked_pool("pairwise_cosines", directions, others)
    cosines = torch.einsum("pjd,qjd->jpq", directions.double(), pool.double())
    return _result(cosines.abs().clamp_max(1.0), directions.dtype)


def pairwise_overlaps(
    directions: Float[Tensor, "sample k dim"], others: Float[Tensor, "other k dim"] | None = None
) -> Float[Tensor, "sample other"]:
    """Compare the subspace of every sample with that of every other.

    Formula: entry (p, q) is ||V_p V_q^T||_F^2 / k.

    Args:
        directions: Orthonormal rows for each sample.
        others: The other set; without it, the same set, with ones on the diagonal.

    Returns:
        A matrix with entries in [0, 1], dimensionless, computed in float64, dtype of the input.

    Raises:
        InputTypeError: If an argument is no floating-point tensor.
        InputError: If rows are not finite and orthonormal, or the sets differ in k or dimension.

    Source:
        Variant C of the signature's score, pair by pair, our choice.

    Example:
        >>> eye = torch.eye(3)
        >>> found = pairwise_overlaps(torch.stack([eye[[0, 1]], eye[[1, 2]]]))
        >>> torch.testing.assert_close(found, torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
    """
    pool = _checked_pool("pairwise_overlaps", directions, others)
    k = directions.shape[1]
    products = directions.double().flatten(0, 1) @ pool.double().flatten(0, 1).mT
    blocks = products.square().reshape(len(directions), k, len(pool), k).sum(dim=(1, 3)) / k
    return _result(blocks.clamp_max(1.0), directions.dtype)


def _checked_pool(who: str, directions: Tensor, others: Tensor | None) -> Tensor:
    pool = directions if others is None else others
    for name, value in (("directions", directions), ("others", pool)):
        _check_activations(who, name, value, "sample k dim")
        _check_orthonormal(who, name, value)
    for axis, what in ((1, "directions a sample"), (2, "dimensions")):
        _check_same_length(who, (f"{what} in one set", "in the other"), directions.shape[axis], pool.shape[axis])
    return pool
