"""Checkpoints measured one by one, here, in processes of this machine, or by the workers of a Dask scheduler."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.own_code import Loader
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.errors import CheckpointError, InputError, one_line
from icl_interp.jobs import WorkersDiedError, run
from icl_interp.measure.development.cache import RecordStore
from icl_interp.measure.development.checkpoint import measure_checkpoint
from icl_interp.measure.development.llc import checkpoint_llc
from icl_interp.measure.development.material import OwnParts, material
from icl_interp.measure.development.record import FAILURES, LeftOut, reason_without_place
from icl_interp.measure.development.settings import DevelopmentSettings, LlcSettings
from icl_interp.tasks.base import Task
from icl_interp.tasks.registry import code_of

_NAMED = 5


@dataclass(frozen=True, slots=True)
class CheckpointJob:
    """One checkpoint to measure, in plain data that any process can read."""

    path: Path
    step: int
    task: Task
    shared_task: Task | None
    """Of the joint trajectory."""
    settings: DevelopmentSettings
    sha256: str
    folder: Path
    target: Path
    llc: LlcSettings | None = None
    """Where not None, the learning coefficient is estimated and nothing else."""
    last_point_only: bool = False
    n_heads: int | None = None
    layout: tuple[tuple[str, object], ...] | None = None
    """What else it does not say, as `load_checkpoint` takes it, in pairs."""
    loader: Loader | None = None
    """The user's own function that opens the file."""
    device: str = "cpu"
    own: OwnParts = OwnParts()  # noqa: RUF009  # frozen
    """What the user chose or brought along."""

    def known(self) -> bool:
        store = RecordStore(self.folder)
        found = store.read_measured(self.target) if self.llc is None else store.read_llc(self.target)
        return found is not None

    def run(self) -> LeftOut | None:
        try:
            checkpoint = load_checkpoint(
                self.path,
                n_heads=self.n_heads,
                task=self.task,
                layout=dict(self.layout or ()),
                loader=self.loader,
                device=self.device,
            )
        except CheckpointError as error:
            return LeftOut("file", reason_without_place(error, self.path))
        try:
            with code_of(self.task):
                self._measure(checkpoint)
        except FAILURES as error:
            return LeftOut("checkpoint" if self.llc is None else "learning coefficient", one_line(error))
        return None

    def _measure(self, checkpoint: Checkpoint) -> None:
        store, settings = RecordStore(self.folder), self.settings
        if self.llc is None:
            held = material(self.task, self.shared_task, settings, checkpoint.model.cfg.max_points, self.own)
            store.write_measured(self.target, measure_checkpoint(checkpoint, held, step=self.step))
            return
        n_points = settings.n_points or self.task.default_points
        found = checkpoint_llc(
            checkpoint, self.llc, step=self.step, n_points=n_points, last_point_only=self.last_point_only,
            seed=settings.seed,
        )  # fmt: skip
        store.write_llc(self.target, found)


def run_jobs(
    jobs: Sequence[CheckpointJob], *, workers: int = 1, scheduler: str | None = None
) -> Iterator[tuple[int, LeftOut | None]]:
    """Measure all checkpoints.

    A file that cannot be read and a network that cannot be measured (`FAILURES`) end their own job only. What is on the
    disk stays there when a worker dies, and the rest is tried again.
    """
    if workers < 1:
        raise InputError(f"development needs at least one worker, got {workers}.")
    try:
        yield from run(jobs, _measure, workers=workers, scheduler=scheduler, done=_is_known)
    except WorkersDiedError as died:
        raise ChildProcessError(_lost([jobs[index] for index in died.left], died.attempts)) from None


def _measure(job: CheckpointJob, stop_file: Path | None) -> LeftOut | None:  # noqa: ARG001  # too short to be asked
    return job.run()


def _is_known(job: CheckpointJob) -> bool:
    return job.known()


def _lost(jobs: Sequence[CheckpointJob], attempts: int) -> str:
    steps = ", ".join(str(job.step) for job in jobs[:_NAMED]) + (", ..." if len(jobs) > _NAMED else "")
    return (
        f"development needs workers that live, but they died {attempts} times, perhaps for want of memory, and "
        f"{len(jobs)} of its records are missing (step {steps}); what was measured is kept: start it again with fewer "
        "workers."
    )
