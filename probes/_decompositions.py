"""The fast and the careful way to singular values and vectors, both in float64.

The Gram matrix of the short side is small, so its eigenvectors are cheap; but its entries are squares, so
it keeps only half of the digits. That is enough for input that was float32; float64 input, and directions
far below the first one, go to the SVD.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._subspace_iteration import _is_worthwhile, _iterate

# Below this share of s1 a direction keeps fewer than eight of float64's sixteen digits in the Gram matrix.
_GRAM_FLOOR = 1e-4


def _values_by_gram(matrix: Float[Tensor, "*batch row col"]) -> Float64[Tensor, "*batch rank"]:
    return _roots(torch.linalg.eigvalsh(_short_gram(matrix.double())))


def _right_by_gram(
    matrix: Float[Tensor, "*batch row dim"], k: int
) -> tuple[Float64[Tensor, "*batch k dim"], Float64[Tensor, "*batch rank"]]:
    matrix = matrix.double()
    eigenvalues, vectors = torch.linalg.eigh(_short_gram(matrix))
    values = _roots(eigenvalues)
    directions = vectors.flip(-1)[..., :k]
    if matrix.shape[-2] < matrix.shape[-1]:
        # These are left vectors: H^T u_i = s_i v_i, and qr restores unit length and right angles.
        directions = torch.linalg.qr(matrix.mT @ directions).Q
    directions = directions.mT.contiguous()
    weak = values[..., k - 1] <= _GRAM_FLOOR * values[..., 0]  # not <, or a zero matrix would slip through
    if weak.any():
        directions[weak] = _right_by_svd(matrix[weak], k)[0]
    return directions, values


def _right_by_svd(
    matrix: Float64[Tensor, "*batch row dim"], k: int
) -> tuple[Float64[Tensor, "*batch k dim"], Float64[Tensor, "*batch rank"]]:
    _, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return right[..., :k, :], values


def _right_by_iteration(
    matrix: Float[Tensor, "*batch row dim"], k: int
) -> tuple[Float64[Tensor, "*batch k dim"], Float64[Tensor, "*batch leading"]]:
    # As _right_by_gram, but no more than k + 1 values, and only where the iteration can prove its result.
    rows, dims = matrix.shape[-2:]
    if matrix.numel() == 0 or not _is_worthwhile(min(rows, dims), k):
        directions, values = _right_by_gram(matrix, k)
        return directions, values[..., : k + 1]
    flat = matrix.reshape(-1, rows, dims)
    found = _iterate(flat if rows <= dims else flat.mT, k)
    directions, values = found.long if rows <= dims else found.short, found.values
    unproven = ~found.proven
    if unproven.any():
        exact_directions, exact_values = _right_by_gram(flat[unproven], k)
        directions[unproven], values[unproven] = exact_directions, exact_values[:, : k + 1]
    batch = matrix.shape[:-2]
    return directions.reshape(*batch, k, dims), values.reshape(*batch, k + 1)


def _short_gram(matrix: Float64[Tensor, "*batch row col"]) -> Float64[Tensor, "*batch rank rank"]:
    return matrix @ matrix.mT if matrix.shape[-2] < matrix.shape[-1] else matrix.mT @ matrix


# From the rising eigenvalues of a Gram matrix; rounding can make a zero negative.
def _roots(eigenvalues: Float64[Tensor, "*batch rank"]) -> Float64[Tensor, "*batch rank"]:
    return eigenvalues.clamp_min(0.0).sqrt().flip(-1)
