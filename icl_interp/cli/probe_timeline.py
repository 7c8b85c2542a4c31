"""The timeline over checkpoints that icl-probe adds to a report, and where its records are cached."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer
from platformdirs import user_cache_path

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.cli.probe_checks import read_layout, read_loader, read_sampler, read_task
from icl_interp.cli.probe_options import ProbeOptions
from icl_interp.cli.shared import progress
from icl_interp.data.models import is_embedded
from icl_interp.measure.development.result import Development
from icl_interp.measure.development.run import count_records, development
from icl_interp.measure.development.settings import DevelopmentSettings, LlcSettings
from icl_interp.models.architecture import NO_SITES
from icl_interp.runs.find import RunFiles, find_runs
from icl_interp.tasks.fixed_prompts import FixedPrompts

_SMALL = 100_000
"""Parameters up to which learning coefficients are estimated unasked: some twenty seconds each."""
_FEW = 5


def follow(options: ProbeOptions, checkpoint: Checkpoint) -> Development | None:
    """Measure all checkpoints that the paths name."""
    if not options.paths or options.no_timeline:
        return None
    runs = find_runs(options.paths)
    if sum(len(run.files) for run in runs) < 2:
        if not options.quiet:
            _say_why_not(options)
        return None
    if isinstance(checkpoint.task, FixedPrompts):
        if not options.quiet:
            typer.echo("note: there is no timeline, since it draws its own prompts and the task is a file of prompts.")
        return None
    if not checkpoint.model.cfg.residual_sites():
        if not options.quiet:
            typer.echo(f"note: there is no timeline. {NO_SITES}")
        return None
    llc = _coefficients(options, checkpoint)
    chosen = {"n_prompts": options.prompts} if options.prompts else {}
    settings = DevelopmentSettings(n_points=options.points, seed=options.seed, **chosen, **options.n_controls)
    total = count_records(options.paths, llc)
    with _records_folder(options.cache, runs) as (cache, said):
        if said and not options.quiet:
            typer.echo(f"note: {said}.")
        with progress("timeline", total, quiet=options.quiet) as tick:
            return development(
                options.paths, settings=settings, llc=llc, task=read_task(options.task), n_heads=options.heads,
                layout=read_layout(options.layout), loader=read_loader(options),
                cache=cache, workers=options.workers or 1, scheduler=options.scheduler, device=options.device,
                newest=checkpoint, on_checkpoint=tick,
            )  # fmt: skip


def _coefficients(options: ProbeOptions, checkpoint: Checkpoint) -> LlcSettings | None:
    few = options.llc
    if few is None:
        few = _FEW if checkpoint.model.n_params <= _SMALL else 0
    return read_sampler(options.llc_set, checkpoints=few) if few else None


def _say_why_not(options: ProbeOptions) -> None:
    if options.paths[0].is_dir():
        typer.echo(
            "note: there is no timeline, since this run kept one checkpoint; icl-train --set checkpoints.log=20 keeps "
            "more."
        )
    if names := ", ".join(options.of_timeline()):
        typer.echo(f"note: one checkpoint has no timeline, so {names} had no effect.")


@contextmanager
def _records_folder(asked: Path | None, runs: Sequence[RunFiles]) -> Iterator[tuple[Path | None, str]]:
    """Choose a folder that the next call chooses as well, so that an interrupted analysis goes on."""
    if asked is not None:
        yield asked, f"the timeline's records are kept in {asked}"
    elif all(os.access(run.folder, os.W_OK) and not is_embedded(run.folder) for run in runs):
        yield None, ""
    elif (own := _made(user_cache_path("icl-interp"))) is not None:
        why = "is part of the package" if any(is_embedded(run.folder) for run in runs) else "cannot be written"
        yield own, f"a run folder {why}, so the timeline's records are kept in {own}"
    else:
        with tempfile.TemporaryDirectory() as lost:
            yield (
                Path(lost),
                "neither run nor cache folder can be written, so the timeline's records are lost at the end; --cache "
                "FOLDER keeps them",
            )


def _made(folder: Path) -> Path | None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None
