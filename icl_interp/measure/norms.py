"""The rival that every detector must beat: nothing but the norms of a prompt's inputs and labels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from icl_interp.prompts import Prompts
from probes._reprs import short_repr

__all__ = ["NormBaseline", "fit_norm_baseline", "log_norms"]


def log_norms(prompts: Prompts) -> Float64[Tensor, "sample two"]:
    """Take log ||X|| and log ||y|| of each prompt.

    Args:
        prompts: Of any family.

    Returns:
        Natural logarithms of the Frobenius norm of the inputs and the Euclidean norm of the labels.
    """
    norms = torch.stack([prompts.xs.double().flatten(1).norm(dim=1), prompts.ys.double().norm(dim=1)], dim=1)
    return norms.clamp(min=torch.finfo(torch.float64).tiny).log()


@dataclass(frozen=True, slots=True)
class NormBaseline:
    """Mahalanobis distance of (log ||X||, log ||y||) from in-distribution prompts."""

    mean: Float64[Tensor, " two"]
    """Of in-distribution prompts."""
    precision: Float64[Tensor, "two two"]
    """Inverse of their covariance."""

    __repr__ = short_repr

    def score(self, prompts: Prompts) -> Float64[Tensor, " sample"]:
        """Measure how far out prompts are by their norms alone.

        Args:
            prompts: Of any family.

        Returns:
            Squared Mahalanobis distance, dimensionless; larger is further out, in either direction.
        """
        centred = log_norms(prompts) - self.mean
        return torch.einsum("bi,ij,bj->b", centred, self.precision, centred)


def fit_norm_baseline(prompts: Prompts) -> NormBaseline:
    """Learn the usual norms.

    Args:
        prompts: In distribution.

    Returns:
        The frozen baseline. Where a norm does not vary, the pseudo-inverse leaves it out.
    """
    features = log_norms(prompts)
    covariance = torch.cov(features.T)
    # Logarithms of float32 numbers: a relative error is an absolute one here, whatever the unit.
    varies = covariance.diagonal() > (8 * torch.finfo(torch.float32).eps) ** 2
    covariance = covariance * varies * varies[:, None]
    return NormBaseline(mean=features.mean(0), precision=torch.linalg.pinv(covariance, hermitian=True))
