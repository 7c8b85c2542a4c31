"""The main job: one model, all measures, each with its controls, from one set of prompts."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.detectors.report import summarise_detectors
from icl_interp.measure.detectors.result import DetectorReport
from icl_interp.measure.errors import likeness_to_references, summarise_errors
from icl_interp.measure.families import IN_DISTRIBUTION, Families
from icl_interp.measure.layer_readouts import summarise_readouts
from icl_interp.measure.linear_probes import summarise_probes
from icl_interp.measure.ood import OodReport, summarise_ood
from icl_interp.measure.similarity import summarise_similarity
from icl_interp.measure.sites import last_block
from icl_interp.measure.study.mechanism import Mechanism, examine_mechanism
from icl_interp.measure.study.plan import StudyPlan, effort_of, plan_study
from icl_interp.measure.study.reading import Readings, read_networks
from icl_interp.measure.study.result import Study
from icl_interp.measure.subspace_use import N_RANDOM
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.references import References
from icl_interp.prompts import Prompts
from icl_interp.query import Callee, predict
from icl_interp.tasks.base import Task

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
    references: Mapping[str, Callee] | None = None,
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
        references: Predictors of your own by name, added to the task's; a `References` stands in place of them.
        n_controls: Untrained networks; 0 switches them off, and every verdict is then unknown.
        n_points_trained: Points that prompts had in training; later ones are marked as never seen there. None takes
            the task's usual number.
        seed: The only source of randomness.
        tick: Told the number of prompts just read and by which network, for progress; `study_reads` and `Effort.reads`
            in all.

    Returns:
        The study.

    Raises:
        InputError: If there are fewer than 8 prompts or 2 points, or a shift or layer does not exist.
    """
    report = tick or (lambda _done, _note: None)
    plan = plan_study(
        model.cfg,
        task,
        n_prompts=n_prompts,
        n_points=n_points,
        shifts=shifts,
        layers=layers,
        n_controls=n_controls,
        n_points_trained=n_points_trained,
        seed=seed,
        references=references,
    )
    found = read_networks([model, *untrained_networks(model.cfg, n_controls, seed=seed)], plan, report)
    mechanism = _mechanism(model, plan, found, report)
    said = {label: record.predictions for label, record in found.surveys[0].families.items()}
    said |= _errors_only(model, plan.families, lambda done: report(done, "this model"))
    ood, ood_final = _ood(plan, found)
    return Study(
        config=plan.config,
        task=task,
        families=plan.families,
        sites=plan.sites,
        conventions=plan.conventions,
        errors=summarise_errors(said, plan.families, plan.references),
        survey=found.surveys[0],
        untrained=tuple(found.surveys[1:]),
        ood=ood,
        ood_final=ood_final,
        probes=summarise_probes(found.probes[0], found.probes[1:], plan.targets, plan.left_out, found.partials),
        mechanism=mechanism,
        context_free=_context_free(plan.references, plan.families.in_distribution.prompts),
        seed=seed,
        detectors=_detectors(plan, found),
        similarity=summarise_similarity([watch.vectors() for watch in found.layers], pooling="last"),
    )


def _mechanism(model: HookedModel, plan: StudyPlan, found: Readings, report: Callable[[int, str], None]) -> Mechanism:
    label = last_block(plan.config).label
    streams = [survey.families[IN_DISTRIBUTION].sites[label].leading_value for survey in found.surveys]
    return examine_mechanism(
        model,
        plan.task,
        plan.families,
        plan.conventions,
        references=plan.references,
        likeness=likeness_to_references(found.predictions, plan.references, plan.families.in_distribution.prompts),
        readouts=summarise_readouts(
            found.readouts[0],
            found.readouts[1:],
            [site.label for site in plan.sites],
            plan.probe_prompts,
            plan.task,
            plan.config,
            references=plan.references,
            seed=plan.seed,
        ),
        effort=effort_of(plan.config, plan.n_prompts, plan.n_points, plan.n_controls, N_RANDOM),
        n_controls=plan.n_controls,
        silent=not any(values.any() for values in streams),
        seed=plan.seed,
        tick=report,
    )


def _ood(plan: StudyPlan, found: Readings) -> tuple[OodReport, OodReport | None]:
    model, untrained = found.surveys[0], found.surveys[1:]
    before = summarise_ood(model, untrained, plan.families, last_block(plan.config), plan.conventions, seed=plan.seed)
    if not plan.config.final_norm:
        return before, None
    return before, summarise_ood(model, (), plan.families, plan.sites[-1], plan.conventions, seed=plan.seed)


def _detectors(plan: StudyPlan, found: Readings) -> DetectorReport | None:
    if not plan.families.shifted:
        return None
    return summarise_detectors(
        found.surveys,
        found.detectors,
        plan.families,
        plan.references,
        last_block(plan.config),
        plan.conventions,
        seed=plan.seed,
    )


def _context_free(references: References, prompts: Prompts) -> Tensor:
    # Zero where no Bayes reference is known: the tasks' labels have mean zero then.
    if "Bayes" not in references:
        return torch.zeros_like(prompts.ys)
    alone = prompts.xs.flatten(0, 1)[:, None]
    return references["Bayes"](alone, torch.zeros_like(alone[..., 0])).reshape(prompts.ys.shape)


def _errors_only(model: HookedModel, families: Families, on_prompts: Callable[[int], None]) -> dict[str, Tensor]:
    with torch.no_grad():
        return {
            label: torch.cat([
                predict(model, family.prompts[start : start + BATCH], on_prompts=on_prompts).cpu()
                for start in range(0, len(family.prompts), BATCH)
            ])
            for label, family in families.errors_only.items()
        }
