"""The record of what made a result: versions, machine, git state, and a name for the code."""

import ast
import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import torch

from icl_interp._version import __version__

_PACKAGES = ("icl-interp", "torch", "transformer-lens", "numpy", "scipy", "plotly")
_FILE = Path(__file__).resolve()
_CPUINFO = Path("/proc/cpuinfo")
_LEADING_ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")
_GIT_SECONDS = 5.0  # enough for a cold checkout on a network disk; no result waits longer for its footnote


def provenance() -> dict[str, str | int]:
    """Record the circumstances of this process.

    Where this package runs from a git checkout of its own, that checkout's commit is there, and whether tracked files
    differ from it; elsewhere these two are left out. Where the process was started does not matter.
    """
    command = " ".join(shlex.quote(part) for part in (Path(sys.argv[0]).name, *sys.argv[1:]))
    record: dict[str, str | int] = {
        "command": command,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": _platform(),
        **_processor(),
        "threads": torch.get_num_threads(),
    }
    for package in _PACKAGES:
        try:
            record[package.replace("-", "_")] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            record[package.replace("-", "_")] = "not installed"
    record["torch"] = torch.__version__  # with the build, such as +cpu
    return record | _git_state()


def machine() -> str:
    """Say on what kind of machine this process runs, as far as its rounding depends on it."""
    return ", ".join(str(part) for name, part in {"": _platform(), **_processor()}.items() if name != "cores")


def _platform() -> str:
    return f"{platform.system()} {platform.machine()}"


def _processor() -> dict[str, str | int]:
    import joblib  # here, since importing this module must cost nothing

    # Linux has no name in `platform.processor`, or that of the architecture.
    name = _model_name() if platform.system() == "Linux" else platform.processor()
    cores: dict[str, str | int] = {"cores": joblib.cpu_count()}  # affinity and a container's quota count
    return {"processor": " ".join(name.split()), **cores} if name.strip() else cores


def _model_name() -> str:
    try:
        lines = _CPUINFO.read_text(errors="replace", encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2] for line in lines if line.startswith("model name")), "")


def _git_state() -> dict[str, str | int]:
    # A package that was installed into somebody's project lies in a checkout too, but git does not know its files.
    if _git("ls-files", "--error-unmatch", _FILE.name) is None:
        return {}
    commit = _git("rev-parse", "HEAD")
    # Untracked files do not count: the report of one run would make the next run's checkout dirty.
    changes = None if commit is None else _git("status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return {}
    return {"git_commit": commit, "git_dirty": bool(changes)}


def _git(*arguments: str) -> str | None:
    # No lock is taken, and the helper program that a checkout's own config may name is not started.
    command = ("git", "-C", str(_FILE.parent), "--no-optional-locks", "-c", "core.fsmonitor=false", *arguments)
    # Somebody's hook sets variables that would lead to their checkout.
    environment = {name: value for name, value in os.environ.items() if name not in _LEADING_ELSEWHERE}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_GIT_SECONDS, check=True,
            env=environment,
        )  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError):  # no git, no checkout, no commit, too slow
        return None
    return done.stdout.strip()


_ROOT = Path(__file__).resolve().parents[1]
_OURS = ("icl_interp", "probes")
_MODELS = "icl_interp.models"  # their classes are loaded by name, which no import shows


@lru_cache
def code_version(*names: str) -> str:
    """Name the code of some modules, of the models, and of all that they import of ours, directly or not.

    Comments, docstrings and layout do not count; the version of Python may.
    """
    codes = _closure(*names)
    code = "".join(f"{path.relative_to(_ROOT).as_posix()}\n{text}\n" for path, text in sorted(codes.items()))
    return hashlib.sha256((code or __version__).encode()).hexdigest()[:12]


def _closure(*names: str) -> dict[Path, str]:
    codes: dict[Path, str] = {}
    roots = (*names, _MODELS)
    waiting = [path for name in roots for path in (*_files(name), *_ROOT.joinpath(*name.split(".")).rglob("*.py"))]
    while waiting:
        path = waiting.pop()
        if path not in codes:
            text = path.read_text(encoding="utf-8")
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError):  # ValueError: of null bytes
                codes[path] = text
                continue
            waiting += [found for name in _imported(tree) for found in _files(name)]
            codes[path] = ast.dump(_without_docstrings(tree))
    return codes


def _without_docstrings(tree: ast.Module) -> ast.Module:
    # A string that stands alone does nothing, wherever it is: those below fields are docstrings too.
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [line for line in node.body if not _is_text(line)]
    return tree


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # What is imported may be a module of its own; what is not one has no file and is passed over.
            found = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in found if name.partition(".")[0] in _OURS)


def _files(name: str) -> list[Path]:
    place = _ROOT.joinpath(*name.split("."))
    return [path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()]
