"""Shared by all tests: one thread, Ctrl-C as at a terminal, and which files run in one process."""

import os
import signal
import threading
from functools import cache
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from golden import Golden
from shape_checks import install

torch.set_num_threads(1)
install()

collect_ignore = ["compare.py", "strength.py"]  # commands of their own: `make compare`, `make strength`


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-golden", action="store_true", help="write the texts in tests/golden, compare nothing else"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run nothing but what writes a golden text, where that is asked for."""
    if config.getoption("--write-golden"):
        items[:] = [item for item in items if "golden" in getattr(item, "fixturenames", ())]


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(write=request.config.getoption("--write-golden"))


# Shells start background jobs with Ctrl-C ignored, and every process that such a test session starts would inherit it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that share studies or runs go to one process, which makes each of them once.
SHARED = {
    "studies": ("small_study", "uncontrolled_study", "signing_study"),
    "runs": ("developed_run", "endless_run"),
}


@cache
def _group(file: str) -> str:
    text = Path(file).read_text(encoding="utf-8")
    return next((group for group, names in SHARED.items() if any(name in text for name in names)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With --dist loadfile, whole groups of files instead of files. (xdist's loadgroup knows no group by its file.)"""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return _group(str(config.rootpath / nodeid.partition("::")[0]))

    return ByGroup(config, log)
