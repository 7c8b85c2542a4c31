"""Every example runs with small settings, in an empty folder."""

import runpy
from pathlib import Path

import pytest

import icl_interp as icl

EXAMPLES = {path.stem: path for path in sorted((Path(__file__).parents[1] / "examples").rglob("*.py"))}
LOADERS = ("joint_attention",)
"""Files for --model, which run nothing by themselves; the tests of checkpoints open files with them."""
SMALL = {"ICL_EXAMPLE_PROMPTS": "24", "ICL_EXAMPLE_STEPS": "8", "OMP_NUM_THREADS": "1"}
SCRIPT, COMMAND = "first_look", "import_parts"
"""One is started as people do, in a process that imports for itself; one starts a command: both by test_readme.py."""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Small settings, and an empty folder to work in; what an example registers goes with it."""
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    registries = (icl.TASKS, icl.SHIFTS, icl.REFERENCES, icl.DETECTORS, icl.TARGETS, icl.READERS)
    before = [dict(registry) for registry in registries]
    yield tmp_path
    for registry, held in zip(registries, before, strict=True):
        registry.clear()
        registry.update(held)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in (SCRIPT, COMMAND, *LOADERS)])
def test_example_runs(name, small, capsys):
    runpy.run_path(str(EXAMPLES[name]), run_name="__main__")
    assert "in distribution" in capsys.readouterr().out
    assert list(small.iterdir()) == []
