"""How well does a score tell two sets of samples apart?

A score is larger the further out a sample is. FPR at 95 % TPR has two definitions in use, so both are reported by name.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from probes._core import checks
from probes._core.arrays import takes_arrays
from probes._core.ranks import levels_of, twice_below, weight_chunks
from probes.bootstrap import Interval, percentile_interval

__all__ = ["DetectionReport", "RocCurve", "detection_report", "roc_curve"]


@dataclass(frozen=True, eq=False, repr=False)
class DetectionReport:
    """How well a score separates in-distribution (ID) from out-of-distribution (OOD) samples."""

    auroc: float
    """Chance that an OOD sample scores higher than an ID one, ties counted half; 0.5 is no information."""
    auroc_interval: Interval
    """Bootstrap interval of `auroc`."""
    aupr_in: float
    """Average precision with ID as the positive class; its chance level is n_in / (n_in + n_out)."""
    aupr_out: float
    """Average precision with OOD as the positive class; its chance level is n_out / (n_in + n_out)."""
    detection_error: float
    """Least (FPR + FNR) / 2 over thresholds, in [0, 0.5]."""
    fpr95_ood_positive: float
    """Share of ID samples flagged at the threshold that flags 95 % of the OOD samples."""
    fpr95_id_positive: float
    """Share of OOD samples accepted at the threshold that accepts 95 % of the ID samples."""
    n_in: int
    """Number of ID samples."""
    n_out: int
    """Number of OOD samples."""
    auroc_replicates: Float64[Tensor, " bootstrap"]
    """`auroc` on each resample; equal sizes, seed and `paired` give equal resamples, so two scores pair up."""

    def __repr__(self) -> str:
        low, high = self.auroc_interval
        return f"DetectionReport(auroc={self.auroc:.3f} [{low:.3f}, {high:.3f}], n_in={self.n_in}, n_out={self.n_out})"


@dataclass(frozen=True, eq=False, repr=False)
class RocCurve:
    """The trade between two errors of a score, over all thresholds; straight between its corners."""

    false_positives: Float64[Tensor, " corner"]
    """Share of ID samples that are flagged, from 0 to 1."""
    true_positives: Float64[Tensor, " corner"]
    """Share of OOD samples that are flagged at the same thresholds, from 0 to 1."""

    def __repr__(self) -> str:
        return f"RocCurve({len(self.false_positives)} corners)"


@takes_arrays
def roc_curve(scores_in: Float[Tensor, " inside"], scores_out: Float[Tensor, " outside"]) -> RocCurve:
    """Trace which share of ID and of OOD samples a score flags, from the highest threshold to the lowest.

    Formula: at threshold t the points (P(s_in >= t), P(s_out >= t)); equal scores of both sets give a slanted piece.
    The area below is the AUROC of `detection_report`.

    Args:
        scores_in: Scores of ID samples, larger = further out; infinite ones are fine.
        scores_out: Scores of OOD samples, by the same detector.

    Returns:
        Corners from (0, 0) to (1, 1), float64; points on a straight piece are left out.

    Raises:
        InputError: If a set is empty or holds NaN.

    Source:
        Fawcett (2006), "An introduction to ROC analysis", algorithm 1.

    Example:
        >>> curve = roc_curve(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
        >>> curve.false_positives.tolist(), curve.true_positives.tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
        >>> report = detection_report(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
        >>> below = torch.trapezoid(curve.true_positives, curve.false_positives)
        >>> torch.testing.assert_close(float(below), report.auroc)
    """
    checks.score_sets("roc_curve", scores_in, scores_out, paired=False)
    pooled = levels_of(torch.cat([scores_in.double(), scores_out.double()]).detach().cpu())
    histograms = _histograms(pooled[: len(scores_in)], pooled[len(scores_in) :])
    flagged = torch.stack([histogram.flip(0).cumsum(0) for histogram in histograms])
    flagged = torch.cat([torch.zeros(2, 1, dtype=torch.float64), flagged], dim=1)
    steps = flagged.diff(dim=1)
    turns = steps[0, :-1] * steps[1, 1:] != steps[1, :-1] * steps[0, 1:]
    ends = torch.ones(1, dtype=torch.bool)
    false, true = flagged[:, torch.cat([ends, turns, ends])]
    return RocCurve(false / false[-1], true / true[-1])


@takes_arrays
def detection_report(
    scores_in: Float[Tensor, " inside"],
    scores_out: Float[Tensor, " outside"],
    *,
    paired: bool = False,
    seed: int = 0,
    n_bootstrap: int = 2000,
    confidence: float = 0.95,
) -> DetectionReport:
    """Measure how well a score separates two sets of samples.

    Formula: AUROC = P(s_out > s_in) + P(s_out = s_in) / 2; a sample is flagged where its score is at or
    above a threshold. Intervals say nothing about the spread over model seeds. An AUROC below 0.5 means that
    the score has the wrong sign for this shift.

    Independent sets are resampled each by itself. If the i-th OOD sample is the i-th ID sample after a shift, pass
    paired=True; otherwise the interval is wrong (too wide, if the shift keeps the order of the scores). Only the
    interval and the replicates change: pairs (i, i) are part of the AUROC and move it by at most 1 / n.

    Args:
        scores_in: Scores of ID samples, larger = further out; infinite ones are fine.
        scores_out: Scores of OOD samples, by the same detector.
        paired: Whether the i-th ID and the i-th OOD sample share their random numbers. Both sets are then
            resampled alike, by `bootstrap_counts(n, seed=seed)`: so are all reports of n pairs under one seed,
            and the mean of the replicates of several shifts is a replicate of their mean.
        seed: Seed of the bootstrap. The resamples of a set depend on its size, its side and this seed alone.
        n_bootstrap: Number of bootstrap resamples.
        confidence: The share of replicates inside the interval.

    Returns:
        Shares in [0, 1] with both counts, computed in float64.

    Raises:
        InputError: If a set holds NaN, or paired sets differ in size.

    Source:
        Hanley and McNeil (1982) for AUROC; Yang et al. (2022), OpenOOD, for `fpr95_ood_positive`; Liang et
        al. (2018), ODIN, for `fpr95_id_positive` and the detection error.

    Example:
        >>> report = detection_report(torch.tensor([0.0, 1.0, 2.0]), torch.tensor([2.0, 3.0]))
        >>> torch.testing.assert_close(report.auroc, 5.5 / 6)
        >>> torch.testing.assert_close(report.fpr95_ood_positive, 1 / 3)
        >>> scores = torch.randn(100, generator=torch.Generator().manual_seed(0))
        >>> alone, paired = (detection_report(scores, scores, paired=p).auroc_replicates for p in (False, True))
        >>> assert paired.std() < 1e-6 < alone.std()  # a set against itself: 0.5 in every resample
    """
    who = "detection_report"
    checks.score_sets(who, scores_in, scores_out, paired=paired)
    checks.bootstrap(who, seed, n_bootstrap, confidence)
    pooled = levels_of(torch.cat([scores_in.double(), scores_out.double()]).detach().cpu())
    inside, outside = pooled[: len(scores_in)], pooled[len(scores_in) :]
    replicates = _auroc_replicates(inside, outside, paired=paired, seed=seed, n_bootstrap=n_bootstrap)
    return DetectionReport(
        auroc=float(_auroc(*_histograms(inside, outside))),
        auroc_interval=percentile_interval(replicates, confidence),
        aupr_in=_average_precision(-inside, -outside),
        aupr_out=_average_precision(outside, inside),
        detection_error=_detection_error(inside, outside),
        fpr95_ood_positive=_false_positives_at_95(outside, inside),
        fpr95_id_positive=_false_positives_at_95(-inside, -outside),
        n_in=len(inside),
        n_out=len(outside),
        auroc_replicates=replicates,
    )


def _auroc_replicates(
    inside: Int64[Tensor, " inside"], outside: Int64[Tensor, " outside"], *, paired: bool, seed: int, n_bootstrap: int
) -> Float64[Tensor, " bootstrap"]:
    within, beyond = inside.double().numpy(), outside.double().numpy()
    sets = ((within, 0), (beyond, 0 if paired else 1))
    width = max(len(within), len(beyond))
    chunks = (
        weight_chunks(len(levels), seed=seed, n_bootstrap=n_bootstrap, first_stream=stream, width=width)
        for levels, stream in sets
    )
    found = [
        np.einsum("ij,ij->j", outs, twice_below(beyond, within, ins)) / (2 * len(within) * len(beyond))
        for ins, outs in zip(*chunks, strict=True)
    ]
    return torch.from_numpy(np.concatenate(found))


# From histograms over the pooled distinct values: pairs that are ordered rightly, and half of the equal ones.
def _auroc(
    inside: Float64[Tensor, "*batch level"], outside: Float64[Tensor, "*batch level"]
) -> Float64[Tensor, "*batch"]:
    below = inside.cumsum(dim=-1) - 0.5 * inside
    return (outside * below).sum(dim=-1) / (inside.sum(dim=-1) * outside.sum(dim=-1))


def _histograms(
    a: Int64[Tensor, " inside"], b: Int64[Tensor, " outside"]
) -> tuple[Float64[Tensor, " level"], Float64[Tensor, " level"]]:
    levels = levels_of(torch.cat([a, b]).double())
    size = int(levels.max()) + 1
    first = torch.bincount(levels[: len(a)], minlength=size)
    second = torch.bincount(levels[len(a) :], minlength=size)
    return first.double(), second.double()


def _average_precision(positives: Int64[Tensor, " positive"], negatives: Int64[Tensor, " negative"]) -> float:
    hits, misses = (histogram.flip(0) for histogram in _histograms(positives, negatives))
    found = hits.cumsum(0)
    precision = found / (found + misses.cumsum(0))  # every level holds a sample, so never 0/0
    return float((precision * hits).sum() / len(positives))


def _detection_error(inside: Int64[Tensor, " inside"], outside: Int64[Tensor, " outside"]) -> float:
    flagged_in, flagged_out = (
        histogram.flip(0).cumsum(0) / histogram.sum() for histogram in _histograms(inside, outside)
    )
    errors = (flagged_in + 1.0 - flagged_out) / 2  # the last one flags everything: 0.5
    return float(errors.min())


def _false_positives_at_95(positives: Int64[Tensor, " positive"], negatives: Int64[Tensor, " negative"]) -> float:
    needed = -(-95 * len(positives) // 100)  # the ceiling, in integers: 0.95 * n would round
    threshold = positives.sort(descending=True).values[needed - 1]
    return float((negatives >= threshold).double().mean())
