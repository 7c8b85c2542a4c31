"""Do two callables carry out one algorithm? Every metric of agreement, asked at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probes._callees import Callee, _ask, _check_prompts, _resolve_points
from probes.agreement import ilwd, mspd, similarity_of_errors, similarity_of_weights, spd
from probes.bootstrap import Estimate
from probes.curves import Curve, curve_over_prompts
from probes.induced_weights import induced_weights
from probes.sensitivity import SensitivityAgreement, sensitivity_agreement

__all__ = ["AlgorithmAgreement", "compare_algorithms"]


@dataclass(frozen=True, eq=False, repr=False)
class AlgorithmAgreement:
    """How far two callables agree, by every metric; f first, g second."""

    spd: Curve
    """Squared prediction difference by entry, squared label units over `divide_by`."""
    mspd: Estimate
    """Mean SPD over entries with fewer pairs than dimensions; NaN with a reason if there is none."""
    ilwd: Curve
    """Squared distance of induced weights by entry."""
    linear_r2: tuple[Curve, Curve]
    """R² of the linear fit of f and of g by entry; ILWD and SimW mean nothing where one is low."""
    similarity_of_errors: Estimate
    """SimE, in [-1, 1]; blind to scale."""
    similarity_of_weights: Estimate
    """SimW, in [-1, 1]; blind to scale."""
    sensitivity: SensitivityAgreement
    """The three metrics of gradients at the last asked entry."""
    points: tuple[int, ...]
    """The entries: how many pairs came before each query."""
    divide_by: float
    """The unit of SPD, MSPD and ILWD."""

    def __repr__(self) -> str:
        return f"AlgorithmAgreement(spd={self.spd.mean}, cosine={self.sensitivity.cosine}, n_points={len(self.points)})"


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
        queries: More fresh inputs a prompt than dimensions.
        points: Entries k; None takes all. Gradients are taken at the last of them.
        divide_by: The unit of squared differences, such as d or E[y^2].
        batch_size: Sequences a call with fresh queries.
        **bootstrap: `seed`, `n_bootstrap` and `confidence`, as in `spd`; all metrics share their resamples.

    Returns:
        All metrics with intervals over prompts.

    Raises:
        InputTypeError: If an argument is no floating-point tensor.
        InputError: As in the functions named above.

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
    _check_prompts(who, xs, ys)
    asked = _resolve_points(who, points, xs.shape[1])
    with torch.no_grad():
        said_f, said_g = (_ask(who, callee, xs, ys, asked) for callee in (f, g))
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
