"""Out-of-distribution detectors: fit -> frozen -> score, and a larger score is always further out.

Every `fit_*` takes in-distribution samples, as one tensor or as an iterator of batches with the same result;
kNN, KDE, GMM and foreign estimators keep a capped, seeded random sample of a long stream. The baselines
(norms, raw prompt statistics, gap to a reference predictor) belong beside every other score: if they detect a shift
too, a claim about hidden states is empty.

Scores for classifiers (energy, maximal softmax, ODIN, OpenMax, the logit half of ViM, ...) need logits and do not
apply to regression.
"""

from probes.ood.baselines import (
    NormBaseline,
    PromptStatisticsBaseline,
    ensemble_disagreement,
    fit_norm,
    fit_prompt_statistics,
    prediction_gap,
    prompt_statistics,
)
from probes.ood.density import Density, fit_gmm, fit_kde
from probes.ood.estimator import EstimatorDetector, Larger, fit_estimator
from probes.ood.gram import GramFitter, GramRange, fit_gram
from probes.ood.mahalanobis import Mahalanobis, RelativeMahalanobis, fit_mahalanobis, fit_relative_mahalanobis
from probes.ood.neighbors import NearestNeighbors, fit_nearest_neighbors
from probes.ood.signature import SignatureDetector, Variant, fit_signature_detector
from probes.ood.subspace import NullSpace, PCAResidual, fit_null_space, fit_pca_residual

__all__ = [
    "Density", "EstimatorDetector", "GramFitter", "GramRange", "Larger", "Mahalanobis", "NearestNeighbors",
    "NormBaseline", "NullSpace", "PCAResidual", "PromptStatisticsBaseline", "RelativeMahalanobis", "SignatureDetector",
    "Variant", "ensemble_disagreement", "fit_estimator", "fit_gmm", "fit_gram", "fit_kde", "fit_mahalanobis",
    "fit_nearest_neighbors", "fit_norm", "fit_null_space", "fit_pca_residual", "fit_prompt_statistics",
    "fit_relative_mahalanobis", "fit_signature_detector", "prediction_gap", "prompt_statistics",
]  # fmt: skip
