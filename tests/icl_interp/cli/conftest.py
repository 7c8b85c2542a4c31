"""What the tests of the command lines share: run a command in this process that has to be refused in one sentence."""

from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

Refuses = Callable[..., str]


@pytest.fixture
def refuses(tmp_path: Path) -> Refuses:
    """Run a command that must fail with exit code 2, one line on standard error, and no file touched."""

    def run(app: typer.Typer, *arguments: object) -> str:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert isinstance(result.exception, SystemExit), repr(result.exception)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert result.stderr.endswith("\n")
        assert result.stderr.count("\n") == 1
        assert result.stderr.startswith("error: ")
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        return result.stderr.removeprefix("error: ").strip()

    return run
