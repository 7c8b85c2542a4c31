"""What is measured on the models of Hill et al. (2025), one model at a time and kept in the folder."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.experiments.claims import mean
from icl_interp.experiments.experiment import PerSeed, TrainedRuns, combine
from icl_interp.experiments.files import keep
from icl_interp.experiments.hill2025.setting import KINDS, Kind, Run, Sizes, shifts_of, task_of
from icl_interp.measure import signature_conventions as signatures
from icl_interp.measure.atlas import AtlasCell, atlas_of
from icl_interp.measure.detectors.scores import Scores
from icl_interp.measure.errors import MODEL, TOLERATED, error_curves, prompt_errors, summarise_errors
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.ood import fit_norm_baseline
from icl_interp.measure.sites import blocks_among
from icl_interp.measure.study.measure import Findings, Measure
from icl_interp.measure.study.plan import plan_study
from icl_interp.measure.study.run import run_study
from icl_interp.measure.verdicts import LEVEL
from icl_interp.models.architecture import ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.provenance import code_version
from icl_interp.training.resume import config_hash
from icl_interp.training.train_config import TrainConfig
from probes.detection import detection_report

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
    flagged: float  # share of prompts that the signature puts outside where it lets 95 % of those in distribution pass
    sample: tuple[tuple[float, float], ...]  # score and error of a few prompts


class Cell(signatures.Record):
    """One site and shift of the atlas: AUROC of 1 - overlap, shifted against in distribution."""

    site: str
    shift: str
    auroc: float
    untrained: float  # mean over untrained networks
    norms: float  # of the norms of a prompt alone
    z: float  # above 0, shifted prompts leave the signature more than in untrained networks
    p_value: float  # rank over all cells; never below 5 % where there are fewer than 20 untrained networks

    @property
    def word(self) -> str:
        """Whether shifted prompts leave the signature "more" or "less" often than in untrained networks, or neither."""
        return "" if not self.p_value < LEVEL else "more" if self.z > 0 else "less"

    @property
    def beyond_all(self) -> float:
        """AUROC beyond the largest of 0.5, untrained networks and norms."""
        return self.auroc - max(0.5, self.untrained, self.norms)


class Measured(signatures.Record):
    """All numbers of one model."""

    families: dict[str, FamilyFound]  # by label; in distribution first
    cells: tuple[Cell, ...]  # the atlas, site by site
    readings: tuple[signatures.Reading, ...]  # by site; last block and final norm are the last two
    conventions: tuple[signatures.ConventionFound, ...]
    judged: bool  # whether there are untrained networks enough for ranks
    norms_auroc: float  # of unusual norms, which need no network, mean over shifts
    norms_within: float  # Spearman of the same with the log error inside families
    common: dict[str, float]  # late error on isotropic prompts and their shifts, the same for all models of a seed

    def __repr__(self) -> str:
        return f"Measured({len(self.families)} families, {len(self.cells)} cells)"

    def cell(self, site: str, shift: str) -> Cell:
        return next(cell for cell in self.cells if (cell.site, cell.shift) == (site, shift))

    def count(self, word: str) -> float:
        """Count the cells where shifted prompts leave the signature "more" or "less" often; NaN if none is judged."""
        return float(sum(cell.word == word for cell in self.cells)) if self.judged else math.nan

    def any(self, word: str) -> float:
        """Say 1 if there is such a cell and 0 else."""
        return min(self.count(word), 1.0)

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
        one = partial(_measure_model, runs.models[run], run, sizes, workers=runs.means.workers)
        found[run] = keep(path, Measured, one)
        runs.on_done(1)
    return found


count = len  # of what `measure` reports as done


def _key(run: Run, config: TrainConfig, sizes: Sizes) -> str:
    family = config.task.family, config.task.model_dump_json()
    shifts = shifts_of(run.kind, quick=sizes.quick)
    asked = [code_version(__name__), config_hash(config), *family, *shifts, sizes.n_prompts, sizes.n_controls]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]


def _measure_model(model: HookedModel, run: Run, sizes: Sizes, *, workers: int = 1) -> Measured:
    def asked(kind: Kind) -> dict[str, Any]:
        return {"shifts": shifts_of(kind, quick=sizes.quick), "n_prompts": sizes.n_prompts, "seed": run.seed}

    task, n_controls = task_of(run.kind, sizes.n_dims), sizes.n_controls
    study = plan_study(model, task, n_controls=n_controls, workers=workers, **asked(run.kind))
    found = run_study(replace(study, measures=_MEASURES)).results[_SIGNATURES]
    shown = error_curves(model, task_of("isotropic", sizes.n_dims), **asked("isotropic"))
    return Measured(**found, common={label: of.curves[MODEL].late.value for label, of in shown.families.items()})


def _measured(found: Findings) -> dict[str, Any]:
    families = found.plan.families
    errors = {label: prompt_errors(found.predictions[label], family) for label, family in families.by_label.items()}
    baseline = fit_norm_baseline(families.fit)
    norms = {label: baseline.score(family.prompts) for label, family in families.by_label.items()}
    atlas = atlas_of(found.surveys, families, blocks_among(found.plan.sites), found.plan.conventions)
    return {
        "families": _families(found, errors),
        "cells": tuple(map(_cell, atlas.cells)),
        "judged": atlas.judged,
        "readings": tuple(signatures.readings(found.surveys, found.plan.sites, errors)),
        "conventions": tuple(signatures.conventions(found.watched[_SIGNATURES], errors)),
        "norms_auroc": signatures.mean_auroc(norms),
        "norms_within": signatures.correlate(norms, errors)[0],
    }


def _cell(cell: AtlasCell) -> Cell:
    shown = {name: getattr(cell, name) for name in ("site", "shift", "norms", "z", "p_value")}
    return Cell(**shown, auroc=cell.value, untrained=cell.control)


def _compared(sites: Sequence[ResidualSite]) -> tuple[ResidualSite, ...]:
    """Choose where conventions are compared: every second block, the last one among them, and the final norm."""
    *blocks, norm = blocks_among(sites)
    return (*blocks[::-2][::-1], norm)


_SIGNATURES = "signatures"
_MEASURES = (
    Measure(
        _SIGNATURES, "signatures by every convention", run=_measured,
        watch=lambda plan, network: signatures.SignatureWatch(_compared(plan.sites), network.cfg.tokens),
        kept=signatures.SignatureWatch.seen,
    ),
)  # fmt: skip


def _families(found: Findings, wrong: Scores) -> dict[str, FamilyFound]:
    reports = summarise_errors(found.predictions, found.plan.families, found.answers).families
    records = {label: [s.families[label].sites[found.main_site.label] for s in found.surveys] for label in reports}
    leading = {label: [float(record.leading_value.mean()) for record in of] for label, of in records.items()}
    scores = {label: of[0].scores.ood_score.double() for label, of in records.items()}
    inside, families = reports[IN_DISTRIBUTION], {}
    for label, (own, *untrained) in records.items():
        of, ratios = reports[label], zip(leading[label], leading[IN_DISTRIBUTION], strict=True)
        curves = {name: of.curves[name] for name in (MODEL, *_REFERENCES)}
        # What the model never learned in distribution is no failure of a shift.
        worse = of.gap_to_least_squares.low > inside.gap_to_least_squares.high
        fails = of.fails(MODEL) and (of is inside or worse)
        passed = detection_report(scores[IN_DISTRIBUTION], scores[label], n_bootstrap=1, paired=True).fpr95_id_positive
        families[label] = FamilyFound(
            late={name: curve.late.value for name, curve in curves.items()},
            fails={MODEL: fails, **{name: of.fails(name) for name in _REFERENCES}},
            curves={name: _rounded(curve.mean) for name, curve in curves.items()},
            spectrum=_rounded(own.spectrum),
            untrained_spectrum=_rounded(torch.stack([record.spectrum for record in untrained]).mean(0)),
            growth=tuple(float(torch.tensor(own / usual).log()) for own, usual in ratios),
            flagged=1 - passed,
            sample=tuple(zip(_rounded(1 - scores[label][:_KEPT]), _rounded(wrong[label][:_KEPT]), strict=True)),
        )
    return families


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(float(f"{value:.4g}") for value in values.tolist())


Chosen = tuple[str, Callable[[Measured], Any]]  # where, in words, and what a model shows there


class Reader(PerSeed[Measured]):
    """The numbers by training distribution, one per seed."""

    def __init__(self, found: Mapping[Run, Measured], sizes: Sizes) -> None:
        shifts = {f"n_{kind}": len(found[Run(kind, sizes.seeds[0])].shifts) for kind in KINDS}
        *_, block, norm = (reading.site for reading in found[Run(KINDS[0], sizes.seeds[0])].readings)
        super().__init__(found, sizes.seeds, {"block": block, "norm": norm, **shifts})
        self.early, self.later = sizes.seeds[: len(sizes.seeds) // 2], sizes.seeds[len(sizes.seeds) // 2 :]
        self.later = self.later if self.early else ()

    def each_later(self, number: Callable[[Measured], float], kind: Kind) -> tuple[float, ...]:
        """One number per seed of the second half."""
        return combine(number, [self.records[kind, seed] for seed in self.later])

    def strongest(self, kind: Kind) -> Chosen:
        """Choose, on the first half of the seeds, the cell where shifted prompts leave the signature most."""
        return self._cell(kind, lambda cell: cell.z)

    def detecting(self, kind: Kind) -> Chosen:
        """Choose, on the first half of the seeds, the cell where the signature detects most beyond its controls."""
        return self._cell(kind, lambda cell: cell.beyond_all)

    def _cell(self, kind: Kind, number: Callable[[Cell], float]) -> Chosen:
        site, shift = self._best(kind, lambda found: {(cell.site, cell.shift): number(cell) for cell in found.cells})
        return f"{site} under {shift}", lambda found: found.cell(site, shift)

    def most_telling(self, kind: Kind) -> Chosen:
        """Choose, on the first half of the seeds, the site whose score tells the error best inside families."""
        site = self._best(kind, lambda found: {reading.site: reading.within[0] for reading in found.readings})
        return site, lambda found: next(reading for reading in found.readings if reading.site == site)

    def _best(self, kind: Kind, numbers: Callable[[Measured], dict[Any, float]]) -> Any:
        of = [numbers(self.records[kind, seed]) for seed in self.early]
        means = {place: mean([each[place] for each in of]) for place in of[0]}
        return max(means, key=lambda place: -math.inf if math.isnan(means[place]) else means[place])

    def recognised(self) -> tuple[float, ...]:
        """Say, per seed, for which share of models the distribution with the nearest mean log errors is their own.

        Errors are those on prompts that are the same for all models, floored at 1e-4; means are over the other seeds.
        """
        if len(self.seeds) < 2:
            raise InputError("Reader.recognised needs models of two seeds or more, got one; run more seeds.")
        return tuple(float(np.mean([self._nearest(kind, seed) == kind for kind in KINDS])) for seed in self.seeds)

    def _nearest(self, kind: Kind, seed: int) -> str:
        patterns = {run: np.log(np.maximum(list(found.common.values()), _LEAST)) for run, found in self.records.items()}
        others = [s for s in self.seeds if s != seed]
        centres = {one: np.mean([patterns[one, s] for s in others], axis=0) for one in KINDS}
        return min(centres, key=lambda one: float(np.linalg.norm(patterns[kind, seed] - centres[one])))
