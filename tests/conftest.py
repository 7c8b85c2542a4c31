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

SHARED = {"small_study", "small_study_again", "uncontrolled_study", "signing_study"}


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that share studies go to one process, so that each study is made once; each other file is on its own."""
    sharing = {item.path for item in items if SHARED & set(getattr(item, "fixturenames", ()))}
    for item in items:
        group = "studies" if item.path in sharing else f"{item.path.parent.name}/{item.path.stem}"
        item.add_marker(pytest.mark.xdist_group(group))
