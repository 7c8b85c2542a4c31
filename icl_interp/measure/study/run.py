"""The main job: one model, all measures, each with its controls, from one set of prompts."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor

from icl_interp.door import ModelLike, TaskLike
from icl_interp.jobs import Crew
from icl_interp.measure.controls import untrained_makers
from icl_interp.measure.detectors.own import Detector, Fit
from icl_interp.measure.linear_probes import Target
from icl_interp.measure.sites import answering_features, blocks_among
from icl_interp.measure.study import table
from icl_interp.measure.study.measure import Absent, Findings, StudyPlan
from icl_interp.measure.study.plan import plan_study
from icl_interp.measure.study.result import Study
from icl_interp.measure.study.survey import NetworkSurvey, Watch, survey_network, together
from icl_interp.measure.verdicts import gated
from icl_interp.models.architecture import ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.notebooks import notebook_bar
from icl_interp.query import Callee, predict
from icl_interp.tasks.shifts.select import Shifts

_BATCH = 64
"""Prompts a forward pass."""
Tick = Callable[[int, str], None]
"""Told the number of sequences just read, and by which network or for which measure."""


def study(
    model: ModelLike,
    task: TaskLike = None,
    *,
    n_prompts: int | None = None,
    n_points: int | None = None,
    shifts: Shifts | None = None,
    layers: Sequence[int] | None = None,
    references: Mapping[str, Callee] | None = None,
    detectors: Mapping[str, Fit | Detector] | None = None,
    targets: Mapping[str, Target] | None = None,
    n_controls: int | None = None,
    n_points_trained: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    tick: Tick | None = None,
) -> Study:
    """Measure everything that the report of a model shows.

    Args:
        model: The network, or a `Checkpoint`.
        task: The task in distribution; a `Checkpoint` brings its own.
        n_prompts: Number of prompts per family; None takes as many as fit in a few minutes.
        n_points: Number of examples per prompt; None takes the task's usual number.
        shifts: Names or patterns, or your own `Shift` objects, see `select_shifts`; None means the core suite.
        layers: Blocks to look at; None means all.
        references: Predictors of your own by name, added to the task's; a `References` replaces them.
        detectors: Detectors of your own by name, as in `detector_report`.
        targets: Probe targets of your own by name, as in `linear_probes`.
        n_controls: Number of untrained networks; None takes 20 if they cost less than a minute and otherwise 10, and 40
            or 20 for spectra. 0 switches them off, and no verdict applies then.
        n_points_trained: Number of examples per prompt in training; later ones are marked as never seen in training.
            None takes what a `Checkpoint` says, or the task's usual number.
        seed: The only source of randomness.
        workers: Number of processes, of one thread each, that untrained networks are divided between; results do not
            depend on it. None takes two or more if there are enough cores and one process would take longer than 20
            seconds. Networks that cannot be sent to another process stay in this one.
        tick: Called with the number of sequences just read, and the network or measure, for progress; the total is
            `StudyPlan.reads`. None shows a bar in a notebook.

    Returns:
        The study.

    Raises:
        InputError: If there are fewer than 8 prompts or 2 points, or a shift or layer does not exist.
    """
    plan = plan_study(
        model,
        task,
        n_prompts=n_prompts,
        n_points=n_points,
        shifts=shifts,
        layers=layers,
        references=references,
        detectors=detectors,
        targets=targets,
        n_controls=n_controls,
        n_points_trained=n_points_trained,
        seed=seed,
        workers=workers,
    )
    if tick is not None:
        return run_study(plan, tick)
    with notebook_bar("studying", plan.reads) as bar:
        return run_study(plan, bar)


def run_study(plan: StudyPlan, tick: Tick | None = None) -> Study:
    """Read every network once, then ask each measure for its result and its claims."""
    report = tick or (lambda _done, _note: None)
    with Crew(min(plan.workers, 1 + plan.n_surveyed) - 1, modules=[table.__name__]) as crew:
        return _measured(_read_networks(plan, report, crew), report)


def _measured(found: Findings, report: Tick) -> Study:
    plan = found.plan
    results = found.results
    results |= dict.fromkeys(measure.name for measure in plan.measures)
    absent, efforts = plan.absent, plan.efforts
    for measure, done in zip(plan.running, _parts(plan.afterwards, len(plan.running)), strict=True):
        result = measure.run(found)
        report(done, measure.title)
        if isinstance(result, Absent):
            absent[measure.name] = result.reason
        else:
            results[measure.name] = result
        if measure.name in efforts and measure.alone is None:
            report(efforts[measure.name].reads, measure.title)
    claims = plan.claims
    judged = {
        claim.name: claim.judge(results[measure.name], found, len(claims))
        for measure in plan.running
        for claim in measure.claims(plan)
        if measure.name not in absent
    }
    gates = {claim.name: claim.gate for claim in claims if claim.gate in judged and claim.name in judged}
    return Study(
        config=plan.config,
        task=plan.task,
        families=plan.families,
        sites=plan.sites,
        conventions=plan.conventions,
        results=results,
        absent=absent,
        verdicts=gated(judged, gates),
        claims=claims,
        answers=found.answers,
        untrained=found.untrained,
        measures=plan.measures,
        seed=plan.seed,
    )


def _parts(whole: int, n: int) -> list[int]:
    return [whole * (i + 1) // n - whole * i // n for i in range(n)]


@dataclass(frozen=True, slots=True, eq=False)
class _Network:
    """One network whose turn comes."""

    name: str
    """For progress."""
    make: Callable[[], HookedModel]
    of_model: bool
    measured: bool
    """Whether more than spectra is asked of it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Reading:
    """What one network showed."""

    survey: NetworkSurvey
    watched: dict[str, Any] = field(default_factory=dict)
    read: dict[str, Any] = field(default_factory=dict)
    alone: dict[str, Any] = field(default_factory=dict)
    errors_only: dict[str, Tensor] = field(default_factory=dict)


def _read_networks(plan: StudyPlan, report: Tick, crew: Crew) -> Findings:
    """Run every network over all prompts of a study."""
    makers = untrained_makers(plan.model, plan.n_surveyed, seed=plan.seed)
    networks = [_Network("this model", lambda: plan.model, of_model=True, measured=True)]
    networks += [
        _Network(f"untrained network {i}", make, of_model=False, measured=i <= plan.n_controls)
        for i, make in enumerate(makers, start=1)
    ]
    readings: dict[int, _Reading] = {}
    families = plan.families.all_families
    found = Findings(plan, {label: plan.references.answers(family.prompts) for label, family in families.items()})
    shared = crew.share(networks, partial(_read_network, found), partial(_read_here, found, report))
    with closing(shared):  # at once, if this is stopped
        for i, (reading, told) in shared:
            if not told:
                report(plan.reads_of(measured=networks[i].measured), networks[i].name)
            readings[i] = reading
    found.crew = crew
    for i, network in enumerate(networks):
        _put(found, network, readings.pop(i))
    return found


def _put(found: Findings, network: _Network, reading: _Reading) -> None:
    (found.surveys if network.measured else found.further).append(reading.survey)
    for place, one in ((found.watched, reading.watched), (found.read, reading.read), (found.alone, reading.alone)):
        for name, what in one.items():
            place.setdefault(name, []).append(what)
    if network.of_model:
        found.predictions = {label: record.predictions for label, record in reading.survey.families.items()}
        found.predictions |= reading.errors_only


def _read_here(found: Findings, report: Tick, network: _Network) -> tuple[_Reading, bool]:
    def on_prompts(done: int) -> None:
        report(done, network.name)

    return _read(found, network, on_prompts), True


def _read_network(found: Findings, network: _Network) -> tuple[_Reading, bool]:
    return _read(found, network, lambda _: None), False


def _read(found: Findings, asked: _Network, on_prompts: Callable[[int], None]) -> _Reading:
    plan, network = found.plan, asked.make()
    if not asked.measured:
        # Signature scores for the atlas, which leaves the read-in out.
        return _Reading(_survey(network, plan, blocks_among(plan.sites), (), on_prompts))
    watches = {m.name: m.watch(plan, network) for m in plan.running if m.watch is not None}
    survey = _survey(network, plan, plan.sites, list(watches.values()), on_prompts)
    features = answering_features(network, plan.probe_prompts, plan.sites)
    read = {m.name: m.read(plan, features, asked.of_model) for m in plan.running if m.read is not None}
    on_prompts(plan.probe_reads)
    alone = {}
    for measure in plan.running:
        if measure.alone is not None:
            alone[measure.name] = measure.alone(found, network, asked.of_model)
            on_prompts(plan.reads_alone(measure, of_model=asked.of_model))
    return _Reading(
        survey=survey,
        watched={m.name: m.kept(watches[m.name]) for m in plan.running if m.name in watches},
        read=read,
        alone=alone,
        errors_only=_errors_only(network, plan, on_prompts) if asked.of_model else {},
    )


def _survey(
    network: HookedModel,
    plan: StudyPlan,
    sites: Sequence[ResidualSite],
    watches: Sequence[Watch],
    on_prompts: Callable[[int], None],
) -> NetworkSurvey:
    return survey_network(
        network,
        plan.families,
        sites,
        conventions=plan.conventions,
        on_batch=on_prompts,
        watch=together(watches),
    )


def _errors_only(model: HookedModel, plan: StudyPlan, on_prompts: Callable[[int], None]) -> dict[str, Tensor]:
    with torch.no_grad():
        return {
            label: torch.cat([
                predict(model, family.prompts[start : start + _BATCH], on_prompts=on_prompts).cpu()
                for start in range(0, len(family.prompts), _BATCH)
            ])
            for label, family in plan.families.errors_only.items()
        }
