"""Do two predictors agree: in their predictions, their errors and their weights?

All but `sensitivity_cosine` take tensors: `probes.induced_weights` makes weights of a callable, `probes.sensitivity`
compares gradients and `probes.algorithm_agreement` asks all of it of two callables. Cosines are blind to
scale: an algorithm with the wrong step size has a similarity of 1, and only SPD and ILWD expose it.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from probes._checks import _check_same_length
from probes._cosines import _check_two, _error_cosines, _weight_cosines
from probes._dtypes import _like, _result
from probes._errors import InputError
from probes.bootstrap import Estimate
from probes.curves import Curve, curve_over_prompts, estimate_mean
from probes.sensitivity import sensitivity_cosine

__all__ = ["ilwd", "mspd", "sensitivity_cosine", "similarity_of_errors", "similarity_of_weights", "spd"]


def spd(
    a: Float[Tensor, "batch point"],
    b: Float[Tensor, "batch point"],
    *,
    divide_by: float = 1.0,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> Curve:
    """Measure the squared prediction difference (SPD) by entry.

    Formula: SPD_k = E (a_k - b_k)^2 / c over prompts. The query is entry k of the prompt, which is drawn like
    the inputs before it and independent of them.

    Args:
        a: One predictor's predictions, in label units.
        b: The other's for the same prompts.
        divide_by: The unit c; the paper's plots divide by d, and E[y^2] makes it a share.
        seed: Of the bootstrap.
        n_bootstrap: How many resamples of prompts.
        confidence: The share of replicates inside each interval.

    Returns:
        Non-negative, in squared label units over c; 0 for equal predictors, symmetric.

    Raises:
        InputTypeError: If predictions are no floating-point tensors.
        InputError: If shapes differ, something is empty or not finite, or a number is out of range.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, section 4.1.

    Example:
        >>> import torch
        >>> curve = spd(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 5.0]]))
        >>> torch.testing.assert_close(curve.values, torch.tensor([0.0, 9.0]))
    """
    squares = _squares("spd", a, b, divide_by)
    return curve_over_prompts(squares, seed=seed, n_bootstrap=n_bootstrap, confidence=confidence)


def mspd(
    a: Float[Tensor, "batch point"],
    b: Float[Tensor, "batch point"],
    *,
    n_dims: int,
    n_pairs: Sequence[int] | None = None,
    divide_by: float = 1.0,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> Estimate:
    """Measure SPD where the pairs do not determine the weights.

    Formula: mean of SPD over the entries with 1 <= n < d pairs before them; entry 0, which has seen nothing,
    is left out by our choice. Undefined for d = 1.

    Args:
        a: One predictor's predictions, in label units.
        b: The other's for the same prompts.
        n_dims: The number of input dimensions d.
        n_pairs: How many pairs each entry has before it; None: entry k has k.
        divide_by: The unit, as in `spd`.
        seed: Of the bootstrap.
        n_bootstrap: How many resamples of prompts.
        confidence: The share of replicates inside the interval.

    Returns:
        Non-negative, in squared label units over `divide_by`.

    Raises:
        InputTypeError: If predictions are no floating-point tensors.
        InputError: If shapes differ, something is empty or not finite, no entry is underdetermined, or a
            number is out of range.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, section 4.

    Example:
        >>> import torch
        >>> a, b = torch.tensor([[9.0, 2.0, 7.0]]), torch.tensor([[0.0, 5.0, 0.0]])
        >>> torch.testing.assert_close(mspd(a, b, n_dims=2).value, 9.0)  # one pair: entry 1 alone
    """
    squares = _squares("mspd", a, b, divide_by)
    counts = list(range(a.shape[1])) if n_pairs is None else list(n_pairs)
    _check_same_length("mspd", ("points", "n_pairs"), a.shape[1], len(counts))
    keep = [i for i, count in enumerate(counts) if 1 <= count < n_dims]
    if not keep:
        raise InputError(
            f"mspd needs an entry with at least one and fewer than n_dims={n_dims} pairs before it, "
            f"got entries with {counts}; ask for earlier entries, or use spd."
        )
    return estimate_mean(squares[:, keep].mean(dim=1), seed=seed, n_bootstrap=n_bootstrap, confidence=confidence)


def ilwd(
    a: Float[Tensor, "batch point dim"],
    b: Float[Tensor, "batch point dim"],
    *,
    divide_by: float = 1.0,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> Curve:
    """Measure the implicit linear weight difference (ILWD) by entry.

    Formula: ILWD_k = E |w_a - w_b|^2 / c over prompts. For a predictor that is linear in its query take its
    own weights; for others `induced_weights`, whose R² says whether there is a weight at all.

    Args:
        a: One predictor's weights after the pairs before each entry, label units per input unit.
        b: The other's.
        divide_by: The unit c; the paper's plots divide by d.
        seed: Of the bootstrap.
        n_bootstrap: How many resamples of prompts.
        confidence: The share of replicates inside each interval.

    Returns:
        Non-negative, in squared weight units over c; 0 for equal predictors, symmetric.

    Raises:
        InputTypeError: If weights are no floating-point tensors.
        InputError: If shapes differ, something is empty or not finite, or a number is out of range.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, section 4.1.

    Example:
        >>> import torch
        >>> curve = ilwd(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 2.0]]]))
        >>> torch.testing.assert_close(curve.values, torch.tensor([5.0]))
    """
    _check_two("ilwd", a, b, "batch point dim")
    _check_unit("ilwd", divide_by)
    squares = (a.double() - b.double()).square().sum(dim=2) / divide_by
    return curve_over_prompts(_like(squares, a), seed=seed, n_bootstrap=n_bootstrap, confidence=confidence)


def similarity_of_errors(
    a: Float[Tensor, "batch point"],
    b: Float[Tensor, "batch point"],
    ys: Float[Tensor, "batch point"],
    **bootstrap: Any,
) -> Estimate:
    """Measure whether two predictors make the same errors (SimE).

    Formula: E cos([a_1 - y_1, ..., a_n - y_n], [b_1 - y_1, ..., b_n - y_n]), one vector a prompt. Blind to a
    common factor of the errors. Prompts in which a predictor makes no error but rounding have no direction and
    are left out.

    Args:
        a: One predictor's predictions, in label units.
        b: The other's for the same prompts.
        ys: The labels.
        **bootstrap: `seed`, `n_bootstrap` and `confidence`, as in `spd`.

    Returns:
        In [-1, 1]; NaN with a reason if no prompt is left.

    Raises:
        InputTypeError: If an argument is no floating-point tensor.
        InputError: If shapes differ, something is empty or not finite, or a number is out of range.

    Source:
        Fu et al. (2024), arXiv 2310.17086, section 3.3; entry 0 is included, as in their code.

    Example:
        >>> import torch
        >>> ys = torch.zeros(1, 2)
        >>> similarity = similarity_of_errors(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 3.0]]), ys)
        >>> torch.testing.assert_close(similarity.value, 0.5**0.5)
    """
    cosines = _error_cosines("similarity_of_errors", a[None], b[None], ys)
    return estimate_mean(_like(cosines[0, 0], a), **bootstrap)


def similarity_of_weights(
    a: Float[Tensor, "batch point dim"], b: Float[Tensor, "batch point dim"], **bootstrap: Any
) -> Estimate:
    """Measure whether two predictors have weights of one direction (SimW).

    Formula: E mean_k cos(w_a,k, w_b,k). Blind to a common factor of the weights. Entries where a weight is
    zero, as before the first pair, are left out.

    Args:
        a: One predictor's weights after the pairs before each entry.
        b: The other's.
        **bootstrap: `seed`, `n_bootstrap` and `confidence`, as in `spd`.

    Returns:
        In [-1, 1]; NaN with a reason if no entry is left.

    Raises:
        InputTypeError: If weights are no floating-point tensors.
        InputError: If shapes differ, something is empty or not finite, or a number is out of range.

    Source:
        Fu et al. (2024), arXiv 2310.17086, section 3.3.

    Example:
        >>> import torch
        >>> weights = torch.tensor([[[0.0, 0.0], [1.0, 2.0]]])
        >>> torch.testing.assert_close(similarity_of_weights(weights, 3 * weights).value, 1.0)
    """
    cosines = _weight_cosines("similarity_of_weights", a[None], b[None])
    return estimate_mean(_like(cosines[0, 0], a), **bootstrap)


def _squares(who: str, a: Tensor, b: Tensor, divide_by: float) -> Tensor:
    _check_two(who, a, b, "batch point")
    _check_unit(who, divide_by)
    return _result((a.double() - b.double()).square() / divide_by, a.dtype)


def _check_unit(who: str, divide_by: float) -> None:
    """Refuse a unit that is not positive.

    Raises:
        InputError: If it is zero, negative or NaN.
    """
    if not divide_by > 0:
        raise InputError(f"{who} needs a positive divide_by, got {divide_by}; give d or E[y^2].")
