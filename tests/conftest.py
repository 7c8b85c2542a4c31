"""Shared by all tests: one thread, Ctrl-C as at a terminal, and which files run in one process."""

import os
import signal
import threading

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)

collect_ignore = ["compare.py"]  # a command of its own: `make compare`

# Shells start background jobs with Ctrl-C ignored, and every process that such a test session starts would inherit it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

STUDIES = {"small_study", "small_study_again", "uncontrolled_study", "signing_study"}
RUNS = {"developed_run", "endless_run", "developed"}


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that share studies go to one process, so that each study is made once; each other file is on its own."""
    groups = {item.path: f"{item.path.parent.name}/{item.path.stem}" for item in items}
    for item in items:
        for group, shared in {"studies": STUDIES, "runs": RUNS}.items():
            if shared & set(getattr(item, "fixturenames", ())):
                groups[item.path] = group
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[item.path]))
