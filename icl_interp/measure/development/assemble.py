"""Curves, trajectory and stages from the records on the disk."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.errors import InputError
from icl_interp.measure.development.cache import RecordStore
from icl_interp.measure.development.checkpoint import Measured, control_overlaps
from icl_interp.measure.development.jobs import CheckpointJob
from icl_interp.measure.development.material import Material, OwnParts, material
from icl_interp.measure.development.one_run import RunDevelopment, stages_of
from icl_interp.measure.development.record import LeftOut, LlcRecord
from icl_interp.measure.development.result import Development
from icl_interp.measure.development.settings import DevelopmentSettings, LlcSettings, settings_key
from icl_interp.predictors.references import ByReference
from icl_interp.runs.find import RunFiles
from icl_interp.tasks.base import Task
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.registry import task_to_config
from icl_interp.tasks.task_pool import TaskPool
from probes._core.results import short_repr
from probes.signature import emergence_of
from probes.trajectory import JointTrajectoryPCA, joint_trajectory_pca, log_step_weights

_LEAST_ROWS = 4
"""Checkpoints in all for a plane through them."""
_MOST_HELD = 2**27
"""Entries of function vectors, half a gigabyte, that are held in memory; more are read from the records in passes."""
_BLOCK = 64
Rows = Tensor | Callable[[], Iterator[Tensor]]


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run, its newest checkpoint, and where its records go."""

    files: RunFiles
    """Its checkpoints up to the newest that can be read."""
    checkpoint: Checkpoint
    """The newest that can be read, which says what is in distribution."""
    store: RecordStore
    unreadable: Mapping[int, str]
    """Why each newer checkpoint cannot be read, by step."""

    __repr__ = short_repr


def _run_names(runs: list[PlannedRun]) -> list[str]:
    """Name runs so that they are told apart: by the pool's size where there are pools, then by seed, then by folder."""
    pools = any(isinstance(run.checkpoint.task, TaskPool) for run in runs)
    names = [_size(run.checkpoint.task) if pools and len(runs) > 1 else None for run in runs]
    named = [name or run.files.folder.resolve().name or "run" for name, run in zip(names, runs, strict=True)]
    if len(set(named)) < len(named):
        seeds = [run.files.seed for run in runs]
        named = [n if seed is None else f"{n}, seed {seed}" for n, seed in zip(named, seeds, strict=True)]
    if len(set(named)) < len(named):
        named = [f"{n} ({number})" for number, n in enumerate(named, start=1)]
    return named


def _size(task: Task) -> str | None:
    if isinstance(task, TaskPool):
        return f"M = {task.n_tasks}"
    return "M = ∞" if isinstance(task, LinearRegression) else None


def assemble(
    planned: list[PlannedRun],
    jobs: Sequence[Sequence[CheckpointJob]],
    lost: Mapping[CheckpointJob, LeftOut],
    shared: Task | None,
    settings: DevelopmentSettings,
    llc: LlcSettings | None,
    own: OwnParts,
    *,
    stages: bool = True,
) -> Development:
    """Put the records of all runs together."""
    runs: list[RunDevelopment] = []
    outputs: dict[str, Rows] = {}
    held_entries = 0
    widths: set[int] = set()
    landmarks: dict[str, Tensor] = {}
    roles: dict[str, str] = {}
    for run, name, every in zip(planned, _run_names(planned), jobs, strict=True):
        failed = {job: lost[job] for job in every if job in lost}
        gone = {job.step for job, left_out in failed.items() if left_out.what != "learning coefficient"}
        kept = [job for job in every if job.step not in gone]
        paths = [job for job in kept if job.llc is None]
        if not paths:
            raise InputError(_nothing_measured(name, failed))
        held = material(run.checkpoint.task, shared, settings, run.checkpoint.model.cfg.max_points, own)
        measured = [_read(run, job) for job in paths]
        records = [run.store.read_llc(job.target) for job in kept if job.llc is not None]
        llc_records = tuple(record for record in records if record is not None)
        runs.append(_run(name, run, held, measured, llc_records, failed, stages=stages))
        widths |= {len(found.outputs) for found in measured}
        held_entries += sum(len(found.outputs) for found in measured)
        lazy = held_entries > _MOST_HELD
        outputs[name] = partial(_blocks, run, paths) if lazy else torch.stack([found.outputs for found in measured])
        for key, row, role in _landmarks(run.checkpoint.task, held):
            landmarks.setdefault(key, row)
            roles[key] = role
    steps = {run.name: run.steps for run in runs}
    return Development(
        runs=tuple(runs),
        trajectory=None if len(widths) > 1 or 0 in widths else _trajectory(outputs, steps, landmarks),
        landmark_roles=roles,
        trajectory_task="none in common" if shared is None else shared.describe(),
        settings=settings,
        llc_settings=llc if any(run.llc for run in runs) else None,
    )


def _blocks(run: PlannedRun, jobs: Sequence[CheckpointJob]) -> Iterator[Tensor]:
    for start in range(0, len(jobs), _BLOCK):
        yield torch.stack([_read(run, job).outputs for job in jobs[start : start + _BLOCK]])


def _nothing_measured(name: str, failed: Mapping[CheckpointJob, LeftOut]) -> str:
    newest = max((job for job in failed if job.llc is None), key=lambda job: job.step)
    reason = failed[newest].reason
    return f"a timeline needs a checkpoint that can be measured, got none in {name}: step {newest.step}: {reason}."


def _by_step(failed: Mapping[CheckpointJob, LeftOut], what: str) -> dict[int, str]:
    return {job.step: left_out.reason for job, left_out in failed.items() if left_out.what == what}


def _read(run: PlannedRun, job: CheckpointJob) -> Measured:
    found = run.store.read_measured(job.target)
    if found is None:
        raise OSError(f"a record was written and cannot be read back, {job.target}; is the disk full?")
    return found


def _run(
    name: str,
    run: PlannedRun,
    held: Material,
    measured: list[Measured],
    llc: tuple[LlcRecord, ...],
    failed: Mapping[CheckpointJob, LeftOut],
    *,
    stages: bool,
) -> RunDevelopment:
    task, config = run.checkpoint.task, run.checkpoint.model.cfg
    records = tuple(found.record for found in measured)
    steps = {record.step for record in records}
    boundaries, stages_from = stages_of(records, llc) if stages else (None, "loss")
    return RunDevelopment(
        name=name,
        task=task,
        config=config,
        seed=run.files.seed,
        records=records,
        llc=llc,
        emergence=emergence_of({found.record.step: found.signature for found in measured}),
        untrained_overlaps=_controls(run, held),
        ood_family=held.ood_family,
        fresh_family=held.fresh_family,
        label_second_moments={label: f.label_second_moment for label, f in held.families.all_families.items()},
        reference_losses={
            label: _reference_losses(said, held.families.all_families[label].prompts.targets)
            for label, said in held.said.items()
        },
        stages=boundaries,
        stages_from=stages_from,
        unreadable=dict(sorted((_by_step(failed, "file") | dict(run.unreadable)).items())),
        unmeasured=_by_step(failed, "checkpoint"),
        without_llc={step: why for step, why in _by_step(failed, "learning coefficient").items() if step in steps},
    )


def _reference_losses(said: ByReference[Tensor], targets: Tensor) -> ByReference[float]:
    return said.each(lambda name: float((said[name].double() - targets).square().mean()))


def _controls(run: PlannedRun, held: Material) -> tuple[float, ...]:
    config, settings = run.checkpoint.model.cfg, held.settings
    key = settings_key(settings, task_to_config(run.checkpoint.task), config.model_dump(mode="json"))
    path = run.store.plain_path("controls", key, key)
    kept = run.store.read_plain(path)
    if kept is None or "overlaps" not in kept:
        n, seed = settings.n_controls, settings.seed
        kept = {"overlaps": list(control_overlaps(run.checkpoint.model, held.probe_prompts, n, seed=seed))}
        run.store.write_plain(path, kept)
    return tuple(kept["overlaps"])


def _landmarks(task: Task, held: Material) -> list[tuple[str, Tensor, str]]:
    # A pool's own posterior mean is a point of its own; the others are the same for all runs.
    found, rows = [], held.landmarks()
    for shown, row in rows.items():
        names = rows.names[shown]
        if isinstance(task, TaskPool) and "dMMSE" in names:
            found.append((f"dMMSE, M = {task.n_tasks}", row, "dMMSE"))
        elif "ridge" in names:
            found.append(("ridge", row, "ridge"))
        elif shown in held.own_references:
            found.append((shown, row, "reference"))
        elif "zero" in names or "least squares" in names:
            found.append((names[0], row, names[0]))
    return found


def _trajectory(
    outputs: dict[str, Rows], steps: dict[str, tuple[int, ...]], landmarks: dict[str, Tensor]
) -> JointTrajectoryPCA | None:
    if sum(map(len, steps.values())) < _LEAST_ROWS:
        return None
    weights = {name: log_step_weights(torch.tensor(each, dtype=torch.float64)) for name, each in steps.items()}
    positive = "ridge" if "ridge" in landmarks else None
    return joint_trajectory_pca(outputs, landmarks=landmarks, weights=weights, positive=positive)
