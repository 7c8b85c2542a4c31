"""How similar are two representations of the same samples, whatever their axes? CKA and Procrustes.

For comparing layers or models: both are blind to rotations, reflections and the overall scale, and the two
representations may differ in width.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import in_dtype

__all__ = ["linear_cka", "procrustes_distance"]


@takes_arrays
def linear_cka(
    a: Float[Tensor, "sample dim"], b: Float[Tensor, "sample other"], *, debiased: bool = False
) -> Float[Tensor, ""]:
    """Measure whether two representations have the same pairwise similarities of samples.

    Formula: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with K = A A^T, L = B B^T. Plain: HSIC = ||A_c^T B_c||_F^2 of
    the centred features, which is far above 0 for unrelated ones when samples are few. Debiased: the unbiased
    HSIC = [sum K~ * L~ + 1^T K~ 1 1^T L~ 1 / ((n-1)(n-2)) - 2 / (n-2) 1^T K~ L~ 1] / (n (n-3)), diagonals of K~
    and L~ set to 0; about 0 for unrelated features.

    Args:
        a: Features of the samples in one layer or model; any unit.
        b: Features of the same samples, in the same order, in another.
        debiased: Use the unbiased estimate, which may be negative.

    Returns:
        A number in [0, 1], or in [-1, 1] where debiased, dimensionless, computed in float64, dtype of `a`.

    Raises:
        InputError: If there are fewer than two samples (four where debiased), or one representation does not vary.

    Source:
        Kornblith, Norouzi, Lee and Hinton (2019), "Similarity of neural network representations revisited",
        section 3; debiased after Song et al. (2012), JMLR 13, equation 5.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> a, b = torch.randn(2, 30, 20, generator=generator)
        >>> torch.testing.assert_close(linear_cka(a, 3 * a.flip(1)), torch.tensor(1.0))
        >>> assert linear_cka(a, b) > 0.3  # unrelated, but few samples
        >>> assert linear_cka(a, b, debiased=True).abs() < 0.1
    """
    left, right = _centred_pair("linear_cka", a, b, least=4 if debiased else 2)
    measure = _unbiased_hsic if debiased else _biased_hsic
    own = measure(left, left), measure(right, right)
    _check_varies_enough("linear_cka", *own)
    share = measure(left, right) / (own[0].sqrt() * own[1].sqrt())
    return in_dtype(share.clamp(-1.0 if debiased else 0.0, 1.0), a.dtype)


@takes_arrays
def procrustes_distance(a: Float[Tensor, "sample dim"], b: Float[Tensor, "sample other"]) -> Float[Tensor, ""]:
    """Measure how far two representations are apart after the best rotation.

    Formula: min_Q ||A - B Q||_F = sqrt(2 - 2 ||A^T B||_*) over orthogonal Q, A and B centred and scaled to
    Frobenius norm 1. A metric: it obeys the triangle inequality, which CKA does not.

    Args:
        a: Features of the samples in one layer or model; any unit.
        b: Features of the same samples, in the same order, in another; the narrower one is padded with zeros.

    Returns:
        A number in [0, sqrt(2)], dimensionless, computed in float64, dtype of `a`.

    Raises:
        InputError: If there are fewer than two samples, or one representation does not vary.

    Source:
        Schönemann (1966), "A generalized solution of the orthogonal Procrustes problem"; as a metric between
        networks: Williams, Kunz, Kornblith and Linderman (2021), arXiv 2110.14739, with centring and scaling.

    Example:
        >>> a = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
        >>> turned = a @ torch.linalg.qr(torch.randn(4, 4, generator=torch.Generator().manual_seed(1))).Q
        >>> assert procrustes_distance(a, 5 * turned + 2) < 1e-6 < 0.1 < procrustes_distance(a, a[:, :2])
    """
    left, right = _centred_pair("procrustes_distance", a, b, least=2)
    lengths = torch.linalg.matrix_norm(left), torch.linalg.matrix_norm(right)
    _check_varies_enough("procrustes_distance", *lengths)
    left, right = left / lengths[0], right / lengths[1]
    narrow, wide = (left, right) if left.shape[1] <= right.shape[1] else (right, left)
    padded = torch.nn.functional.pad(narrow, (0, wide.shape[1] - narrow.shape[1]))
    u, _, vt = torch.linalg.svd(wide.mT @ padded)
    # The residual itself, rather than 2 - 2 ||A^T B||_*, which has lost small distances.
    return in_dtype(torch.linalg.matrix_norm(padded - wide @ u @ vt), a.dtype)


def _biased_hsic(a: Float64[Tensor, "n d"], b: Float64[Tensor, "n e"]) -> Float64[Tensor, ""]:
    return (a.mT @ b).square().sum()


# Written with features, so that no n x n matrix is formed. Centring first changes nothing but rounding.
def _unbiased_hsic(a: Float64[Tensor, "n d"], b: Float64[Tensor, "n e"]) -> Float64[Tensor, ""]:
    n = len(a)
    own_a, own_b = a.square().sum(dim=1), b.square().sum(dim=1)
    rows_a, rows_b = a @ a.sum(dim=0) - own_a, b @ b.sum(dim=0) - own_b
    products = (a.mT @ b).square().sum() - own_a @ own_b
    total = products + rows_a.sum() * rows_b.sum() / ((n - 1) * (n - 2)) - 2.0 / (n - 2) * (rows_a @ rows_b)
    return total / (n * (n - 3))


def _centred_pair(who: str, a: Tensor, b: Tensor, least: int) -> tuple[Tensor, Tensor]:
    for name, value in (("a", a), ("b", b)):
        checks.activations(who, name, value, "sample dim")
    checks.same_length(who, ("samples in a", "in b"), len(a), len(b))
    checks.count(who, "a number of samples", len(a), least)
    left, right = (x.double() - x.double().mean(dim=0) for x in (a, b))
    # To a largest entry of one, so that no fourth power overflows; a constant becomes an exact zero.
    return _unit(left, a), _unit(right, b)


def _unit(centred: Tensor, original: Tensor) -> Tensor:
    largest = centred.abs().amax()
    floor = 8 * torch.finfo(original.dtype).eps * original.double().abs().amax()
    return torch.where(largest > floor, centred / largest, torch.zeros_like(centred))


def _check_varies_enough(who: str, first: Tensor, second: Tensor) -> None:
    for name, value in (("a", first), ("b", second)):
        if not float(value) > 0.0:
            raise InputError(
                f"{who} needs representations that vary over samples, got a constant {name}; check the selection."
            )
