"""icl-train: train a model from a YAML file or a preset."""

from pathlib import Path
from typing import Annotated

import typer

from icl_interp._version import __version__
from icl_interp.cli.errors import one_line_errors
from icl_interp.cli.progress import progress

__all__ = ["main"]

_app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def _version(value: bool) -> bool:  # noqa: FBT001  # typer's callback
    if value:
        typer.echo(f"icl-interp {__version__}")
        raise typer.Exit
    return value


@_app.command()
def _train(
    config: Annotated[str, typer.Argument(help="A YAML file, or the name of a preset such as 'demo'.")],
    out: Annotated[Path, typer.Option(help="An empty or missing folder for the run.")] = Path("run"),
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, such as steps=100 or model.n_layers=2; repeatable."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads; small models run fastest on one.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,  # noqa: ARG001
) -> None:
    """Train a model on fresh prompts and keep config, metrics and checkpoints in a run folder."""
    with one_line_errors(to_save_memory="lower batch_size or the sizes of the model"):
        import torch

        from icl_interp.training.config import load_config
        from icl_interp.training.run import train

        torch.set_num_threads(threads)
        resolved = load_config(config, settings or [])
        with progress("training", resolved.steps, quiet=quiet) as tick:
            result = train(resolved, out=out, on_step=lambda record: tick(1, f"loss {record.loss:.3f}"))
    if not quiet:
        typer.echo(f"{result.checkpoint}: loss {result.history[-1].loss:.4g} after {resolved.steps} steps")


def main() -> None:
    """Run the command line."""
    _app()
