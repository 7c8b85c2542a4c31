"""Judging one detector: how well it tells each shift, beyond untrained networks, and whether it tells the error."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from icl_interp.measure.controls import Excess, excess_of_replicates
from icl_interp.measure.detector_result import DetectorResult
from icl_interp.measure.detector_scores import DetectorScores, Scores
from icl_interp.measure.detector_tests import mean_auroc_replicates, mean_rank_correlation
from icl_interp.measure.families import IN_DISTRIBUTION
from probes.bootstrap import Estimate, percentile_interval
from probes.detection import detection_report
from probes.risk_coverage import risk_coverage

__all__ = ["judge_detector"]

N_BOOTSTRAP = 1000
"""Resamples of the AUROC intervals."""
N_BOOTSTRAP_RISK = 200
"""Resamples of the risk-coverage intervals, which cost more."""


def judge_detector(
    found: DetectorScores,
    loss: Scores,
    *,
    p_values: Mapping[str, float],
    correlation: tuple[float, float],
    n_claims: int,
    seed: int,
) -> DetectorResult:
    """Judge one detector by its scores.

    Args:
        found: Its scores.
        loss: The model's excess loss on the same prompts.
        p_values: That its AUROC is above 0.5, adjusted, by the label of each shift.
        correlation: Of scores and loss, with its adjusted p-value.
        n_claims: How many excesses hold together.
        seed: Of the bootstraps, which resample alike for all detectors.

    Returns:
        One row of the report, with the shifts in the order of `p_values`.
    """
    labels = list(p_values)
    inside = found.scores[IN_DISTRIBUTION]
    # Prompt i shares its random numbers across families, so it is drawn in all of them or in none.
    shifts = {
        label: detection_report(inside, found.scores[label], seed=seed, n_bootstrap=N_BOOTSTRAP, paired=True)
        for label in labels
    }
    mean, replicates = mean_auroc_replicates(found.scores, IN_DISTRIBUTION, seed=seed, n_bootstrap=N_BOOTSTRAP)
    order = list(found.scores)
    risk = risk_coverage(
        torch.cat([found.scores[label] for label in order]),
        torch.cat([loss[label] for label in order]),
        seed=seed,
        n_bootstrap=N_BOOTSTRAP_RISK,
    )
    controls = [mean_rank_correlation(scores, loss, seed=seed)[0] for scores in found.controls]
    return DetectorResult(
        reads=found.reads,
        shifts=shifts,
        p_values=p_values,
        mean=Estimate(mean, *percentile_interval(replicates)),
        untrained=_untrained(found, labels),
        excess=_excess(found, mean, replicates, n_claims, seed),
        correlation=correlation[0],
        correlation_p=correlation[1],
        untrained_correlation=float(torch.tensor(controls).nanmean()) if controls else float("nan"),
        aurc=risk.aurc,
        gain=risk.gain,
    )


def _untrained(found: DetectorScores, labels: Sequence[str]) -> dict[str, float]:
    def auroc(scores: Scores, label: str) -> float:
        pair = {IN_DISTRIBUTION: scores[IN_DISTRIBUTION], label: scores[label]}
        return mean_auroc_replicates(pair, IN_DISTRIBUTION, seed=0, n_bootstrap=1)[0]

    if not found.controls:
        return {}
    return {label: sum(auroc(c, label) for c in found.controls) / len(found.controls) for label in labels}


def _excess(found: DetectorScores, mean: float, replicates: Tensor, n_claims: int, seed: int) -> Excess | None:
    if found.reads == "raw inputs":
        return None
    controls = [
        mean_auroc_replicates(scores, IN_DISTRIBUTION, seed=seed, n_bootstrap=N_BOOTSTRAP) for scores in found.controls
    ]
    return excess_of_replicates((mean, replicates), controls, n_verdicts=n_claims, chance=0.5)
