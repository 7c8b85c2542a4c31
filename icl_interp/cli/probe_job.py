"""What icl-probe does once its arguments are read. Everything that can be refused is refused before anything runs."""

from typing import TYPE_CHECKING

import joblib
import torch
import typer

from icl_interp.atomic import write_atomically
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.cli.probe_options import ProbeOptions, check_options, read_layers, read_task
from icl_interp.cli.probe_paths import load_probed, probed_path
from icl_interp.cli.progress import progress
from icl_interp.data import demo_path
from icl_interp.errors import InputError

if TYPE_CHECKING:
    from icl_interp.measure.development import Development
    from icl_interp.measure.study_result import Study

__all__ = ["run_probe"]

SMALL = 128
"""Residual streams up to this width run fastest on one thread."""


def run_probe(options: ProbeOptions) -> None:
    """Load, measure, write.

    Args:
        options: The arguments.

    Raises:
        InputError: If anything is wrong with them or with the file; nothing is written then.
    """
    check_options(options)
    path = probed_path(options.paths) if options.paths else demo_path()
    # A bad file is refused here, before the measures bring in TransformerLens, which takes seconds.
    checkpoint = load_probed(path, n_heads=options.heads, task=read_task(options.task), device=options.device)

    from icl_interp.cli.probe_timeline import follow

    torch.set_num_threads(options.threads or _threads(checkpoint.model.cfg.d_model))
    found = _measure(options, checkpoint)
    _write(options, checkpoint, found, follow(options, checkpoint))


def _measure(options: ProbeOptions, checkpoint: Checkpoint) -> "Study":
    from icl_interp.measure.controls import N_UNTRAINED
    from icl_interp.measure.cost import default_prompts, shift_reads, study_reads
    from icl_interp.measure.effort import effort_of
    from icl_interp.measure.sites import residual_sites
    from icl_interp.measure.study import study
    from icl_interp.measure.subspace_use import N_RANDOM

    config, layers = checkpoint.model.cfg, read_layers(options.layers)
    residual_sites(config, layers)  # a layer that does not exist is refused before anything is said or run
    n_points = _points(options.points, checkpoint)
    n_controls = N_UNTRAINED if options.controls else 0
    n_shifts, extra = shift_reads(checkpoint.task, options.shifts, n_points=n_points, max_points=config.max_points)
    n_prompts = options.prompts or default_prompts(config, n_shifts, n_points, n_controls, extra=extra)
    reads = study_reads(n_prompts, n_shifts, n_controls, extra=extra)
    reads += sum(effort_of(config, n_prompts, n_points, n_controls, N_RANDOM).reads)
    if not options.quiet:
        _say_what_is_probed(checkpoint)
    with progress("probing", reads, quiet=options.quiet) as tick:
        return study(
            checkpoint.model,
            checkpoint.task,
            n_prompts=n_prompts,
            n_points=n_points,
            shifts=options.shifts,
            layers=layers,
            n_controls=n_controls,
            n_points_trained=checkpoint.n_points_trained,
            seed=options.seed,
            tick=tick,
        )


def _say_what_is_probed(checkpoint: Checkpoint) -> None:
    from icl_interp.measure.conventions import Conventions
    from icl_interp.measure.limits import limits_of

    config = checkpoint.model.cfg
    typer.echo(f"{checkpoint.origin}: {config.describe()}")
    for assumption in checkpoint.assumptions:
        typer.echo(f"assumed: {assumption}")
    for limit in limits_of(config, Conventions(layout=config.tokens)):
        typer.echo(f"note: {limit}")


def _write(options: ProbeOptions, checkpoint: Checkpoint, found: "Study", timeline: "Development | None") -> None:
    from icl_interp.cli.probe_timeline import with_numbers, with_timeline
    from icl_interp.provenance import provenance
    from icl_interp.report.assemble import build_page
    from icl_interp.report.numbers import study_json
    from icl_interp.report.page import write_report

    circumstances = provenance()
    page = build_page(found, checkpoint, circumstances)
    text = study_json(found, checkpoint, circumstances)
    if timeline is not None:
        page, text = with_timeline(page, timeline), with_numbers(text, timeline)
    if options.json is not None:
        write_atomically(options.json, lambda file: file.write(text.encode()))
    write_report(page, options.out, plotlyjs=options.plotlyjs)
    if not options.quiet:
        for note in (*found.families.notes, *(() if timeline is None else timeline.notes)):
            typer.echo(f"note: {note}")
        for verdict in page.verdicts:
            typer.echo(f"{verdict.title} {verdict.sentence}")
        typer.echo(f"report: {options.out}")


def _points(asked: int | None, checkpoint: Checkpoint) -> int:
    most = checkpoint.model.cfg.max_points
    if asked is not None and most is not None and asked > most:
        raise InputError(f"--points is too large for this model, which has positions for {most} points, got {asked}.")
    return asked or checkpoint.task.default_points


def _threads(width: int) -> int:
    # Small networks lose more to synchronisation than they win; beyond this width a second core pays, if this process
    # may use it: joblib minds affinity and a container's quota.
    return min(4, joblib.cpu_count()) if width > SMALL else 1
