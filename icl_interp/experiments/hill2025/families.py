"""Errors, spectra and flags of one model of Hill et al. (2025), family by family."""

from collections.abc import Sequence

import torch
from torch import Tensor

from icl_interp.experiments.hill2025.record import FamilyFound
from icl_interp.experiments.hill2025.setting import Sizes, shifts_of, task_of
from icl_interp.experiments.hill2025.watch import correlate
from icl_interp.measure.errors import MODEL, ErrorReport, FamilyErrors, prompt_errors
from icl_interp.measure.families import IN_DISTRIBUTION, Families, draw_families
from icl_interp.measure.sites import ResidualSite
from icl_interp.measure.study.survey import NetworkSurvey
from icl_interp.models.hooked import HookedModel
from icl_interp.query import predict
from probes.detection import detection_report

__all__ = ["common_errors", "families_found"]

_REFERENCES = ("zero", "least squares", "ridge", "Bayes", "1-step GD", "10-step GD")
"""Whose errors are kept; those that coincide on a task are one predictor under each of its names."""
KEPT = 48
"""Prompts a family whose score and error are kept one by one."""


def families_found(
    surveys: Sequence[NetworkSurvey], families: Families, errors: ErrorReport, site: ResidualSite
) -> dict[str, FamilyFound]:
    """Gather what is said of each family."""
    records = {label: [s.families[label].sites[site.label] for s in surveys] for label in families.by_label}
    scores = {label: found[0].scores.ood_score.double() for label, found in records.items()}
    wrong = {label: prompt_errors(surveys[0].families[label].predictions, f) for label, f in families.by_label.items()}
    inside, usual = errors.in_distribution, [float(r.leading_value.mean()) for r in records[IN_DISTRIBUTION]]
    within = correlate(scores, wrong)[2]
    found = {}
    for label, networks in records.items():
        of = errors.families[label]
        names = {MODEL: MODEL, **{name: _holding(of, name) for name in _REFERENCES}}
        leading = [float(record.leading_value.mean()) for record in networks]
        found[label] = FamilyFound(
            late={short: of.curves[name].late.value for short, name in names.items()},
            fails={MODEL: _model_fails(of, inside), **{short: of.fails(names[short]) for short in _REFERENCES}},
            curves={short: tuple(_rounded(of.curves[name].mean)) for short, name in names.items()},
            spectrum=tuple(_rounded(networks[0].spectrum)),
            untrained_spectrum=tuple(_rounded(torch.stack([r.spectrum for r in networks[1:]]).mean(0))),
            growth=tuple(float(torch.tensor(s / u).log()) for s, u in zip(leading, usual, strict=True)),
            within=within[label],
            flagged=_flagged(scores[IN_DISTRIBUTION], scores[label]),
            sample=tuple(zip(_rounded(1 - scores[label][:KEPT]), _rounded(wrong[label][:KEPT]), strict=True)),
        )
    return found


def common_errors(model: HookedModel, sizes: Sizes, *, seed: int) -> dict[str, float]:
    """Test a model on prompts that are the same for all training laws: isotropic ones and their shifts."""
    task = task_of("isotropic", sizes.n_dims)
    shifts = shifts_of("isotropic", quick=sizes.quick)
    families = draw_families(task, shifts=shifts, n_prompts=sizes.n_prompts, seed=seed)
    with torch.no_grad():
        return {
            label: float(prompt_errors(predict(model, family.prompts), family).mean())
            for label, family in families.by_label.items()
        }


def _holding(errors: FamilyErrors, name: str) -> str:
    # Predictors that coincide on a task are one entry, "a = b".
    return next(entry for entry in errors.curves if name in entry.split(" = "))


def _model_fails(errors: FamilyErrors, inside: FamilyErrors) -> bool:
    # What it never learned in distribution is no failure of a shift.
    if errors is inside:
        return errors.fails(MODEL)
    return errors.fails(MODEL) and errors.excess.low > inside.excess.high


def _flagged(inside: Tensor, outside: Tensor) -> float:
    return 1 - detection_report(inside, outside, n_bootstrap=1, paired=True).fpr95_id_positive


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]
