"""Do two predictors agree in their predictions, errors and weights?

The functions take tensors, except `compare_algorithms`, which takes two callables and measures everything.
`probes.induced_weights` finds the weights of a callable, `probes.sensitivity` compares gradients. Cosines are blind to
scale: an algorithm with the wrong step size has a similarity of 1. Only SPD and ILWD show the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.callees import Callee, ask, check_prompts, check_two, error_cosines, resolve_points, weight_cosines
from probes._core.errors import InputError
from probes._core.results import cast_like, in_dtype
from probes.bootstrap import Estimate
from probes.curves import Curve, curve_over_prompts, estimate_mean
from probes.induced_weights import induced_weights
from probes.sensitivity import SensitivityAgreement, sensitivity_agreement, sensitivity_cosine

__all__ = [
    "AlgorithmAgreement", "compare_algorithms", "ilwd", "mspd", "sensitivity_cosine", "similarity_of_errors",
    "similarity_of_weights", "spd",
]  # fmt: skip


@takes_arrays
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
        seed: Seed of the bootstrap.
        n_bootstrap: Number of bootstrap resamples of prompts.
        confidence: The share of replicates inside each interval.

    Returns:
        Non-negative, in squared label units over c; 0 for equal predictors, symmetric.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, section 4.1.

    Example:
        >>> curve = spd(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 5.0]]))
        >>> torch.testing.assert_close(curve.values, torch.tensor([0.0, 9.0]))
    """
    squares = _squares("spd", a, b, divide_by)
    return curve_over_prompts(squares, seed=seed, n_bootstrap=n_bootstrap, confidence=confidence)


@takes_arrays
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
    """Measure SPD where the examples do not determine the weights.

    Formula: mean of SPD over the entries with 1 <= n < d examples before them; entry 0, which has seen nothing,
    is left out by our choice. Undefined for d = 1.

    Args:
        a: One predictor's predictions, in label units.
        b: The other's for the same prompts.
        n_dims: The number of input dimensions d.
        n_pairs: Number of examples before each entry; None: entry k has k.
        divide_by: The unit, as in `spd`.
        seed: Seed of the bootstrap.
        n_bootstrap: Number of bootstrap resamples of prompts.
        confidence: The share of replicates inside the interval.

    Returns:
        Non-negative, in squared label units over `divide_by`.

    Raises:
        InputError: If no entry is underdetermined.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, section 4.

    Example:
        >>> a, b = torch.tensor([[9.0, 2.0, 7.0]]), torch.tensor([[0.0, 5.0, 0.0]])
        >>> torch.testing.assert_close(mspd(a, b, n_dims=2).value, 9.0)  # one pair: entry 1 alone
    """
    squares = _squares("mspd", a, b, divide_by)
    counts = list(range(a.shape[1])) if n_pairs is None else list(n_pairs)
    checks.same_length("mspd", ("points", "n_pairs"), a.shape[1], len(counts))
    keep = [i for i, count in enumerate(counts) if 1 <= count < n_dims]
    if not keep:
        raise InputError(
            f"mspd needs an entry with at least one and fewer than n_dims={n_dims} pairs before it, "
            f"got entries with {counts}; ask for earlier entries, or use spd."
        )
    return estimate_mean(squares[:, keep].mean(dim=1), seed=seed, n_bootstrap=n_bootstrap, confidence=confidence)


@takes_arrays
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
        a: One predictor's weights after the examples before each entry, label units per input unit.
        b: The other's.
        divide_by: The unit c; the paper's plots divide by d.
        seed: Seed of the bootstrap.
        n_bootstrap: Number of bootstrap resamples of prompts.
        confidence: The share of replicates inside each interval.

    Returns:
        Non-negative, in squared weight units over c; 0 for equal predictors, symmetric.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, section 4.1.

    Example:
        >>> curve = ilwd(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 2.0]]]))
        >>> torch.testing.assert_close(curve.values, torch.tensor([5.0]))
    """
    check_two("ilwd", a, b, "batch point dim")
    _check_unit("ilwd", divide_by)
    squares = (a.double() - b.double()).square().sum(dim=2) / divide_by
    return curve_over_prompts(cast_like(squares, a), seed=seed, n_bootstrap=n_bootstrap, confidence=confidence)


@takes_arrays
def similarity_of_errors(
    a: Float[Tensor, "batch point"], b: Float[Tensor, "batch point"], ys: Float[Tensor, "batch point"], **bootstrap: Any
) -> Estimate:
    """Measure whether two predictors make the same errors (SimE).

    Formula: E cos([a_1 - y_1, ..., a_n - y_n], [b_1 - y_1, ..., b_n - y_n]), one vector per prompt. Blind to a common
    factor of the errors. Prompts in which a predictor makes no error but rounding have no direction and are left out.

    Args:
        a: One predictor's predictions, in label units.
        b: The other's for the same prompts.
        ys: The labels.
        **bootstrap: `seed`, `n_bootstrap` and `confidence`, as in `spd`.

    Returns:
        In [-1, 1]; NaN with a reason if no prompt is left.

    Source:
        Fu et al. (2024), arXiv 2310.17086, section 3.3; entry 0 is included, as in their code.

    Example:
        >>> ys = torch.zeros(1, 2)
        >>> similarity = similarity_of_errors(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 3.0]]), ys)
        >>> torch.testing.assert_close(similarity.value, 0.5**0.5)
    """
    cosines = error_cosines("similarity_of_errors", a[None], b[None], ys)
    return estimate_mean(cast_like(cosines[0, 0], a), **bootstrap)


@takes_arrays
def similarity_of_weights(
    a: Float[Tensor, "batch point dim"], b: Float[Tensor, "batch point dim"], **bootstrap: Any
) -> Estimate:
    """Measure whether the weights of two predictors have the same direction (SimW).

    Formula: E mean_k cos(w_a,k, w_b,k). Blind to a common factor of the weights. Entries where a weight is
    zero, as before the first example, are left out.

    Args:
        a: One predictor's weights after the examples before each entry.
        b: The other's.
        **bootstrap: `seed`, `n_bootstrap` and `confidence`, as in `spd`.

    Returns:
        In [-1, 1]; NaN with a reason if no entry is left.

    Source:
        Fu et al. (2024), arXiv 2310.17086, section 3.3.

    Example:
        >>> weights = torch.tensor([[[0.0, 0.0], [1.0, 2.0]]])
        >>> torch.testing.assert_close(similarity_of_weights(weights, 3 * weights).value, 1.0)
    """
    cosines = weight_cosines("similarity_of_weights", a[None], b[None])
    return estimate_mean(cast_like(cosines[0, 0], a), **bootstrap)


def _squares(who: str, a: Tensor, b: Tensor, divide_by: float) -> Tensor:
    check_two(who, a, b, "batch point")
    _check_unit(who, divide_by)
    return in_dtype((a.double() - b.double()).square() / divide_by, a.dtype)


def _check_unit(who: str, divide_by: float) -> None:
    if not divide_by > 0:
        raise InputError(f"{who} needs a positive divide_by, got {divide_by}; give d or E[y^2].")


@dataclass(frozen=True, eq=False, repr=False)
class AlgorithmAgreement:
    """How far two callables f and g agree, by every metric."""

    spd: Curve
    """Squared prediction difference by entry, squared label units over `divide_by`."""
    mspd: Estimate
    """Mean SPD over entries with fewer examples than dimensions; NaN with a reason if there is none."""
    ilwd: Curve
    """Squared distance of induced weights by entry."""
    linear_r2: tuple[Curve, Curve]
    """R² of the linear fit of f and of g by entry; ILWD and SimW are meaningless where one is low."""
    similarity_of_errors: Estimate
    """SimE, in [-1, 1]; blind to scale."""
    similarity_of_weights: Estimate
    """SimW, in [-1, 1]; blind to scale."""
    sensitivity: SensitivityAgreement
    """The three metrics of gradients at the last asked entry."""
    points: tuple[int, ...]
    """The entries: how many examples came before each query."""
    divide_by: float
    """The unit of SPD, MSPD and ILWD."""

    def __repr__(self) -> str:
        return f"AlgorithmAgreement(spd={self.spd.mean}, cosine={self.sensitivity.cosine}, n_points={len(self.points)})"


@takes_arrays
def compare_algorithms(
    f: Callee,
    g: Callee,
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    queries: Float[Tensor, "batch query dim"],
    *,
    points: Sequence[int] | None = None,
    divide_by: float = 1.0,
    batch_size: int = 4096,
    **bootstrap: Any,
) -> AlgorithmAgreement:
    """Compare two callables by predictions, errors, induced weights and gradients.

    Formula: see `spd`, `mspd`, `ilwd`, `similarity_of_errors`, `similarity_of_weights`, `sensitivity_agreement`.
    Two conventions of the query: predictions, errors and gradients ask entry k of the prompt itself; weights
    come from fresh queries, which replace xs[:, k].

    Args:
        f: A model or a predictor, called f(xs, ys, points=[...]).
        g: Another.
        xs: Inputs.
        ys: Labels.
        queries: More fresh inputs per prompt than dimensions.
        points: Entries k; None takes all. Gradients are taken at the last of them.
        divide_by: The unit of squared differences, such as d or E[y^2].
        batch_size: Sequences a call with fresh queries.
        **bootstrap: `seed`, `n_bootstrap` and `confidence`, as in `spd`; all metrics share their resamples.

    Returns:
        All metrics with intervals over prompts.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661; Fu et al. (2024), arXiv 2310.17086; von Oswald et al. (2023),
        arXiv 2212.07677.

    Example:
        >>> def step(xs, ys, *, points=None):
        ...     return torch.stack([(ys[:, :k, None] * xs[:, :k]).sum(1).mul(xs[:, k]).sum(1) for k in points], 1)
        >>> def twice(xs, ys, *, points=None):
        ...     return 2 * step(xs, ys, points=points)
        >>> xs, ys, queries = torch.randn(8, 5, 3), torch.randn(8, 5), torch.randn(8, 9, 3)
        >>> found = compare_algorithms(step, twice, xs, ys, queries)
        >>> torch.testing.assert_close(found.similarity_of_weights.value, 1.0)  # a cosine cannot see the factor
        >>> assert found.spd.mean.low > 0  # SPD can
    """
    who = "compare_algorithms"
    check_prompts(who, xs, ys)
    asked = resolve_points(who, points, xs.shape[1])
    with torch.no_grad():
        said_f, said_g = (ask(who, callee, xs, ys, asked) for callee in (f, g))
    first, second = (induced_weights(callee, xs, ys, queries, points=asked, batch_size=batch_size) for callee in (f, g))
    few = any(1 <= k < xs.shape[2] for k in asked)
    nan = float("nan")
    absent = Estimate(nan, nan, nan, "no asked entry has fewer pairs than dimensions")
    return AlgorithmAgreement(
        spd=spd(said_f, said_g, divide_by=divide_by, **bootstrap),
        mspd=mspd(said_f, said_g, n_dims=xs.shape[2], n_pairs=asked, divide_by=divide_by, **bootstrap)
        if few
        else absent,
        ilwd=ilwd(first.weights, second.weights, divide_by=divide_by, **bootstrap),
        linear_r2=(curve_over_prompts(first.r2, **bootstrap), curve_over_prompts(second.r2, **bootstrap)),
        similarity_of_errors=similarity_of_errors(said_f, said_g, ys[:, asked], **bootstrap),
        similarity_of_weights=similarity_of_weights(first.weights, second.weights, **bootstrap),
        sensitivity=sensitivity_agreement(f, g, xs, ys, point=asked[-1], **bootstrap),
        points=tuple(asked),
        divide_by=divide_by,
    )
