"""All models of an experiment, each trained once; finished ones are read back."""

import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.errors import CheckpointError, DivergedError, InputError
from icl_interp.jobs import WorkersDiedError, run
from icl_interp.models.config import LINEAR_FAMILIES
from icl_interp.models.hooked import HookedModel
from icl_interp.provenance import provenance
from icl_interp.runs.folder import RunFolder, is_busy, read_manifest
from icl_interp.training.ensemble import MAY_DIFFER, EnsembleDivergedError, train_many, what_diverged
from icl_interp.training.resume import new_session, run_folders, sessions_of
from icl_interp.training.run import TrainResult
from icl_interp.training.stopping import looks_for
from icl_interp.training.sweep import train_in_worker
from icl_interp.training.train_config import TrainConfig

Key = TypeVar("Key", bound=Hashable)
Run = tuple[TrainConfig, Path]
Job = list[Run]

_LARGEST_GROUP = 24  # linear models that are trained together; a stop in the middle loses a minute or two (our choice)


def run_path(folder: str | Path, config: TrainConfig) -> Path:
    return _run_paths(folder, [config])[0]


def _run_paths(folder: str | Path, configs: Iterable[TrainConfig]) -> list[Path]:
    return run_folders(Path(folder) / "runs", list(configs))


def train_all(
    plan: Mapping[Key, TrainConfig],
    folder: str | Path,
    *,
    workers: int = 1,
    device: str = "cpu",
    on_done: Callable[[int], None] | None = None,
    on_stop: Callable[[int], None] | None = None,
) -> dict[Key, HookedModel]:
    """Train the models that are not trained yet, one thread each, and load all. Equal configs are trained once."""
    tick = on_done or (lambda _: None)
    paths = dict(zip(plan, _run_paths(folder, plan.values()), strict=True))
    unique = {path: plan[key] for key, path in paths.items()}
    open_runs = [(config, path) for path, config in unique.items() if not _is_finished(path, config)]
    tick(len(unique) - len(open_runs))
    jobs = _jobs(open_runs)
    work = partial(_train_job, device=device)
    try:
        for index, _ in run(
            jobs, work, workers=workers, on_stop=on_stop or (lambda _: None),
            done=lambda job: all(_is_finished(path, config) for config, path in job),
            writing=lambda job: sum(is_busy(path) for _, path in job),
        ):  # fmt: skip
            tick(len(jobs[index]))
    except WorkersDiedError as died:
        lost = sum(len(jobs[index]) for index in died.left)
        raise ChildProcessError(
            f"training needs workers that live, but they died {died.attempts} times, perhaps for want of memory, and "
            f"{lost} runs are not finished; what was trained is kept: start it again with fewer workers."
        ) from None
    return {key: _load(path, plan[key].steps) for key, path in paths.items()}


def checkpoints_of(folder: str | Path, config: TrainConfig) -> dict[int, HookedModel]:
    path = run_path(folder, config)
    return {step: _load(path, step) for step in config.checkpoint_steps}


def _is_finished(path: Path, config: TrainConfig) -> bool:
    is_kept = (path / "checkpoints" / f"step_{config.steps:08d}.pt").is_file()
    return is_kept and bool(read_manifest(path).get("finished"))


def _load(path: Path, step: int) -> HookedModel:
    try:
        return load_checkpoint(path / "checkpoints" / f"step_{step:08d}.pt").model
    except CheckpointError as error:
        raise InputError(
            f"{str(error).rstrip('.')}, or remove the run folder {path}, which the same command trains again."
        ) from error


def _jobs(runs: Iterable[Run]) -> list[Job]:
    # Linear models of one shape that keep no checkpoints on the way are trained together.
    groups: dict[str, Job] = {}
    jobs: list[Job] = []
    for config, path in runs:
        if config.model.family not in LINEAR_FAMILIES or config.checkpoints is not None:
            jobs.append([(config, path)])
        else:
            alike = config.model_dump_json(exclude=set(MAY_DIFFER)) + str(config.task.default_points)
            groups.setdefault(alike, []).append((config, path))
    for group in groups.values():
        jobs += [group[start : start + _LARGEST_GROUP] for start in range(0, len(group), _LARGEST_GROUP)]
    return jobs


def _train_job(job: Job, stop_file: Path | None, *, device: str) -> None:
    torch.set_num_threads(1)
    if len(job) == 1:
        train_in_worker(*job[0], stop_file, device=device)
        return
    asked = None if stop_file is None else looks_for(stop_file)

    def give_up_when_asked(_: object) -> None:
        # Models that are trained together have no state on the way.
        if asked is not None and asked():
            raise KeyboardInterrupt

    started, lost = time.monotonic(), None
    try:
        trained = train_many([config for config, _ in job], on_step=give_up_when_asked)
        results: Mapping[int, TrainResult] = dict(enumerate(trained))
    except EnsembleDivergedError as error:
        results, lost = error.results, _what_diverged(job, error)
    seconds = (time.monotonic() - started) / len(job)
    made_with = {**provenance(), "sessions": [new_session(0, device="cpu")]}
    for number, result in results.items():
        _keep(*job[number], result, {**made_with, "seconds": round(seconds, 1)})
    if lost is not None:
        raise DivergedError(lost)


def _what_diverged(job: Job, error: EnsembleDivergedError) -> str:
    names = [f"run {path.name} (seed {config.seed})" for config, path in job]
    said = what_diverged([config for config, _ in job], error.diverged, names.__getitem__)
    count = f"{len(error.diverged)} of {len(job)} models that were trained together diverged"
    return f"{count}: {said}; the others are kept in {job[0][1].parent}."


def _keep(config: TrainConfig, path: Path, result: TrainResult, made_with: Mapping[str, object]) -> None:
    # The folder that `train` would have left, without what only one run by itself has.
    with RunFolder(path, config=config.to_yaml(), resume=True) as run:
        run.forget_metrics_after(0)  # of somebody who was killed here
        for record in result.history:
            run.log({"step": record.step, "loss": record.loss, "lr": record.lr})
        run.save(result.model, config.task, config.steps, n_points_trained=config.n_points_at(config.steps))
        ended = {"finished": True, "config_sha256": run.config_sha256, "trained_together": True}
        run.write_manifest({**made_with, **ended})


_NOT_RECORDED = "not recorded"  # where a manifest does not say, as those of older versions


def trained_by(folder: str | Path, configs: Iterable[TrainConfig]) -> dict[str, str | int | float]:
    """Collect versions, machines and training time (over all stops) from the manifests of finished runs."""
    manifests = [read_manifest(path) for path in sorted(set(_run_paths(folder, configs)))]
    took: list[Any] = [manifest.get("seconds") for manifest in manifests]
    return {
        "trained_by_commits": _counted([_commit(manifest)] for manifest in manifests),
        "trained_on": _counted(_machines(manifest) for manifest in manifests),
        "seconds_of_training": _NOT_RECORDED if None in took else round(sum(took), 1),
    }


def _commit(manifest: Mapping[str, Any]) -> str:
    commit = manifest.get("git_commit") or _NOT_RECORDED
    return f"{commit} changed" if manifest.get("git_dirty") and manifest.get("git_commit") else str(commit)


def _machines(manifest: Mapping[str, Any]) -> list[str]:
    # A run that was stopped may have gone on elsewhere.
    found = [session["machine"] for session in sessions_of(manifest) if "machine" in session]
    if not found and "platform" in manifest:
        found = [", ".join(str(manifest[name]) for name in ("platform", "processor") if name in manifest)]
    return list(dict.fromkeys(found)) or [_NOT_RECORDED]


def _counted(said: Iterable[Iterable[str]]) -> str:
    counts = Counter(each for one in said for each in one)
    return "; ".join(f"{each} ({count} {'run' if count == 1 else 'runs'})" for each, count in sorted(counts.items()))
