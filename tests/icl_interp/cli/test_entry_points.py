"""The installed commands: they exist, --help is light, and a bad file is refused before TransformerLens is imported."""

import importlib.metadata
import subprocess
import sys

import pytest
from fresh import run_text
from golden import help_text
from typer.testing import CliRunner

import icl_interp
from icl_interp.cli.probe import _app as probe_app
from icl_interp.cli.reproduce import _app as reproduce_app
from icl_interp.cli.train import _app as train_app

COMMANDS = {"icl-probe": "icl_interp.cli.probe", "icl-train": "icl_interp.cli.train"}

# Runs a command as its script would and tells which of the heavy packages came with it.
RUN = """
import sys
from {module} import main
sys.argv = {argv!r}
try:
    main()
except SystemExit as stop:
    code = stop.code
heavy = {{"torch", "transformer_lens", "plotly", "sklearn", "pandas", "scipy", "jinja2"}}
print(code or 0, *sorted(heavy & set(sys.modules)))
"""


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = RUN.format(module=COMMANDS[command], argv=[command, *arguments])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)


def test_the_package_declares_its_commands():
    declared = importlib.metadata.entry_points(group="console_scripts")
    ours = {entry.name: entry for entry in declared if entry.name in COMMANDS}
    assert {name: entry.value for name, entry in ours.items()} == {k: f"{v}:main" for k, v in COMMANDS.items()}
    assert all(callable(entry.load()) for entry in ours.values())


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command):
    finished = run(command, "--help")
    *text, imported = finished.stdout.splitlines()
    assert imported == "0"
    assert f"Usage: {command}" in "\n".join(text)
    assert finished.stderr == ""


def test_a_bad_file_is_refused_before_transformer_lens_comes(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    argv = ["icl-probe", str(empty / "nowhere.pt"), "--out", str(empty / "r.html")]
    code = RUN.format(module=COMMANDS["icl-probe"], argv=argv)
    finished = run_text(code, folder=tmp_path, imported=("torch",))
    imported = set(finished.said.split()) - {"2"}
    assert finished.complained.startswith("error: a checkpoint needs a file that exists")
    assert finished.complained.count("\n") == 1
    assert not imported & {"transformer_lens", "plotly"}
    assert finished.said.startswith("2 ")
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("app", [probe_app, train_app], ids=COMMANDS)
def test_version(app):
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout) == (0, f"icl-interp {icl_interp.__version__}\n")


OPTIONS = {
    "icl-probe": [
        "--task", "--heads", "--out", "--json", "--prompts", "--points", "--seed", "--device", "--shifts", "--layers",
        "--controls", "--no-controls", "--quiet",
    ],
    "icl-train": ["--out", "--set", "--quiet"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("app", "options"), list(zip([probe_app, train_app], OPTIONS.values(), strict=True)), ids=COMMANDS
)
def test_the_options_of_the_contract_are_there(app, options):
    text = CliRunner().invoke(app, ["--help"]).stdout
    assert [option for option in options if option not in text] == []


@pytest.mark.parametrize("app", [probe_app, train_app, reproduce_app], ids=[*COMMANDS, "icl-reproduce"])
def test_the_words_of_help(app, request, golden):
    golden(f"help-{request.node.callspec.id}.txt", help_text(app))
