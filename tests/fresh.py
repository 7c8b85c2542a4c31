"""Programs that start as in a process of their own: what is not ours is imported once for all of them, ours by each.

A process for each would import torch and TransformerLens each time, which takes longer than what is tested. A parent
imports them and forks for each program, which finds nothing of ours imported and no setting changed. The parent serves
all tests of a session; tests/conftest.py sends the files that use it to one process.
"""

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

_PARENT = """
import importlib, json, os, runpy, signal, sys, tempfile
for name in sys.argv[1:]:
    importlib.import_module(name)
assert not {name.partition(".")[0] for name in sys.modules} & {"icl_interp", "probes"}

def run(job):
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    child = os.fork()
    if child == 0:
        code = 1
        signal.alarm(600)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.chdir(job["folder"])
        os.environ.clear()
        os.environ.update(job["environment"])
        sys.argv = job["command"]
        sys.path[0] = os.path.dirname(sys.argv[0])
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    said = []
    for file in (out, err):
        file.seek(0)
        said.append(file.read().decode())
    return [code, *said]

for line in sys.stdin:
    print(json.dumps([run(job) for job in json.loads(line)]), flush=True)
"""


class Ended(NamedTuple):
    """A program that is over."""

    code: int
    said: str
    complained: str


@cache
def _parent(imported: tuple[str, ...]) -> subprocess.Popen[str]:
    """Waits for programs until this process ends."""
    command = [sys.executable, "-c", _PARENT, *imported]
    parent = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(parent.communicate)
    return parent


def run_fresh(
    commands: Sequence[Sequence[object]],
    *,
    folder: Path,
    environment: Mapping[str, str] = {},  # never changed
    imported: tuple[str, ...] = ("torch", "transformer_lens"),
) -> list[Ended]:
    """Run scripts with their arguments, one after the other, in a folder, with more environment than there is here."""
    shared = {"folder": str(folder), "environment": {**os.environ, **environment}}
    jobs = [{"command": list(map(str, command)), **shared} for command in commands]
    parent = _parent(imported)
    assert parent.stdin is not None
    assert parent.stdout is not None
    print(json.dumps(jobs), file=parent.stdin, flush=True)
    return [Ended(*each) for each in json.loads(parent.stdout.readline())]


def run_text(program: str, *arguments: object, folder: Path, **options: object) -> Ended:
    """Run the lines of a program, which are written into the folder."""
    script = folder / "program.py"
    script.write_text(program, encoding="utf-8")
    (ended,) = run_fresh([[script, *arguments]], folder=folder, **options)  # type: ignore[arg-type]
    return ended
