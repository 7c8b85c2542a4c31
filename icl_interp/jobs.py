"""The job runner: many jobs in this process, in other processes, or by the workers of a Dask scheduler.

If a worker dies, the jobs that are not done are given to others. Ctrl-C and SIGTERM stop all jobs: workers on this
machine are asked by a file and get time to write their states.
"""

import importlib
import queue
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import lru_cache, partial
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import joblib
import torch
from cloudpickle import dumps, loads
from joblib.externals.loky import ProcessPoolExecutor
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


class Crew:
    """Processes of one thread that help this one; they start while it is already working.

    What they cannot do (a job that cannot be sent to another process, a worker that died) this process does itself, so
    that results never depend on them.
    """

    def __init__(self, helpers: int, *, modules: Sequence[str] = ()) -> None:
        """Ask for so many; `modules` is what they import while they wait."""
        self._helpers, self._modules = helpers, tuple(modules)
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> "Crew":
        if self._helpers > 0:
            # loky replaces a process whose memory has grown, as large networks make it grow, and calls that a leak.
            warnings.filterwarnings("ignore", message="A worker stopped while some jobs were given")
            # Idle ones end by themselves after a while, even if nobody is left to tell them.
            self._pool = ProcessPoolExecutor(self._helpers, timeout=_IDLE_SECONDS, env={"OMP_NUM_THREADS": "1"})
            with _without_ctrl_c():  # a terminal sends it to all processes; helpers are ended by whoever asked for them
                for _ in range(self._helpers):
                    self._pool.submit(_get_ready, self._modules)
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(kill_workers=True)

    def share(
        self, jobs: Sequence[Job], work: Callable[[Job], _Result], here: Callable[[Job], _Result] | None = None
    ) -> Generator[tuple[int, _Result], None, None]:
        """Do all jobs, this process from the first on and helpers from the last on; give each as it is done.

        `here` does in this process what `work` does elsewhere; it may report its progress.
        """
        here = here or work
        if self._pool is None:
            for index, job in enumerate(jobs):
                yield index, here(job)
            return
        before = torch.get_num_threads()
        with tempfile.TemporaryDirectory(prefix="icl-jobs-") as folder, stop_signals():
            torch.set_num_threads(1)
            try:
                yield from self._share(self._pool, jobs, _left_at(Path(folder) / "work", work), here)
            finally:
                torch.set_num_threads(before)

    def _share(
        self, pool: Any, jobs: Sequence[Job], work: Path | None, here: Callable[[Job], _Result]
    ) -> Iterator[tuple[int, _Result]]:
        left, away, found = deque(range(1, len(jobs))), set[int](), queue.SimpleQueue[tuple[int, Any] | None]()

        def give() -> None:
            with self._lock:
                if not left:
                    return
                index = left.pop()
                away.add(index)
            try:
                future = pool.submit(_at_work, work, dumps(jobs[index]))
            except Exception:  # it cannot be sent, or nobody is there any more
                taken_back(index)
            else:
                future.add_done_callback(partial(taken, index))

        def taken(index: int, future: Future[bytes]) -> None:
            try:
                result = loads(future.result())
            except BaseException:  # whatever went wrong elsewhere, this process tries for itself and says so
                taken_back(index)
            else:
                found.put((index, result))
                give()

        def taken_back(index: int) -> None:
            with self._lock:
                left.appendleft(index)
                away.discard(index)
            found.put(None)

        if work is not None:
            for _ in range(self._helpers):
                give()
        if jobs:
            yield 0, here(jobs[0])
        while True:
            with self._lock:
                index = left.popleft() if left and found.empty() else None
                waiting = bool(away)
            if index is not None:
                yield index, here(jobs[index])
            elif waiting or left:
                got = found.get()
                if got is not None:
                    with self._lock:
                        away.discard(got[0])
                    yield got
            else:
                return


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    # Processes inherit what is blocked where they were started.
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_IDLE_SECONDS = 20
"""After which a helper that has nothing to do ends."""


def _get_ready(modules: Sequence[str]) -> None:
    torch.set_num_threads(1)
    for module in modules:
        importlib.import_module(module)


def _left_at(path: Path, work: Callable[..., Any]) -> Path | None:
    # For helpers to fetch; None where it cannot be sent to another process.
    try:
        path.write_bytes(dumps((dumps((imported_files(), carried())), dumps(work))))
    except Exception:  # whatever the user's own objects raise when they are asked to travel
        return None
    return path


@lru_cache(maxsize=1)
def _fetched(path: Path) -> Callable[[Any], Any]:
    luggage, work = loads(path.read_bytes())
    files, registered = loads(luggage)
    import_files(files)
    unpack(registered)
    fetched: Callable[[Any], Any] = loads(work)
    return fetched


def _at_work(path: Path, job: bytes) -> bytes:
    torch.set_num_threads(1)
    return bytes(dumps(_fetched(path)(loads(job))))


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
