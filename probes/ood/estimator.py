"""Any outlier estimator of scikit-learn or PyOD as a detector, with the sign put right."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.errors import InputError, InputTypeError
from probes._core.results import cast_like
from probes._core.streams import reservoir_of

Larger = Literal["auto", "inlier", "outlier"]
"""What a larger `decision_function` means: scikit-learn's is larger for inliers, PyOD's for outliers."""


@dataclass(frozen=True, eq=False, repr=False)
class EstimatorDetector:
    """A fitted outlier estimator as a detector."""

    estimator: Any
    """The fitted copy."""
    sign: int
    """Factor of `decision_function`: 1, or -1 where it is larger for inliers."""
    n_samples: int
    """Number of samples offered."""

    @takes_arrays
    def score(self, features: Float[Tensor, "sample dim"]) -> Float[Tensor, " sample"]:
        """Measure how far out samples are.

        Formula: sign * estimator.decision_function(x).

        Args:
            features: Features of the fitted width.

        Returns:
            Numbers in the estimator's unit, any sign, dtype and device of the input; larger is further out.

        Raises:
            InputError: If entries are not finite, or the estimator refuses the width.
        """
        checks.activations("EstimatorDetector.score", "features", features, "sample dim")
        decided = torch.as_tensor(self.estimator.decision_function(_array(features)))
        return cast_like(self.sign * decided, features)

    def __repr__(self) -> str:
        return f"EstimatorDetector({type(self.estimator).__name__}, sign={self.sign:+d}, n_samples={self.n_samples})"


@takes_arrays
def fit_estimator(
    features: Float[Tensor, "sample dim"] | Iterable[Tensor],
    estimator: Any,
    *,
    larger: Larger = "auto",
    capacity: int = 50_000,
    seed: int = 0,
) -> EstimatorDetector:
    """Fit a copy of any outlier estimator to in-distribution features.

    Formula: score(x) = +-decision_function(x). With "auto" an estimator that has `decision_scores_` after its fit
    is read as PyOD's (larger for outliers), one with `offset_` as scikit-learn's (larger for inliers).

    Args:
        features: Any unit; one tensor, or batches of it, which give the same result.
        estimator: Anything with `fit(X)` and `decision_function(X)`; it is copied and stays as it was.
        larger: What a larger decision function means, where "auto" cannot know.
        capacity: Largest number of samples to keep; of more, a uniform random choice is kept.
        seed: Seed of that random sample; set the estimator's own seed on the estimator.

    Returns:
        A detector; larger is further out.

    Raises:
        InputTypeError: If the estimator lacks one of the two methods.
        InputError: If "auto" cannot tell.

    Source:
        The protocols of scikit-learn's outlier detection and of PyOD (Zhao, Nasrullah and Li 2019, JMLR 20).

    Example:
        >>> from sklearn.ensemble import IsolationForest
        >>> inside = torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
        >>> detector = fit_estimator(inside, IsolationForest(n_estimators=20, random_state=0))
        >>> assert detector.score(inside + 5).mean() > detector.score(inside).mean()
    """
    who = "fit_estimator"
    checks.option(who, "larger", larger, ("auto", "inlier", "outlier"))
    missing = [name for name in ("fit", "decision_function") if not hasattr(estimator, name)]
    if missing:
        raise InputTypeError(
            f"{who} needs an estimator with fit and decision_function, got {type(estimator).__name__} without "
            f"{' and '.join(missing)}; scikit-learn's LocalOutlierFactor has them with novelty=True."
        )
    reservoir = reservoir_of(who, features, capacity, seed)
    fitted = copy.deepcopy(estimator)
    fitted.fit(_array(reservoir.sample()))
    return EstimatorDetector(fitted, _sign(who, fitted, larger), reservoir.n_seen)


def _sign(who: str, fitted: Any, larger: Larger) -> int:
    """Decide what a larger decision function means."""
    if larger == "outlier" or (larger == "auto" and hasattr(fitted, "decision_scores_")):
        return 1
    if larger == "inlier" or hasattr(fitted, "offset_"):
        return -1
    raise InputError(
        f"{who} needs to know what a larger decision_function means, got {type(fitted).__name__} with neither "
        "decision_scores_ (PyOD) nor offset_ (scikit-learn); pass larger='inlier' or larger='outlier'."
    )


def _array(features: Tensor) -> Any:
    return features.double().cpu().numpy()
