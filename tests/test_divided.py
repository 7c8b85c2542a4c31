"""Tests that are divided between processes: each runs once, groups stay together, what fails or dies is told."""

import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = """
from divided import run_divided
def pytest_runtestloop(session):
    return run_divided(session, 2, lambda nodeid: nodeid.partition("::")[0])
"""
GROUP = """
import os, pathlib, pytest
@pytest.fixture(scope="session")
def who():
    return os.getpid()
@pytest.mark.parametrize("n", range(3))
def test_one(n, who):
    assert who == os.getpid()
    with open(f"{pathlib.Path(__file__).stem}.{who}", "a") as file:
        file.write(str(n))
"""


@pytest.mark.parametrize(
    ("last", "code", "said"),
    [("assert 1 + 1 == 3", 1, "assert (1 + 1) == 3"), ("os._exit(7)", 3, "ended with 7")],
    ids=["a failure", "a process that dies"],
)
def test_both_processes_tell_how_their_tests_end(last: str, code: int, said: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(f"import sys\nsys.path.append({str(Path(__file__).parent)!r})\n{CONFTEST}")
    for name in ("test_a.py", "test_b.py"):
        (tmp_path / name).write_text(GROUP)
    (tmp_path / "test_c.py").write_text(f"import os\ndef test_last():\n    print('heard')\n    {last}\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == code, done.stdout
    assert said in done.stdout + done.stderr
    assert ("1 failed, 6 passed" in done.stdout) is (code == 1)
    assert ("heard" in done.stdout) is (code == 1)
    assert sorted((path.stem, path.read_text()) for path in tmp_path.glob("test_[ab].[0-9]*")) == [
        ("test_a", "012"),
        ("test_b", "012"),
    ]
