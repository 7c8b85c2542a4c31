"""What a result was made with: versions, machine, command. Kept apart from the numbers, which do not depend on it."""

import importlib.metadata
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

__all__ = ["provenance"]

_PACKAGES = ("icl-interp", "torch", "transformer-lens", "numpy", "scipy", "plotly")


def provenance() -> dict[str, str | int]:
    """Record the circumstances of this process.

    Returns:
        Plain values by name: command, versions, machine, threads and time. No path of the machine beyond what was
        typed.

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
    return record
