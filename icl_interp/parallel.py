"""Where jobs run: processes of this machine, or the workers of a Dask scheduler; all of it joblib's."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import joblib
from joblib.externals.loky.process_executor import TerminatedWorkerError

__all__ = ["worker_died", "workers_or_scheduler"]

_CONNECT_SECONDS = 20


@contextmanager
def workers_or_scheduler(workers: int, scheduler: str | None) -> Iterator[None]:
    """Choose where joblib's jobs run for the length of a `with` block.

    Args:
        workers: Processes on this machine, one thread each, where no scheduler is named.
        scheduler: Address of a Dask scheduler, whose workers see files under the same paths.

    Yields:
        Nothing.

    Raises:
        ValueError: If dask is asked for and not installed, or the scheduler does not answer.
    """
    if scheduler is None:
        with joblib.parallel_config(backend="loky", n_jobs=workers, inner_max_num_threads=1):
            yield
        return
    with _client(scheduler) as client, joblib.parallel_config(backend="dask", n_jobs=-1, client=client):
        yield


def worker_died(error: BaseException) -> bool:
    """Tell a process that was killed from a job that failed.

    Args:
        error: What joblib raised.

    Returns:
        True for loky's TerminatedWorkerError, after which all its processes are given up, and for Dask's KilledWorker,
        which comes when one job has lost several workers; Dask hands on by itself what a single worker leaves behind.

    Example:
        >>> worker_died(TerminatedWorkerError()), worker_died(ValueError())
        (True, False)
    """
    distributed = sys.modules.get("distributed")  # where it is not loaded, nothing of it was raised
    killed = () if distributed is None else (distributed.scheduler.KilledWorker,)
    return isinstance(error, (TerminatedWorkerError, *killed))


def _client(scheduler: str) -> AbstractContextManager[Any]:
    try:
        from distributed import Client
    except ImportError as error:
        raise ValueError("a scheduler needs dask, which is not there; pip install 'icl-interp[cluster]'.") from error
    try:
        client: AbstractContextManager[Any] = Client(scheduler, timeout=_CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise ValueError(f"a Dask scheduler needs to answer, got {scheduler!r} ({error}); start one first.") from error
    return client
