"""Which scores tell shifted prompts apart: every detector, beside norms, raw statistics and untrained networks."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.measure.controls import N_UNTRAINED
from icl_interp.measure.detectors.own import Detector, Fit, own_detectors
from icl_interp.measure.detectors.result import BASELINES, DetectorReport, DetectorResult
from icl_interp.measure.detectors.scores import (
    TAKEN,
    DetectorScores,
    Scores,
    auroc,
    claimed,
    excess_loss,
    mean_auroc_replicates,
    mean_rank_correlation,
    paired_auroc_p_values,
    permutations_for,
    rank_correlation,
    score_prompts,
)
from icl_interp.measure.detectors.watch import OWN_ENTRY, DetectorWatch, Pooling, Seen
from icl_interp.measure.families import IN_DISTRIBUTION, Families, look_first
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.measure import Claim, Findings, Measure, StudyPlan, without_sites
from icl_interp.measure.study.survey import NetworkSurvey, survey_site
from icl_interp.measure.verdicts import Excess, excess_of_replicates, excess_over_controls
from icl_interp.models.architecture import ResidualSite
from icl_interp.models.hook_names import Site
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import Role
from icl_interp.predictors.references import ByReference
from icl_interp.tasks.references import reference_predictors
from icl_interp.tasks.shifts.select import Shifts
from probes.bootstrap import Estimate, percentile_interval
from probes.detection import detection_report
from probes.permutation import holm
from probes.risk_coverage import risk_coverage
from probes.spectra import Side

N_BOOTSTRAP = 1000
"""Resamples of the AUROC intervals."""
_N_BOOTSTRAP_RISK = 200
"""Resamples of the risk-coverage intervals, which cost more."""


def _judge_detector(
    found: DetectorScores,
    loss: Scores,
    *,
    p_values: Mapping[str, float],
    correlation: tuple[float, float],
    n_claims: int,
    seed: int,
) -> DetectorResult:
    """Judge one detector by its scores."""
    labels = list(p_values)
    inside = found.scores[IN_DISTRIBUTION]
    # Prompt i shares its random numbers across families, so it is drawn in all of them or in none.
    shifts = {
        label: detection_report(inside, found.scores[label], seed=seed, n_bootstrap=N_BOOTSTRAP, paired=True)
        for label in labels
    }
    mean, replicates = mean_auroc_replicates(found.scores, IN_DISTRIBUTION, seed=seed, n_bootstrap=N_BOOTSTRAP)
    aurc, gain = _risk(found, loss, seed)
    controls = [rank_correlation(scores, loss) for scores in found.controls if loss]
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
        aurc=aurc,
        gain=gain,
    )


def _risk(found: DetectorScores, loss: Scores, seed: int) -> tuple[Estimate, Estimate]:
    if not loss:
        unknown = Estimate(float("nan"), float("nan"), float("nan"), "no loss is known")
        return unknown, unknown
    order = list(found.scores)
    risk = risk_coverage(
        torch.cat([found.scores[label] for label in order]),
        torch.cat([loss[label] for label in order]),
        seed=seed,
        n_bootstrap=_N_BOOTSTRAP_RISK,
    )
    return risk.aurc, risk.gain


def _untrained(found: DetectorScores, labels: Sequence[str]) -> dict[str, float]:
    if not found.controls:
        return {}
    n = len(found.controls)
    return {label: sum(auroc(c[IN_DISTRIBUTION], c[label]) for c in found.controls) / n for label in labels}


def _excess(found: DetectorScores, mean: float, replicates: Tensor, n_claims: int, seed: int) -> Excess | None:
    if found.reads in BASELINES:
        return None
    controls = [
        mean_auroc_replicates(scores, IN_DISTRIBUTION, seed=seed, n_bootstrap=N_BOOTSTRAP) for scores in found.controls
    ]
    n_prompts = len(found.scores[IN_DISTRIBUTION])
    return excess_of_replicates(
        (mean, replicates), controls, n_verdicts=n_claims, chance=0.5, scale="logit", n_prompts=n_prompts
    )


_NOT_APPLICABLE = {
    "relative Mahalanobis": "in-distribution prompts are one group, and with one group it is 0 everywhere",
    "ensemble disagreement": "one checkpoint is no ensemble",
    "energy, MSP, MaxLogit, ODIN, GEN, KL matching, OpenMax, ViM": "they need a classifier's logits",
}
"""Detectors that say nothing of a regression model's checkpoint, with the reason."""


def start_watch(
    model: HookedModel,
    site: ResidualSite,
    conventions: Conventions,
    *,
    pooling: Pooling = "last",
    own: Mapping[str, Detector] | None = None,
    seed: int = 0,
) -> DetectorWatch:
    """Prepare to watch a survey of a network."""
    read_out = None
    if _reads_out(model):
        read_out = model.W_U.detach().cpu()[:, :1].T  # channel 0 is the prediction
    unknown = "no weight of a wrapped module is known to be its read-out"
    without = unknown if model.cfg.is_wrapped else OWN_ENTRY
    return DetectorWatch(site, conventions, pooling=pooling, read_out=read_out, own=own, no_read_out=without, seed=seed)


def _reads_out(model: HookedModel) -> bool:
    return hasattr(model, "unembed")


def summarise_detectors(
    surveys: Sequence[NetworkSurvey],
    seen: Sequence[Seen],
    families: Families,
    answers: Mapping[str, ByReference[Tensor]],
    site: ResidualSite,
    conventions: Conventions,
    *,
    pooling: Pooling = "last",
    norms_of_activations: Sequence[Scores] = (),
    n_verdicts: int | None = None,
    seed: int = 0,
) -> DetectorReport:
    """Judge every score on every shift; alone, the detectors that read a network share one error rate.

    Where prompts are not known there are no answers of references, and the norms of each network's activations, scored
    as a detector's, stand for raw inputs.
    """
    if not families.shifted:
        raise InputError("detectors need a shift whose activations are read, got none; add one such as x_scale=3.")
    scored = score_prompts(surveys, seen, families, answers, site)
    if norms_of_activations:
        own, *controls = norms_of_activations
        scored.append(DetectorScores("‖activations‖", "norms of activations", own, tuple(controls)))
    loss = excess_loss(surveys[0], families, answers)
    labels = [family.label for family in families.shifted]
    n_claims = n_verdicts or sum(found.reads not in BASELINES for found in scored)
    judged = zip(scored, _p_values(scored, labels, seed), _correlations(scored, loss, seed), strict=True)
    results = {
        found.name: _judge_detector(
            found, loss, p_values=p_values, correlation=correlation, n_claims=n_claims, seed=seed
        )
        for found, p_values, correlation in judged
    }
    return DetectorReport(
        detectors=results,
        left_out={**seen[0].left_out, **_NOT_APPLICABLE},
        blind_to_scale=seen[0].blind_to_scale,
        site=site,
        conventions=conventions,
        pooling=pooling,
        n_networks=len(surveys) - 1,
        loss="unknown" if not loss else "excess loss over least squares" if answers else "error",
        scores={found.name: found.scores for found in scored},
    )


def detector_report(
    model: ModelLike,
    task: TaskLike = None,
    *,
    shifts: Shifts | None = None,
    layer: int = -1,
    site: Site = "resid_post",
    tokens: Role = "all",
    pooling: Pooling = "last",
    center: bool = False,
    side: Side = "right",
    k: int = 2,
    detectors: Mapping[str, Fit | Detector] | None = None,
    n_prompts: int = 256,
    n_points: int | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
    on_batch: Callable[[int], None] | None = None,
) -> DetectorReport:
    """Measure how well every detector tells each shift, beside simple baselines and untrained networks.

    Detectors are fitted on in-distribution prompts that are not scored. Where raw inputs detect a shift too, hidden
    states that detect it are no evidence about the network.

    Args:
        model: The network, of any family.
        task: What is in distribution.
        shifts: Names or patterns, or your own `Shift` objects, see `select_shifts`; None means the core suite.
        layer: Which block; -1 is the last.
        site: "resid_post" is before the final norm; "final_norm" after it.
        tokens: Which positions count: "all", "x" or "y", or in joint tokens "context".
        pooling: How positions become the one vector that most detectors take: "last" or "mean".
        center: For the signatures: whether each prompt's mean row is subtracted first.
        side: For the signatures: "right" or "left" singular vectors.
        k: For the signatures: how many directions; fewer where no more exist, and `report.conventions` says so.
        detectors: Your own by name, beside the built-in ones: functions that fit to features [sample d_model] and
            return an object with `score`, as those of `probes.ood`; a `Detector` where they take all positions.
        n_prompts: A family, and as many for fitting.
        n_points: Pairs per prompt; None takes the task's usual number.
        n_controls: Untrained networks; 0 switches them off.
        seed: The only source of randomness.
        on_batch: Called with the number of prompts just read, for progress.

    Returns:
        AUROC, AUPR, both FPR95, detection error, p-values and risk coverage for each detector.

    Raises:
        InputError: If a shift, layer, site, token role or pooling does not exist, or a detector of your own has a name
            that is taken or scores that are no finite numbers, one per prompt.
        UserCodeError: If a detector of your own raises an error that is no InputError.

    Example:
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> task = LinearRegression(n_dims=2)
        >>> report = detector_report(model, task, shifts=["x_scale=3"], n_prompts=32, n_controls=0)
        >>> report.detectors["‖X‖"].shifts["x_scale=3"].auroc > 0.99  # no network is needed to see that
        True
    """
    model, task = as_model_and_task("detector_report", model, task)
    look_first(model, task, n_points, seed=seed)
    conventions = Conventions(tokens=tokens, center=center, side=side, k=k, layout=model.cfg.tokens)
    conventions = conventions.of_prompts(n_points or task.default_points, model.cfg)
    own = own_detectors(detectors, TAKEN)
    watches = []

    def watch(network: HookedModel, where: ResidualSite) -> DetectorWatch:
        watches.append(start_watch(network, where, conventions, pooling=pooling, own=own, seed=seed))
        return watches[-1]

    found = survey_site(
        model,
        task,
        conventions,
        shifts=shifts,
        layer=layer,
        site=site,
        n_prompts=n_prompts,
        n_points=n_points,
        n_controls=n_controls,
        seed=seed,
        on_batch=on_batch,
        start_watch=watch,
    )
    references = reference_predictors(task, n_points=found.families.fit.n_points)
    answers = {label: references.answers(family.prompts) for label, family in found.families.by_label.items()}
    seen = [watch.seen() for watch in watches]
    return summarise_detectors(
        found.networks, seen, found.families, answers, found.site, conventions, pooling=pooling, seed=seed
    )


def _p_values(scored: Sequence[DetectorScores], labels: Sequence[str], seed: int) -> list[dict[str, float]]:
    # Holm over all detectors and shifts.
    pairs = [(found.scores[IN_DISTRIBUTION], found.scores[label]) for found in scored for label in labels]
    unadjusted = paired_auroc_p_values(pairs, n_permutations=permutations_for(len(pairs)), seed=seed)
    p_values = holm(torch.tensor(unadjusted, dtype=torch.float64)).reshape(len(scored), len(labels))
    return [dict(zip(labels, row, strict=True)) for row in p_values.tolist()]


def _correlations(scored: Sequence[DetectorScores], loss: Scores, seed: int) -> list[tuple[float, float]]:
    # Holm over all detectors.
    if not loss:
        return [(float("nan"), float("nan"))] * len(scored)
    found = [mean_rank_correlation(detector.scores, loss, seed=seed) for detector in scored]
    adjusted = _holm_of_defined([p_value for _, p_value in found])
    return [(value, p_value) for (value, _), p_value in zip(found, adjusted, strict=True)]


def _holm_of_defined(p_values: Sequence[float]) -> list[float]:
    found = torch.tensor(p_values, dtype=torch.float64)
    defined = ~found.isnan()
    if bool(defined.any()):
        found[defined] = holm(found[defined])
    return list(found.tolist())


def _watch(plan: StudyPlan, network: HookedModel) -> DetectorWatch:
    return start_watch(network, plan.config.last_block, plan.conventions, own=plan.detectors, seed=plan.seed)


def _detectors(found: Findings) -> DetectorReport:
    plan, seen = found.plan, found.watched[DETECTORS.name]
    return summarise_detectors(
        found.surveys, seen, plan.families, found.answers, found.main_site, plan.conventions,
        n_verdicts=len(plan.claims), seed=plan.seed,
    )  # fmt: skip


def _without_shifts(plan: StudyPlan) -> str | None:
    lacking = None if plan.families.shifted else "No shift whose activations are read was asked for."
    return without_sites(plan) or lacking


def _claims(plan: StudyPlan) -> list[Claim]:
    names = claimed(plan.references, plan.detectors, reads_out=_reads_out(plan.model))
    return [
        Claim(f"detector: {name}", "AUROC of this score, mean over shifts", partial(_judge, name)) for name in names
    ]


def _judge(name: str, report: DetectorReport, _: Findings, n_claims: int) -> Excess:
    return judged_detector(name, report, n_claims)


def judged_detector(name: str, report: DetectorReport, n_claims: int) -> Excess:
    """Take a detector's excess, or what stands for one that could not be fitted."""
    results = report.detectors
    excess = results[name].excess if name in results else None
    return excess_over_controls(math.nan, [], n_verdicts=n_claims) if excess is None else excess


DETECTORS = Measure(
    "detectors", "detection of shifts", run=_detectors, without=_without_shifts, watch=_watch,
    kept=DetectorWatch.seen, claims=_claims,
)  # fmt: skip
