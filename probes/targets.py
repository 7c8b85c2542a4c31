"""What could a network have computed from the examples before each entry? Targets of probes, as functions of tensors.

Entry k uses the k examples before it, as every predictor does. The caller makes the predictions of reference
predictors; this file makes the quantities on the way to them.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.callees import check_prompts
from probes._core.results import in_dtype

__all__ = [
    "largest_stable_step", "least_squares_weights", "moment_vector", "prediction_differences", "residuals",
    "shared_signal",
]  # fmt: skip

Normalise = Literal["sum", "mean"]


@takes_arrays
def moment_vector(
    xs: Float[Tensor, "batch point dim"],
    ys: Float[Tensor, "batch point"],
    *,
    normalise: Normalise = "sum",
    mean: Float[Tensor, " dim"] | None = None,
) -> Float[Tensor, "batch point dim"]:
    """Sum inputs times labels over the examples before each entry.

    Formula: m_k = sum_{i < k} x_i (y_i - <b, x_i>), divided by k for "mean". Zero at entry 0.

    Args:
        xs: Inputs.
        ys: Labels.
        normalise: What the sum is divided by.
        mean: The tasks' shared weight b, whose signal is taken off the labels; None: zero.

    Returns:
        Label units times input units, summed in float64, in the dtype of xs.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, section 5 (X^T Y).

    Example:
        >>> xs, ys = torch.tensor([[[1.0], [2.0], [9.0]]]), torch.tensor([[3.0, 4.0, 9.0]])
        >>> torch.testing.assert_close(moment_vector(xs, ys), torch.tensor([[[0.0], [3.0], [11.0]]]))
    """
    check_prompts("moment_vector", xs, ys)
    checks.option("moment_vector", "normalise", normalise, get_args(Normalise))
    labels = ys.double() if mean is None else ys.double() - shared_signal(xs, mean).double()
    products = xs.double() * labels[..., None]
    before = products.cumsum(dim=1) - products
    before[:, 0] = 0.0
    if normalise == "mean":
        before = before / torch.arange(xs.shape[1], device=xs.device).clamp_min(1)[:, None]
    return in_dtype(before, xs.dtype)


@takes_arrays
def least_squares_weights(
    xs: Float[Tensor, "batch point dim"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch point dim"]:
    """Fit the examples before each entry, with the least norm where they leave a choice.

    Formula: w_k = pinv(X_k) y_k; zero at entry 0. Badly conditioned near k = d, where targets get heavy tails.

    Args:
        xs: Inputs.
        ys: Labels.

    Returns:
        Label units per input unit, solved in float64, in the dtype of xs.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, section 5 (w_OLS).

    Example:
        >>> xs = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]])
        >>> weights = least_squares_weights(xs, torch.tensor([[4.0, 5.0, 0.0]]))
        >>> torch.testing.assert_close(weights[0], torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 5.0]]))
    """
    check_prompts("least_squares_weights", xs, ys)
    exact, labels = xs.double(), ys.double()
    weights = torch.zeros_like(exact)
    for k in range(1, xs.shape[1]):
        # The rank is what the caller's precision can tell.
        cutoff = torch.finfo(xs.dtype).eps * max(k, xs.shape[2])
        weights[:, k] = (torch.linalg.pinv(exact[:, :k], rtol=cutoff) @ labels[:, :k, None])[..., 0]
    return in_dtype(weights, xs.dtype)


@takes_arrays
def residuals(
    predictions: Float[Tensor, "batch point"], ys: Float[Tensor, "batch point"]
) -> Float[Tensor, "batch point"]:
    """Subtract labels from predictions.

    Formula: f_k - y_k.

    Args:
        predictions: Predictions of any predictor.
        ys: Labels.

    Returns:
        Label units, dtype of the predictions.

    Source:
        Fu et al. (2024), arXiv 2310.17086, section 3.3.

    Example:
        >>> torch.testing.assert_close(residuals(torch.ones(1, 2), torch.zeros(1, 2)), torch.ones(1, 2))
    """
    checks.activations("residuals", "predictions", predictions, "batch point")
    checks.activations("residuals", "ys", ys, "batch point")
    checks.same_shape("residuals", ("predictions", "ys"), predictions, ys)
    return predictions - ys


@takes_arrays
def prediction_differences(
    predictions: Mapping[str, Float[Tensor, "batch point"]], pairs: Sequence[tuple[str, str]] | None = None
) -> dict[str, Float[Tensor, "batch point"]]:
    """Subtract predictions of different algorithms, since the predictions themselves are nearly collinear.

    Formula: f_a - f_b for each pair (a, b).

    Args:
        predictions: By the algorithm's name, for the same prompts.
        pairs: Pairs to subtract; None takes all, in order.

    Returns:
        By the name "a - b", in label units; a pair that coincides gives zeros, which no probe accepts.

    Raises:
        InputError: If a name is unknown or shapes differ.

    Example:
        >>> found = prediction_differences({"ols": torch.ones(1, 2), "ridge": torch.zeros(1, 2)})
        >>> torch.testing.assert_close(found["ols - ridge"], torch.ones(1, 2))
    """
    differences = {}
    for a, b in combinations(predictions, 2) if pairs is None else pairs:
        for name in (a, b):
            checks.option("prediction_differences", "a name", name, predictions)
            checks.activations("prediction_differences", name, predictions[name], "batch point")
        checks.same_shape("prediction_differences", (a, b), predictions[a], predictions[b])
        differences[f"{a} - {b}"] = predictions[a] - predictions[b]
    return differences


@takes_arrays
def shared_signal(xs: Float[Tensor, "batch point dim"], mean: Float[Tensor, " dim"]) -> Float[Tensor, "batch point"]:
    """Project inputs on the tasks' shared weight.

    Formula: <b, x_k>. A linear function of the input alone: the raw input is its control.

    Args:
        xs: Inputs.
        mean: The shared weight b.

    Returns:
        Label units, dtype of xs.

    Source:
        Zhang, Wu and Bartlett (2024), arXiv 2402.14951, for the shared signal.

    Example:
        >>> torch.testing.assert_close(shared_signal(torch.ones(1, 2, 3), torch.ones(3)), torch.full((1, 2), 3.0))
    """
    checks.activations("shared_signal", "xs", xs, "batch point dim")
    checks.activations("shared_signal", "mean", mean, "dim")
    checks.same_length("shared_signal", ("dimensions of xs", "of mean"), xs.shape[2], len(mean))
    return in_dtype(xs.double() @ mean.double(), xs.dtype)


@takes_arrays
def largest_stable_step(xs: Float[Tensor, "batch point dim"]) -> Float[Tensor, "batch point"]:
    """Find the step size at which the steepest direction is learned in one step.

    Formula: k / s_max(X_k)^2, for a gradient divided by the k examples before the entry; it diverges beyond twice
    that. NaN at entry 0 and wherever all inputs before are zero; leave those entries out.

    Args:
        xs: Inputs.

    Returns:
        Inverse squared input units, dtype of xs.

    Source:
        Nesterov (2004), "Introductory Lectures on Convex Optimization", section 2.1 (1 / L).

    Example:
        >>> steps = largest_stable_step(torch.full((1, 3, 1), 2.0))
        >>> torch.testing.assert_close(steps[:, 1:], torch.full((1, 2), 0.25))
    """
    checks.activations("largest_stable_step", "xs", xs, "batch point dim")
    exact = xs.double()
    steps = torch.full(xs.shape[:2], torch.nan, dtype=torch.float64, device=xs.device)
    for k in range(1, xs.shape[1]):
        steepest = torch.linalg.svdvals(exact[:, :k])[:, 0].square()
        steps[:, k] = torch.where(steepest > 0, k / steepest, torch.nan)
    return in_dtype(steps, xs.dtype)
