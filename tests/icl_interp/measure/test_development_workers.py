"""Workers of a timeline that die: what is cached stays, and then there is one clear sentence."""

import joblib
import pytest
from fake_parallel import FakeParallel
from joblib.externals.loky.process_executor import TerminatedWorkerError

from icl_interp.jobs import _ATTEMPTS
from icl_interp.measure.development.jobs import CheckpointJob, run_jobs
from icl_interp.measure.development.record import LeftOut
from icl_interp.measure.development.settings import DevelopmentSettings
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


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    monkeypatch.setattr(joblib, "Parallel", FakeParallel)
    task, settings = LinearRegression(2), DevelopmentSettings()
    return [
        FakeJob(tmp_path / "x.pt", step, task, None, settings, "0", tmp_path, tmp_path / str(step))
        for step in (0, 10, 20, 30, 40)
    ]


def deaths(after: int, number: int) -> list[tuple[int, BaseException]]:
    return [(after, TerminatedWorkerError("a worker process was terminated")) for _ in range(number)]


def test_what_a_dead_worker_left_is_done_by_others(jobs, monkeypatch):
    monkeypatch.setattr(FakeParallel, "deaths", deaths(1, 2))
    found = dict(run_jobs(jobs, workers=2))
    assert found == {0: None, 1: None, 2: DAMAGED, 3: None, 4: None}
    assert [job.step for job in jobs if job.known()] == [0, 10, 30, 40]


def test_after_three_attempts_there_is_one_sentence_and_the_records_stay(jobs, monkeypatch):
    monkeypatch.setattr(FakeParallel, "deaths", deaths(0, _ATTEMPTS))
    message = r"they died 3 times, .* 4 of its records are missing \(step 0, 20, 30, 40\); what was measured is kept"
    with pytest.raises(ChildProcessError, match=message):  # an OSError, so one line and exit code 2 on a command line
        list(run_jobs(jobs, workers=2))
    assert [job.step for job in jobs if job.known()] == [10]
