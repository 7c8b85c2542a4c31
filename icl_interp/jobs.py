"""The job runner: many jobs in this process, in other processes, or by the workers of a Dask scheduler.

If a worker dies, the jobs that are not done are given to others. Ctrl-C and SIGTERM stop all jobs: workers on this
machine are asked by a file and get time to write their states.
"""

import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import joblib
import torch
from cloudpickle import dumps, loads
from joblib.externals.loky.process_executor import TerminatedWorkerError

from icl_interp.errors import InputError
from icl_interp.registry import carried, unpack
from icl_interp.user_files import import_files, imported_files

_ATTEMPTS = 3
"""How often in a row workers may die before any of their jobs is done."""
_WRITE_SECONDS = 30.0
"""Wall time that workers have to finish a step and write their states after Ctrl-C or SIGTERM (our choice)."""
_CONNECT_SECONDS = 20

Job = TypeVar("Job")
_Result = TypeVar("_Result")
_Work = Callable[[Job, Path | None], _Result]


class StopSignalError(KeyboardInterrupt):
    """Ctrl-C or SIGTERM came where no single run is stopped by it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class WorkersDiedError(ChildProcessError):
    """Workers died `attempts` times and no job was done in between; `left` holds the indices of what is not done."""

    def __init__(self, left: Sequence[int], attempts: int) -> None:
        super().__init__(
            f"jobs need workers that live, but they died {attempts} times, perhaps for want of memory, and {len(left)} "
            "jobs are not done; start it again with fewer workers."
        )
        self.left = tuple(left)
        self.attempts = attempts


def _nobody(count: int) -> None:
    pass


def _never(job: object) -> bool:  # noqa: ARG001
    return False


def _nothing(job: object) -> int:  # noqa: ARG001
    return 0


def run(
    jobs: Sequence[Job],
    work: _Work[Job, _Result],
    *,
    workers: int = 1,
    scheduler: str | None = None,
    attempts: int = _ATTEMPTS,
    done: Callable[[Job], bool] = _never,
    writing: Callable[[Job], int] = _nothing,
    on_stop: Callable[[int], None] = _nobody,
) -> Iterator[tuple[int, _Result | None]]:
    """Do all jobs, and give the index of each with its result when it is done, in any order.

    `work` gets a job and the file that asks it to stop, None where nothing asks. A job that is `done` when its turn
    comes, or when its worker has died, is not begun again: its result is None. On a signal, `on_stop` hears how
    many states workers of this machine are `writing`, if any, and these get time to be written.
    """
    if scheduler is None and workers == 1:
        with stop_signals():
            for index, job in enumerate(jobs):
                yield index, None if done(job) else work(job, None)
        return
    with tempfile.TemporaryDirectory(prefix="icl-jobs-") as notices:
        stop_file = Path(notices) / "stop" if scheduler is None else None
        with stop_signals(partial(_ask_workers, stop_file, jobs, writing, on_stop)):
            luggage = _Packed((imported_files(), carried()))
            one = partial(_with_luggage, luggage, _Packed(partial(_in_worker, work, done, stop_file)))
            left, deaths = dict(enumerate(jobs)), 0
            while left:
                before = len(left)
                try:
                    for index, result in _each_once(one, left, workers, scheduler):
                        del left[index]
                        yield index, result
                except Exception as error:
                    if not _worker_died(error):
                        raise
                for index in [index for index, job in left.items() if done(job)]:
                    del left[index]
                    yield index, None
                deaths = deaths + 1 if len(left) == before else 1
                if left and deaths >= attempts:
                    raise WorkersDiedError(list(left), attempts)


class _Packed:
    """An object that another process reads only once it asks, when it has what the object needs."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def __getstate__(self) -> bytes:
        return self._packed if self.travelled else bytes(dumps(self._thing))  # a scheduler hands it on unread

    def __setstate__(self, packed: bytes) -> None:
        self._packed = packed

    @property
    def travelled(self) -> bool:
        return hasattr(self, "_packed")

    def get(self) -> Any:
        return loads(self._packed) if self.travelled else self._thing


def _each_once(
    one: Callable[[int, _Packed], tuple[int, _Result | None]],
    jobs: Mapping[int, Job],
    workers: int,
    scheduler: str | None,
) -> Iterator[tuple[int, _Result | None]]:
    with _workers_or_scheduler(workers, scheduler):
        parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch="all")
        yield from parallel([joblib.delayed(one)(index, _Packed(job)) for index, job in jobs.items()])


def _with_luggage(luggage: _Packed, one: _Packed, index: int, job: _Packed) -> tuple[int, Any]:
    # What the user brought along comes first: a job may hold objects of their classes.
    if luggage.travelled:
        files, registered = luggage.get()
        import_files(files)
        unpack(registered)
    found: tuple[int, Any] = one.get()(index, job.get())
    return found


def _in_worker(
    work: _Work[Job, _Result], done: Callable[[Job], bool], stop_file: Path | None, index: int, job: Job
) -> tuple[int, _Result | None]:
    torch.set_num_threads(1)
    if stop_file is not None and stop_file.exists():
        raise KeyboardInterrupt
    if done(job):  # Dask asks again for what a lost worker had finished and not handed over
        return index, None
    try:
        return index, work(job, stop_file)
    except KeyboardInterrupt:
        if stop_file is not None:  # a terminal sends Ctrl-C to workers too; none of them begins anything else
            with suppress(OSError):
                stop_file.touch()
        raise


@contextmanager
def stop_signals(first: Callable[[], None] | None = None) -> Iterator[None]:
    """Answer Ctrl-C and SIGTERM by a `StopSignalError`, after what has to be done first; a second Ctrl-C cuts it short.

    Only the main thread of a process can do this; elsewhere signals keep their meaning.
    """
    handled = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)} if handled else {}

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001  # the signature of handlers
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # often sent again; who is in a hurry has Ctrl-C
        if first is not None:
            first()
        raise StopSignalError(number)

    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ask_workers(
    stop_file: Path | None, jobs: Sequence[Job], writing: Callable[[Job], int], on_stop: Callable[[int], None]
) -> None:
    # By a file: a signal that comes between two jobs would kill one worker, and joblib then the others.
    if stop_file is None:
        return
    stop_file.touch()
    give_up = time.monotonic() + _WRITE_SECONDS
    counts = [writing(job) for job in jobs]
    if any(counts):
        on_stop(sum(counts))
    busy = [job for job, count in zip(jobs, counts, strict=True) if count]
    while time.monotonic() < give_up and any(writing(job) for job in busy):
        time.sleep(0.05)


def _worker_died(error: BaseException) -> bool:
    # Of loky, which gives up all its processes then; and of Dask, which hands on by itself what a single worker leaves
    # behind, when one job has lost several workers. Where distributed is not loaded, nothing of it was raised.
    distributed = sys.modules.get("distributed")
    killed = () if distributed is None else (distributed.scheduler.KilledWorker,)
    return isinstance(error, (TerminatedWorkerError, *killed))


@contextmanager
def _workers_or_scheduler(workers: int, scheduler: str | None) -> Iterator[None]:
    if scheduler is None:
        with joblib.parallel_config(backend="loky", n_jobs=workers, inner_max_num_threads=1):
            yield
        return
    with _client(scheduler) as client, joblib.parallel_config(backend="dask", n_jobs=-1, client=client):
        yield


def _client(scheduler: str) -> AbstractContextManager[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise InputError("a scheduler needs dask, which is not there; pip install 'icl-interp[cluster]'.") from error
    try:
        client: AbstractContextManager[Any] = Client(scheduler, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(f"a Dask scheduler needs to answer, got {scheduler!r} ({error}); start one first.") from error
    return client
