"""Programs that start as in a process of their own: what is not ours is imported once for all of them, ours by each.

A process for each would import torch and TransformerLens each time, which takes longer than what is tested. The parent
here imports them and forks, so that a program finds nothing of ours imported and no setting changed.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

_PARENT = """
import importlib, json, os, runpy, sys, tempfile
jobs, names = json.load(sys.stdin)
for name in names:
    importlib.import_module(name)
assert not {name.partition(".")[0] for name in sys.modules} & {"icl_interp", "probes"}
ended = []
for job in jobs:
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    child = os.fork()
    if child == 0:
        code = 1
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        os.chdir(job["folder"])
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
    ended.append([code, *said])
json.dump(ended, sys.stdout)
"""


class Ended(NamedTuple):
    """A program that is over."""

    code: int
    said: str
    complained: str


def run_fresh(
    commands: list[list[str]], *, folder: Path, imported: tuple[str, ...] = ("torch", "transformer_lens")
) -> list[Ended]:
    """Run scripts with their arguments, one after the other, in a folder."""
    jobs = [{"command": list(map(str, command)), "folder": str(folder)} for command in commands]
    done = subprocess.run(
        [sys.executable, "-c", _PARENT], input=json.dumps([jobs, imported]), capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return [Ended(*each) for each in json.loads(done.stdout)]
