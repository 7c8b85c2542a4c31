"""What a result was made with: versions, machine, command. Kept apart from the numbers, which do not depend on it."""

import importlib.metadata
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

__all__ = ["provenance"]

_PACKAGES = ("icl-interp", "torch", "transformer-lens", "numpy", "scipy", "plotly")
_GIT_SECONDS = 5.0  # enough for a cold checkout on a network disk; no result waits longer for its footnote


def provenance() -> dict[str, str | int]:
    """Record the circumstances of this process.

    Where the current folder belongs to a git checkout, that checkout's commit is there, and whether tracked files
    differ from it; elsewhere these two are left out.

    Returns:
        Plain values by name: command, versions, machine, threads, time and git's. No path of the machine beyond what
        was typed.

    Example:
        >>> provenance()["torch"] == torch.__version__
        True
    """
    command = " ".join(shlex.quote(part) for part in (Path(sys.argv[0]).name, *sys.argv[1:]))
    record: dict[str, str | int] = {
        "command": command,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads(),
    }
    for package in _PACKAGES:
        try:
            record[package.replace("-", "_")] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            record[package.replace("-", "_")] = "not installed"
    record["torch"] = torch.__version__  # with the build, such as +cpu
    return record | _git_state()


def _git_state() -> dict[str, str | int]:
    commit = _git("rev-parse", "HEAD")
    # Untracked files do not count: the report of one run would make the next run's checkout dirty.
    changes = None if commit is None else _git("status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return {}
    return {"git_commit": commit, "git_dirty": bool(changes)}


def _git(*arguments: str) -> str | None:
    # No lock is taken, and the helper program that a checkout's own config may name is not started.
    command = ("git", "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, ValueError, subprocess.SubprocessError):  # no git, no checkout, no commit, too slow
        return None
    return done.stdout.strip()
