"""Which scores tell shifted prompts apart: all detectors, beside norms, raw statistics and untrained networks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from icl_interp.measure.controls import (
    N_UNTRAINED,
    Excess,
    excess_over_controls,
    paired_variance,
    untrained_networks,
    variance_over,
)
from icl_interp.measure.conventions import Conventions
from icl_interp.measure.detector_result import DetectorReport, DetectorResult, Reads
from icl_interp.measure.detector_tests import (
    mean_auroc_replicates,
    mean_rank_correlation,
    paired_auroc_p_values,
    permutations_for,
)
from icl_interp.measure.detectors import BY_DIRECTION, HIDDEN_DETECTORS, OVERLAP, DetectorWatch, Pooling
from icl_interp.measure.errors import prompt_errors
from icl_interp.measure.families import IN_DISTRIBUTION, Families, draw_families
from icl_interp.measure.sites import ResidualSite, last_block
from icl_interp.measure.survey import NetworkSurvey, survey_network
from icl_interp.models.hook_names import Site, hook_name
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import Role
from icl_interp.predictors.protocol import Predictor
from icl_interp.query import predict
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import reference_predictors
from probes.bootstrap import Estimate, percentile_interval
from probes.detection import detection_report
from probes.multiple_tests import holm
from probes.ood import fit_norm, fit_prompt_statistics, prediction_gap
from probes.risk_coverage import risk_coverage
from probes.spectra import Side

__all__ = ["NOT_APPLICABLE", "detector_report", "start_watch", "summarise_detectors"]

N_BOOTSTRAP = 1000
"""Resamples of the AUROC intervals."""
N_BOOTSTRAP_RISK = 200
"""Resamples of the risk-coverage intervals, which cost more."""
NOT_APPLICABLE = {
    "relative Mahalanobis": "in-distribution prompts are one group, and with one group it is 0 everywhere",
    "ensemble disagreement": "one checkpoint is no ensemble",
    "energy, MSP, MaxLogit, ODIN, GEN, KL matching, OpenMax, ViM": "they need a classifier's logits",
}
"""Detectors that say nothing of a regression model's checkpoint, with the reason."""

Scores = Mapping[str, Tensor]


@dataclass(frozen=True)
class _Raw:
    """One detector's scores before they are judged."""

    name: str
    reads: Reads
    scores: Scores
    controls: tuple[Scores, ...]


def start_watch(
    model: HookedModel, site: ResidualSite, conventions: Conventions, *, pooling: Pooling = "last", seed: int = 0
) -> DetectorWatch:
    """Prepare to watch a survey of a network.

    Args:
        model: Whose read-out weights give the null space, where it has any.
        site: Where to look; the survey must stream it.
        conventions: Of the survey.
        pooling: "last" or "mean" over positions.
        seed: Of mixture, forest and random samples.

    Returns:
        To be passed to `survey_network(watch=...)`.
    """
    read_out = None
    if hasattr(model, "unembed"):
        read_out = model.W_U.detach().cpu()[:, :1].T  # channel 0 is the prediction
    return DetectorWatch(site, conventions, pooling=pooling, read_out=read_out, seed=seed)


def summarise_detectors(
    surveys: Sequence[NetworkSurvey],
    watches: Sequence[DetectorWatch],
    families: Families,
    references: Mapping[str, Predictor],
    site: ResidualSite,
    conventions: Conventions,
    *,
    pooling: Pooling = "last",
    n_verdicts: int = 1,
    seed: int = 0,
) -> DetectorReport:
    """Judge every score on every shift.

    Args:
        surveys: Of the model, then of untrained networks, on the same families.
        watches: What each survey showed in passing.
        families: The prompts; at least one shift whose activations were read.
        references: Predictors by name; the one that contains least squares gives the excess loss.
        site: Where the watches looked.
        conventions: Of the surveys.
        pooling: Of the watches.
        n_verdicts: How many claims beyond those of the detectors hold together with them; 1 for none.
        seed: Of bootstraps and permutations, which resample alike for all.

    Returns:
        The report.

    Raises:
        ValueError: If there is no shift.
    """
    if not families.shifted:
        raise ValueError("detectors need a shift whose activations are read, got none; add one such as x_scale=3.")
    raw = _raw_scores(surveys, watches, families, references, site)
    excess_loss = _excess_loss(surveys[0], families, references)
    labels = [family.label for family in families.shifted]
    pairs = [(found.scores[IN_DISTRIBUTION], found.scores[label]) for found in raw for label in labels]
    unadjusted = paired_auroc_p_values(pairs, n_permutations=permutations_for(len(pairs)), seed=seed)
    p_values = holm(torch.tensor(unadjusted, dtype=torch.float64))
    correlations = [mean_rank_correlation(found.scores, excess_loss, seed=seed) for found in raw]
    correlation_p = _holm_of_defined([p_value for _, p_value in correlations])
    n_claims = sum(found.reads != "raw inputs" for found in raw) + n_verdicts - 1
    results = {}
    for i, found in enumerate(raw):
        own = p_values[i * len(labels) : (i + 1) * len(labels)].tolist()
        results[found.name] = _judge(
            found, labels, dict(zip(labels, own, strict=True)), (correlations[i][0], correlation_p[i]), excess_loss,
            n_claims, seed,
        )  # fmt: skip
    return DetectorReport(
        detectors=results,
        left_out={**watches[0].left_out, **NOT_APPLICABLE},
        blind_to_scale=tuple(watches[0].blind_to_scale),
        site=site,
        conventions=conventions,
        pooling=pooling,
        n_networks=len(surveys) - 1,
    )


def detector_report(
    model: HookedModel,
    task: Task,
    *,
    shifts: Sequence[str] | None = None,
    layer: int = -1,
    site: Site = "resid_post",
    tokens: Role = "all",
    pooling: Pooling = "last",
    center: bool = False,
    side: Side = "right",
    k: int = 2,
    n_prompts: int = 256,
    n_points: int | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
    on_batch: Callable[[int], None] | None = None,
) -> DetectorReport:
    """Measure how well every detector tells each shift, beside the dumb baselines and untrained networks.

    Detectors are fitted on in-distribution prompts that are not scored. Where raw inputs see a shift as well, that a
    hidden state sees it says nothing of the network.

    Args:
        model: The network, of any family.
        task: What is in distribution.
        shifts: Patterns as `select_shifts` takes them; None means the core suite.
        layer: Which block; -1 is the last.
        site: "resid_post" is before the final norm; "final_norm" after it.
        tokens: Which positions count: "all", "x" or "y", or in joint tokens "context".
        pooling: How positions become the one vector that most detectors take: "last" or "mean".
        center: For the signatures: whether each prompt's mean row is subtracted first.
        side: For the signatures: "right" or "left" singular vectors.
        k: For the signatures: how many directions.
        n_prompts: A family, and as many for fitting.
        n_points: Pairs a prompt; None takes the task's usual number.
        n_controls: Untrained networks; 0 switches them off.
        seed: The only source of randomness.
        on_batch: Called with the number of prompts just read, for progress.

    Returns:
        AUROC, AUPR, both FPR95, detection error, p-values and risk coverage for each detector.

    Raises:
        ValueError: If a shift, layer, site, token role or pooling does not exist.

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
    conventions = Conventions(tokens=tokens, center=center, side=side, k=k, layout=model.cfg.tokens)
    families = draw_families(task, shifts=shifts, n_prompts=n_prompts, n_points=n_points, seed=seed)
    hook = hook_name(site, layer, n_layers=model.cfg.n_layers)
    where = last_block(model.cfg) if hook == last_block(model.cfg).hook else ResidualSite(hook, hook)
    surveys, watches = [], []
    for network in [model, *untrained_networks(model.cfg, n_controls, seed=seed)]:
        watch = start_watch(network, where, conventions, pooling=pooling, seed=seed)
        surveys.append(
            survey_network(network, families, [where], conventions=conventions, on_batch=on_batch, watch=watch)
        )
        watches.append(watch)
    references = reference_predictors(task, n_points=families.fit.n_points)
    return summarise_detectors(surveys, watches, families, references, where, conventions, pooling=pooling, seed=seed)


def _raw_scores(
    surveys: Sequence[NetworkSurvey],
    watches: Sequence[DetectorWatch],
    families: Families,
    references: Mapping[str, Predictor],
    site: ResidualSite,
) -> list[_Raw]:
    by_network = [
        {**watch.scores(), **_signatures(survey, site)} for survey, watch in zip(surveys, watches, strict=True)
    ]
    found: list[_Raw] = []
    for name in HIDDEN_DETECTORS:
        if name in by_network[0]:
            controls = tuple(scores[name] for scores in by_network[1:] if name in scores)
            found.append(_Raw(name, "hidden states", by_network[0][name], controls))
    ridge = _holding(references, "ridge") or _holding(references, "least squares")
    said = {label: predict(references[ridge], family.prompts) for label, family in families.by_label.items()}
    gaps = [{label: _gap(survey, label, said[label]) for label in said} for survey in surveys]
    short = "ridge" if "ridge" in ridge else "least squares"
    found.append(_Raw(f"|model - {short}|", "predictions", gaps[0], tuple(gaps[1:])))
    return found + [_Raw(name, "raw inputs", scores, ()) for name, scores in _input_scores(families).items()]


def _signatures(survey: NetworkSurvey, site: ResidualSite) -> dict[str, dict[str, Tensor]]:
    scores = {label: record.sites[site.label].scores for label, record in survey.families.items()}
    return {
        BY_DIRECTION: {label: 1 - found.alignment.double().mean(1) for label, found in scores.items()},
        OVERLAP: {label: found.ood_score.double() for label, found in scores.items()},
    }


def _gap(survey: NetworkSurvey, label: str, reference: Tensor) -> Tensor:
    return prediction_gap(survey.families[label].predictions.double(), reference.double().cpu())


def _input_scores(families: Families) -> dict[str, dict[str, Tensor]]:
    fit = families.fit
    inputs, labels = fit_norm(fit.xs.double()), fit_norm(fit.ys.double())
    statistics = fit_prompt_statistics(fit.xs.double(), fit.ys.double())
    prompts = {label: family.prompts for label, family in families.by_label.items()}
    return {
        "‖X‖": {label: inputs.score(p.xs.double()) for label, p in prompts.items()},
        "‖y‖": {label: labels.score(p.ys.double()) for label, p in prompts.items()},
        "raw statistics XᵀX, Xᵀy": {
            label: statistics.score(p.xs.double(), p.ys.double()) for label, p in prompts.items()
        },
    }


def _excess_loss(survey: NetworkSurvey, families: Families, references: Mapping[str, Predictor]) -> dict[str, Tensor]:
    solve = references[_holding(references, "least squares")]
    return {
        label: prompt_errors(survey.families[label].predictions, family)
        - prompt_errors(predict(solve, family.prompts), family)
        for label, family in families.by_label.items()
    }


def _judge(
    found: _Raw,
    labels: Sequence[str],
    p_values: Mapping[str, float],
    correlation: tuple[float, float],
    excess_loss: Scores,
    n_claims: int,
    seed: int,
) -> DetectorResult:
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
        torch.cat([excess_loss[label] for label in order]),
        seed=seed,
        n_bootstrap=N_BOOTSTRAP_RISK,
    )
    controls = [mean_rank_correlation(scores, excess_loss, seed=seed)[0] for scores in found.controls]
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


def _untrained(found: _Raw, labels: Sequence[str]) -> dict[str, float]:
    def auroc(scores: Scores, label: str) -> float:
        pair = {IN_DISTRIBUTION: scores[IN_DISTRIBUTION], label: scores[label]}
        return mean_auroc_replicates(pair, IN_DISTRIBUTION, seed=0, n_bootstrap=1)[0]

    if not found.controls:
        return {}
    return {label: sum(auroc(c, label) for c in found.controls) / len(found.controls) for label in labels}


def _excess(found: _Raw, mean: float, replicates: Tensor, n_claims: int, seed: int) -> Excess | None:
    if found.reads == "raw inputs":
        return None
    controls = [
        mean_auroc_replicates(scores, IN_DISTRIBUTION, seed=seed, n_bootstrap=N_BOOTSTRAP) for scores in found.controls
    ]
    return excess_over_controls(
        mean,
        [value for value, _ in controls],
        sampling_variance=paired_variance(replicates, [theirs for _, theirs in controls]),
        n_verdicts=n_claims,
        chance=0.5,
        value_variance=variance_over(replicates),
    )


def _holding(references: Mapping[str, Predictor], part: str) -> str:
    return next((name for name in references if any(p.startswith(part) for p in name.split(" = "))), "")


def _holm_of_defined(p_values: Sequence[float]) -> list[float]:
    found = torch.tensor(p_values, dtype=torch.float64)
    defined = ~found.isnan()
    if bool(defined.any()):
        found[defined] = holm(found[defined])
    return list(found.tolist())
