"""Tests divided between processes that share one collection: `pytest --processes 2`.

What is imported and collected takes a good part of a quick test run. It is done once here, and then the process forks.
The children take one group of tests after the other, each as soon as it is free, and send their reports to the parent,
which shows them as if the tests had run in it.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, NoReturn

import pytest

_ENDED = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
_BYTES = 4
"""Of the number of a group. A pipe is read in whole numbers by all children, so that each is taken once."""


class _Teller:
    """Sends what a child's tests say."""

    def __init__(self, config: pytest.Config, pipe: "Connection[Any, Any]") -> None:
        self.config, self.pipe = config, pipe

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.pipe.send(self.config.hook.pytest_report_to_serializable(config=self.config, report=report))


def _taken(groups: list[list[pytest.Item]], tickets: int) -> Iterator[pytest.Item]:
    """The tests of groups that no other child has taken."""
    while number := os.read(tickets, _BYTES):
        yield from groups[int.from_bytes(number)]


def _run_tests(session: pytest.Session, groups: list[list[pytest.Item]], tickets: int, pipe: Any, out: Any) -> None:
    """Run what there is to do; the child goes on like a session of its own, which writes to `out`."""
    plugins = session.config.pluginmanager
    capture, reporter = plugins.getplugin("capturemanager"), plugins.getplugin("terminalreporter")
    capture.stop_global_capturing()  # into a file that all children would share
    os.dup2(out.fileno(), 1)
    os.dup2(out.fileno(), 2)
    reporter._tw._file = open(1, "w", closefd=False)  # noqa: SIM115
    capture.start_global_capturing()
    plugins.register(_Teller(session.config, pipe))
    for item, following in pairwise(chain(_taken(groups, tickets), [None])):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    pipe.close()


def _died(child: int, code: int, out: Any) -> NoReturn:
    out.seek(0)
    raise RuntimeError(f"test process {child} ended with {code}:\n{out.read().decode(errors='replace')}")


def run_divided(session: pytest.Session, n: int, group: Callable[[str], str]) -> bool:
    """Run all tests in n processes; those of one group run in one, in their order."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in session.items:
        groups.setdefault(group(item.nodeid), []).append(item)
    tickets, pen = os.pipe()
    os.write(pen, b"".join(number.to_bytes(_BYTES) for number in range(len(groups))))
    os.close(pen)
    sys.stdout.flush()
    children, ears = {}, []
    for _ in range(n):
        ear, mouth = Pipe(duplex=False)
        out = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the session ends, here and in the children
        session.config.add_cleanup(out.close)
        child = os.fork()
        if child == 0:
            _run_tests(session, list(groups.values()), tickets, mouth, out)
            return True
        mouth.close()
        children[child] = out
        ears.append(ear)
    hook, config, done = session.config.hook, session.config, 0
    while ears:
        for ear in wait(ears):
            try:
                said = ear.recv()
            except EOFError:
                ears.remove(ear)
                continue
            report = hook.pytest_report_from_serializable(config=config, data=said)
            hook.pytest_runtest_logreport(report=report)
            done += report.when == "teardown"
    for child, out in children.items():
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code not in _ENDED:
            _died(child, code, out)
    if done != len(session.items):
        raise RuntimeError(f"of {len(session.items)} tests {done} have ended")
    return True
