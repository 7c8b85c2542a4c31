"""Does the signature detect unfamiliar prompts and large errors, and does it do so better than norms?"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.figures.choices import along, of_shifts
from icl_interp.figures.dots import DotSeries, dots_figure
from icl_interp.figures.theme import role_style
from icl_interp.measure.controls import N_UNTRAINED
from icl_interp.measure.errors import prompt_errors_of
from icl_interp.measure.families import IN_DISTRIBUTION, Families, look_first
from icl_interp.measure.result import Result
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.measure import Claim, Findings, Measure, StudyPlan, without_sites
from icl_interp.measure.study.survey import FIT, NetworkSurvey, survey_site
from icl_interp.measure.verdicts import OF_CORRELATIONS, Excess, excess_of_replicates
from icl_interp.models.architecture import ResidualSite
from icl_interp.models.hook_names import Site
from icl_interp.models.layout import Role
from icl_interp.prompts import Prompts
from icl_interp.tasks.shifts.select import Shifts
from probes._core.results import short_repr
from probes.correlation import CorrelationReport, score_error_correlation
from probes.detection import DetectionReport, RocCurve, detection_report, roc_curve
from probes.spectra import Side

NormsOf = Literal["prompts", "activations"]


@dataclass(frozen=True, slots=True)
class ShiftDetection:
    """How well one shift is detected."""

    signature: DetectionReport
    """Detection by the score 1 - overlap of the model."""
    norms: DetectionReport
    """Detection by norms alone."""
    untrained: tuple[DetectionReport, ...]
    """Detection by the score of each untrained network."""
    excess: Excess
    """AUROC beyond untrained networks; the bounds of all shifts of a report hold together."""

    __repr__ = short_repr


@dataclass(frozen=True, slots=True)
class OodReport(Result):
    """Detection for each shift, and the score against the error."""

    shifts: Mapping[str, ShiftDetection]
    """By label."""
    correlation: CorrelationReport | None
    """Correlation of the score 1 - overlap with the log error of the same prompt, over all families; None without
    errors."""
    untrained_correlations: tuple[CorrelationReport, ...]
    """Correlations of untrained networks' scores with the same errors of this model (our choice of control); those
    across families have no intervals."""
    scores: Mapping[str, Float64[Tensor, " sample"]]
    """1 - overlap of each prompt, by family."""
    errors: Mapping[str, Float64[Tensor, " sample"]]
    """Error of each prompt in units of its family's E[y^2], by family; empty where predictions are not known."""
    site: ResidualSite
    """Where."""
    conventions: Conventions
    """How."""
    norms_of: NormsOf = "prompts"
    """Whose norms the baseline reads: those of inputs and labels, or of activations where prompts are not known."""

    __repr__ = short_repr

    @property
    def mean_auroc(self) -> float:
        """Over the shifts; NaN without any."""
        return _mean([detection.signature.auroc for detection in self.shifts.values()])

    @property
    def mean_norm_auroc(self) -> float:
        """Of the norm baseline, over the shifts."""
        return _mean([detection.norms.auroc for detection in self.shifts.values()])

    def roc(self, shift: str) -> RocCurve:
        """Trace the errors of the signature's score under one shift, over all thresholds."""
        if shift not in self.shifts:
            raise InputError(f"roc needs a shift out of {', '.join(self.shifts) or 'none'}, got {shift!r}.")
        return roc_curve(self.scores[IN_DISTRIBUTION], self.scores[shift])

    def detection_excess(self, n_verdicts: int = 1) -> Excess:
        """Compare the mean AUROC over shifts with untrained networks."""
        if not self.shifts:
            raise InputError(
                "detection_excess needs a shift whose activations were read, got none; add one such as x_scale=3."
            )
        detections = list(self.shifts.values())
        n_controls = len(detections[0].untrained)
        controls = [[d.untrained[i] for d in detections] for i in range(n_controls)]
        return excess_of_replicates(
            (self.mean_auroc, _mean_replicates([d.signature for d in detections])),
            [(_mean([report.auroc for report in reports]), _mean_replicates(reports)) for reports in controls],
            n_verdicts=n_verdicts,
            chance=0.5,
            scale="logit",
            n_prompts=len(next(iter(self.scores.values()))),
        )

    def correlation_excess(self, n_verdicts: int = 1) -> Excess:
        """Compare the mean Spearman correlation inside families with untrained networks."""
        if self.correlation is None:
            raise InputError(
                "correlation_excess needs the error of each prompt, got none; give predictions and targets."
            )
        own, *controls = [
            (report.within_mean.value, report.within_mean_replicates)
            for report in (self.correlation, *self.untrained_correlations)
        ]
        return excess_of_replicates(own, controls, n_verdicts=n_verdicts, chance=0.0, smallest=OF_CORRELATIONS)

    def to_frame(self) -> pd.DataFrame:
        """Lay the shifts out, one per row."""
        return pd.DataFrame([_row(label, detection) for label, detection in self.shifts.items()]).set_index("shift")

    def plot(self) -> Any:
        """Draw the AUROC of the signature beside its rivals."""
        rows = list(self.shifts)
        reports = [self.shifts[row].signature for row in rows]
        series = [
            DotSeries(
                "norms alone",
                rows,
                [self.shifts[row].norms.auroc for row in rows],
                role_style("norm baseline"),
            ),
            DotSeries(
                "untrained networks",
                rows,
                [self.shifts[row].excess.control for row in rows],
                role_style("untrained"),
            ),
            DotSeries(
                "signature of this model",
                rows,
                [report.auroc for report in reports],
                role_style("model"),
                low=[report.auroc_interval.low for report in reports],
                high=[report.auroc_interval.high for report in reports],
            ),
        ]
        if not any(detection.untrained for detection in self.shifts.values()):
            del series[1]
        figure = dots_figure(series, x="AUROC", reference=0.5, x_range=(-0.02, 1.02))
        return along(figure, y=of_shifts(rows)).update_layout(title={"text": self.describe()})

    def describe(self) -> str:
        """Name site and conventions, for figures."""
        return f"{self.site.hook}, {self.conventions.describe()}"


def _row(label: str, detection: ShiftDetection) -> dict[str, object]:
    own, excess = detection.signature, detection.excess
    return {
        "shift": label,
        "auroc": own.auroc,
        "low": own.auroc_interval.low,
        "high": own.auroc_interval.high,
        "fpr95_ood_positive": own.fpr95_ood_positive,
        "fpr95_id_positive": own.fpr95_id_positive,
        "auroc_norms": detection.norms.auroc,
        "auroc_untrained": excess.control,
        "excess": excess.excess,
        "excess_low": excess.low,
        "excess_high": excess.high,
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _mean_replicates(reports: Sequence[DetectionReport]) -> Tensor:
    return torch.stack([report.auroc_replicates for report in reports]).mean(0)


def log_norms_of(prompts: Prompts) -> Float64[Tensor, "sample two"]:
    """Take log ||X|| and log ||y|| of each prompt."""
    norms = torch.stack([prompts.xs.double().flatten(1).norm(dim=1), prompts.ys.double().norm(dim=1)], dim=1)
    return norms.clamp(min=torch.finfo(torch.float64).tiny).log()


@dataclass(frozen=True, slots=True)
class NormBaseline:
    """Mahalanobis distance of logarithms of norms, such as (log ||X||, log ||y||), from in-distribution prompts."""

    mean: Float64[Tensor, " norm"]
    """Of in-distribution prompts."""
    precision: Float64[Tensor, "norm norm"]
    """Inverse of their covariance."""

    __repr__ = short_repr

    def score(self, prompts: Prompts) -> Float64[Tensor, " sample"]:
        """Measure how far out prompts are by their norms alone."""
        return self.score_norms(log_norms_of(prompts))

    def score_norms(self, norms: Float64[Tensor, "sample norm"]) -> Float64[Tensor, " sample"]:
        """Measure how far out logarithms of norms are."""
        centred = norms - self.mean
        return torch.einsum("bi,ij,bj->b", centred, self.precision, centred)


def fit_norm_baseline(prompts: Prompts) -> NormBaseline:
    """Learn the usual norms."""
    return fit_log_norms(log_norms_of(prompts))


def fit_log_norms(features: Float64[Tensor, "sample norm"]) -> NormBaseline:
    """Learn the usual logarithms of norms."""
    covariance = torch.cov(features.T).reshape(features.shape[1], features.shape[1])
    # Logarithms of float32 numbers: a relative error is an absolute one here, whatever the unit.
    varies = covariance.diagonal() > (8 * torch.finfo(torch.float32).eps) ** 2
    covariance = covariance * varies * varies[:, None]
    return NormBaseline(mean=features.mean(0), precision=torch.linalg.pinv(covariance, hermitian=True))


_LEAST_ERROR = 1e-12
"""Errors below this share of E[y^2] count as equal (ours); float32 predictions are not that good."""
N_BOOTSTRAP = 1000
"""Resamples of the detection and correlation intervals."""


def summarise_ood(
    survey: NetworkSurvey,
    controls: Sequence[NetworkSurvey],
    families: Families,
    site: ResidualSite,
    conventions: Conventions,
    *,
    norms_of_activations: Mapping[str, Float64[Tensor, "sample norm"]] | None = None,
    seed: int = 0,
) -> OodReport:
    """Turn surveys into detection and correlation at one site.

    Logarithms of the activations' norms, of the fit prompts and by family, stand for those of inputs and labels where
    these are not known.
    """
    scores = _scores(survey, site)
    control_scores = [_scores(control, site) for control in controls]
    log_norms = norms_of_activations or {
        FIT: log_norms_of(families.fit),
        **{label: log_norms_of(family.prompts) for label, family in families.by_label.items()},
    }
    baseline = fit_log_norms(log_norms[FIT])
    norms = {label: baseline.score_norms(log_norms[label]) for label in families.by_label}

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
            scale="logit",
            n_prompts=len(scores[IN_DISTRIBUTION]),
        )
        shifts[family.label] = ShiftDetection(own, detect(norms, family.label), untrained, excess)
    errors = prompt_errors_of(survey, families)

    def correlate(of: Mapping[str, Tensor], resample: Literal["all", "within"]) -> CorrelationReport:
        return _correlate(of, errors, log_norms, seed, resample)

    return OodReport(
        shifts=shifts,
        correlation=correlate(scores, "all") if errors else None,
        untrained_correlations=tuple(correlate(control, "within") for control in control_scores if errors),
        scores=scores,
        errors=errors,
        site=site,
        conventions=conventions,
        norms_of="prompts" if norms_of_activations is None else "activations",
    )


def ood_report(
    model: ModelLike,
    task: TaskLike = None,
    *,
    shifts: Shifts | None = None,
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
    """Measure whether the spectral signature detects shifts and predicts the error, beyond its controls.

    Args:
        model: The network.
        task: The task in distribution.
        shifts: Names or patterns, or your own `Shift` objects, see `select_shifts`; None means the core suite.
        layer: Number of the block; -1 is the last.
        site: "resid_post" is before the final norm; "final_norm" after it.
        tokens: Positions that are rows: "all", "x" or "y", or in joint tokens "context".
        center: Whether each prompt's mean row is subtracted first.
        side: "right" or "left" singular vectors.
        k: Number of directions; fewer if no more exist, and `report.conventions` says so.
        n_prompts: Number of prompts per family, with as many to fit.
        n_points: Number of examples per prompt; None takes the task's usual number.
        n_controls: Number of untrained networks; 0 switches them off.
        seed: The only source of randomness.
        on_batch: Called with the number of prompts just read, for progress.

    Returns:
        One row per shift, with the norm baseline and untrained networks beside it.

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
    model, task = as_model_and_task("ood_report", model, task)
    look_first(model, task, n_points, seed=seed)
    conventions = Conventions(tokens=tokens, center=center, side=side, k=k, layout=model.cfg.tokens)
    conventions = conventions.of_prompts(n_points or task.default_points, model.cfg)
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
    scores: Mapping[str, Tensor],
    errors: Mapping[str, Tensor],
    log_norms: Mapping[str, Tensor],
    seed: int,
    resample: Literal["all", "within"] = "all",
) -> CorrelationReport:
    labels = list(scores)
    return score_error_correlation(
        torch.cat([scores[label] for label in labels]),
        torch.cat([errors[label] for label in labels]).clamp(min=_LEAST_ERROR).log(),
        groups=[label for label in labels for _ in range(len(errors[label]))],
        clusters=[i for label in labels for i in range(len(errors[label]))],
        covariates=torch.cat([log_norms[label] for label in labels]),
        seed=seed,
        n_bootstrap=N_BOOTSTRAP,
        resample=resample,
    )


def _before_the_norm(found: Findings) -> OodReport:
    plan = found.plan
    return summarise_ood(found.model, found.untrained, plan.families, found.main_site, plan.conventions, seed=plan.seed)


def _after_the_norm(found: Findings) -> OodReport:
    plan = found.plan
    return summarise_ood(found.model, (), plan.families, plan.sites[-1], plan.conventions, seed=plan.seed)


def _without_norm(plan: StudyPlan) -> str | None:
    return without_sites(plan) or (None if plan.config.final_norm else "The network has no final norm.")


SCORE_AND_ERROR = Claim(
    "score and error",
    "Spearman correlation of score and log error, mean over task families",
    lambda report, _, n_claims: report.correlation_excess(n_claims),
)
DETECTION = Claim(
    "detection",
    "AUROC of the signature, mean over shifts",
    lambda report, _, n_claims: report.detection_excess(n_claims),
)


def _claims(plan: StudyPlan) -> list[Claim]:
    return [SCORE_AND_ERROR, DETECTION] if plan.families.shifted else [SCORE_AND_ERROR]


OOD = Measure("ood", "detection by the signature", run=_before_the_norm, without=without_sites, claims=_claims)
OOD_FINAL = Measure("ood_final", "detection after the final norm", run=_after_the_norm, without=_without_norm)
"""Beside `OOD`, without controls."""
