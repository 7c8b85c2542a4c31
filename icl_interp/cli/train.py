"""icl-train: train a model from a YAML file or a preset; many of them; watch one."""

from pathlib import Path
from typing import Annotated

import typer

from icl_interp.cli.shared import Version, new_app, one_line_errors
from icl_interp.errors import InputError
from icl_interp.user_files import import_files

_app = new_app()
_PRESETS = ", ".join(sorted(path.stem for path in (Path(__file__).parents[1] / "training" / "presets").glob("*.yaml")))


@_app.command()
def _train(
    config: Annotated[
        str | None,
        typer.Argument(help=f"A YAML file, or the name of a preset: {_PRESETS}. Optional with --resume."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the run, or of all runs of a sweep.")] = Path("run"),
    resume: Annotated[bool, typer.Option("--resume", help="Resume the run in --out, if there is one.")] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a setting: key=value, such as steps=100 or model.n_layers=2. Repeatable."),
    ] = None,
    imports: Annotated[
        list[Path] | None,
        typer.Option("--import", help="Python file to run first, for tasks and shifts that it registers. Repeatable."),
    ] = None,
    watch: Annotated[
        Path | None, typer.Option(help="Folder of a run in progress: show it in a page that refreshes itself.")
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option(help="YAML file with lists of values: train one run per combination.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes for a sweep, one thread each.")] = 1,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that runs the sweep (tcp://host:port).")
    ] = None,
    log_to: Annotated[
        list[str] | None, typer.Option(help="Log to wandb or tensorboard too, beside metrics.jsonl. Repeatable.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device to train on, such as cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Number of threads. Small models run fastest on one.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    version: Version = False,  # noqa: ARG001
) -> None:
    """Train a model on fresh prompts, and keep its config, metrics and checkpoints in a run folder."""
    with one_line_errors(to_save_memory="lower batch_size or the sizes of the model"):
        import_files(imports or [])
        if watch is not None:
            _refuse_with_watch(
                CONFIG=config, sweep=sweep, resume=resume, set=settings, out=out != Path("run"), workers=workers != 1,
                scheduler=scheduler, log_to=log_to, device=device != "cpu", threads=threads != 1,
            )  # fmt: skip
            from icl_interp.cli.train_watch import watch_run

            watch_run(watch, quiet=quiet)
            return
        if sweep is not None:
            _refuse_with_sweep(resume=resume, log_to=log_to, device=device, threads=threads)
            from icl_interp.cli.train_job import sweep_runs

            sweep_runs(config, sweep, out, settings=settings or [], workers=workers, scheduler=scheduler, quiet=quiet)
            return
        _refuse_without_sweep(workers=workers, scheduler=scheduler)
        from icl_interp.cli.train_job import train_one

        train_one(
            config, out, settings=settings or [], resume=resume, log_to=log_to or [], device=device, threads=threads,
            quiet=quiet,
        )  # fmt: skip


def _refuse_with_watch(**given: object) -> None:
    names = [name if name.isupper() else f"--{name.replace('_', '-')}" for name, there in given.items() if there]
    if names:
        raise InputError(
            f"--watch shows a run that was started elsewhere and takes no {', '.join(names)}; leave it out, or start "
            "the run without --watch."
        )


def _refuse_without_sweep(*, workers: int, scheduler: str | None) -> None:
    if workers != 1 or scheduler is not None:
        raise InputError(
            "--workers and --scheduler are for many runs, got them without --sweep; name a grid with --sweep, or "
            "leave them out (--threads is for one run)."
        )


def _refuse_with_sweep(*, resume: bool, log_to: list[str] | None, device: str, threads: int) -> None:
    given = {"--resume": resume, "--log-to": log_to, "--device": device != "cpu", "--threads": threads != 1}
    if wrong := [name for name, there in given.items() if there]:
        raise InputError(
            "--sweep trains on the CPU, one thread a run, and goes on by itself when it is started again, so it takes "
            f"no {', '.join(wrong)}; leave it out."
        )


def main() -> None:
    """Run the command line."""
    _app()
