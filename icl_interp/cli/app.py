"""What all command lines share: how they look, and --version."""

from typing import Annotated

import typer

from icl_interp._version import __version__

__all__ = ["Version", "new_app"]


def new_app() -> typer.Typer:
    """Make an empty command line: plain help, plain errors, nothing for shells to install.

    Returns:
        The application, without commands.
    """
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _version(value: bool) -> bool:  # noqa: FBT001  # typer's callback
    if value:
        typer.echo(f"icl-interp {__version__}")
        raise typer.Exit
    return value


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")]
"""The option that prints the version and ends."""
