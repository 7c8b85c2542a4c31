import os
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from icl_interp import provenance as module
from icl_interp.provenance import provenance

Record = dict[str, str | int]


@pytest.fixture(autouse=True)
def no_checkout_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # a git hook that runs these tests sets them
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit_all(folder: Path) -> str:
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return git(folder, "rev-parse", "HEAD")


def installed_at(folder: Path) -> Callable[[], Record]:
    """The module itself in a package elsewhere, which then says what it was made with."""
    folder.mkdir(parents=True)
    shutil.copy(module.__file__, folder / "provenance.py")
    return lambda: runpy.run_path(str(folder / "provenance.py"))["provenance"]()


@pytest.fixture
def checkout(tmp_path: Path) -> tuple[Path, Callable[[], Record], str]:
    """A checkout of the package, what it says, and its only commit."""
    asked = installed_at(tmp_path / "ours" / "icl_interp")
    (tmp_path / "ours" / "notes.txt").write_text("one\n")
    return tmp_path / "ours", asked, commit_all(tmp_path / "ours")


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str]:
    """Somebody's own checkout, the current folder, and its commit."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").write_text("...\n")
    monkeypatch.chdir(tmp_path / "theirs")
    return tmp_path / "theirs", commit_all(tmp_path / "theirs")


def test_it_says_what_a_result_was_made_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["/home/me/bin/icl-train", "my run.yaml", "--set", "lr=1"])
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("platform.processor", lambda: "arm")
    record = installed_at(tmp_path / "icl_interp")()
    assert set(record) == {
        "command", "time", "python", "platform", "processor", "cores", "threads",
        "icl_interp", "torch", "transformer_lens", "numpy", "scipy", "plotly",
    }  # fmt: skip
    assert record["command"] == "icl-train 'my run.yaml' --set lr=1"
    assert record["threads"] == torch.get_num_threads()
    assert record["torch"] == torch.__version__
    assert "not installed" not in record.values()
    assert not any("/home/me" in str(value) for value in record.values())


CPUINFO = """processor\t: 0
vendor_id\t: GenuineIntel
model\t\t: 85
model name\t: Intel(R)  Xeon(R) CPU @ 2.00GHz
processor\t: 1
model name\t: Another One
"""
PROCESSORS = {
    "Linux": ("Linux", CPUINFO, "x86_64", "Intel(R) Xeon(R) CPU @ 2.00GHz"),
    "Linux without a name": ("Linux", "processor\t: 0\nCPU implementer\t: 0x41\n", "aarch64", None),
    "Linux without the file": ("Linux", None, "x86_64", None),
    "elsewhere": ("Windows", CPUINFO, "Intel64 Family 6 Model 85", "Intel64 Family 6 Model 85"),
    "elsewhere without a name": ("Darwin", CPUINFO, "", None),
}


@pytest.mark.parametrize(("system", "cpuinfo", "processor", "expected"), PROCESSORS.values(), ids=PROCESSORS)
def test_the_processors_model_is_there_where_it_is_known(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    system: str,
    cpuinfo: str | None,
    processor: str,
    expected: str | None,
) -> None:
    (tmp_path / ("cpuinfo" if cpuinfo is not None else "other")).write_text(cpuinfo or "")
    monkeypatch.setattr(module, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("platform.system", lambda: system)
    monkeypatch.setattr("platform.processor", lambda: processor)
    record = provenance()
    assert record.get("processor") == expected
    assert expected is not None or "processor" not in record


def test_the_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= int(provenance()["cores"]) <= int(os.cpu_count() or 1)
    monkeypatch.setattr("joblib.cpu_count", lambda: 3)
    assert provenance()["cores"] == 3


def test_the_machine_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.node", lambda: "somebodys-laptop")
    monkeypatch.setattr("socket.gethostname", lambda: "somebodys-laptop")
    assert not any("somebodys-laptop" in str(value) for value in provenance().values())


def test_it_survives_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("icl_interp.provenance._PACKAGES", ("no-such-package",))
    assert provenance()["no_such_package"] == "not installed"


def test_the_commit_is_that_of_the_packages_own_checkout(
    checkout: tuple[Path, Callable[[], Record], str], elsewhere: tuple[Path, str]
) -> None:
    folder, asked, commit = checkout
    assert len(commit) == 40
    assert commit != elsewhere[1]
    (folder / "icl-report.html").write_text("untracked files are no change")
    (elsewhere[0] / "thesis.tex").write_text("changed, which is not our business\n")
    clean = asked()
    assert (clean["git_commit"], clean["git_dirty"]) == (commit, False)
    (folder / "notes.txt").write_text("two\n")
    dirty = asked()
    assert (dirty["git_commit"], dirty["git_dirty"]) == (commit, True)
    assert not any(str(folder) in str(value) for value in dirty.values())


@pytest.mark.parametrize("place", ["theirs/.venv/site-packages/icl_interp", "site-packages/icl_interp"])
def test_an_installed_package_has_no_commit_whatever_the_current_folder(
    elsewhere: tuple[Path, str], tmp_path: Path, place: str
) -> None:
    assert elsewhere[0] == Path.cwd()
    assert not {"git_commit", "git_dirty"} & set(installed_at(tmp_path / place)())


def test_a_hook_of_another_checkout_does_not_lead_astray(
    checkout: tuple[Path, Callable[[], Record], str], elsewhere: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(elsewhere[0] / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(elsewhere[0]))
    monkeypatch.setenv("GIT_INDEX_FILE", str(elsewhere[0] / ".git" / "index"))
    record = checkout[1]()
    assert (record["git_commit"], record["git_dirty"]) == (checkout[2], False)


def test_a_checkout_without_a_commit_has_none(tmp_path: Path) -> None:
    asked = installed_at(tmp_path / "icl_interp")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    assert "git_commit" not in asked()


def _no_git(*_: object, **__: object) -> None:
    raise FileNotFoundError(2, "No such file or directory", "git")


def _slow_git(command: object, *, timeout: float, **_: object) -> None:
    assert timeout <= 10
    raise subprocess.TimeoutExpired(str(command), timeout)


@pytest.mark.parametrize("run", [_no_git, _slow_git])
def test_it_does_without_git(
    checkout: tuple[Path, Callable[[], Record], str], monkeypatch: pytest.MonkeyPatch, run: object
) -> None:
    assert "git_commit" in checkout[1]()
    monkeypatch.setattr("subprocess.run", run)
    assert not {"git_commit", "git_dirty"} & set(checkout[1]())


def test_asking_git_runs_no_program_of_the_checkout(checkout: tuple[Path, Callable[[], Record], str]) -> None:
    folder, asked, _ = checkout
    script = folder / "helper.sh"
    script.write_text(f"#!/bin/sh\ntouch {folder / 'ran'}\n")
    script.chmod(0o755)
    git(folder, "config", "core.fsmonitor", str(script))
    git(folder, "status")
    assert (folder / "ran").exists()  # git's own habit
    (folder / "ran").unlink()
    assert "git_commit" in asked()
    assert not (folder / "ran").exists()
