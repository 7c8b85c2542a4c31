"""What icl-probe does once its arguments are read. Everything that can be refused is refused before anything runs.

Which file a path names, the study, and what is written. Measures bring in TransformerLens, which takes seconds, so they
are imported after the file was read.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import typer

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.checkpoints.safe_load import choose_file, numbered_files
from icl_interp.cli.probe_activations import open_activations, probe_activations
from icl_interp.cli.probe_checks import (
    check_options,
    naming_task_files,
    read_layers,
    read_layout,
    read_loader,
    read_task,
)
from icl_interp.cli.probe_compare import run_comparison
from icl_interp.cli.probe_options import ProbeOptions
from icl_interp.cli.shared import progress
from icl_interp.data import demo_path
from icl_interp.data.models import embedded
from icl_interp.errors import CheckpointError, GivenTaskError, InputError
from icl_interp.files import write_atomically
from icl_interp.measure.development.record import MeasurementError, demand_finite, load_newest
from icl_interp.tasks.fixed_prompts import FixedPrompts
from icl_interp.tasks.own import try_out
from icl_interp.tasks.registry import code_of
from icl_interp.user_files import import_files

if TYPE_CHECKING:
    from icl_interp.measure.development.result import Development
    from icl_interp.measure.study.measure import StudyPlan
    from icl_interp.measure.study.result import Study

_TRIED = 64
"""Prompts that a run's newest checkpoint must answer with numbers."""


def _probed_path(paths: Sequence[Path]) -> Path:
    """Choose what the chapters on a single checkpoint are about."""
    first = paths[0]
    if first.is_dir() or len(paths) == 1:
        return first
    same = [path for path in paths if path.parent == first.parent and not path.is_dir()]
    return max(same, key=_number)


def _load_probed(path: Path, **how: Any) -> Checkpoint:
    """Load what is probed; of a run folder the newest checkpoint that can be read and whose answers are finite."""
    numbered = numbered_files(path) if path.is_dir() else {}
    if len(numbered) < 2 or choose_file(path).path not in numbered.values():
        return load_checkpoint(path, **how)
    try:
        checkpoint = load_checkpoint(path, **how)
        try_out(checkpoint.task)
        _try_out(checkpoint)
    except GivenTaskError:
        raise
    except (CheckpointError, MeasurementError):
        return load_newest(numbered, try_out=_try_out, **how)[0]
    return checkpoint


def _try_out(checkpoint: Checkpoint) -> None:
    from icl_interp.measure.development.material import answers

    task = checkpoint.task
    n_prompts = min(_TRIED, task.n_saved) if isinstance(task, FixedPrompts) else _TRIED
    with code_of(task):
        demand_finite("answers", answers(checkpoint.model, task.sample(n_prompts, seed=0)))


def _number(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdigit() else -1


def run_probe(options: ProbeOptions) -> None:
    """Load, measure, write."""
    options = replace(options, paths=[embedded(path) for path in options.paths])
    check_options(options)
    import_files(options.imports)
    if (activations := open_activations(options)) is not None:
        probe_activations(options, activations)
        return
    path = _probed_path(options.paths) if options.paths else demo_path()
    with naming_task_files(options.task):
        how: dict[str, Any] = {
            "n_heads": options.heads,
            "task": read_task(options.task),
            "layout": read_layout(options.layout),
        }
        how["loader"] = read_loader(options)

        def load(path: Path, **other: Any) -> Checkpoint:
            return _load_probed(path, **(how | other), device=options.device)

        if options.compare:
            torch.set_num_threads(options.threads or 1)
            run_comparison(options, load, partial(_plan, options))
            return
        checkpoint = load(path)

    from icl_interp.cli.probe_timeline import follow

    torch.set_num_threads(options.threads or 1)
    with code_of(checkpoint.task):
        found = _measure(options, checkpoint)
        _write(options, checkpoint, found, follow(options, checkpoint))


def _plan(
    options: ProbeOptions, checkpoint: Checkpoint, *, n_points: int | None, n_prompts: int | None = None
) -> "StudyPlan":
    from icl_interp.measure.study.plan import plan_study

    return plan_study(
        checkpoint.model,
        checkpoint.task,
        n_prompts=n_prompts or options.prompts,
        n_points=_points(n_points, checkpoint),
        shifts=None if options.shifts is None else options.shifts.split(","),
        layers=read_layers(options.layers),
        n_points_trained=checkpoint.n_points_trained,
        seed=options.seed,
        workers=1 if options.threads and options.workers is None else options.workers,
        **options.n_controls,
    )


def _measure(options: ProbeOptions, checkpoint: Checkpoint) -> "Study":
    from icl_interp.measure.study.run import run_study

    plan = _plan(options, checkpoint, n_points=options.points)
    if not options.quiet:
        _say_what_is_probed(checkpoint, plan)
    with progress("probing", plan.reads, quiet=options.quiet) as tick:
        return run_study(plan, tick)


def _say_what_is_probed(checkpoint: Checkpoint, plan: "StudyPlan") -> None:
    from icl_interp.measure.study.plan import limits_of

    typer.echo(f"{checkpoint.origin}: {plan.config.describe()}")
    for assumption in checkpoint.assumptions:
        typer.echo(f"assumed: {assumption}")
    for limit in limits_of(plan.config, plan.conventions):
        typer.echo(f"note: {limit}")


def _write(options: ProbeOptions, checkpoint: Checkpoint, found: "Study", timeline: "Development | None") -> None:
    from icl_interp.provenance import provenance
    from icl_interp.report.assemble import build_page
    from icl_interp.report.numbers import study_json
    from icl_interp.report.page import write_report
    from icl_interp.report.printed import print_figures

    circumstances = provenance()
    page = build_page(found, checkpoint, circumstances, timeline=timeline)
    if options.json is not None:
        text = study_json(found, checkpoint, circumstances, timeline=timeline)
        write_atomically(options.json, lambda file: file.write(text.encode()))
    write_report(page, options.out, plotlyjs=options.plotlyjs)
    print_figures(page, options.figures, options.figures_set)
    if not options.quiet:
        for note in (*found.families.notes, *(() if timeline is None else timeline.notes)):
            typer.echo(f"note: {note}")
        for verdict in page.verdicts:
            typer.echo(f"{verdict.title} {verdict.sentence}")
        typer.echo(f"report: {options.out}")


def _points(asked: int | None, checkpoint: Checkpoint) -> int | None:
    most = checkpoint.model.cfg.max_points
    if asked is not None and most is not None and asked > most:
        raise InputError(f"--points is too large for this model, which has positions for {most} points, got {asked}.")
    return asked
