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


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(write=request.config.getoption("--write-golden"))


# Shells start background jobs with Ctrl-C ignored, and every process that such a test session starts would inherit it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Files that share studies, runs, the parent of programs or what torch.compile imports go to one process.
SHARED = {
    "studies": ("small_study", "uncontrolled_study", "signing_study"),
    "runs": ("developed_run", "endless_run"),
    "programs": ("from fresh import",),
    "compiled": ("torch.compile(net)",),
}
# What takes longest comes first, so that no process is left with it when the others are done.
FIRST = ("tests/test_examples.py", "tests/icl_interp/training/test_dask_sweep.py")
# Files whose tests share nothing: each test may go to another process.
APART = ("tests/test_examples.py",)


@cache
def _group(file: str) -> str:
    text = Path(file).read_text(encoding="utf-8")
    return next((group for group, names in SHARED.items() if any(name in text for name in names)), file)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--write-golden"):
        items[:] = [item for item in items if "golden" in getattr(item, "fixturenames", ())]
    items.sort(key=lambda item: not item.nodeid.startswith(FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """With --dist loadfile, whole groups of files instead of files. (xdist's loadgroup knows no group by its file.)"""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadScopeScheduling
    from xdist.workermanage import WorkerController

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid if nodeid.startswith(APART) else _group(str(config.rootpath / nodeid.partition("::")[0]))

        def _assign_work_unit(self, node: WorkerController) -> None:
            # What is done is counted after every test: with thousands of them that takes seconds.
            given = self.assigned_work.get(node, {})
            for scope in [scope for scope, unit in given.items() if all(unit.values())]:
                del given[scope]
            super()._assign_work_unit(node)

    return ByGroup(config, log)
