"""Singular values and leading directions of activation matrices.

A matrix is one prompt's activations, rows = positions, columns = residual-stream dimensions, or any other
matrix one cares about. Leading axes are batch axes throughout.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes._checks import _check_activations, _check_k, _check_option
from probes._decompositions import _right_by_gram, _right_by_svd, _values_by_gram

__all__ = [
    "SWAP_THRESHOLD",
    "LeadingDirections",
    "Side",
    "effective_rank",
    "leading_directions",
    "participation_ratio",
    "singular_values",
]

Side = Literal["right", "left"]
"""Which singular vectors: "right" live in the columns' space (d_model), "left" in the rows' (positions)."""

SWAP_THRESHOLD = 0.9
"""Above this s2/s1 the first two directions may merely have changed places."""


@dataclass(frozen=True, eq=False, repr=False)
class LeadingDirections:
    """The first k singular directions of each matrix, and how far they can be trusted."""

    directions: Float[Tensor, "*batch k dim"]
    """Orthonormal rows, by falling singular value; signs are arbitrary."""
    singular_values: Float[Tensor, "*batch rank"]
    """The whole spectrum, largest first, in activation units."""
    swap_ratio: Float[Tensor, "*batch"]
    """s2/s1 in [0, 1]; 0 where k or the rank is 1, or the matrix is zero."""
    tied: Bool[Tensor, "*batch"]
    """True where s_k equals s_{k+1} up to rounding, so that even the k-dimensional subspace is arbitrary."""

    @property
    def swapped(self) -> Bool[Tensor, "*batch"]:
        """True where s2/s1 > 0.9: a low cosine may then only mean that v1 and v2 changed places."""
        return self.swap_ratio > SWAP_THRESHOLD

    def __repr__(self) -> str:
        shape = tuple(self.directions.shape)
        tied, swapped = int(self.tied.sum()), int(self.swapped.sum())
        return f"LeadingDirections(directions={shape}, tied={tied}, swapped={swapped})"


def singular_values(matrix: Float[Tensor, "*batch row col"]) -> Float[Tensor, "*batch rank"]:
    """Measure the singular values of each matrix.

    Formula: s_i = sqrt(eigenvalue_i(H^T H)). Values below about 1e-7 of the largest are rounding noise for
    float32 input, and exact zeros may come out as such noise.

    Args:
        matrix: Activations, not centred here; any unit.

    Returns:
        min(row, col) numbers >= 0 in activation units, largest first, in the input's dtype. Computed in
        float64: from the Gram matrix of the short side, or by `torch.linalg.svdvals` where the input itself
        is float64.

    Raises:
        TypeError: If the matrix is no floating-point tensor.
        ValueError: If it has fewer than two axes, an empty one, or entries that are not finite.

    Source:
        Golub and Van Loan (2013), "Matrix Computations", section 8.6.

    Example:
        >>> stretched = torch.tensor([[0.0, 3.0], [1.0, 0.0], [0.0, 0.0]])
        >>> torch.testing.assert_close(singular_values(stretched), torch.tensor([3.0, 1.0]))
    """
    _check_activations("singular_values", "matrix", matrix, "*batch row col")
    exact = matrix.double()
    if matrix.dtype == torch.float64:
        return torch.linalg.svdvals(exact)
    return _values_by_gram(exact).to(matrix.dtype)


def leading_directions(
    matrix: Float[Tensor, "*batch row col"], k: int = 2, *, side: Side = "right", center: bool = False
) -> LeadingDirections:
    """Find the k directions that carry most of each matrix.

    Formula: H = sum_i s_i u_i v_i^T; the rows are v_1..v_k (side "right") or u_1..u_k (side "left"). A
    direction's sign is always arbitrary; v_1 and v_2 are where s_1 = s_2 (`swap_ratio` near 1), and their
    span is where s_k = s_{k+1} (`tied`), above all for a zero matrix.

    Args:
        matrix: Activations of one sample a matrix; any unit.
        k: How many directions.
        side: "right" for directions in the columns' space, "left" in the rows' space.
        center: Subtract the mean row of each matrix first.

    Returns:
        Orthonormal directions with the whole spectrum and flags, computed in float64, in the input's dtype.

    Raises:
        TypeError: If the matrix is no floating-point tensor.
        ValueError: If it has fewer than two axes, an empty one, or entries that are not finite; if k is not
            between 1 and min(row, col); if the side is unknown.

    Source:
        Hill, Eyre and Creager (2025), arXiv 2507.09440, look at the top two singular vectors, hence k=2.
        Side and centring are our choice: the abstract does not state them.

    Example:
        >>> matrix = torch.tensor([[0.0, 5.0, 0.0], [2.0, 0.0, 0.0]])
        >>> found = leading_directions(matrix)
        >>> expected = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
        >>> torch.testing.assert_close(found.directions.abs(), expected)
        >>> torch.testing.assert_close(found.swap_ratio, torch.tensor(0.4))
    """
    _check_activations("leading_directions", "matrix", matrix, "*batch row col")
    _check_option("leading_directions", "side", side, ("right", "left"))
    _check_k("leading_directions", k, min(matrix.shape[-2:]), "the shorter side of the matrix")
    exact = matrix.double()
    if center:
        exact = exact - exact.mean(dim=-2, keepdim=True)
    oriented = exact if side == "right" else exact.mT
    decompose = _right_by_svd if matrix.dtype == torch.float64 else _right_by_gram
    directions, values = decompose(oriented, k)
    tolerance = max(matrix.shape[-2:]) * torch.finfo(matrix.dtype).eps
    return LeadingDirections(
        directions=directions.to(matrix.dtype),
        singular_values=values.to(matrix.dtype),
        swap_ratio=_swap_ratio(values, k).to(matrix.dtype),
        tied=_tied(values, k, oriented.shape[-1], tolerance),
    )


def effective_rank(singular_values: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """Measure how many directions carry the spectrum's mass.

    Formula: exp(-sum_i p_i log p_i) with p_i = s_i / sum_j s_j. Meaningless for an all-zero spectrum, which
    is refused.

    Args:
        singular_values: Non-negative, any order, in activation units.

    Returns:
        A number of directions in [1, rank], dimensionless, computed in float64, dtype of the input.

    Raises:
        TypeError: If the spectrum is no floating-point tensor.
        ValueError: If every singular value is zero, or one is negative or not finite.

    Source:
        Roy and Vetterli (2007), "The effective rank: a measure of effective dimensionality", EUSIPCO.

    Example:
        >>> flat, single = torch.ones(4), torch.tensor([5.0, 0.0, 0.0, 0.0])
        >>> torch.testing.assert_close(effective_rank(flat), torch.tensor(4.0))
        >>> torch.testing.assert_close(effective_rank(single), torch.tensor(1.0))
    """
    _check_spectrum("effective_rank", singular_values)
    shares = singular_values.double()
    shares = shares / shares.sum(dim=-1, keepdim=True)
    return torch.special.entr(shares).sum(dim=-1).exp().to(singular_values.dtype)


def participation_ratio(singular_values: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """Measure how many directions carry the spectrum's energy.

    Formula: (sum_i s_i^2)^2 / sum_i s_i^4. It weighs large values more than `effective_rank` does.
    Meaningless for an all-zero spectrum, which is refused.

    Args:
        singular_values: Non-negative, any order, in activation units; of a centred matrix if variance is
            meant.

    Returns:
        A number of directions in [1, rank], dimensionless, computed in float64, dtype of the input.

    Raises:
        TypeError: If the spectrum is no floating-point tensor.
        ValueError: If every singular value is zero, or one is negative or not finite.

    Source:
        Gao et al. (2017), "A theory of multineuronal dimensionality, dynamics and measurement", bioRxiv
        214262.

    Example:
        >>> torch.testing.assert_close(participation_ratio(torch.ones(4)), torch.tensor(4.0))
        >>> assert participation_ratio(torch.tensor([2.0, 1.0])) < effective_rank(torch.tensor([2.0, 1.0]))
    """
    _check_spectrum("participation_ratio", singular_values)
    relative = singular_values.double()
    energies = (relative / relative.amax(dim=-1, keepdim=True)).square()  # no overflow in the fourth power
    return (energies.sum(dim=-1).square() / energies.square().sum(dim=-1)).to(singular_values.dtype)


def _swap_ratio(values: Float[Tensor, "*batch rank"], k: int) -> Float[Tensor, "*batch"]:
    if k == 1 or values.shape[-1] == 1:
        return torch.zeros_like(values[..., 0])
    first = values[..., 0]
    return torch.where(first > 0, values[..., 1] / first, torch.zeros_like(first))


def _tied(values: Float[Tensor, "*batch rank"], k: int, dims: int, tolerance: float) -> Bool[Tensor, "*batch"]:
    if k == dims:  # all of the space is never in doubt
        return torch.zeros_like(values[..., 0], dtype=torch.bool)
    following = values[..., k] if k < values.shape[-1] else torch.zeros_like(values[..., 0])
    return values[..., k - 1] - following <= tolerance * values[..., 0]


def _check_spectrum(who: str, values: Tensor) -> None:
    """Refuse what cannot be a spectrum, or has no mass.

    Raises:
        ValueError: If a value is negative or all values of a spectrum are zero.
    """
    _check_activations(who, "singular values", values, "*batch rank")
    if bool((values < 0).any()):
        raise ValueError(
            f"{who} needs non-negative singular values, got a least one of {float(values.min()):.3g}; "
            "take them from singular_values."
        )
    if bool((values == 0).all(dim=-1).any()):
        raise ValueError(
            f"{who} needs at least one non-zero singular value, got {values.shape[-1]} zeros; "
            "check that the activations vary."
        )
