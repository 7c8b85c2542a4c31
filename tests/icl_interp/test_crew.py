"""Processes that help this one: results never depend on whether they can."""

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from icl_interp import jobs
from icl_interp.jobs import Crew, StopSignalError
from icl_interp.measure.study.plan import plan_study
from icl_interp.measure.study.run import run_study
from icl_interp.report.numbers import study_json


class Threads(ThreadPoolExecutor):
    """Helpers that start at once: everything is sent and brought back as between processes."""

    def __init__(self, helpers: int, **_: object) -> None:
        super().__init__(helpers, thread_name_prefix="helper")

    def shutdown(self, wait: bool = True, *, kill_workers: bool = False) -> None:  # noqa: ARG002
        super().shutdown(wait=False, cancel_futures=True)


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(jobs, "ProcessPoolExecutor", Threads)


def who(job: float) -> tuple[float, str]:
    time.sleep(0.02)
    return job**2, threading.current_thread().name


def shared(given: list, work, helpers: int = 1) -> dict[int, tuple[float, str]]:
    with Crew(helpers) as crew:
        return dict(crew.share(given, work))


@pytest.mark.parametrize("helpers", [0, 1, 3])
@pytest.mark.usefixtures("at_once")
def test_every_job_is_done_once_and_this_process_begins_with_the_first(helpers):
    found = shared([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], who, helpers)
    assert {index: square for index, (square, _) in found.items()} == {i: (i + 1.0) ** 2 for i in range(6)}
    helped = [index for index, (_, name) in found.items() if name.startswith("helper")]
    assert 0 not in helped
    assert bool(helped) == (5 in helped) == (helpers > 0)


@pytest.mark.usefixtures("at_once")
def test_what_cannot_be_sent_stays_here():
    lock = threading.Lock()  # cannot be pickled
    found = shared([1.0, 2.0], lambda job: (lock.locked(), *who(job)))
    assert {name for *_, name in found.values()} == {threading.current_thread().name}
    found = shared([1.0, 2.0, lock], lambda job: who(3.0) if job is lock else who(job))
    assert found[2] == (9.0, threading.current_thread().name)


def refuses_helpers(job: float) -> tuple[float, str]:
    if threading.current_thread().name.startswith("helper"):
        raise MemoryError("no room for a second process")
    return who(job)


@pytest.mark.usefixtures("at_once")
def test_what_a_helper_fails_at_is_done_here():
    found = shared([1.0, 2.0, 3.0], refuses_helpers)
    assert {name for _, name in found.values()} == {threading.current_thread().name}
    assert len(found) == 3


@pytest.mark.usefixtures("at_once")
def test_what_fails_here_too_is_said_and_threads_are_as_before():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        shared([1.0, 0.0], lambda job: 1 / job)
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("at_once")
def test_a_study_is_the_same_with_helpers(tiny_model, tiny_task, small_checkpoint):
    options = {"n_prompts": 8, "n_points": 4, "shifts": ["x_scale=3"], "layers": [], "n_controls": 2}
    plan = replace(plan_study(tiny_model, tiny_task, **options), n_surveyed=3)
    ticks: list[int] = []
    texts = [
        json.loads(study_json(run_study(each, lambda done, _: ticks.append(done)), small_checkpoint, {}))
        for each in (plan, replace(plan, workers=3))
    ]
    assert texts[0] == texts[1]
    assert sum(ticks) == 2 * plan.reads


def process_of(job: float) -> tuple[float, int, int]:
    return job**2, os.getpid(), torch.get_num_threads()


@pytest.mark.slow  # a process that imports torch
def test_processes_help_with_one_thread_each_and_end_on_ctrl_c():
    seen: list[tuple[float, int, int]] = []

    def stopped(_: float) -> tuple[float, int, int]:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
        pytest.fail("nothing stopped it")

    def help_and_stop() -> None:
        with Crew(1) as crew:
            while all(pid == os.getpid() for _, pid, _ in seen):
                seen.extend(found for _, found in crew.share([1.0] * 40, process_of, slowly))
            list(crew.share([1.0] * 40, process_of, stopped))

    with pytest.raises(StopSignalError):
        help_and_stop()
    (helper,) = {pid for _, pid, _ in seen} - {os.getpid()}
    assert {n_threads for *_, n_threads in seen} == {1}
    give_up = time.monotonic() + 10
    while Path(f"/proc/{helper}").exists() and time.monotonic() < give_up:
        time.sleep(0.1)
    assert not Path(f"/proc/{helper}").exists()


def slowly(job: float) -> tuple[float, int, int]:
    time.sleep(0.05)
    return process_of(job)
