"""Does the signature know when a prompt is unfamiliar, and does it know when the model is wrong?"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from icl_interp.measure.controls import N_UNTRAINED, excess_of_replicates
from icl_interp.measure.conventions import Conventions
from icl_interp.measure.errors import prompt_errors
from icl_interp.measure.families import IN_DISTRIBUTION, Families
from icl_interp.measure.norms import fit_norm_baseline, log_norms
from icl_interp.measure.ood_result import OodReport, ShiftDetection
from icl_interp.measure.site_survey import survey_site
from icl_interp.measure.sites import ResidualSite
from icl_interp.measure.survey import NetworkSurvey
from icl_interp.models.hook_names import Site
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import Role
from icl_interp.tasks.base import Task
from probes.correlation import CorrelationReport, score_error_correlation
from probes.detection import DetectionReport, detection_report
from probes.spectra import Side

__all__ = ["ood_report", "summarise_ood"]

N_BOOTSTRAP = 1000
"""Resamples of the detection and correlation intervals."""


def summarise_ood(
    survey: NetworkSurvey,
    controls: Sequence[NetworkSurvey],
    families: Families,
    site: ResidualSite,
    conventions: Conventions,
    *,
    seed: int = 0,
) -> OodReport:
    """Turn surveys into detection and correlation at one site.

    Args:
        survey: Of the model.
        controls: Of untrained networks, on the same families.
        families: The prompts.
        site: One that was surveyed.
        conventions: Of the surveys.
        seed: Of the bootstraps, which resample alike for model and controls.

    Returns:
        The report.
    """
    scores = _scores(survey, site)
    control_scores = [_scores(control, site) for control in controls]
    baseline = fit_norm_baseline(families.fit)
    norms = {label: baseline.score(family.prompts) for label, family in families.by_label.items()}

    def detect(of: Mapping[str, Tensor], label: str) -> DetectionReport:
        # Prompt i shares its random numbers across families, so it is drawn in all of them or in none.
        return detection_report(of[IN_DISTRIBUTION], of[label], seed=seed, n_bootstrap=N_BOOTSTRAP, paired=True)

    shifts = {}
    for family in families.shifted:
        own = detect(scores, family.label)
        untrained = tuple(detect(control, family.label) for control in control_scores)
        excess = excess_of_replicates(
            (own.auroc, own.auroc_replicates),
            [(report.auroc, report.auroc_replicates) for report in untrained],
            n_verdicts=len(families.shifted),
            chance=0.5,
        )
        shifts[family.label] = ShiftDetection(own, detect(norms, family.label), untrained, excess)
    errors = {
        label: prompt_errors(survey.families[label].predictions, family) for label, family in families.by_label.items()
    }

    def correlate(of: Mapping[str, Tensor]) -> CorrelationReport:
        return _correlate(of, errors, families, seed)

    return OodReport(
        shifts=shifts,
        correlation=correlate(scores),
        untrained_correlations=tuple(correlate(control) for control in control_scores),
        scores=scores,
        errors=errors,
        site=site,
        conventions=conventions,
    )


def ood_report(
    model: HookedModel,
    task: Task,
    *,
    shifts: Sequence[str] | None = None,
    layer: int = -1,
    site: Site = "resid_post",
    tokens: Role = "all",
    center: bool = False,
    side: Side = "right",
    k: int = 2,
    n_prompts: int = 256,
    n_points: int | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
    on_batch: Callable[[int], None] | None = None,
) -> OodReport:
    """Measure whether the spectral signature detects shifts, and whether it tells the error, beyond its controls.

    Args:
        model: The network.
        task: What is in distribution.
        shifts: Patterns as `select_shifts` takes them; None means the core suite.
        layer: Which block; -1 is the last.
        site: "resid_post" is before the final norm; "final_norm" after it.
        tokens: Which positions are rows: "all", "x" or "y", or in joint tokens "context".
        center: Whether each prompt's mean row is subtracted first.
        side: "right" or "left" singular vectors.
        k: How many directions; fewer where no more exist, and `report.conventions` says so.
        n_prompts: A family, and as many for fitting.
        n_points: Pairs a prompt; None takes the task's usual number.
        n_controls: Untrained networks; 0 switches them off.
        seed: The only source of randomness.
        on_batch: Called with the number of prompts just read, for progress.

    Returns:
        One row a shift, with the norm baseline and untrained networks beside it.

    Raises:
        InputError: If a shift, layer, site or token role does not exist.

    Example:
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.models.build import build_model
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> report = ood_report(model, LinearRegression(n_dims=2), shifts=["x_scale=3"], n_prompts=32)
        >>> report.shifts["x_scale=3"].norms.auroc > 0.99  # norms alone see a change of scale
        True
    """
    conventions = Conventions(tokens=tokens, center=center, side=side, k=k, layout=model.cfg.tokens)
    conventions = conventions.of_prompts(n_points or task.default_points, model.cfg.d_model)
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
    )
    return summarise_ood(found.networks[0], found.networks[1:], found.families, found.site, conventions, seed=seed)


def _scores(survey: NetworkSurvey, site: ResidualSite) -> dict[str, Tensor]:
    return {label: record.sites[site.label].scores.ood_score.double() for label, record in survey.families.items()}


def _correlate(
    scores: Mapping[str, Tensor], errors: Mapping[str, Tensor], families: Families, seed: int
) -> CorrelationReport:
    labels = list(families.by_label)
    return score_error_correlation(
        torch.cat([scores[label] for label in labels]),
        torch.cat([errors[label] for label in labels]).clamp(min=1e-12).log(),
        groups=[label for label in labels for _ in range(len(errors[label]))],
        clusters=[i for label in labels for i in range(len(errors[label]))],
        covariates=torch.cat([log_norms(families.by_label[label].prompts) for label in labels]),
        seed=seed,
        n_bootstrap=N_BOOTSTRAP,
    )
