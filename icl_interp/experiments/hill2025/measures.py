"""What is measured on the models of Hill et al. (2025), one model at a time and kept in the folder."""

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from icl_interp.activations import Batch
from icl_interp.code_version import code_version
from icl_interp.experiments.hill2025.families import common_errors, families_found
from icl_interp.experiments.hill2025.prompt_rows import PromptRowsWatch, read_prompt_rows
from icl_interp.experiments.hill2025.record import DetectorFound, LayerFound, Measured
from icl_interp.experiments.hill2025.setting import Kind, Run, Sizes, shifts_of, task_of
from icl_interp.experiments.hill2025.watch import ConventionWatch, correlate, read_conventions
from icl_interp.files import write_atomically
from icl_interp.measure.controls import untrained_networks
from icl_interp.measure.detectors.report import start_watch
from icl_interp.measure.detectors.scores import DetectorScores, Scores, mean_auroc_replicates, score_prompts
from icl_interp.measure.detectors.watch import DetectorWatch
from icl_interp.measure.errors import prompt_errors, summarise_errors
from icl_interp.measure.families import IN_DISTRIBUTION, Families, draw_families
from icl_interp.measure.ood import fit_norm_baseline
from icl_interp.measure.sites import Conventions, ResidualSite, last_block, residual_sites
from icl_interp.measure.study.survey import NetworkSurvey, survey_network
from icl_interp.models.hooked import HookedModel
from icl_interp.tasks.references import reference_predictors
from icl_interp.training.resume import config_hash
from icl_interp.training.train_config import TrainConfig
from probes.spectra import LeadingDirections

__all__ = [
    "NORMS",
    "measure",
]

NORMS = "norms alone"
"""The control that reads nothing but the norms of a prompt's inputs and labels."""


def measure(
    configs: Mapping[Run, TrainConfig],
    models: Mapping[Run, HookedModel],
    folder: Path,
    sizes: Sizes,
    on_done: Callable[[int], None],
) -> dict[Run, Measured]:
    """Measure trained models; what the folder holds already is read back."""
    found = {}
    for run, config in configs.items():
        path = folder / "measured" / f"{_key(run, config, sizes)}.json"
        found[run] = _read(path) or _measure_and_keep(models[run], run, sizes, path)
        on_done(1)
    return found


def _read(path: Path) -> Measured | None:
    # What is damaged is measured again, as is what is missing.
    try:
        return Measured.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _measure_and_keep(model: HookedModel, run: Run, sizes: Sizes, path: Path) -> Measured:
    measured = _measure_model(model, run.kind, sizes, seed=run.seed)
    text = measured.model_dump_json()
    path.parent.mkdir(exist_ok=True)
    write_atomically(path, lambda file: file.write(text.encode()))
    return Measured.model_validate_json(text)


def _key(run: Run, config: TrainConfig, sizes: Sizes) -> str:
    family = config.task.family, config.task.model_dump_json()
    shifts = shifts_of(run.kind, quick=sizes.quick)
    asked = [code_version(__name__), config_hash(config), *family, *shifts, sizes.n_prompts, sizes.n_controls]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:12]


def _measure_model(model: HookedModel, kind: Kind, sizes: Sizes, *, seed: int) -> Measured:
    """Measure one model and its untrained networks."""
    task = task_of(kind, sizes.n_dims)
    shifts = shifts_of(kind, quick=sizes.quick)
    families = draw_families(task, shifts=shifts, n_prompts=sizes.n_prompts, seed=seed)
    site, how = last_block(model.cfg), Conventions(layout=model.cfg.tokens)
    networks = [model, *untrained_networks(model.cfg, sizes.n_controls, seed=seed)]
    readers = [_Reader(network, site, how, seed) for network in networks]
    surveys = [_survey(reader, families, how) for reader in readers]
    said = {label: record.predictions for label, record in surveys[0].families.items()}
    references = reference_predictors(task)
    answers = {label: references.answers(family.prompts) for label, family in families.by_label.items()}
    scored = score_prompts(surveys, [reader.detectors for reader in readers], families, answers, site)
    errors = {label: prompt_errors(values, families.by_label[label]) for label, values in said.items()}
    norms = _norm_scores(families)
    norms_within, norms_pooled, _ = correlate(norms, errors)
    return Measured(
        families=families_found(surveys, families, summarise_errors(said, families, answers), site),
        readings=(
            *read_conventions([reader.conventions for reader in readers], errors),
            *read_prompt_rows([reader.prompt_rows for reader in readers]),
        ),
        layers=tuple(_layer(surveys, where) for where in readers[0].sites),
        detectors={
            **{found.name: _detector(found) for found in scored},
            NORMS: DetectorFound(reads="raw inputs", auroc=_auroc(norms), untrained=math.nan),
        },
        norms_within=norms_within,
        norms_pooled=norms_pooled,
        common=common_errors(model, sizes, seed=seed),
    )


class _Reader:
    # What watches one network while it is surveyed.
    def __init__(self, network: HookedModel, site: ResidualSite, how: Conventions, seed: int) -> None:
        self.network, self.sites = network, residual_sites(network.cfg)
        self.conventions = ConventionWatch(self.sites, network.cfg.tokens)
        self.prompt_rows = PromptRowsWatch(self.sites, network.cfg.tokens)
        self.detectors: DetectorWatch = start_watch(network, site, how, seed=seed)

    def __call__(self, label: str, batch: Batch, found: Mapping[str, LeadingDirections]) -> None:
        self.conventions(label, batch, found)
        self.prompt_rows(label, batch)
        self.detectors(label, batch, found)


def _survey(reader: _Reader, families: Families, how: Conventions) -> NetworkSurvey:
    return survey_network(reader.network, families, reader.sites, conventions=how, batch_size=256, watch=reader)


def _layer(surveys: Sequence[NetworkSurvey], site: ResidualSite) -> LayerFound:
    inside: dict[str, list[float]] = {"v1": [], "v2": [], "overlap": []}
    shifted: dict[str, list[float]] = {"v1": [], "v2": [], "overlap": []}
    for survey in surveys:
        records = {label: record.sites[site.label] for label, record in survey.families.items()}
        own = records.pop(IN_DISTRIBUTION)
        for number, name in enumerate(("v1", "v2")):
            inside[name].append(float(own.cosines_with_id[number]))
            shifted[name].append(_mean([float(record.cosines_with_id[number]) for record in records.values()]))
        inside["overlap"].append(own.overlap_with_id)
        shifted["overlap"].append(_mean([record.overlap_with_id for record in records.values()]))
    return LayerFound(
        site=site.label,
        inside={name: tuple(values) for name, values in inside.items()},
        shifted={name: tuple(values) for name, values in shifted.items()},
    )


def _detector(found: DetectorScores) -> DetectorFound:
    untrained = _mean([_auroc(scores) for scores in found.controls])
    return DetectorFound(reads=found.reads, auroc=_auroc(found.scores), untrained=untrained)


def _norm_scores(families: Families) -> dict[str, Tensor]:
    baseline = fit_norm_baseline(families.fit)
    return {label: baseline.score(family.prompts) for label, family in families.by_label.items()}


def _auroc(scores: Scores) -> float:
    return mean_auroc_replicates(scores, IN_DISTRIBUTION, seed=0, n_bootstrap=1)[0]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
