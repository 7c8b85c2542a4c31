"""The main job: one model, all measures, each with its controls, from one set of prompts."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from icl_interp.activations import Batch
from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.conventions import Conventions
from icl_interp.measure.cost import default_prompts, probe_count, shift_reads
from icl_interp.measure.detector_report import start_watch, summarise_detectors
from icl_interp.measure.detector_result import DetectorReport
from icl_interp.measure.detectors import DetectorWatch
from icl_interp.measure.effort import effort_of
from icl_interp.measure.errors import summarise_errors
from icl_interp.measure.families import IN_DISTRIBUTION, Families, draw_families
from icl_interp.measure.features import answering_features
from icl_interp.measure.layer_readouts import read_out_layers, summarise_readouts
from icl_interp.measure.likeness import likeness_to_references
from icl_interp.measure.linear_probes import partial_scores, probe_features, probe_targets, summarise_probes
from icl_interp.measure.mechanism import examine_mechanism
from icl_interp.measure.ood import summarise_ood
from icl_interp.measure.similarity import LayerWatch, summarise_similarity
from icl_interp.measure.sites import last_block, residual_sites
from icl_interp.measure.study_result import Study
from icl_interp.measure.subspace_use import N_RANDOM
from icl_interp.measure.survey import NetworkSurvey, Watch, survey_network
from icl_interp.models.config import ModelConfig
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.query import predict
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import reference_predictors
from probes.spectra import LeadingDirections

__all__ = ["study"]

BATCH = 64
"""Prompts a forward pass."""


def study(
    model: HookedModel,
    task: Task,
    *,
    n_prompts: int | None = None,
    n_points: int | None = None,
    shifts: Sequence[str] | None = None,
    layers: Sequence[int] | None = None,
    n_controls: int = N_UNTRAINED,
    n_points_trained: int | None = None,
    seed: int = 0,
    tick: Callable[[int, str], None] | None = None,
) -> Study:
    """Measure everything that the report of a model shows.

    Args:
        model: The network.
        task: What is in distribution.
        n_prompts: For each family; None takes `default_prompts`.
        n_points: Pairs a prompt; None takes the task's usual number.
        shifts: Patterns as `select_shifts` takes them; None means the core suite.
        layers: Blocks to look at; None means all.
        n_controls: Untrained networks; 0 switches them off, and every verdict is then unknown.
        n_points_trained: Points that prompts had in training; later ones are marked as never seen there. None takes
            the task's usual number.
        seed: The only source of randomness.
        tick: Told the number of prompts just read and by which network, for progress; `study_reads` and `Effort.reads`
            in all.

    Returns:
        The study.

    Raises:
        ValueError: If there are fewer than 8 prompts or 2 points, or a shift or layer does not exist.
    """
    config = model.cfg
    n_points = task.default_points if n_points is None else n_points
    if n_prompts is None:
        n_shifts, extra = shift_reads(task, shifts, n_points=n_points, max_points=config.max_points)
        n_prompts = default_prompts(config, n_shifts, n_points, n_controls, extra=extra)
    if n_prompts < 8 or n_points < 2:
        raise ValueError(
            f"a study needs at least 8 prompts of 2 points, got {n_prompts} prompts of {n_points} points; raise "
            "--prompts or --points."
        )
    report = tick or (lambda _done, _note: None)
    sites = residual_sites(config, layers)
    families = draw_families(
        task,
        shifts=shifts,
        n_prompts=n_prompts,
        n_points=n_points,
        max_points=config.max_points,
        n_points_trained=n_points_trained,
        seed=seed,
    )
    if len(families.all_families) == 1:
        raise ValueError(
            "a study compares prompts in distribution with shifted ones, got no shift; add one, such as x_scale=3, to "
            "--shifts."
        )
    references = reference_predictors(task, n_points=n_points)
    probe_prompts = task.sample(probe_count(n_prompts), n_points, seed=derive_seed(seed, "evaluation: probes"))
    targets, left_out = probe_targets(probe_prompts, references, task)
    conventions = Conventions(layout=config.tokens)
    surveys, probes, readouts, partials, watches, layer_watches = [], [], [], {}, [], []
    for i, network in enumerate([model, *untrained_networks(config, n_controls, seed=seed)]):
        name = "this model" if i == 0 else f"untrained network {i}"
        watches.append(start_watch(network, last_block(config), conventions, seed=seed))
        layer_watches.append(LayerWatch(sites, conventions))
        surveys.append(
            survey_network(
                network,
                families,
                sites,
                on_batch=partial(_relay, report, name),
                watch=partial(_watched, (watches[-1], layer_watches[-1])),
            )
        )
        features = answering_features(network, probe_prompts, sites)
        probes.append(probe_features(features, probe_prompts, targets, controls=i == 0, seed=seed))
        readouts.append(read_out_layers(features, probe_prompts, seed=seed))
        if i == 0:
            partials = partial_scores(features, probes[0], targets, references, seed=seed)
        report(len(probe_prompts), name)
    ood = summarise_ood(surveys[0], surveys[1:], families, last_block(config), conventions, seed=seed)
    ood_final = None
    if config.final_norm:
        ood_final = summarise_ood(surveys[0], (), families, sites[-1], conventions, seed=seed)
    mechanism = examine_mechanism(
        model,
        task,
        families,
        conventions,
        references=references,
        likeness=likeness_to_references(
            [survey.families[IN_DISTRIBUTION].predictions for survey in surveys],
            references,
            families.in_distribution.prompts,
        ),
        readouts=summarise_readouts(
            readouts[0],
            readouts[1:],
            [site.label for site in sites],
            probe_prompts,
            task,
            config,
            references=references,
            seed=seed,
        ),
        effort=effort_of(config, n_prompts, n_points, n_controls, N_RANDOM),
        n_controls=n_controls,
        silent=not any(
            record.sites[last_block(config).label].leading_value.any()
            for survey in surveys
            for record in [survey.families[IN_DISTRIBUTION]]
        ),
        seed=seed,
        tick=report,
    )
    said = {label: record.predictions for label, record in surveys[0].families.items()}
    said |= _errors_only(model, families, partial(_relay, report, "this model"))
    return Study(
        config=config,
        task=task,
        families=families,
        sites=tuple(sites),
        conventions=conventions,
        errors=summarise_errors(said, families, references),
        survey=surveys[0],
        untrained=tuple(surveys[1:]),
        ood=ood,
        ood_final=ood_final,
        probes=summarise_probes(probes[0], probes[1:], targets, left_out, partials),
        mechanism=mechanism,
        context_free=_context_free(references, families.in_distribution.prompts),
        seed=seed,
        detectors=_detectors(surveys, watches, families, references, conventions, config, seed),
        similarity=summarise_similarity([watch.vectors() for watch in layer_watches], pooling="last"),
    )


def _watched(watches: Sequence[Watch], label: str, batch: Batch, found: Mapping[str, LeadingDirections]) -> None:
    for watch in watches:
        watch(label, batch, found)


def _detectors(
    surveys: Sequence[NetworkSurvey],
    watches: Sequence[DetectorWatch],
    families: Families,
    references: Mapping[str, Predictor],
    conventions: Conventions,
    config: ModelConfig,
    seed: int,
) -> DetectorReport | None:
    if not families.shifted:
        return None
    return summarise_detectors(surveys, watches, families, references, last_block(config), conventions, seed=seed)


def _context_free(references: Mapping[str, Predictor], prompts: Prompts) -> Tensor:
    # Zero where no Bayes reference is known: the tasks' labels have mean zero then.
    bayes = next((f for name, f in references.items() if "Bayes" in name.split(" = ")), None)
    if bayes is None:
        return torch.zeros_like(prompts.ys)
    alone = prompts.xs.flatten(0, 1)[:, None]
    return bayes(alone, torch.zeros_like(alone[..., 0])).reshape(prompts.ys.shape)


def _errors_only(model: HookedModel, families: Families, on_prompts: Callable[[int], None]) -> dict[str, Tensor]:
    with torch.no_grad():
        return {
            label: torch.cat([
                predict(model, family.prompts[start : start + BATCH], on_prompts=on_prompts).cpu()
                for start in range(0, len(family.prompts), BATCH)
            ])
            for label, family in families.errors_only.items()
        }


def _relay(report: Callable[[int, str], None], name: str, done: int) -> None:
    report(done, name)
