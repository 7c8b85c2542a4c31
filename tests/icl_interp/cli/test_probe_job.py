"""How many threads icl-probe takes where nobody says so."""

import os

import pytest

from icl_interp.cli.probe_job import _threads


@pytest.mark.parametrize(("width", "cores", "threads"), [(128, 8, 1), (129, 1, 1), (129, 3, 3), (129, 64, 4)])
def test_wide_networks_take_up_to_four_cores(monkeypatch, width, cores, threads):
    monkeypatch.setattr("joblib.cpu_count", lambda: cores)
    assert _threads(width) == threads


def test_only_cores_that_this_process_may_use_count(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert _threads(256) == 1
