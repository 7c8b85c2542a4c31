"""What icl-probe does once its arguments are read. Everything that can be refused is refused before anything runs.

Which file a path names, the study, the timeline over checkpoints, and where its records are cached.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import joblib
import torch
import typer
from platformdirs import user_cache_path

from icl_interp.checkpoints.errors import CheckpointError
from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.checkpoints.safe_load import choose_file, numbered_files
from icl_interp.cli.probe_options import ProbeOptions, check_options, read_layers, read_layout, read_sampler, read_task
from icl_interp.cli.shared import progress
from icl_interp.data import demo_path
from icl_interp.errors import InputError
from icl_interp.files import write_atomically
from icl_interp.measure.development.find import RunFiles, find_runs, load_newest
from icl_interp.measure.development.record import MeasurementError, demand_finite
from icl_interp.measure.development.result import Development
from icl_interp.measure.development.run import count_records, development
from icl_interp.measure.development.settings import DevelopmentSettings, LlcSettings
from icl_interp.report.chapters.timeline import timeline_chapter
from icl_interp.report.model import Page

if TYPE_CHECKING:
    from icl_interp.measure.development.run import Development
    from icl_interp.measure.study.result import Study

__all__ = [
    "follow",
    "run_probe",
]

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
        _try_out(checkpoint)
    except (CheckpointError, MeasurementError):
        return load_newest(numbered, try_out=_try_out, **how)[0]
    return checkpoint


def _try_out(checkpoint: Checkpoint) -> None:
    # This brings in TransformerLens, which takes seconds; a bad file was refused before it.
    from icl_interp.measure.development.material import answers

    demand_finite("answers", answers(checkpoint.model, checkpoint.task.sample(_TRIED, seed=0)))


def _number(path: Path) -> int:
    digits = path.stem.rpartition("_")[2]
    return int(digits) if digits.isdigit() else -1


@contextmanager
def _records_folder(asked: Path | None, runs: Sequence[RunFiles]) -> Iterator[tuple[Path | None, str]]:
    """Choose a folder that the next call chooses as well, so that an interrupted analysis goes on."""
    if asked is not None:
        yield asked, f"the timeline's records are kept in {asked}"
    elif all(os.access(run.folder, os.W_OK) for run in runs):
        yield None, ""
    elif (own := _made(user_cache_path("icl-interp"))) is not None:
        yield own, f"a run folder cannot be written, so the timeline's records are kept in {own}"
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


_SMALL = 100_000
"""Parameters up to which learning coefficients are estimated unasked: some twenty seconds each."""
_FEW = 5


def follow(options: ProbeOptions, checkpoint: Checkpoint) -> Development | None:
    """Measure all checkpoints that the paths name."""
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
    with _records_folder(options.cache, runs) as (cache, said):
        if said and not options.quiet:
            typer.echo(f"note: {said}.")
        with progress("timeline", total, quiet=options.quiet) as tick:
            return development(
                options.paths, settings=settings, llc=llc, task=read_task(options.task), n_heads=options.heads,
                layout=read_layout(options.layout), cache=cache, workers=options.workers, scheduler=options.scheduler,
                device=options.device, on_checkpoint=tick,
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


def _with_timeline(page: Page, timeline: Development) -> Page:
    """Add the chapter."""
    sections = (*page.sections, timeline_chapter(timeline))
    return replace(page, sections=sections, warnings=(*page.warnings, *timeline.notes))


def _with_numbers(text: str, timeline: Development) -> str:
    """Add the timeline's numbers to those of a study."""
    contents = json.loads(text) | {"development": timeline.to_plain()}
    return json.dumps(contents, indent=1, sort_keys=True, allow_nan=False) + "\n"


SMALL = 128
"""Residual streams up to this width run fastest on one thread."""


def run_probe(options: ProbeOptions) -> None:
    """Load, measure, write."""
    check_options(options)
    path = _probed_path(options.paths) if options.paths else demo_path()
    # A bad file is refused here, before the measures bring in TransformerLens, which takes seconds.
    how = {"n_heads": options.heads, "task": read_task(options.task), "layout": read_layout(options.layout)}
    checkpoint = _load_probed(path, **how, device=options.device)

    pass

    torch.set_num_threads(options.threads or _threads(checkpoint.model.cfg.d_model))
    found = _measure(options, checkpoint)
    _write(options, checkpoint, found, follow(options, checkpoint))


def _measure(options: ProbeOptions, checkpoint: Checkpoint) -> "Study":
    from icl_interp.measure.controls import N_UNTRAINED
    from icl_interp.measure.sites import residual_sites
    from icl_interp.measure.study.plan import default_prompts, effort_of, shift_reads, study_reads
    from icl_interp.measure.study.run import study
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
    from icl_interp.measure.sites import Conventions
    from icl_interp.measure.study.plan import limits_of

    config = checkpoint.model.cfg
    typer.echo(f"{checkpoint.origin}: {config.describe()}")
    for assumption in checkpoint.assumptions:
        typer.echo(f"assumed: {assumption}")
    for limit in limits_of(config, Conventions(layout=config.tokens)):
        typer.echo(f"note: {limit}")


def _write(options: ProbeOptions, checkpoint: Checkpoint, found: "Study", timeline: "Development | None") -> None:
    pass
    from icl_interp.provenance import provenance
    from icl_interp.report.assemble import build_page
    from icl_interp.report.numbers import study_json
    from icl_interp.report.page import write_report

    circumstances = provenance()
    page = build_page(found, checkpoint, circumstances)
    text = study_json(found, checkpoint, circumstances)
    if timeline is not None:
        page, text = _with_timeline(page, timeline), _with_numbers(text, timeline)
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
