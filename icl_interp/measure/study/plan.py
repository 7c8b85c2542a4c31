"""What a study asks of every network; drawn and checked before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import joblib

from icl_interp.door import ModelLike, TaskLike, as_model_and_task, trained_points
from icl_interp.errors import InputError
from icl_interp.measure.detectors.own import Detector, Fit, own_detectors
from icl_interp.measure.detectors.scores import TAKEN
from icl_interp.measure.families import draw_families, look_first
from icl_interp.measure.linear_probes import Target, probe_targets, with_own_targets
from icl_interp.measure.sites import Conventions, spanned_by
from icl_interp.measure.study import table
from icl_interp.measure.study.measure import WORK, StudyPlan, seconds_per_sequence
from icl_interp.models.architecture import Architecture
from icl_interp.prompts import derive_seed
from icl_interp.query import Callee
from icl_interp.tasks.base import Task
from icl_interp.tasks.fixed_prompts import FixedPrompts
from icl_interp.tasks.references import references_with
from icl_interp.tasks.shifts.select import Shifts, select_shifts

_MIN_PROMPTS, _MAX_PROMPTS = 24, 128
_MAX_PROBE_PROMPTS = 256
"""Prompts that probes are fitted on at most: their features are held in memory, those of other prompts are not."""


def plan_study(
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
) -> StudyPlan:
    """Draw and check everything that a study needs; its arguments are those of `study`."""
    n_points_trained = trained_points(model, n_points_trained)
    model, task = as_model_and_task("study", model, task)
    n_points = task.default_points if n_points is None else n_points
    look_first(model, task, n_points, seed=seed)
    config = model.cfg
    sites = config.residual_sites(layers)
    n_shifts, once = _shift_reads(task, shifts, n_points=n_points, max_points=config.max_points)
    n_surveyed = n_controls
    if n_controls is None or n_surveyed is None:
        n_controls, n_surveyed = _default_controls(config, n_shifts, n_points, n_prompts)
    if n_prompts is None:
        n_prompts = _default_prompts(config, n_shifts, n_points, n_controls, once=once)
        n_prompts = min(n_prompts, task.most_prompts) if isinstance(task, FixedPrompts) else n_prompts
    if n_prompts < 8 or n_points < 2:
        raise InputError(
            f"a study needs at least 8 prompts of 2 points, got {n_prompts} prompts of {n_points} points; raise "
            "--prompts or --points."
        )
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
        remedy = "add one, such as x_scale=3, to --shifts"
        if isinstance(task, FixedPrompts):
            remedy = "save another family beside it (NAME.xs and NAME.ys)"
        raise InputError(f"a study compares prompts in distribution with shifted ones, got no shift; {remedy}.")
    known = references_with(task, references, n_points=n_points)
    probe_prompts = task.sample(_probe_count(n_prompts), n_points, seed=derive_seed(seed, "evaluation: probes"))
    probe_answers = known.answers(probe_prompts)
    found = probe_targets(probe_prompts, probe_answers, task)
    sought, left_out = with_own_targets(found, targets, probe_prompts, known)
    plan = StudyPlan(
        model=model,
        task=task,
        families=families,
        n_prompts=n_prompts,
        n_points=n_points,
        sites=tuple(sites),
        conventions=Conventions(layout=config.tokens).of_prompts(n_points, config),
        references=known,
        probe_prompts=probe_prompts,
        probe_answers=probe_answers,
        targets=sought,
        left_out=left_out,
        n_controls=n_controls,
        n_surveyed=n_surveyed,
        seed=seed,
        measures=table.MEASURES,
        detectors=own_detectors(detectors, TAKEN),
        shifts=shifts,
    )
    return replace(plan, workers=_default_workers(plan) if workers is None else workers)


_MOST_WORKERS, _SECONDS_EACH = 4, 10.0
"""Processes, and the seconds of work below which another one does not pay: it imports torch for four."""


def _default_workers(plan: StudyPlan) -> int:
    """Choose how many processes read networks, of the cores that this process may use."""
    on_cpu = str(plan.model.device).startswith("cpu")
    worthwhile = int(plan.seconds / _SECONDS_EACH) if on_cpu else 1
    return max(1, min(_MOST_WORKERS, joblib.cpu_count(), worthwhile))


def _probe_count(n_prompts: int) -> int:
    """Say how many prompts the linear probes are fitted on."""
    return min(2 * n_prompts, _MAX_PROBE_PROMPTS)


_MOST_CONTROLS, _FEWER_CONTROLS = 20, 10
_MOST_SURVEYED, _FEWER_SURVEYED = 40, 20
_A_MINUTE = 60.0
"""Seconds that untrained networks may take on two cores."""


def _default_controls(config: Architecture, n_shifts: int, n_points: int, n_prompts: int | None) -> tuple[int, int]:
    """Choose how many untrained networks are measured, and how many are surveyed.

    20 and 40 where each of the two costs less than a minute, else 10 and 20; from shapes, never from a clock.
    """
    prompts = _default_prompts(config, n_shifts, n_points, _MOST_CONTROLS) if n_prompts is None else n_prompts
    passes = n_points if config.query_only else 1
    seconds = prompts * passes * seconds_per_sequence(config, n_points, len(config.residual_sites())) / 2
    measured = _MOST_CONTROLS * seconds * (n_shifts + 2 + _probe_count(1)) <= _A_MINUTE
    surveyed = _MOST_SURVEYED * seconds * (n_shifts + 2) <= _A_MINUTE
    return (
        _MOST_CONTROLS if measured else _FEWER_CONTROLS,
        _MOST_SURVEYED if surveyed else _FEWER_SURVEYED,
    )


def _default_prompts(
    config: Architecture, n_shifts: int, n_points: int, n_controls: int = _MOST_CONTROLS, *, once: int = 0
) -> int:
    """Choose as many prompts per family as fit in a few minutes.

    Formula: WORK / (operations for all points of one prompt * sequences that are read for one prompt a family),
    cut to [24, 128].
    """
    passes = n_points if config.query_only else 1
    reads = (n_shifts + 2 + _probe_count(1)) * (1 + n_controls) + once
    return max(_MIN_PROMPTS, min(_MAX_PROMPTS, int(WORK / (config.operations(n_points) * passes * reads))))


def _shift_reads(task: Task, shifts: Shifts | None, *, n_points: int, max_points: int | None) -> tuple[int, int]:
    """Count the shifts that every network reads, and the sequences a prompt of those that the model alone reads."""
    entries = select_shifts(task, shifts, n_points=n_points, max_points=max_points)
    alone = [entry for entry in entries if entry.shift.errors_only]
    once = sum(1 if entry.shift.lengthens else entry.source.sample(1, n_points, seed=0).n_points for entry in alone)
    return len(entries) - len(alone), once


def limits_of(config: Architecture, conventions: Conventions) -> list[str]:
    """List what does not apply to a network, or is decided before any prompt is read."""
    width, k = config.d_model, min(conventions.k, config.d_model)
    limits = (
        (
            config.n_layers == 1,
            "A network of one layer has no development along its depth: curves have the read-in and one block.",
        ),
        (
            config.query_only,
            "A pass answers one point, so spectra are those of the last point's sequence, and probes read the query "
            "token.",
        ),
        (
            conventions.side == "right" and k >= width > 0,
            f"The stream is {width} wide and {spanned_by(k)}, so every overlap is 1 and no signature exists.",
        ),
        (
            config.family == "softmax_layer",
            "The block writes one number a token, so beyond the first direction its spectrum is 0 and directions are "
            "arbitrary.",
        ),
        (
            config.init == "zeros",
            "Untrained networks start from zeros and are all alike: they are one control, whatever their number.",
        ),
    )
    return [*config.notes, *(sentence for applies, sentence in limits if applies)]
