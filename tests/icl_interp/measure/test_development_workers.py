"""Workers that die: what is cached stays, the rest is tried again, and then there is one clear sentence."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import joblib
import pytest
from deadly_job import DEADLY, deadly_job
from joblib.externals.loky.process_executor import TerminatedWorkerError

from icl_interp.measure import development_workers
from icl_interp.measure.development_failure import LeftOut
from icl_interp.measure.development_settings import DevelopmentSettings
from icl_interp.measure.development_workers import ATTEMPTS, CheckpointJob, run_jobs
from icl_interp.parallel import worker_died
from icl_interp.tasks.linear_regression import LinearRegression

DAMAGED = LeftOut("file", "damaged")


class FakeJob(CheckpointJob):
    """Touches its record; step 20 cannot be read."""

    def known(self) -> bool:
        return self.target.exists()

    def run(self) -> LeftOut | None:
        assert not self.known(), "measured twice"
        if self.step == 20:
            return DAMAGED
        self.target.touch()
        return None


def fake_job(step: int, folder: Path) -> FakeJob:
    task = LinearRegression(2)
    return FakeJob(folder / "x.pt", step, task, None, DevelopmentSettings(), "0", folder, folder / str(step))


class FakeParallel:
    """joblib without processes: at each attempt `deaths` says after how many jobs the workers die, and how."""

    deaths: ClassVar[list[tuple[int, BaseException]]] = []

    def __init__(self, **_: object) -> None:
        pass

    def __call__(self, calls: list) -> Iterator:
        after, error = self.deaths.pop(0) if self.deaths else (len(calls), None)
        for number, (function, arguments, _) in enumerate(calls):
            if error is not None and number == after:
                calls[number + 1][0](*calls[number + 1][1])  # done, and never told
                raise error
            yield function(*arguments)


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setattr(joblib, "Parallel", FakeParallel)
    return [fake_job(step, tmp_path) for step in (0, 10, 20, 30, 40)]


def killed_by_dask() -> BaseException:
    scheduler = pytest.importorskip("distributed.scheduler", reason="the cluster extra is not installed")
    return scheduler.KilledWorker("job", None, 3)


def killed_by_loky() -> BaseException:
    return TerminatedWorkerError("a worker process was terminated")


@pytest.mark.parametrize("death", [killed_by_loky, killed_by_dask])
def test_what_a_dead_worker_left_is_done_by_others(jobs, monkeypatch, death):
    monkeypatch.setattr(FakeParallel, "deaths", [(1, death()), (1, death())])
    found = dict(run_jobs(jobs, workers=2))
    assert found == {0: None, 1: None, 2: DAMAGED, 3: None, 4: None}
    assert [job.step for job in jobs if job.known()] == [0, 10, 30, 40]
    assert FakeParallel.deaths == []


@pytest.mark.parametrize("death", [killed_by_loky, killed_by_dask])
def test_after_three_attempts_there_is_one_sentence_and_the_records_stay(jobs, monkeypatch, death):
    monkeypatch.setattr(FakeParallel, "deaths", [(0, death()) for _ in range(ATTEMPTS)])
    message = r"they died 3 times, .* 4 of its records are missing \(step 0, 20, 30, 40\); what was measured is kept"
    with pytest.raises(ChildProcessError, match=message):  # an OSError, so one line and exit code 2 on a command line
        list(run_jobs(jobs, workers=2))
    assert [job.step for job in jobs if job.known()] == [10]


def test_a_job_that_fails_is_no_death(jobs, monkeypatch):
    monkeypatch.setattr(FakeParallel, "deaths", [(1, ValueError("bad input"))])
    with pytest.raises(ValueError, match="bad input"):
        list(run_jobs(jobs, workers=2))
    assert [worker_died(error) for error in (killed_by_loky(), killed_by_dask(), OSError(), MemoryError())] == [
        True, True, False, False,
    ]  # fmt: skip


def test_what_was_finished_before_is_not_measured_again(jobs):
    jobs[3].target.touch()
    index, reason = development_workers._run_alone(3, jobs[3])  # would assert
    assert (index, reason) == (3, None)


@pytest.mark.slow  # four processes import torch and TransformerLens
def test_a_real_process_that_is_killed_costs_no_record(tmp_path):
    jobs = [deadly_job(step, tmp_path) for step in (0, DEADLY, 20, 30)]
    assert sorted(run_jobs(jobs, workers=2)) == [(index, None) for index in range(4)]
    assert (tmp_path / "died").exists()
    assert all(job.known() for job in jobs)
