import sys
from typing import Any

import joblib
import pytest

from icl_interp.parallel import workers_or_scheduler


def test_processes_of_this_machine_have_one_thread_each() -> None:
    with workers_or_scheduler(3, None):
        backend, n_jobs = joblib.parallel.get_active_backend()
    assert (type(backend).__name__, n_jobs) == ("LokyBackend", 3)
    assert backend.inner_max_num_threads == 1
    assert joblib.parallel.get_active_backend()[1] != 3  # and the choice ends with the block


def test_dask_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(ValueError, match=r"a scheduler needs dask, which is not there; pip install"),
        workers_or_scheduler(1, "tcp://127.0.0.1:1"),
    ):
        pass


def test_a_scheduler_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed", reason="the cluster extra is not installed")

    def refuse(address: str, **_: Any) -> None:
        raise OSError(f"timed out: {address}")

    monkeypatch.setattr(distributed, "Client", refuse)
    message = r"a Dask scheduler needs to answer, got 'tcp://127.0.0.1:1' .timed out: .*; start one first"
    with pytest.raises(ValueError, match=message), workers_or_scheduler(1, "tcp://127.0.0.1:1"):
        pass
