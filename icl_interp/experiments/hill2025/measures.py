"""What is measured on the models of Hill et al. (2025), one model at a time and kept in the folder."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.experiments.claims import mean
from icl_interp.experiments.experiment import PerSeed, TrainedRuns
from icl_interp.experiments.files import keep
from icl_interp.experiments.hill2025.setting import KINDS, Kind, Run, Sizes, shifts_of, task_of
from icl_interp.measure import signature_conventions as signatures
from icl_interp.measure.detectors.report import DETECTORS
from icl_interp.measure.detectors.scores import Scores, score_prompts
from icl_interp.measure.errors import MODEL, TOLERATED, error_curves, prompt_errors, summarise_errors
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.ood import fit_norm_baseline
from icl_interp.measure.study.measure import Findings, Measure
from icl_interp.measure.study.plan import plan_study
from icl_interp.measure.study.run import run_study
from icl_interp.models.hooked import HookedModel
from icl_interp.provenance import code_version
from icl_interp.training.resume import config_hash
from icl_interp.training.train_config import TrainConfig
from probes.detection import detection_report

NORMS = "norms alone"  # the control that reads nothing but the norms of a prompt's inputs and labels
_REFERENCES = ("zero", "least squares", "ridge", "Bayes", "1-step GD", "10-step GD")  # whose errors are kept
_KEPT = 48  # prompts a family whose score and error are kept one by one
_LEAST = 1e-4


class FamilyFound(signatures.Record):
    """One family of prompts, read by one model; score and spectra are those after the last block, by the defaults."""

    late: dict[str, float]  # error after at least d examples, in units of E[y^2], of the model and each reference
    fails: dict[str, bool]  # clearly worse than the best reference; the model also clearly worse than in distribution
    curves: dict[str, tuple[float, ...]]  # error by number of examples, in the same unit
    spectrum: tuple[float, ...]  # mean singular values
    untrained_spectrum: tuple[float, ...]
    growth: signatures.Networks  # log of the mean leading singular value over that in distribution
    within: float  # Spearman of 1 - score with log error; NaN where undefined
    flagged: float  # share of prompts that the signature puts outside where it lets 95 % of those in distribution pass
    sample: tuple[tuple[float, float], ...]  # score and error of a few prompts


class DetectorFound(signatures.Record):
    """One detector, mean over shifts."""

    reads: str
    auroc: float
    untrained: float  # mean over untrained networks; NaN for raw inputs


class Measured(signatures.Record):
    """All numbers of one model."""

    families: dict[str, FamilyFound]  # by label; in distribution first
    readings: tuple[signatures.Reading, ...]  # every convention
    layers: tuple[signatures.SharedDirections, ...]  # along the network; last block and final norm are the last two
    detectors: dict[str, DetectorFound]
    norms_within: float  # Spearman of unusual norms, which need no network, with the log error inside families
    common: dict[str, float]  # late error on isotropic prompts and their shifts, the same for all laws of a seed

    def __repr__(self) -> str:
        return f"Measured({len(self.families)} families, {len(self.readings)} readings)"

    def reading(self, site: str) -> signatures.Reading:
        """Look up the default conventions: all tokens, uncentred, right singular vectors, overlap."""
        wanted = (site, "all", False, "right", "overlap")
        return next(r for r in self.readings if (r.site, r.tokens, r.centred, r.side, r.variant) == wanted)

    @property
    def shifts(self) -> dict[str, FamilyFound]:
        return {label: family for label, family in self.families.items() if label != IN_DISTRIBUTION}

    def handled(self, by: str) -> list[str]:
        """List the shifts where a reference does not fail or adds at most `TOLERATED` E[y^2] to what it has anyway."""
        most = self.families[IN_DISTRIBUTION].late[by] + TOLERATED
        return [label for label, family in self.shifts.items() if not family.fails[by] or family.late[by] <= most]

    def failure_rate(self, where_works: str) -> float:
        """On which share of the shifts that a reference handles the model fails; NaN where it handles none."""
        return mean([float(self.families[label].fails[MODEL]) for label in self.handled(where_works)])


def measure(runs: TrainedRuns, sizes: Sizes) -> dict[Run, Measured]:
    """Measure trained models; what the folder holds already is read back."""
    found = {}
    for run, config in runs.configs.items():
        path = runs.folder / "measured" / f"{_key(run, config, sizes)}.json"
        found[run] = keep(path, Measured, partial(_measure_model, runs.models[run], run.kind, sizes, seed=run.seed))
        runs.on_done(1)
    return found


count = len  # of what `measure` reports as done


def _key(run: Run, config: TrainConfig, sizes: Sizes) -> str:
    family = config.task.family, config.task.model_dump_json()
    shifts = shifts_of(run.kind, quick=sizes.quick)
    asked = [code_version(__name__), config_hash(config), *family, *shifts, sizes.n_prompts, sizes.n_controls]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]


def _measure_model(model: HookedModel, kind: Kind, sizes: Sizes, *, seed: int) -> Measured:
    def asked(law: Kind) -> dict[str, Any]:
        return {"shifts": shifts_of(law, quick=sizes.quick), "n_prompts": sizes.n_prompts, "seed": seed}

    study = plan_study(model, task_of(kind, sizes.n_dims), n_controls=sizes.n_controls, **asked(kind))
    found = run_study(replace(study, measures=_MEASURES)).results[_SIGNATURES]
    shown = error_curves(model, task_of("isotropic", sizes.n_dims), **asked("isotropic"))
    return Measured(**found, common={label: of.curves[MODEL].late.value for label, of in shown.families.items()})


def _measured(found: Findings) -> dict[str, Any]:
    families = found.plan.families
    errors = {label: prompt_errors(found.predictions[label], family) for label, family in families.by_label.items()}
    baseline = fit_norm_baseline(families.fit)
    norms = {label: baseline.score(family.prompts) for label, family in families.by_label.items()}
    scored = score_prompts(found.surveys, found.watched[DETECTORS.name], families, found.answers, found.main_site)
    detectors = {one.name: _detector(one.reads, one.scores, one.controls) for one in scored}
    return {
        "families": _families(found, errors),
        "readings": tuple(signatures.readings(found.watched[_SIGNATURES], errors)),
        "layers": tuple(signatures.shared_directions(found.surveys, where) for where in found.plan.sites),
        "detectors": {**detectors, NORMS: _detector("raw inputs", norms, ())},
        "norms_within": signatures.correlate(norms, errors)[0],
    }


def _detector(reads: str, scores: Scores, controls: Sequence[Scores]) -> DetectorFound:
    auroc, *untrained = map(signatures.mean_auroc, (scores, *controls))
    return DetectorFound(reads=reads, auroc=auroc, untrained=mean(untrained))


_SIGNATURES = "signatures"
_MEASURES = (
    replace(DETECTORS, run=lambda _: None, claims=lambda _: ()),  # only watches
    Measure(
        _SIGNATURES, "signatures by every convention", run=_measured,
        watch=lambda plan, network: signatures.SignatureWatch(plan.sites, network.cfg.tokens),
    ),
)  # fmt: skip


def _families(found: Findings, wrong: Scores) -> dict[str, FamilyFound]:
    reports = summarise_errors(found.predictions, found.plan.families, found.answers).families
    records = {label: [s.families[label].sites[found.main_site.label] for s in found.surveys] for label in reports}
    leading = {label: [float(record.leading_value.mean()) for record in of] for label, of in records.items()}
    scores = {label: of[0].scores.ood_score.double() for label, of in records.items()}
    inside, within, families = reports[IN_DISTRIBUTION], signatures.correlate(scores, wrong)[2], {}
    for label, (own, *untrained) in records.items():
        of, ratios = reports[label], zip(leading[label], leading[IN_DISTRIBUTION], strict=True)
        curves = {name: of.curves[name] for name in (MODEL, *_REFERENCES)}
        # What the model never learned in distribution is no failure of a shift.
        fails = of.fails(MODEL) and (of is inside or of.excess.low > inside.excess.high)
        passed = detection_report(scores[IN_DISTRIBUTION], scores[label], n_bootstrap=1, paired=True).fpr95_id_positive
        families[label] = FamilyFound(
            late={name: curve.late.value for name, curve in curves.items()},
            fails={MODEL: fails, **{name: of.fails(name) for name in _REFERENCES}},
            curves={name: _rounded(curve.mean) for name, curve in curves.items()},
            spectrum=_rounded(own.spectrum),
            untrained_spectrum=_rounded(torch.stack([record.spectrum for record in untrained]).mean(0)),
            growth=tuple(float(torch.tensor(own / usual).log()) for own, usual in ratios),
            within=within[label],
            flagged=1 - passed,
            sample=tuple(zip(_rounded(1 - scores[label][:_KEPT]), _rounded(wrong[label][:_KEPT]), strict=True)),
        )
    return families


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(float(f"{value:.4g}") for value in values.tolist())


class Reader(PerSeed[Measured]):
    """The numbers by training law, one per seed."""

    def __init__(self, found: Mapping[Run, Measured], sizes: Sizes) -> None:
        shifts = {f"n_{kind}": len(found[Run(kind, sizes.seeds[0])].shifts) for kind in KINDS}
        layers = found[Run(KINDS[0], sizes.seeds[0])].layers
        super().__init__(found, sizes.seeds, {"block": layers[-2].site, "norm": layers[-1].site, **shifts})

    def recognised(self) -> tuple[float, ...]:
        """Say, per seed, for which share of models the law with the nearest mean pattern of log errors is their own.

        Errors are those on prompts that are the same for all laws, floored at 1e-4; means are over the other seeds.
        """
        if len(self.seeds) < 2:
            raise InputError("Reader.recognised needs models of two seeds or more, got one; run more seeds.")
        return tuple(float(np.mean([self._nearest(kind, seed) == kind for kind in KINDS])) for seed in self.seeds)

    def _nearest(self, kind: Kind, seed: int) -> str:
        patterns = {run: np.log(np.maximum(list(found.common.values()), _LEAST)) for run, found in self.records.items()}
        others = [s for s in self.seeds if s != seed]
        centres = {law: np.mean([patterns[law, s] for s in others], axis=0) for law in KINDS}
        return min(centres, key=lambda law: float(np.linalg.norm(patterns[kind, seed] - centres[law])))
