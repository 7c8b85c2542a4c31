"""How many directions a spectrum spreads over, and how clearly it ends after k of them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes._checks import _check_activations, _check_k
from probes._dtypes import _result
from probes._errors import InputError


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


def effective_rank(singular_values: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """Measure how many directions carry the spectrum's mass.

    Formula: exp(-sum_i p_i log p_i) with p_i = s_i / sum_j s_j. Meaningless for an all-zero spectrum, which
    is refused.

    Args:
        singular_values: Non-negative, any order, in activation units.

    Returns:
        A number of directions in [1, rank], dimensionless, computed in float64, dtype of the input.

    Raises:
        InputTypeError: If the spectrum is no floating-point tensor.
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
    return _result(torch.special.entr(shares).sum(dim=-1).exp(), singular_values.dtype)


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
        InputTypeError: If the spectrum is no floating-point tensor.
        InputError: If every singular value is zero, or one is negative or not finite.

    Source:
        Gao et al. (2017), "A theory of multineuronal dimensionality, dynamics and measurement", bioRxiv
        214262.

    Example:
        >>> torch.testing.assert_close(participation_ratio(torch.ones(4)), torch.tensor(4.0))
        >>> assert participation_ratio(torch.tensor([2.0, 1.0])) < effective_rank(torch.tensor([2.0, 1.0]))
    """
    _check_spectrum("participation_ratio", singular_values)
    energies = _relative_energies(singular_values)
    return _result(energies.sum(dim=-1).square() / energies.square().sum(dim=-1), singular_values.dtype)


def stable_rank(singular_values: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch"]:
    """Measure how much of the matrix's energy its first direction leaves to others.

    Formula: sum_i s_i^2 / s_1^2 = ||H||_F^2 / ||H||_2^2. Meaningless for an all-zero spectrum, which is refused.

    Args:
        singular_values: Non-negative, any order, in activation units; the whole spectrum.

    Returns:
        A number in [1, rank], dimensionless, computed in float64, dtype of the input.

    Raises:
        InputTypeError: If the spectrum is no floating-point tensor.
        InputError: If every singular value is zero, or one is negative or not finite.

    Source:
        Rudelson and Vershynin (2007), "Sampling from large matrices", J. ACM 54.

    Example:
        >>> torch.testing.assert_close(stable_rank(torch.ones(4)), torch.tensor(4.0))
        >>> assert stable_rank(torch.tensor([2.0, 1.0])) < participation_ratio(torch.tensor([2.0, 1.0]))
    """
    _check_spectrum("stable_rank", singular_values)
    return _result(_relative_energies(singular_values).sum(dim=-1), singular_values.dtype)


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
        InputTypeError: If the spectrum is no floating-point tensor.
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
    _check_k("spectral_gap", k, rank, "the length of the spectrum")
    values = singular_values.double()
    last = values[..., k - 1]
    following = values[..., k] if k < rank else torch.zeros_like(last)
    gap = torch.where(last > 0, 1.0 - following / last, torch.zeros_like(last))
    tolerance = rank * torch.finfo(singular_values.dtype).eps
    return SpectralGap(
        gap=_result(gap, singular_values.dtype),
        tied=(last - following <= tolerance * values[..., 0]),
        k=k,
    )


# Relative to the largest, so that no power overflows.
def _relative_energies(values: Float[Tensor, "*batch rank"]) -> Float[Tensor, "*batch rank"]:
    exact = values.double()
    return (exact / exact.amax(dim=-1, keepdim=True)).square()


def _check_falling(who: str, values: Tensor) -> None:
    """Refuse a spectrum whose largest value is not the first.

    Raises:
        InputError: If a value is above the one before it.
    """
    if bool((values.diff(dim=-1) > 0).any()):
        raise InputError(f"{who} needs singular values largest first, got rising ones; sort them, descending.")


def _check_spectrum(who: str, values: Tensor) -> None:
    """Refuse what cannot be a spectrum, or has no mass.

    Raises:
        InputError: If a value is negative or all values of a spectrum are zero.
    """
    _check_activations(who, "singular values", values, "*batch rank")
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
