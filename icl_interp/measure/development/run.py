"""How does structure develop? Every checkpoint of a run, measured in the same way, cached, and put in order."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from icl_interp.checkpoints.own_code import Loader, identity_of
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.data.models import is_embedded
from icl_interp.door import PathsLike, as_paths
from icl_interp.errors import InputError
from icl_interp.measure.development.assemble import PlannedRun, assemble
from icl_interp.measure.development.cache import FOLDER, RecordStore
from icl_interp.measure.development.jobs import CheckpointJob, run_jobs
from icl_interp.measure.development.llc import llc_steps
from icl_interp.measure.development.material import OwnParts, material, pca_task
from icl_interp.measure.development.record import LeftOut, load_newest
from icl_interp.measure.development.result import Development
from icl_interp.measure.development.settings import DevelopmentSettings, LlcSettings, settings_key
from icl_interp.models.architecture import NO_SITES
from icl_interp.notebooks import notebook_bar
from icl_interp.query import Callee
from icl_interp.runs.find import RunFiles, find_runs
from icl_interp.tasks.base import Task
from icl_interp.tasks.fixed_prompts import FixedPrompts
from icl_interp.tasks.own import try_out
from icl_interp.tasks.references import own_references
from icl_interp.tasks.registry import task_to_config
from icl_interp.tasks.shifts.record import Shift
from icl_interp.tasks.shifts.select import Shifts

_SUMMARY = "development.json"
"""The last analysis of a run folder, next to the records it was made of."""


_UNREADABLE = "unreadable"
"""Instead of a checksum; nothing is ever kept under it, since the job says what is wrong."""


def development(
    run: PathsLike,
    *,
    settings: DevelopmentSettings | None = None,
    llc: LlcSettings | None = LlcSettings(),  # noqa: B008  # frozen
    task: Task | dict[str, Any] | None = None,
    n_heads: int | None = None,
    layout: Mapping[str, object] | None = None,
    loader: Loader | None = None,
    shifts: Shifts | None = None,
    references: Mapping[str, Callee] | None = None,
    stages: bool = True,
    cache: str | Path | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    device: str = "cpu",
    newest: Checkpoint | None = None,
    on_checkpoint: Callable[[int, str], None] | None = None,
) -> Development:
    """Follow one or several runs over their checkpoints.

    For each checkpoint: losses in and out of distribution, distance from every reference predictor, how much examples
    help, spectral signature, linear probes, attention, and what has collapsed in the weights; for a few of them the
    local learning coefficient. Over all of them: where stages meet, t_crit, and the joint principal components of the
    networks' predictions for the same prompts. Untrained networks stand beside the signature.

    Each checkpoint's record is written at once, under the checksum of the weights and of the settings. So an
    interrupted analysis resumes and ends with the same file, and only new checkpoints of a growing run are measured
    next time. A checkpoint that cannot be read, or not measured because its numbers are not finite, is left out and
    named in `RunDevelopment.unreadable` or `.unmeasured`. A worker that dies costs no record, see `run_jobs`.

    Args:
        run: A run folder, or several; checkpoint files are taken as well, see `find_runs`.
        settings: Numbers of prompts and the seed; None takes the defaults.
        llc: Settings of the learning coefficients; None leaves them out. By default five checkpoints and short chains:
            a first look and not a measurement, as the flags of each estimate say.
        task: The task in distribution of all runs, if the files do not say it or are wrong.
        n_heads: Number of attention heads, if the files do not say it.
        layout: What else files do not say, as for `load_checkpoint`.
        loader: Your own function that opens the files, as for `load_checkpoint`; it needs `task`.
        shifts: Names or patterns, or your own `Shift` objects, see `select_shifts`; the first counts as out of
            distribution. None takes weights from outside the pool or the sparse law of training, else x_scale=3.
        references: Predictors of your own by name, added to the task's.
        stages: Whether stages are sought; the fit takes the cube of the number of checkpoints.
        cache: Folder for records, with one folder per run, named after its path; None: "development" inside each run
            folder, and the user's cache folder for embedded models.
        workers: Number of processes on this machine, one thread each.
        scheduler: Address of a Dask scheduler, "tcp://host:port", instead of `workers`; its workers see the same paths.
        device: Device of the networks, as torch names it.
        newest: The newest checkpoint of a run, if it is already loaded with the same task, heads and device.
        on_checkpoint: Called with (1, what) after each record, for progress; see `count_records`. None shows a bar in
            a notebook.

    Returns:
        Curves, trajectory and stages; `plot`, `to_frame` and `to_json` show them.

    Raises:
        InputError: If the task is saved prompts, a path is no run, no checkpoint of a run can be read or measured, no
            place of the stream is known, or as `find_runs`, `llc_steps`, `run_jobs`.
        OSError: If records cannot be written.
        ChildProcessError: If workers died again and again.

    Source:
        Hoogland et al. (2024), "The developmental landscape of in-context learning"; Carroll et al. (2025), "Dynamics
        of transient structure in in-context linear regression transformers".

    Example:
        >>> import tempfile
        >>> from icl_interp.training.configs import load_config
        >>> from icl_interp.training.run import train
        >>> tiny = load_config("demo", ["steps=4", "batch_size=4", "model.n_layers=1", "checkpoints={every: 1}"])
        >>> few = DevelopmentSettings(n_prompts=8, n_pca_prompts=4, n_probe_prompts=8, n_controls=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = train(tiny, out=f"{folder}/run")
        ...     found = development(f"{folder}/run", settings=few, llc=None)
        >>> found.runs[0].steps, found.trajectory is None
        ((0, 1, 2, 3, 4), False)
    """
    if isinstance(task, FixedPrompts):
        raise InputError(
            "development draws prompts of its own for each purpose, got saved ones as the task; leave the task out, or "
            "call study on single checkpoints."
        )
    settings = settings or DevelopmentSettings()
    how: dict[str, Any] = {
        "n_heads": n_heads,
        "layout": None if not layout else tuple(layout.items()),
        "loader": loader,
    }
    own = OwnParts(None if shifts is None else _listed(shifts), tuple(own_references(references).items()))
    runs = find_runs(as_paths("development", run))
    planned = _plan(runs, task, how, cache, device, newest)
    for each in planned:
        try_out(each.checkpoint.task)
    if any(not each.checkpoint.model.cfg.residual_sites() for each in planned):
        raise InputError(f"a timeline follows the residual stream, and got a network without. {NO_SITES}")
    shared = pca_task([each.checkpoint.task for each in planned])
    jobs = [_jobs(each, shared, settings, llc, how, device, own) for each in planned]
    due = [job for own in jobs for job in own if not job.known()]
    lost: dict[CheckpointJob, LeftOut] = {}
    with notebook_bar("timeline", len(due)) if on_checkpoint is None else nullcontext(on_checkpoint) as shown:
        tick = shown or (lambda _done, _what: None)
        if on_checkpoint is not None:
            tick(sum(map(len, jobs)) - len(due), "found on disk")
        for index, left_out in run_jobs(due, workers=workers, scheduler=scheduler):
            tick(1, f"step {due[index].step}")
            if left_out is not None:
                lost[due[index]] = left_out
    found = assemble(planned, jobs, lost, shared, settings, llc, own, stages=stages)
    for each in planned:
        each.store.write_plain(each.store.folder / _SUMMARY, found.to_dict())
    return found


def _listed(shifts: Shifts) -> Shifts:
    return shifts if isinstance(shifts, str | Shift) else tuple(shifts)  # one alone is refused with a sentence


def count_records(
    run: str | Path | Sequence[str | Path],
    llc: LlcSettings | None = LlcSettings(),  # noqa: B008  # frozen
) -> int:
    """Count the records of an analysis, for progress."""
    runs = find_runs([run] if isinstance(run, str | Path) else list(run))
    return sum(len(each.files) + len(_llc_steps(each, llc)) for each in runs)


def _llc_steps(files: RunFiles, llc: LlcSettings | None) -> tuple[int, ...]:
    return () if llc is None else llc_steps(list(files.files), llc)


def _plan(
    runs: Sequence[RunFiles],
    task: Task | dict[str, Any] | None,
    how: Mapping[str, Any],
    cache: str | Path | None,
    device: str,
    loaded: Checkpoint | None,
) -> list[PlannedRun]:
    planned = []
    for files in runs:
        newest, lost = loaded, dict[int, str]()
        if newest is None or newest.path != files.newest:
            newest, lost = load_newest(
                files.files,
                n_heads=how["n_heads"],
                layout=dict(how["layout"] or ()),
                loader=how["loader"],
                task=task,
                device=device,
            )
        readable = {step: path for step, path in files.files.items() if step not in lost}
        kept = user_cache_path("icl-interp") if cache is None and is_embedded(files.folder) else cache
        folder = files.folder / FOLDER if kept is None else Path(kept) / _name_by_path(files.folder)
        # Workers may have another working directory.
        planned.append(PlannedRun(replace(files, files=readable), newest, RecordStore(folder.absolute()), lost))
    return planned


def _name_by_path(folder: Path) -> str:
    # The same wherever the command is typed, and whichever other runs are named.
    place = folder.resolve()
    return f"{place.name or 'run'}-{hashlib.sha256(str(place).encode()).hexdigest()[:8]}"


def _jobs(
    run: PlannedRun,
    shared: Task | None,
    settings: DevelopmentSettings,
    llc: LlcSettings | None,
    how: Mapping[str, Any],
    device: str,
    own_parts: OwnParts,
) -> list[CheckpointJob]:
    own, jobs = run.checkpoint.task, []
    chosen, last = _llc_steps(run.files, llc), run.files.last_point_only
    task, shown = task_to_config(own), None if shared is None else task_to_config(shared)
    # What the file does not say of itself; left out where nothing was given, as in older keys.
    given = [
        {name: identity_of(value) if name == "loader" else value} for name, value in how.items() if value is not None
    ]
    held = material(own, shared, settings, run.checkpoint.model.cfg.max_points, own_parts)
    digest = held.digest()
    key = settings_key(settings, task, shown, *given, *([] if digest is None else [{"own": digest}]))
    llc_key = "" if llc is None else settings_key(_sampler(llc), settings.seed, settings.n_points, last, task, *given)
    for step, path in run.files.files.items():
        sha256 = _checksum(run.checkpoint, path)
        job = CheckpointJob(
            path.absolute(), step, own, shared, settings, sha256, run.store.folder,
            run.store.measured_path(sha256, key), last_point_only=last, device=device, own=own_parts,
            **how,
        )  # fmt: skip
        jobs.append(job)
        if step in chosen:
            jobs.append(replace(job, target=run.store.plain_path("llc", sha256, llc_key), llc=llc))
    return jobs


def _sampler(llc: LlcSettings) -> dict[str, Any]:
    # Which checkpoints are chosen changes no estimate.
    return {field.name: getattr(llc, field.name) for field in fields(llc) if field.name != "checkpoints"}


def _checksum(newest: Checkpoint, path: Path) -> str:
    if newest.path == path:
        return newest.sha256
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return _UNREADABLE
