"""The timeline of icl-probe: all checkpoints of all paths, one chapter more."""

import json
from dataclasses import replace

import typer

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.cli.probe_cache import records_folder
from icl_interp.cli.probe_options import ProbeOptions, read_sampler, read_task
from icl_interp.cli.progress import progress
from icl_interp.measure.development import count_records, development
from icl_interp.measure.development_files import find_runs
from icl_interp.measure.development_result import Development
from icl_interp.measure.development_settings import DevelopmentSettings, LlcSettings
from icl_interp.report.chapters.timeline import timeline_chapter
from icl_interp.report.model import Page

__all__ = ["follow", "with_numbers", "with_timeline"]

_SMALL = 100_000
"""Parameters up to which learning coefficients are estimated unasked: some twenty seconds each."""
_FEW = 5


def follow(options: ProbeOptions, checkpoint: Checkpoint) -> Development | None:
    """Measure all checkpoints that the paths name.

    Args:
        options: Of the command line.
        checkpoint: The one that is probed by itself.

    Returns:
        The analysis; None where there is but one checkpoint, or none was asked for.

    Raises:
        InputError: As `development`.
        ChildProcessError: As `development`.
    """
    if not options.paths or not options.timeline:
        return None
    runs = find_runs(options.paths)
    if sum(len(run.files) for run in runs) < 2:
        if not options.quiet:
            _say_why_not(options)
        return None
    llc = _coefficients(options, checkpoint)
    chosen = {"n_prompts": options.prompts} if options.prompts else {}
    settings = DevelopmentSettings(
        n_points=options.points, seed=options.seed, **chosen, **({} if options.controls else {"n_controls": 0})
    )
    total = count_records(options.paths, llc)
    with records_folder(options.cache, runs) as (cache, said):
        if said and not options.quiet:
            typer.echo(f"note: {said}.")
        with progress("timeline", total, quiet=options.quiet) as tick:
            return development(
                options.paths, settings=settings, llc=llc, task=read_task(options.task), n_heads=options.heads,
                cache=cache, workers=options.workers, scheduler=options.scheduler, device=options.device,
                on_checkpoint=tick,
            )  # fmt: skip


def _coefficients(options: ProbeOptions, checkpoint: Checkpoint) -> LlcSettings | None:
    few = options.llc
    if few is None:
        few = _FEW if checkpoint.model.n_params <= _SMALL else 0
    return read_sampler(options.llc_set, checkpoints=few) if few else None


def _say_why_not(options: ProbeOptions) -> None:
    if options.paths[0].is_dir():
        typer.echo(
            "note: this run kept one checkpoint, so there is no timeline; icl-train --set checkpoints.log=20 keeps "
            "what one needs."
        )
    if names := ", ".join(options.of_timeline()):
        typer.echo(f"note: one checkpoint has no timeline, so nothing was done with {names}.")


def with_timeline(page: Page, timeline: Development) -> Page:
    """Add the chapter.

    Args:
        page: On a single checkpoint.
        timeline: Of all.

    Returns:
        A page with one more section, and with a warning for each checkpoint that is left out.
    """
    sections = (*page.sections, timeline_chapter(timeline))
    return replace(page, sections=sections, warnings=(*page.warnings, *timeline.notes))


def with_numbers(text: str, timeline: Development) -> str:
    """Add the timeline's numbers to those of a study.

    Args:
        text: JSON of the study.
        timeline: Of all checkpoints.

    Returns:
        JSON with the key "development".
    """
    contents = json.loads(text) | {"development": timeline.to_plain()}
    return json.dumps(contents, indent=1, sort_keys=True, allow_nan=False) + "\n"
