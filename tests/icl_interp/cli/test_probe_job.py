"""How many processes icl-probe takes where nobody says so."""

import os
from dataclasses import replace

import pytest

from icl_interp.measure.study.measure import StudyPlan
from icl_interp.measure.study.plan import _default_workers, plan_study


@pytest.fixture(scope="module")
def plan(tiny_model, tiny_task) -> StudyPlan:
    return plan_study(tiny_model, tiny_task, n_prompts=8, n_points=4, shifts=["x_scale=3"], layers=[], n_controls=0)


@pytest.mark.parametrize(
    ("seconds", "cores", "workers"), [(19.0, 8, 1), (21.0, 1, 1), (21.0, 2, 2), (39.0, 8, 3), (1e4, 8, 4)]
)
def test_long_work_takes_up_to_four_cores(monkeypatch, plan, seconds, cores, workers):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    monkeypatch.setattr(StudyPlan, "seconds", seconds)
    assert _default_workers(plan) == workers


def test_only_cores_that_this_process_may_use_count(monkeypatch, plan):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert _default_workers(replace(plan, n_prompts=10**9)) == 1


def test_a_short_study_stays_in_its_process(plan):
    assert plan.workers == 1
