"""If the most suspicious prompts are refused first, how fast does the error of the others fall?"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.ranks import Weights, count_levels, levels_of, weight_chunks
from probes._core.results import cast_like
from probes.bootstrap import Estimate, percentile_interval

__all__ = ["RiskCoverage", "risk_coverage"]


@dataclass(frozen=True, eq=False, repr=False)
class RiskCoverage:
    """The mean error of the prompts that a score accepts, by how many it accepts."""

    risk: Float[Tensor, " sample"]
    """Mean error of the 1, 2, ... n most familiar samples; the last is the mean of all."""
    aurc: Estimate
    """Mean of `risk` over all coverages; smaller is better, in error units."""
    oracle: float
    """AURC of a score that equals the error."""
    random: float
    """AURC of a score without information: the mean error."""
    gain: Estimate
    """(random - aurc) / (random - oracle): 1 at best, 0 without information, negative for a wrong sign."""

    def __repr__(self) -> str:
        return f"RiskCoverage(aurc={self.aurc}, gain={self.gain}, n_samples={len(self.risk)})"


@takes_arrays
def risk_coverage(
    score: Float[Tensor, " sample"],
    error: Float[Tensor, " sample"],
    *,
    seed: int = 0,
    n_bootstrap: int = 1000,
    confidence: float = 0.95,
) -> RiskCoverage:
    """Measure the area under the risk-coverage curve (AURC).

    Formula: AURC = (1/n) sum_j (1/j) sum_{i <= j} e_(i), with samples in order of rising score. Equal scores
    count as their mean over all orders of the tie. `gain` is undefined where all errors are equal.

    Args:
        score: One number per sample, larger = further out.
        error: The sample's error, any unit; usually a squared error, not its logarithm.
        seed: Seed of the bootstrap.
        n_bootstrap: Number of bootstrap resamples.
        confidence: The share of replicates inside each interval.

    Returns:
        The curve in the error's dtype; areas computed in float64.

    Source:
        Geifman, Uziel and El-Yaniv (2019), "Bias-Reduced Uncertainty Estimation for Deep Neural
        Classifiers", for AURC and its excess over the oracle. Mean over ties and `gain` are our choices.

    Example:
        >>> error = torch.tensor([3.0, 1.0, 2.0])
        >>> perfect = risk_coverage(error, error)
        >>> torch.testing.assert_close(perfect.aurc.value, (1 + 1.5 + 2) / 3)
        >>> torch.testing.assert_close(perfect.gain.value, 1.0)
    """
    checks.activations("risk_coverage", "score", score, "sample")
    checks.activations("risk_coverage", "error", error, "sample")
    checks.same_length("risk_coverage", ("scores", "errors"), len(score), len(error))
    checks.bootstrap("risk_coverage", seed, n_bootstrap, confidence)
    levels = levels_of(score.detach().double().cpu())
    exact = error.detach().double().cpu()
    best = levels_of(exact)
    once = torch.ones(1, len(exact), dtype=torch.int64)
    risk = _risks(levels, exact, once)[0]
    aurc, oracle, mean = float(risk.mean()), float(_risks(best, exact, once).mean()), float(exact.mean())
    replicates, gains, errors = [], [], exact.numpy()
    for weights in weight_chunks(len(exact), seed=seed, n_bootstrap=n_bootstrap):
        found, least = (_areas(places.numpy(), errors, weights) for places in (levels, best))
        whole = errors @ weights / len(exact)
        replicates.append(torch.from_numpy(found))
        with np.errstate(invalid="ignore", divide="ignore"):
            shares = (whole - found) / (whole - least)
        gains.append(torch.from_numpy(np.where(np.isfinite(shares), shares, np.nan)))  # a resample of equal errors
    varies = not bool(checks.is_constant(error))
    gain = (mean - aurc) / (mean - oracle) if varies else float("nan")
    reason = "" if varies else "all errors are equal"
    return RiskCoverage(
        risk=cast_like(risk, error),
        aurc=Estimate(aurc, *percentile_interval(torch.cat(replicates), confidence)),
        oracle=oracle,
        random=mean,
        gain=Estimate(gain, *percentile_interval(torch.cat(gains), confidence), reason),
    )


# AURC of each resample: sample i in order of its score adds its error to the mean of the first i, i + 1, ... n samples,
# hence with the weight sum_{j >= i} 1 / j; the samples of a level share their mean error.
def _areas(
    levels: Int64[np.ndarray, " sample"], errors: Float64[np.ndarray, " sample"], weights: Weights
) -> Float64[np.ndarray, " bootstrap"]:
    n, order = len(errors), levels.argsort(kind="stable")
    harmonic = np.cumsum(1 / np.arange(1, n + 1))
    shares = np.concatenate([[0.0], np.cumsum(harmonic[-1] - np.concatenate([[0.0], harmonic[:-1]]))])
    starts = np.flatnonzero(np.diff(levels[order], prepend=-1))
    drawn, means = weights[order], errors[order][:, None]
    if len(starts) < n:
        sums = np.add.reduceat(drawn * means, starts, axis=0)
        drawn = np.add.reduceat(drawn, starts, axis=0)
        means = sums / np.maximum(drawn, 1.0)  # what nobody drew has no share
    ends = np.cumsum(drawn, axis=0).astype(np.int64)
    gained = np.diff(shares[ends], axis=0, prepend=0.0)
    return np.einsum("ij,ij->j", np.broadcast_to(means, gained.shape), gained) / n


# Mean error of the first 1, 2, ... n samples of each resample; equal levels share their mean error.
def _risks(
    levels: Int64[Tensor, " sample"], errors: Float64[Tensor, " sample"], counts: Int64[Tensor, "bootstrap sample"]
) -> Float64[Tensor, "bootstrap sample"]:
    n_levels = int(levels.max()) + 1
    drawn = count_levels(counts.double(), levels, n_levels)
    means = count_levels(counts * errors, levels, n_levels) / drawn  # levels that nobody drew are not repeated below
    n, rows = len(errors), len(counts)
    source = torch.repeat_interleave(torch.arange(rows * n_levels), drawn.flatten().long())
    sums = means.flatten()[source].reshape(rows, n).cumsum(dim=1)
    return sums / torch.arange(1, n + 1)
