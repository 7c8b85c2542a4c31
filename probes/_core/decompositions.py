"""Singular values and vectors in float64: by Gram matrix, by SVD, by block power iteration with a proof.

The Gram matrix of the short side is small, so its eigenvectors are cheap; but its entries are squares, so
it keeps only half of the digits. That is enough for input that was float32; float64 input, and directions
far below the first one, go to the SVD.

Block power iteration proposes a subspace in float32; one float64 step then rotates it (Rayleigh-Ritz) and bounds its
angle to the truth. Only proposals with a small bound are kept, so float32 never decides anything: a flat
spectrum, a tie or an overflow merely costs the proposal, and the caller decomposes those matrices exactly.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

# The block holds more directions than are wanted: the error falls by (s_{block+1} / s_k)^2 a step.
_EXTRA = 6
_STEPS = 6
# Bound on the sine of the angle to the exact direction; 1 - |cos| is half of its square, far below float32.
_LARGEST_SINE = 1e-5
# Matrices are handled in chunks that stay in the processor's cache.
_CHUNK_ENTRIES = 2**19
# Below this multiple of the block a full decomposition of the Gram matrix costs no more.
_WORTHWHILE = 6
# Below this share of s1 a direction keeps fewer than eight of float64's sixteen digits in the Gram matrix.
_GRAM_FLOOR = 1e-4


class _Proposal(NamedTuple):
    """Leading singular triplets of wide matrices, and whether they are proven."""

    short: Float64[Tensor, "batch k row"]
    long: Float64[Tensor, "batch k col"]
    values: Float64[Tensor, "batch leading"]
    proven: Bool[Tensor, " batch"]


def _is_worthwhile(short_side: int, k: int) -> bool:
    return short_side >= _WORTHWHILE * (k + _EXTRA)


def _iterate(wide: Float[Tensor, "batch row col"], k: int) -> _Proposal:
    # k triplets and k + 1 values of each matrix; rows <= columns.
    size = max(1, _CHUNK_ENTRIES // (wide.shape[1] * wide.shape[2]))
    start = torch.randn(k + _EXTRA, wide.shape[1], generator=torch.Generator().manual_seed(0)).to(wide.device)
    parts = [_iterate_chunk(chunk, start, k) for chunk in torch.split(wide, size)]
    return _Proposal(*(torch.cat(fields) for fields in zip(*parts, strict=True)))


def _iterate_chunk(wide: Float[Tensor, "batch row col"], start: Float[Tensor, "block row"], k: int) -> _Proposal:
    rough = wide.float() @ wide.float().mT
    block = start.expand(len(wide), -1, -1)
    for step in range(_STEPS):
        block = block @ rough
        if step % 2:  # two steps leave the block's rows independent enough for float32
            block = torch.linalg.qr(block.mT).Q.mT
    exact = wide.double()
    # An overflow in float32 becomes a wrong proposal, which the bound refuses.
    block = torch.linalg.qr(torch.nan_to_num(block).double().mT).Q.mT
    images = block @ exact
    energies, rotation = torch.linalg.eigh(images @ images.mT)
    energies, rotation = energies.flip(-1), rotation.mT.flip(-2)
    block, images = rotation @ block, rotation @ images
    lengths = energies[:, :k].clamp_min(0.0).sqrt()
    return _Proposal(
        short=block[:, :k],
        long=images[:, :k] / lengths[..., None],
        values=energies[:, : k + 1].clamp_min(0.0).sqrt(),
        proven=_largest_sine(exact, block, images, energies, k) <= _LARGEST_SINE,  # False for NaN
    )


def _largest_sine(
    exact: Float64[Tensor, "batch row col"],
    block: Float64[Tensor, "batch block row"],
    images: Float64[Tensor, "batch block col"],
    energies: Float64[Tensor, "batch block"],
    k: int,
) -> Float64[Tensor, " batch"]:
    # Davis and Kahan (1970): sine <= residual / gap. What lies outside the block has at most the energy that
    # the block leaves over, so a missed direction cannot hide.
    misfits = torch.linalg.vector_norm(images @ exact.mT - energies[..., None] * block, dim=-1)
    left_over = torch.linalg.vector_norm(exact, dim=(-2, -1)).square() - energies.sum(dim=-1)
    rivals = torch.maximum(energies[:, k], left_over)
    ladder = torch.cat([energies[:, :k], rivals[:, None]], dim=1)
    gap = -ladder.diff(dim=1).amax(dim=1) - torch.linalg.vector_norm(misfits, dim=1)
    return torch.where(gap > 0, torch.linalg.vector_norm(misfits[:, :k], dim=1) / gap, torch.inf)


def values_by_gram(matrix: Float[Tensor, "*batch row col"]) -> Float64[Tensor, "*batch rank"]:
    return _roots(torch.linalg.eigvalsh(_short_gram(matrix.double())))


def right_by_gram(
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
        directions[weak] = right_by_svd(matrix[weak], k)[0]
    return directions, values


def right_by_svd(
    matrix: Float64[Tensor, "*batch row dim"], k: int
) -> tuple[Float64[Tensor, "*batch k dim"], Float64[Tensor, "*batch rank"]]:
    _, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return right[..., :k, :], values


def right_by_iteration(
    matrix: Float[Tensor, "*batch row dim"], k: int
) -> tuple[Float64[Tensor, "*batch k dim"], Float64[Tensor, "*batch leading"]]:
    # As right_by_gram, but no more than k + 1 values, and only where the iteration can prove its result.
    rows, dims = matrix.shape[-2:]
    if matrix.numel() == 0 or not _is_worthwhile(min(rows, dims), k):
        directions, values = right_by_gram(matrix, k)
        return directions, values[..., : k + 1]
    flat = matrix.reshape(-1, rows, dims)
    found = _iterate(flat if rows <= dims else flat.mT, k)
    directions, values = found.long if rows <= dims else found.short, found.values
    unproven = ~found.proven
    if unproven.any():
        exact_directions, exact_values = right_by_gram(flat[unproven], k)
        directions[unproven], values[unproven] = exact_directions, exact_values[:, : k + 1]
    batch = matrix.shape[:-2]
    return directions.reshape(*batch, k, dims), values.reshape(*batch, k + 1)


def _short_gram(matrix: Float64[Tensor, "*batch row col"]) -> Float64[Tensor, "*batch rank rank"]:
    return matrix @ matrix.mT if matrix.shape[-2] < matrix.shape[-1] else matrix.mT @ matrix


# From the rising eigenvalues of a Gram matrix; rounding can make a zero negative.
def _roots(eigenvalues: Float64[Tensor, "*batch rank"]) -> Float64[Tensor, "*batch rank"]:
    return eigenvalues.clamp_min(0.0).sqrt().flip(-1)
