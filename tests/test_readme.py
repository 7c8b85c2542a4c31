"""The python blocks of the README and of docs/models.md run as scripts, an example too; what it points to exists."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from fresh import run_fresh, run_text
from test_examples import COMMAND, EXAMPLES, SCRIPT, SMALL

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
MODELS = (ROOT / "docs" / "models.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT + MODELS, flags=re.DOTALL)


def test_there_are_blocks_to_run():
    assert len(BLOCKS) == 4


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = tmp_path_factory.mktemp("blocks")
    for number, block in enumerate(BLOCKS):
        (folder / f"block_{number}.py").write_text(block)
    return run_fresh([[folder / f"block_{number}.py"] for number in range(len(BLOCKS))], folder=folder)


@pytest.mark.parametrize("number", range(4), ids=["notebook cell", "your own model", "probes alone", "model families"])
def test_block_runs(number, ran):
    assert ran[number].code == 0, ran[number].complained


def test_an_example_is_a_script(tmp_path):
    (done,) = run_fresh([[EXAMPLES[SCRIPT]]], folder=tmp_path, environment=SMALL)
    assert done.code == 0, done.complained
    assert "in distribution" in done.said
    assert list(tmp_path.iterdir()) == []


def test_an_example_starts_a_command(tmp_path, monkeypatch, capsys):
    started = []

    def start(command, *, check):
        assert command[:2] == [sys.executable, "-c"]
        assert check
        started.append(run_text(command[2], *command[3:], folder=tmp_path))
        assert started[0].code == 0, started[0].complained

    monkeypatch.setattr(subprocess, "run", start)
    for name, value in SMALL.items():
        monkeypatch.setenv(name, value)
    runpy.run_path(str(EXAMPLES[COMMAND]), run_name="__main__")
    assert started == [(0, "", "")]
    assert "in distribution" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["program.py"]


def test_links_point_to_files():
    links = [link for link in re.findall(r"\]\(([^)]+)\)", TEXT) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_visible_file_in_the_root_is_named():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    top = {name.split("/")[0] for name in tracked}
    hidden = {name for name in top if name.startswith(".")} - {".ci"}
    named = {"README.md", "pyproject.toml", "Makefile"}  # the README itself, and what `make` reads
    assert sorted(name for name in top - hidden - named if name not in TEXT) == []
