"""The simple rivals that a claim about hidden states must beat: norms, raw prompt statistics, and predictions alone."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes._core.results import in_dtype
from probes._core.streams import checked_batches
from probes.covariance import MomentAccumulator
from probes.ood.mahalanobis import Mahalanobis, fit_mahalanobis


@dataclass(frozen=True, eq=False, repr=False)
class NormBaseline:
    """How unusual a sample's size is."""

    mean_log_norm: float
    """Mean of log ||x|| over the fitted samples."""
    std_log_norm: float
    """Standard deviation of log ||x||, divisor n."""
    two_sided: bool
    """Whether small samples are as far out as large ones."""
    n_samples: int
    """Number of fitted samples."""

    @takes_arrays
    def score(self, inputs: Float[Tensor, "sample point *axes"]) -> Float[Tensor, " sample"]:
        """Measure how far out samples are.

        Formula: z = (log ||x|| - mean) / std, its absolute value where `two_sided`.

        Args:
            inputs: Prompts' xs or ys, or any features, with the axes of the fitted ones.

        Returns:
            Numbers of standard deviations, dtype of the input; larger is further out.

        Raises:
            InputError: If a sample is zero.
        """
        z = (_log_norms("NormBaseline.score", inputs) - self.mean_log_norm) / self.std_log_norm
        return in_dtype(z.abs() if self.two_sided else z, inputs.dtype)

    def __repr__(self) -> str:
        spread = f"log norm {self.mean_log_norm:.3g} +- {self.std_log_norm:.2g}"
        return f"NormBaseline({spread}, two_sided={self.two_sided}, n_samples={self.n_samples})"


@dataclass(frozen=True, eq=False, repr=False)
class PromptStatisticsBaseline:
    """Mahalanobis distance of a prompt's second moments, without any network."""

    mahalanobis: Mahalanobis
    """Fitted to `prompt_statistics`."""

    @takes_arrays
    def score(
        self, xs: Float[Tensor, "sample point dim"], ys: Float[Tensor, "sample point"]
    ) -> Float[Tensor, " sample"]:
        """Measure how far out prompts are.

        Args:
            xs: Inputs; the number of points may differ from the fitted prompts'.
            ys: Labels.

        Returns:
            Squared Mahalanobis distances >= 0, dimensionless, dtype of the input; larger is further out.
        """
        return self.mahalanobis.score(prompt_statistics(xs, ys))

    def __repr__(self) -> str:
        return f"PromptStatisticsBaseline({self.mahalanobis!r})"


@takes_arrays
def fit_norm(inputs: Float[Tensor, "sample point *axes"] | Iterable[Tensor], *, two_sided: bool = True) -> NormBaseline:
    """Learn how large in-distribution samples are: ||X||, ||y|| or the length of features.

    Formula: score(x) = |log ||x|| - mean| / std over all axes but the first. One-sided, a shrinking shift counts
    as less far out than nothing at all.

    Args:
        inputs: Prompts' xs, their ys, or any features; one tensor, or batches of it, which give the same result.
        two_sided: Whether small samples are as far out as large ones.

    Returns:
        A detector; larger is further out.

    Raises:
        InputError: If a sample is zero, or all lengths are equal.

    Example:
        >>> xs = torch.randn(100, 9, 4, generator=torch.Generator().manual_seed(0))
        >>> detector = fit_norm(xs)
        >>> assert detector.score(3 * xs).min() > detector.score(xs).median()
        >>> assert detector.score(xs / 3).min() > detector.score(xs).median()
    """
    who = "fit_norm"
    moments = MomentAccumulator()
    for batch in checked_batches(who, "inputs", inputs, "*sample point axis"):
        moments.update(_log_norms(who, batch)[:, None])
    spread = float(moments.covariance().clamp_min(0.0).sqrt())
    mean, n = float(moments.mean()), moments.n_samples
    # Lengths that differ by rounding of float32 alone do not vary.
    if not spread > 8 * torch.finfo(torch.float32).eps:
        raise InputError(f"{who} needs lengths that vary, got {n} equal ones; they tell nothing.")
    return NormBaseline(mean, spread, two_sided, n)


@takes_arrays
def prompt_statistics(
    xs: Float[Tensor, "sample point dim"], ys: Float[Tensor, "sample point"]
) -> Float[Tensor, "sample statistic"]:
    """Compute the moments of a prompt that least squares uses, without any network.

    Formula: the upper triangle of X^T X / n, then X^T y / n.

    Args:
        xs: Inputs.
        ys: Labels.

    Returns:
        dim (dim + 1) / 2 + dim numbers per prompt, in units of x^2 and x y, computed in float64, dtype of the input.

    Example:
        >>> xs, ys = torch.tensor([[[1.0, 2.0], [0.0, 2.0]]]), torch.tensor([[4.0, 0.0]])
        >>> torch.testing.assert_close(prompt_statistics(xs, ys), torch.tensor([[0.5, 1.0, 4.0, 2.0, 4.0]]))
    """
    who = "prompt_statistics"
    checks.activations(who, "xs", xs, "sample point dim")
    checks.activations(who, "ys", ys, "sample point")
    checks.same_shape(who, ("xs without its last axis", "ys"), xs[..., 0], ys)
    exact, n, dims = xs.double(), xs.shape[1], xs.shape[2]
    rows, columns = torch.triu_indices(dims, dims, device=xs.device)
    squares = (exact.mT @ exact)[:, rows, columns]
    products = (exact.mT @ ys.double()[..., None])[..., 0]
    return in_dtype(torch.cat([squares, products], dim=1) / n, xs.dtype)


@takes_arrays
def fit_prompt_statistics(
    xs: Float[Tensor, "sample point dim"] | Iterable[Tensor],
    ys: Float[Tensor, "sample point"] | Iterable[Tensor],
    *,
    shrinkage: bool | float = True,
) -> PromptStatisticsBaseline:
    """Fit a Gaussian to the raw second moments of in-distribution prompts.

    Formula: the squared Mahalanobis distance of (X^T X, X^T y) / n. If this sees a shift, hidden states need not.

    Args:
        xs: Inputs; one tensor, or batches of it, which give the same result.
        ys: Labels, in batches where the inputs are.
        shrinkage: As in `fit_mahalanobis`.

    Returns:
        A detector with `.score(xs, ys)`; larger is further out.

    Raises:
        InputError: If shapes or numbers of batches differ, or as `fit_mahalanobis`.

    Example:
        >>> xs = torch.randn(100, 9, 3, generator=torch.Generator().manual_seed(0))
        >>> detector = fit_prompt_statistics(xs, xs.sum(dim=2))
        >>> inside, outside = detector.score(xs, xs.sum(dim=2)), detector.score(3 * xs, 3 * xs.sum(dim=2))
        >>> assert outside.median() > 5 * inside.median()
    """
    batches = zip([xs] if isinstance(xs, Tensor) else xs, [ys] if isinstance(ys, Tensor) else ys, strict=True)
    statistics = (prompt_statistics(x, y) for x, y in batches)
    return PromptStatisticsBaseline(fit_mahalanobis(statistics, shrinkage=shrinkage))


def _log_norms(who: str, inputs: Tensor) -> Tensor:
    checks.activations(who, "inputs", inputs, "*sample point axis")
    lengths = torch.linalg.vector_norm(inputs.double().flatten(1), dim=1)
    checks.nonzero(who, "inputs", lengths)
    return lengths.log()


@takes_arrays
def prediction_gap(
    predictions: Float[Tensor, "sample point"], reference: Float[Tensor, "sample point"]
) -> Float[Tensor, " sample"]:
    """Measure how far a model is from a reference predictor, such as ridge, on each prompt.

    Formula: mean over points of |model - reference|. Needs no fit and no labels.

    Args:
        predictions: The model's, in units of y.
        reference: Ridge's, or any other predictor's, for the same points.

    Returns:
        Numbers >= 0 in units of y, computed in float64, dtype of the predictions; larger is further out.

    Example:
        >>> gap = prediction_gap(torch.tensor([[1.0, 3.0]]), torch.tensor([[1.0, 1.0]]))
        >>> torch.testing.assert_close(gap, torch.tensor([1.0]))
    """
    for name, value in (("predictions", predictions), ("reference", reference)):
        checks.activations("prediction_gap", name, value, "sample point")
    checks.same_shape("prediction_gap", ("predictions", "reference"), predictions, reference)
    return in_dtype((predictions.double() - reference.double()).abs().mean(dim=1), predictions.dtype)


@takes_arrays
def ensemble_disagreement(predictions: Float[Tensor, "member sample point"]) -> Float[Tensor, " sample"]:
    """Measure how much the members of an ensemble disagree on each prompt.

    Formula: mean over points of the members' variance, divisor m - 1.

    Args:
        predictions: Predictions of models that differ in seed, in units of y.

    Returns:
        Numbers >= 0 in squared units of y, computed in float64, dtype of the input; larger is further out.

    Raises:
        InputError: If there are fewer than two members.

    Source:
        Lakshminarayanan, Pritzel and Blundell (2017), "Simple and scalable predictive uncertainty estimation using
        deep ensembles", NeurIPS; averaging over points is our choice.

    Example:
        >>> votes = torch.tensor([[[1.0, 1.0], [0.0, 4.0]], [[1.0, 1.0], [2.0, 4.0]]])
        >>> torch.testing.assert_close(ensemble_disagreement(votes), torch.tensor([0.0, 1.0]))
    """
    who = "ensemble_disagreement"
    checks.activations(who, "predictions", predictions, "member sample point")
    checks.count(who, "a number of members", len(predictions), 2)
    return in_dtype(predictions.double().var(dim=0).mean(dim=1), predictions.dtype)
