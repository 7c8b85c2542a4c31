"""Singular values and leading directions of activation matrices, and the shape of their spectra.

A matrix is one prompt's activations, rows = positions, columns = residual-stream dimensions, or any other
matrix one cares about. Leading axes are batch axes throughout.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.decompositions import right_by_gram, right_by_iteration, right_by_svd, values_by_gram
from probes._core.errors import InputError
from probes._core.results import in_dtype

__all__ = [
    "SWAP_THRESHOLD", "LeadingDirections", "Side", "SpectralGap", "Spectrum", "effective_rank",
    "leading_directions", "participation_ratio", "singular_values", "spectral_gap", "stable_rank",
]  # fmt: skip

Side = Literal["right", "left"]
"""Which singular vectors: "right" live in the columns' space (d_model), "left" in the rows' (positions)."""
Spectrum = Literal["full", "leading"]
"""Number of singular values come with the directions: all, or the first k + 1, which is several times faster."""
SWAP_THRESHOLD = 0.9
"""Above this s2/s1 the first two directions may merely have changed places."""


@dataclass(frozen=True, eq=False, repr=False)
class SpectralGap:
    """How clearly the k-th singular value stands above the next one."""

    gap: Float[Tensor, "*batch"]
    """1 - s_{k+1} / s_k in [0, 1]: 0 is a tie, 1 means that nothing follows."""
    tied: Bool[Tensor, "*batch"]
    """True where the two are equal up to rounding, so that the k leading directions span an arbitrary subspace."""
    k: int
    """After how many directions."""

    def __repr__(self) -> str:
        mean = float(self.gap.double().mean()) if self.gap.numel() else float("nan")
        return f"SpectralGap(k={self.k}, mean gap={mean:.3f}, tied={int(self.tied.sum())} of {self.tied.numel()})"


@takes_arrays
def effective_rank(singular_values: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """Measure how many directions carry the spectrum's mass.

    Formula: exp(-sum_i p_i log p_i) with p_i = s_i / sum_j s_j. Meaningless for an all-zero spectrum, which is refused.

    Args:
        singular_values: Non-negative, any order, in activation units.

    Returns:
        A number of directions in [1, rank], dimensionless, computed in float64, dtype of the input.

    Raises:
        InputError: If every singular value is zero, or one is negative or not finite.

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
    return in_dtype(torch.special.entr(shares).sum(dim=-1).exp(), singular_values.dtype)


@takes_arrays
def participation_ratio(singular_values: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """Measure how many directions carry the spectrum's energy.

    Formula: (sum_i s_i^2)^2 / sum_i s_i^4. It weighs large values more than `effective_rank` does.
    Meaningless for an all-zero spectrum, which is refused.

    Args:
        singular_values: Non-negative, any order, in activation units; of a centred matrix if variance is meant.

    Returns:
        A number of directions in [1, rank], dimensionless, computed in float64, dtype of the input.

    Raises:
        InputError: If every singular value is zero, or one is negative or not finite.

    Source:
        Gao et al. (2017), "A theory of multineuronal dimensionality, dynamics and measurement", bioRxiv 214262.

    Example:
        >>> torch.testing.assert_close(participation_ratio(torch.ones(4)), torch.tensor(4.0))
        >>> assert participation_ratio(torch.tensor([2.0, 1.0])) < effective_rank(torch.tensor([2.0, 1.0]))
    """
    _check_spectrum("participation_ratio", singular_values)
    energies = _relative_energies(singular_values)
    return in_dtype(energies.sum(dim=-1).square() / energies.square().sum(dim=-1), singular_values.dtype)


@takes_arrays
def stable_rank(singular_values: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """Measure how much of the matrix's energy its first direction leaves to others.

    Formula: sum_i s_i^2 / s_1^2 = ||H||_F^2 / ||H||_2^2. Meaningless for an all-zero spectrum, which is refused.

    Args:
        singular_values: Non-negative, any order, in activation units; the whole spectrum.

    Returns:
        A number in [1, rank], dimensionless, computed in float64, dtype of the input.

    Raises:
        InputError: If every singular value is zero, or one is negative or not finite.

    Source:
        Rudelson and Vershynin (2007), "Sampling from large matrices", J. ACM 54.

    Example:
        >>> torch.testing.assert_close(stable_rank(torch.ones(4)), torch.tensor(4.0))
        >>> assert stable_rank(torch.tensor([2.0, 1.0])) < participation_ratio(torch.tensor([2.0, 1.0]))
    """
    _check_spectrum("stable_rank", singular_values)
    return in_dtype(_relative_energies(singular_values).sum(dim=-1), singular_values.dtype)


@takes_arrays
def spectral_gap(singular_values: Float[Tensor, "*batch rank"], k: int = 2) -> SpectralGap:
    """Measure how clearly a spectrum's k-th value stands above the next one.

    Formula: 1 - s_{k+1} / s_k, and 1 where no value follows. Where it is 0 (`tied`) the k leading directions span
    an arbitrary subspace; so they do where s_k itself is 0, and the gap is then 0 as well.

    Args:
        singular_values: Non-negative, largest first, in activation units; at least the first k + 1.
        k: After how many directions.

    Returns:
        The gap with its tie flag, computed in float64, in the spectrum's dtype.

    Raises:
        InputError: If every singular value is zero, one is negative or not finite, they do not fall, or k is not
            in 1..rank.

    Source:
        The perturbation bound of Davis and Kahan (1970) divides by this gap; k = 2 as in Hill, Eyre and Creager
        (2025). Tied means that s_k - s_{k+1} is at most rank * eps * s_1, our choice.

    Example:
        >>> spectra = torch.tensor([[4.0, 2.0, 1.0], [4.0, 2.0, 2.0]])
        >>> found = spectral_gap(spectra)
        >>> torch.testing.assert_close(found.gap, torch.tensor([0.5, 0.0]))
        >>> torch.testing.assert_close(found.tied, torch.tensor([False, True]))
    """
    _check_spectrum("spectral_gap", singular_values)
    _check_falling("spectral_gap", singular_values)
    rank = singular_values.shape[-1]
    checks.k("spectral_gap", k, rank, "the length of the spectrum")
    values = singular_values.double()
    last = values[..., k - 1]
    following = values[..., k] if k < rank else torch.zeros_like(last)
    gap = torch.where(last > 0, 1.0 - following / last, torch.zeros_like(last))
    tolerance = rank * torch.finfo(singular_values.dtype).eps
    return SpectralGap(
        gap=in_dtype(gap, singular_values.dtype), tied=(last - following <= tolerance * values[..., 0]), k=k
    )


# Relative to the largest, so that no power overflows.
def _relative_energies(values: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch rank"]:
    exact = values.double()
    return (exact / exact.amax(dim=-1, keepdim=True)).square()


def _check_falling(who: str, values: Tensor) -> None:
    if bool((values.diff(dim=-1) > 0).any()):
        raise InputError(f"{who} needs singular values largest first, got rising ones; sort them, descending.")


def _check_spectrum(who: str, values: Tensor) -> None:
    checks.activations(who, "singular values", values, "*batch rank")
    if bool((values < 0).any()):
        raise InputError(
            f"{who} needs non-negative singular values, got a least one of {float(values.min()):.3g}; "
            "take them from singular_values."
        )
    if bool((values == 0).all(dim=-1).any()):
        raise InputError(
            f"{who} needs at least one non-zero singular value, got {values.shape[-1]} zeros; "
            "check that the activations vary."
        )


@dataclass(frozen=True, eq=False, repr=False)
class LeadingDirections:
    """The first k singular directions of each matrix, and how far they can be trusted."""

    directions: Float[Tensor, "*batch k dim"]
    """Orthonormal rows, by falling singular value; signs are arbitrary."""
    singular_values: Float[Tensor, "*batch rank"]
    """Largest first, in activation units: the whole spectrum, or its first k + 1 values if only those were asked
    for."""
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


@takes_arrays
def singular_values(matrix: Float[Tensor, "*batch row col"]) -> Float[Tensor, "*batch rank"]:
    """Measure the singular values of each matrix.

    Formula: s_i = sqrt(eigenvalue_i(H^T H)). Values below about 1e-7 of the largest are rounding noise for
    float32 input, and exact zeros may come out as such noise.

    Args:
        matrix: Activations, not centred here; any unit.

    Returns:
        min(row, col) numbers >= 0 in activation units, largest first, in the input's dtype. Computed in float64: from
        the Gram matrix of the short side, or by `torch.linalg.svdvals` where the input itself is float64.

    Source:
        Golub and Van Loan (2013), "Matrix Computations", section 8.6.

    Example:
        >>> stretched = torch.tensor([[0.0, 3.0], [1.0, 0.0], [0.0, 0.0]])
        >>> torch.testing.assert_close(singular_values(stretched), torch.tensor([3.0, 1.0]))
    """
    checks.activations("singular_values", "matrix", matrix, "*batch row col")
    if matrix.dtype == torch.float64:
        return torch.linalg.svdvals(matrix)
    return in_dtype(values_by_gram(matrix), matrix.dtype)


@takes_arrays
def leading_directions(
    matrix: Float[Tensor, "*batch row col"],
    k: int = 2,
    *,
    side: Side = "right",
    center: bool = False,
    spectrum: Spectrum = "full",
) -> LeadingDirections:
    """Find the k directions that carry most of each matrix.

    Formula: H = sum_i s_i u_i v_i^T; the rows are v_1..v_k (side "right") or u_1..u_k (side "left"). A
    direction's sign is always arbitrary; v_1 and v_2 are where s_1 = s_2 (`swap_ratio` near 1), and their
    span is where s_k = s_{k+1} (`tied`), above all for a zero matrix.

    Args:
        matrix: Activations of one sample a matrix; any unit.
        k: Number of directions.
        side: "right" for directions in the columns' space, "left" in the rows' space.
        center: Subtract the mean row of each matrix first.
        spectrum: "full", or "leading" where the first k + 1 values are enough. Then a block power iteration
            finds the directions, keeps those whose angle to the exact ones is proven to be below 1e-5, and
            leaves the rest (flat spectra, ties) to the full decomposition; float64 input always takes that.

    Returns:
        Orthonormal directions with singular values and flags, computed in float64, in the input's dtype.

    Raises:
        InputError: If k is not between 1 and min(row, col).

    Source:
        Hill, Eyre and Creager (2025), arXiv 2507.09440, look at the top two singular vectors, hence k=2.
        Side and centring are our choice: the abstract does not state them. The iteration: Halko, Martinsson
        and Tropp (2011), "Finding structure with randomness", section 4.5; its bound: Davis and Kahan (1970).

    Example:
        >>> matrix = torch.tensor([[0.0, 5.0, 0.0], [2.0, 0.0, 0.0]])
        >>> found = leading_directions(matrix)
        >>> expected = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
        >>> torch.testing.assert_close(found.directions.abs(), expected)
        >>> torch.testing.assert_close(found.swap_ratio, torch.tensor(0.4))
    """
    checks.activations("leading_directions", "matrix", matrix, "*batch row col")
    checks.option("leading_directions", "side", side, ("right", "left"))
    checks.option("leading_directions", "spectrum", spectrum, ("full", "leading"))
    checks.k("leading_directions", k, min(matrix.shape[-2:]), "the shorter side of the matrix")
    oriented = _orient(matrix, side, center=center)
    if matrix.dtype == torch.float64:
        directions, values = right_by_svd(oriented, k)
    else:
        decompose = right_by_gram if spectrum == "full" else right_by_iteration
        directions, values = decompose(oriented, k)
    values = values if spectrum == "full" else values[..., : k + 1]
    tolerance = _rounding(matrix)
    return LeadingDirections(
        directions=in_dtype(directions, matrix.dtype),
        singular_values=in_dtype(values, matrix.dtype),
        swap_ratio=in_dtype(_swap_ratio(values, k), matrix.dtype),
        tied=_tied(values, k, directions.shape[-1], tolerance),
    )


# Relative to s_1. Entries that were rounded to 16 bits scatter by their eps whatever the shape, as random matrices do.
def _rounding(matrix: Tensor) -> float:
    eps = torch.finfo(matrix.dtype).eps
    return eps if matrix.dtype.itemsize == 2 else max(matrix.shape[-2:]) * eps


# Only what changes is copied: a plain float32 matrix stays float32 until a decomposition asks for more.
def _orient(matrix: Float[Tensor, "*batch row col"], side: Side, *, center: bool) -> Float[Tensor, "*batch r c"]:
    if center:
        matrix = matrix.double()
        matrix = matrix - matrix.mean(dim=-2, keepdim=True)
    return matrix if side == "right" else matrix.mT


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
