"""icl-reproduce: a paper's experiment from training to a report, with each of its claims judged."""

from pathlib import Path
from typing import Annotated

import typer

from icl_interp.cli.shared import FiguresFolder, FiguresSet, Version, new_app, one_line_errors
from icl_interp.user_files import import_files

_app = new_app()


@_app.command()
def _reproduce(
    name: Annotated[str, typer.Argument(help="The paper, such as 'zhang2024'.")],
    preset: Annotated[str, typer.Option(help="smoke, laptop or paper: how large.")] = "smoke",
    out: Annotated[
        Path | None, typer.Option(help="Folder for runs, report, summary and tables; NAME-PRESET by default.")
    ] = None,
    figures: FiguresFolder = None,
    figures_set: FiguresSet = [],  # noqa: B006  # typer's
    workers: Annotated[int, typer.Option(min=1, help="Processes that train, one thread each.")] = 1,
    device: Annotated[str, typer.Option(help="Where larger models are trained, as torch names it.")] = "cpu",
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="Other seeds than the preset's; repeatable.")
    ] = None,
    first_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Only so many steps of each kind of run, and what all would cost; --out keeps it."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="A summary, such as examples/results/NAME.json: does this run agree with it?")
    ] = None,
    imports: Annotated[
        list[Path] | None,
        typer.Option(
            "--import", help="A Python file of your own that is run first, for what it registers; repeatable."
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Train what a paper trains, measure, and write a report of its claims with what we found.

    The claims and their numbers are kept in NAME.json, the numbers of all figures in NAME-tables.json.

    What is finished in --out is not trained again: the same command goes on after a stop. With --against,
    checks that answer otherwise than the summary are named; the exit code is 1 if seeds alone do not explain one.
    """
    with one_line_errors(to_save_memory="take a smaller preset or fewer workers"):
        import_files(imports or [])
        from icl_interp.cli.reproduce_job import estimate, reproduce
        from icl_interp.experiments.experiment import Means

        means = Means(workers, device, tuple(seeds) if seeds else None)
        if first_steps is not None:
            estimate(name, preset, first_steps, out=out, means=means, quiet=quiet)
            return
        reproduce(
            name,
            preset,
            out or Path(f"{name}-{preset}"),
            means=means,
            against=against,
            figures=figures,
            figures_set=figures_set,
            quiet=quiet,
        )


def main() -> None:
    """Run the command line."""
    _app()
