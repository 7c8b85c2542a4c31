"""icl-reproduce: a paper's experiment from training to a report, with each of its claims judged."""

from pathlib import Path
from typing import Annotated

import typer

from icl_interp.cli.shared import FiguresFolder, FiguresSet, Version, new_app, one_line_errors
from icl_interp.user_files import import_files

_app = new_app()


@_app.command()
def _reproduce(
    name: Annotated[str, typer.Argument(help="The paper: hill2025, zhang2024, carroll2025 or huang2023.")],
    preset: Annotated[str, typer.Option(help="Size: smoke (seconds), laptop (two cores) or paper (a GPU).")] = "smoke",
    out: Annotated[
        Path | None, typer.Option(help="Folder for runs, report, summary and tables (default: NAME-PRESET).")
    ] = None,
    figures: FiguresFolder = None,
    figures_set: FiguresSet = [],  # noqa: B006  # typer's
    workers: Annotated[int, typer.Option(min=1, help="Number of training processes, one thread each.")] = 1,
    device: Annotated[str, typer.Option(help="Device for larger models, such as cpu or cuda.")] = "cpu",
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seed", min=0, help="Train this seed instead of the preset's seeds. Repeatable."),
    ] = None,
    first_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Train only this many steps of each kind of run, and print what all would cost."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Compare with a summary, such as examples/results/NAME.json.")
    ] = None,
    imports: Annotated[
        list[Path] | None,
        typer.Option("--import", help="Python file to run first, for tasks and shifts that it registers. Repeatable."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Repeat a paper's experiments and write a report that judges each of its claims.

    NAME.json holds the claims with their numbers, NAME-tables.json the numbers behind all figures.

    After an interruption, the same command resumes: finished runs in --out are not trained again. With --against, the
    command lists checks that differ from the summary; the exit code is 1 if the spread over seeds does not explain one.
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
