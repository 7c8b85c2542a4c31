"""Do two predictors react in the same way to their query, and to the labels before it?

Gradients come from torch.autograd. The query is entry k of the prompt; its gradient is d f_k / d xs[:, k].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from probes._core.arrays import takes_arrays
from probes._core.callees import Callee, check_prompts, context_point, gradient_of, resolve_points, unit_rows
from probes.bootstrap import Estimate
from probes.curves import estimate_mean

__all__ = ["SensitivityAgreement", "label_gradients", "query_gradients", "sensitivity_agreement", "sensitivity_cosine"]


@dataclass(frozen=True, repr=False)
class SensitivityAgreement:
    """Three metrics of agreement at one entry, means over prompts."""

    prediction_difference: Estimate
    """Mean |f - g|, in label units ("preds diff"); not blind to scale."""
    cosine: Estimate
    """Mean cosine of the gradients with respect to the query, in [-1, 1] ("model cos"); blind to scale."""
    gradient_difference: Estimate
    """Mean distance of these gradients, label units per input unit ("model diff"); not blind to scale."""
    point: int
    """The entry that was asked, which is also the number of examples before it."""

    def __repr__(self) -> str:
        return f"SensitivityAgreement(cosine={self.cosine}, prediction_difference={self.prediction_difference})"


@takes_arrays
def query_gradients(
    f: Callee,
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    *,
    points: Sequence[int] | None = None,
) -> Float[Tensor, "batch asked dim"]:
    """Differentiate predictions with respect to their query.

    Formula: d f_k / d xs[:, k], with the examples before k held fixed. For a predictor that is linear in its query
    this is its weight. f must treat prompts independently.

    Args:
        f: A model or a predictor, called f(xs, ys, points=[...]).
        xs: Inputs.
        ys: Labels.
        points: Entries k; None takes all.

    Returns:
        Label units per input unit, in the dtype of xs.

    Raises:
        InputError: If a point does not exist, f answers another shape, or its answers carry no gradient although they
            change.

    Source:
        von Oswald et al. (2023), arXiv 2212.07677, section 3 ("model sensitivity").

    Example:
        >>> def square(xs, ys, *, points=None):
        ...     return xs[:, points, 0] ** 2
        >>> gradients = query_gradients(square, torch.tensor([[[3.0], [5.0]]]), torch.zeros(1, 2))
        >>> torch.testing.assert_close(gradients, torch.tensor([[[6.0], [10.0]]]))
    """
    check_prompts("query_gradients", xs, ys)
    asked = resolve_points("query_gradients", points, xs.shape[1])
    return _answers_and_gradients("query_gradients", f, xs, ys, asked)[1]


@takes_arrays
def label_gradients(
    f: Callee, xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"], *, point: int = -1
) -> Float[Tensor, "batch pair"]:
    """Differentiate one prediction with respect to the labels before it.

    Formula: d f_k / d ys[:, i] for i < k. One step of gradient descent has eta / k x_i^T x_k here.

    Args:
        f: A model or a predictor, called f(xs, ys, points=[k]).
        xs: Inputs.
        ys: Labels.
        point: The entry k, with at least one example before it.

    Returns:
        Dimensionless weights of the k labels, in the dtype of ys.

    Raises:
        InputError: As in `query_gradients`, or if the point is the first.

    Source:
        We computed the derivative; the step is that of von Oswald et al. (2023), arXiv 2212.07677.

    Example:
        >>> def mean_label(xs, ys, *, points=None):
        ...     return torch.stack([ys[:, :k].mean(dim=1) for k in points], dim=1)
        >>> found = label_gradients(mean_label, torch.randn(1, 5, 2), torch.randn(1, 5))
        >>> torch.testing.assert_close(found, torch.full((1, 4), 0.25))
    """
    check_prompts("label_gradients", xs, ys)
    k = context_point("label_gradients", point, xs.shape[1])
    return gradient_of("label_gradients", f, xs, ys, k, of_labels=True)[1]


@takes_arrays
def sensitivity_cosine(
    f: Callee,
    g: Callee,
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    *,
    point: int = -1,
    **bootstrap: Any,
) -> Estimate:
    """Measure whether the predictions of two predictors change with their query in the same direction.

    Formula: E cos(d f_k / d x_k, d g_k / d x_k) over prompts. Blind to step size. Prompts with a zero gradient
    are left out.

    Args:
        f: A model or a predictor.
        g: Another.
        xs: Inputs.
        ys: Labels.
        point: The entry k.
        **bootstrap: `seed`, `n_bootstrap` and `confidence`, as in `estimate_mean`.

    Returns:
        In [-1, 1]; NaN with a reason if no prompt is left.

    Raises:
        InputError: As in `query_gradients`.

    Source:
        von Oswald et al. (2023), arXiv 2212.07677, section 3 ("model cos"); their code adds 1e-8 to norms.

    Example:
        >>> def first(xs, ys, *, points=None):
        ...     return xs[:, points, 0]
        >>> def both(xs, ys, *, points=None):
        ...     return 3 * xs[:, points].sum(dim=2)
        >>> found = sensitivity_cosine(first, both, torch.randn(4, 3, 2), torch.randn(4, 3))
        >>> torch.testing.assert_close(found.value, 0.5**0.5)
    """
    return sensitivity_agreement(f, g, xs, ys, point=point, **bootstrap).cosine


@takes_arrays
def sensitivity_agreement(
    f: Callee,
    g: Callee,
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    *,
    point: int = -1,
    **bootstrap: Any,
) -> SensitivityAgreement:
    """Measure the agreement of two predictors and of their gradients at one entry.

    Formula: E |f - g|; E cos(f', g'); E |f' - g'|_2, with f' = d f_k / d xs[:, k].

    Args:
        f: A model or a predictor.
        g: Another.
        xs: Inputs.
        ys: Labels.
        point: The entry k.
        **bootstrap: `seed`, `n_bootstrap` and `confidence`, as in `estimate_mean`.

    Returns:
        Three means over prompts with intervals; 0, 1 and 0 for equal predictors.

    Raises:
        InputError: As in `query_gradients`.

    Source:
        von Oswald et al. (2023), arXiv 2212.07677, section 3.

    Example:
        >>> def first(xs, ys, *, points=None):
        ...     return xs[:, points, 0]
        >>> same = sensitivity_agreement(first, first, torch.randn(4, 3, 2), torch.randn(4, 3))
        >>> torch.testing.assert_close((same.cosine.value, same.gradient_difference.value), (1.0, 0.0))
    """
    who = "sensitivity_agreement"
    check_prompts(who, xs, ys)
    asked = resolve_points(who, [point], xs.shape[1])
    (f_said, f_slope), (g_said, g_slope) = (_answers_and_gradients(who, callee, xs, ys, asked) for callee in (f, g))
    first, second = f_slope[:, 0].double(), g_slope[:, 0].double()
    zero = torch.zeros((), dtype=torch.float64, device=xs.device)
    cosines = (unit_rows(first, zero) * unit_rows(second, zero)).sum(dim=1).clamp(-1.0, 1.0)
    return SensitivityAgreement(
        prediction_difference=estimate_mean((f_said - g_said).double().abs()[:, 0], **bootstrap),
        cosine=estimate_mean(cosines, **bootstrap),
        gradient_difference=estimate_mean((first - second).norm(dim=1), **bootstrap),
        point=asked[0],
    )


def _answers_and_gradients(
    who: str, f: Callee, xs: Tensor, ys: Tensor, asked: Sequence[int]
) -> tuple[Float[Tensor, "batch asked"], Float[Tensor, "batch asked dim"]]:
    answers, slopes = zip(*[gradient_of(who, f, xs, ys, k, of_labels=False) for k in asked], strict=True)
    return torch.stack(answers, dim=1), torch.stack(slopes, dim=1)
