"""What is measured on the models of Hill et al. (2025), one model at a time and kept in the folder."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.experiments.experiment import PerSeed, TrainedRuns
from icl_interp.experiments.files import keep
from icl_interp.experiments.hill2025.setting import KINDS, Kind, Run, Sizes, shifts_of, task_of
from icl_interp.measure.controls import untrained_networks
from icl_interp.measure.detectors.report import start_watch
from icl_interp.measure.detectors.result import Reads
from icl_interp.measure.detectors.scores import score_prompts
from icl_interp.measure.errors import MODEL, TOLERATED, FamilyErrors, prompt_errors, summarise_errors
from icl_interp.measure.families import IN_DISTRIBUTION, Families, draw_families
from icl_interp.measure.ood import fit_norm_baseline
from icl_interp.measure.signature_conventions import (
    Networks,
    Reading,
    Record,
    SharedDirections,
    SignatureWatch,
    correlate,
    mean_auroc,
    readings,
    shared_directions,
)
from icl_interp.measure.sites import Conventions, ResidualSite, last_block, residual_sites
from icl_interp.measure.study.survey import NetworkSurvey, survey_network, together
from icl_interp.models.hooked import HookedModel
from icl_interp.provenance import code_version
from icl_interp.query import predict
from icl_interp.tasks.references import reference_predictors
from icl_interp.training.resume import config_hash
from icl_interp.training.train_config import TrainConfig
from probes.detection import detection_report

NORMS = "norms alone"  # the control that reads nothing but the norms of a prompt's inputs and labels
_REFERENCES = ("zero", "least squares", "ridge", "Bayes", "1-step GD", "10-step GD")
"""Whose errors are kept; those that coincide on a task are one predictor under each of its names."""
_KEPT = 48  # prompts a family whose score and error are kept one by one
_LEAST = 1e-4


class FamilyFound(Record):
    """One family of prompts, read by one model."""

    late: dict[str, float]  # error after at least d examples, in units of E[y^2], of the model and each reference
    fails: dict[str, bool]
    """Whether it is clearly worse than the best reference; for the model also clearly worse than in distribution."""
    curves: dict[str, tuple[float, ...]]  # error by number of examples, in the same unit
    spectrum: tuple[float, ...]  # mean singular values after the last block
    untrained_spectrum: tuple[float, ...]
    growth: Networks  # log of the mean leading singular value after the last block over that in distribution
    within: float  # Spearman of 1 - score with log error by the default conventions; NaN where undefined
    flagged: float  # share of prompts that the signature puts outside where it lets 95 % of those in distribution pass
    sample: tuple[tuple[float, float], ...]  # score and error of a few prompts, by the default conventions


class DetectorFound(Record):
    """One detector, mean over shifts."""

    reads: Reads
    auroc: float
    untrained: float  # mean over untrained networks; NaN for raw inputs


class Measured(Record):
    """All numbers of one model."""

    families: dict[str, FamilyFound]  # by label; in distribution first
    readings: tuple[Reading, ...]  # every convention
    layers: tuple[SharedDirections, ...]
    """Along the network; the last two are the default sites: after the last block, before and after the final norm."""
    detectors: dict[str, DetectorFound]
    norms_within: float
    """Spearman of a prompt's unusual norms with the model's log error, mean inside families: what needs no network."""
    norms_pooled: float  # the same over all prompts at once
    common: dict[str, float]
    """Late error on isotropic prompts and their shifts, the same for all training laws of a seed."""

    def __repr__(self) -> str:
        return f"Measured({len(self.families)} families, {len(self.readings)} readings)"

    def reading(self, site: str, *, variant: str = "overlap") -> Reading:
        """Look up the default conventions: all tokens, uncentred, right singular vectors."""
        wanted = (site, "all", False, "right", variant)
        return next(r for r in self.readings if (r.site, r.tokens, r.centred, r.side, r.variant) == wanted)

    @property
    def shifts(self) -> dict[str, FamilyFound]:
        """All families but that in distribution."""
        return {label: family for label, family in self.families.items() if label != IN_DISTRIBUTION}

    def handled(self, by: str) -> list[str]:
        """List the shifts that a reference handles: what a shift adds to its error is tolerable.

        It does not fail there, or its late error is at most `TOLERATED` E[y^2] above its own in distribution: what it
        has there already is not blamed on the shift (ours).
        """
        most = self.families[IN_DISTRIBUTION].late[by] + TOLERATED
        return [label for label, family in self.shifts.items() if not family.fails[by] or family.late[by] <= most]

    def failure_rate(self, where_works: str) -> float:
        """On which share of the shifts that a reference handles the model fails; NaN where it handles none."""
        handled = self.handled(where_works)
        return sum(self.families[label].fails[MODEL] for label in handled) / len(handled) if handled else math.nan


def measure(runs: TrainedRuns, sizes: Sizes) -> dict[Run, Measured]:
    """Measure trained models; what the folder holds already is read back."""
    found = {}
    for run, config in runs.configs.items():
        path = runs.folder / "measured" / f"{_key(run, config, sizes)}.json"
        found[run] = keep(path, Measured, partial(_measure_model, runs.models[run], run.kind, sizes, seed=run.seed))
        runs.on_done(1)
    return found


def _key(run: Run, config: TrainConfig, sizes: Sizes) -> str:
    family = config.task.family, config.task.model_dump_json()
    shifts = shifts_of(run.kind, quick=sizes.quick)
    asked = [code_version(__name__), config_hash(config), *family, *shifts, sizes.n_prompts, sizes.n_controls]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]


def _measure_model(model: HookedModel, kind: Kind, sizes: Sizes, *, seed: int) -> Measured:
    """Measure one model, trained on a law or not at all, and its untrained networks."""
    task, site, how = task_of(kind, sizes.n_dims), last_block(model.cfg), Conventions(layout=model.cfg.tokens)
    families = draw_families(task, shifts=shifts_of(kind, quick=sizes.quick), n_prompts=sizes.n_prompts, seed=seed)
    references, sites = reference_predictors(task), residual_sites(model.cfg)
    answers = {label: references.answers(family.prompts) for label, family in families.by_label.items()}
    networks = [model, *untrained_networks(model.cfg, sizes.n_controls, seed=seed)]
    signatures = [SignatureWatch(sites, network.cfg.tokens) for network in networks]
    detectors = [start_watch(network, site, how, seed=seed) for network in networks]
    surveys = [
        survey_network(network, families, sites, conventions=how, batch_size=256, watch=together((signature, detector)))
        for network, signature, detector in zip(networks, signatures, detectors, strict=True)
    ]
    said = {label: record.predictions for label, record in surveys[0].families.items()}
    errors = {label: prompt_errors(values, families.by_label[label]) for label, values in said.items()}
    reports = summarise_errors(said, families, answers).families
    baseline = fit_norm_baseline(families.fit)
    norms = {label: baseline.score(family.prompts) for label, family in families.by_label.items()}
    norms_within, norms_pooled, _ = correlate(norms, errors)
    found = {
        one.name: DetectorFound(
            reads=one.reads, auroc=mean_auroc(one.scores), untrained=_mean([mean_auroc(of) for of in one.controls])
        )
        for one in score_prompts(surveys, detectors, families, answers, site)
    }
    found[NORMS] = DetectorFound(reads="raw inputs", auroc=mean_auroc(norms), untrained=math.nan)
    return Measured(
        families=_families(surveys, errors, reports, site),
        readings=tuple(readings(signatures, errors)),
        layers=tuple(shared_directions(surveys, where) for where in sites),
        detectors=found,
        norms_within=norms_within,
        norms_pooled=norms_pooled,
        common=_common_errors(model, sizes, seed),
    )


def _families(
    surveys: Sequence[NetworkSurvey], wrong: Mapping[str, Tensor], reports: Mapping[str, FamilyErrors],
    site: ResidualSite,
) -> dict[str, FamilyFound]:  # fmt: skip
    records = {label: [s.families[label].sites[site.label] for s in surveys] for label in reports}
    scores = {label: of[0].scores.ood_score.double() for label, of in records.items()}
    inside, usual = reports[IN_DISTRIBUTION], [float(r.leading_value.mean()) for r in records[IN_DISTRIBUTION]]
    within = correlate(scores, wrong)[2]
    found = {}
    for label, networks in records.items():
        of = reports[label]
        curves = {name: of.curves[name] for name in (MODEL, *_REFERENCES)}
        # What the model never learned in distribution is no failure of a shift.
        fails = of.fails(MODEL) and (of is inside or of.excess.low > inside.excess.high)
        leading = [float(record.leading_value.mean()) for record in networks]
        passed = detection_report(scores[IN_DISTRIBUTION], scores[label], n_bootstrap=1, paired=True).fpr95_id_positive
        found[label] = FamilyFound(
            late={name: curve.late.value for name, curve in curves.items()},
            fails={MODEL: fails, **{name: of.fails(name) for name in _REFERENCES}},
            curves={name: tuple(_rounded(curve.mean)) for name, curve in curves.items()},
            spectrum=tuple(_rounded(networks[0].spectrum)),
            untrained_spectrum=tuple(_rounded(torch.stack([r.spectrum for r in networks[1:]]).mean(0))),
            growth=tuple(float(torch.tensor(s / u).log()) for s, u in zip(leading, usual, strict=True)),
            within=within[label],
            flagged=1 - passed,
            sample=tuple(zip(_rounded(1 - scores[label][:_KEPT]), _rounded(wrong[label][:_KEPT]), strict=True)),
        )
    return found


def _common_errors(model: HookedModel, sizes: Sizes, seed: int) -> dict[str, float]:
    task, shifts = task_of("isotropic", sizes.n_dims), shifts_of("isotropic", quick=sizes.quick)
    families: Families = draw_families(task, shifts=shifts, n_prompts=sizes.n_prompts, seed=seed)
    with torch.no_grad():
        said = {label: predict(model, family.prompts) for label, family in families.by_label.items()}
    return {label: float(prompt_errors(values, families.by_label[label]).mean()) for label, values in said.items()}


def _rounded(values: Tensor) -> list[float]:
    return [float(f"{value:.4g}") for value in values.tolist()]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


class Reader(PerSeed[Measured]):
    """The numbers by training law, one per seed."""

    def __init__(self, found: Mapping[Run, Measured], sizes: Sizes) -> None:
        shifts = {f"n_{kind}": len(found[Run(kind, sizes.seeds[0])].shifts) for kind in KINDS}
        layers = found[Run(KINDS[0], sizes.seeds[0])].layers
        super().__init__(found, sizes.seeds, {"block": layers[-2].site, "norm": layers[-1].site, **shifts})

    def recognised(self) -> tuple[float, ...]:
        """Say how often a model's training law is told from its errors on prompts that are the same for all laws.

        By log errors, floored at 1e-4: the law whose mean pattern over the other seeds is nearest. One per seed: the
        share of its models whose law is right; chance is one over the number of laws.
        """
        if len(self.seeds) < 2:
            raise InputError("Reader.recognised needs models of two seeds or more, got one; run more seeds.")
        return tuple(float(np.mean([self._nearest(kind, seed) == kind for kind in KINDS])) for seed in self.seeds)

    def _nearest(self, kind: Kind, seed: int) -> str:
        patterns = {run: np.log(np.maximum(list(found.common.values()), _LEAST)) for run, found in self.records.items()}
        others = [s for s in self.seeds if s != seed]
        centres = {law: np.mean([patterns[law, s] for s in others], axis=0) for law in KINDS}
        return min(centres, key=lambda law: float(np.linalg.norm(patterns[kind, seed] - centres[law])))
