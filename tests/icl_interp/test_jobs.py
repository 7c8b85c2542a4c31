"""The job runner: dead workers, Ctrl-C and SIGTERM, files that ask to stop; the same for all who use it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch
from deadly_job import DEADLY, deadly_job
from fake_parallel import FakeParallel
from joblib.externals.loky.process_executor import TerminatedWorkerError

from icl_interp import jobs
from icl_interp.jobs import _ATTEMPTS, StopSignalError, WorkersDiedError, run


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers in this process."""
    monkeypatch.setattr(joblib, "Parallel", FakeParallel)


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    return [tmp_path / name for name in "abcde"]


def touch(place: Path, stop_file: Path | None) -> str:  # noqa: ARG001
    assert not place.exists(), "done twice"
    place.touch()
    return place.name


def test_processes_of_this_machine_have_one_thread_each() -> None:
    with jobs._workers_or_scheduler(3, None):
        backend, n_jobs = joblib.parallel.get_active_backend()
    assert (type(backend).__name__, n_jobs) == ("LokyBackend", 3)
    assert backend.inner_max_num_threads == 1
    assert joblib.parallel.get_active_backend()[1] != 3  # and the choice ends with the block


def test_dask_is_optional(monkeypatch: pytest.MonkeyPatch, places: list[Path]) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"a scheduler needs dask, which is not there; pip install"):
        list(run(places, touch, scheduler="tcp://127.0.0.1:1"))


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, places: list[Path]) -> None:
    distributed = pytest.importorskip("distributed", reason="the cluster extra is not installed")

    def refuse(address: str, **_: Any) -> None:
        raise OSError(f"timed out: {address}")

    monkeypatch.setattr(distributed, "Client", refuse)
    message = r"a Dask scheduler needs to answer, got 'tcp://127.0.0.1:1' .timed out: .*; start one first"
    with pytest.raises(ValueError, match=message):
        list(run(places, touch, scheduler="tcp://127.0.0.1:1"))


def test_one_worker_is_this_process_with_the_threads_that_it_has(
    places: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", pytest.fail)
    found = list(run(places, lambda place, stop_file: (place.name, os.getpid(), stop_file)))
    assert found == [(index, (name, os.getpid(), None)) for index, name in enumerate("abcde")]


def killed_by_dask() -> BaseException:
    scheduler = pytest.importorskip("distributed.scheduler", reason="the cluster extra is not installed")
    return scheduler.KilledWorker("job", None, 3)


def killed_by_loky() -> BaseException:
    return TerminatedWorkerError("a worker process was terminated")


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("death", [killed_by_loky, killed_by_dask])
def test_what_a_dead_worker_left_is_done_by_others(places, monkeypatch, death):
    monkeypatch.setattr(FakeParallel, "deaths", [(1, death()), (1, death())])
    found = dict(run(places, touch, workers=2, done=Path.exists))
    assert found == {0: "a", 1: "b", 2: None, 3: "d", 4: None}  # two were done and not told
    assert FakeParallel.deaths == []


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("death", [killed_by_loky, killed_by_dask])
def test_after_three_attempts_the_rest_is_named(places, monkeypatch, death):
    places = places[:2]
    monkeypatch.setattr(FakeParallel, "deaths", [(0, death()) for _ in range(_ATTEMPTS)])
    found = []
    with pytest.raises(WorkersDiedError, match=r"died 3 times, perhaps for want of memory, and 1 jobs are not") as died:
        found.extend(run(places, touch, workers=2, done=Path.exists))
    assert (found, died.value.left, died.value.attempts) == ([(1, None)], (0,), 3)
    assert FakeParallel.deaths == []
    assert isinstance(died.value, OSError)  # so one line and exit code 2 on a command line


@pytest.mark.usefixtures("fake")
def test_deaths_are_counted_anew_when_jobs_were_done_in_between(places, monkeypatch):
    without_a_job, with_one = [(0, killed_by_loky())] * (_ATTEMPTS - 2), [(1, killed_by_loky())]
    monkeypatch.setattr(FakeParallel, "deaths", [*with_one, *without_a_job] * 4)
    assert dict(run(places, lambda place, _: place.name, workers=2)) == dict(enumerate("abcde"))
    assert FakeParallel.deaths == []


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("error", [ValueError("bad input"), OSError("bad input"), MemoryError("bad input")])
def test_a_job_that_fails_is_no_death(places, monkeypatch, error):
    monkeypatch.setattr(FakeParallel, "deaths", [(1, error)])
    with pytest.raises(type(error), match="bad input"):
        list(run(places, touch, workers=2))
    assert not places[4].exists()


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("workers", [1, 2])
def test_what_was_finished_before_is_not_done_again(places, workers):
    places[3].touch()  # `touch` would assert
    assert dict(run(places, touch, workers=workers, done=Path.exists))[3] is None


def raise_signal(number: int) -> Any:
    return lambda *_: signal.raise_signal(number)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_stop_all_jobs(places, workers, number):
    before = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(StopSignalError) as stop:
        list(run(places, raise_signal(number), workers=workers))
    assert stop.value.number == number
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.fixture
def stopped(places: list[Path], fake: None, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ARG001
    """Stop two workers at their second job, while two folders are written."""

    def stop(on_stop: Any, **options: Any) -> Path | None:
        asked = []

        def second_stops(place: Path, stop_file: Path | None) -> None:
            asked.append(stop_file)
            if place == places[1]:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(jobs, "_workers_or_scheduler", lambda *_: nullcontext())
        for place in places[:2]:
            place.touch()
        with pytest.raises(KeyboardInterrupt):
            list(run(places, second_stops, writing=Path.exists, on_stop=lambda n: on_stop(n, asked[0]), **options))
        return asked[0]

    return stop


def test_workers_are_asked_by_a_file_and_waited_for(places, stopped):
    told = []

    def on_stop(count: int, stop_file: Path) -> None:
        told.append((count, stop_file.exists()))
        for place in places[:2]:
            place.unlink()  # written

    assert not stopped(on_stop, workers=2).exists()  # and the file goes with its folder
    assert told == [(2, True)]


def test_nobody_is_waited_for_for_ever(stopped, monkeypatch):
    monkeypatch.setattr(jobs, "_WRITE_SECONDS", 0.01)
    stopped(lambda *_: None, workers=2)


def test_a_second_ctrl_c_does_not_wait(stopped):
    stopped(lambda *_: signal.raise_signal(signal.SIGINT), workers=2)


def test_at_a_scheduler_what_was_begun_goes_on(stopped):
    assert stopped(lambda *_: pytest.fail("was waited for"), scheduler="tcp://127.0.0.1:1") is None


def test_a_worker_that_was_stopped_begins_nothing_else(tmp_path, places):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt  # as a terminal sends it to workers too

    asked = tmp_path / "stop"
    for work in (stop, touch):
        with pytest.raises(KeyboardInterrupt):
            jobs._in_worker(work, Path.exists, asked, 0, places[0])
    assert asked.exists()
    assert not places[0].exists()


@pytest.mark.slow  # four processes import torch
def test_a_real_process_that_is_killed_costs_no_job(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("a", DEADLY, "b", "c")]
    found: Iterator[tuple[int, str | None]] = run(places, deadly_job, workers=2, done=Path.exists)
    assert {index: name or "not told" for index, name in found}.keys() == set(range(4))
    assert all(place.exists() for place in (*places, tmp_path / "died"))
