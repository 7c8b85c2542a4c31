"""What icl-probe does once its arguments are read. Everything that can be refused is refused before anything runs."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import typer
import yaml

from icl_interp.atomic import write_atomically
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.cli.probe_paths import load_probed, probed_path
from icl_interp.cli.progress import progress
from icl_interp.data import demo_path

if TYPE_CHECKING:
    from icl_interp.measure.development import Development
    from icl_interp.measure.study_result import Study

__all__ = ["ProbeOptions", "read_task", "run_probe"]

SMALL = 128
"""Residual streams up to this width run fastest on one thread."""


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """The arguments of icl-probe; see its --help."""

    paths: tuple[Path, ...]
    """Checkpoint; none means the embedded demo."""
    out: Path
    """The report."""
    json: Path | None
    """All numbers."""
    task: tuple[str, ...]
    """A YAML file or key=value pairs."""
    heads: int | None
    """Attention heads."""
    prompts: int | None
    """A family."""
    points: int | None
    """A prompt."""
    shifts: tuple[str, ...] | None
    """Patterns."""
    layers: str | None
    """Comma-separated blocks."""
    seed: int
    """The only source of randomness."""
    device: str
    """As torch names it."""
    threads: int | None
    """None chooses by size."""
    plotlyjs: Literal["embed", "cdn", "directory"]
    """embed, cdn or directory."""
    controls: bool
    """Whether untrained networks are measured."""
    timeline: bool
    """Whether several checkpoints are compared."""
    llc: int | None
    """Checkpoints of a run with a learning coefficient; None chooses by size."""
    workers: int
    """Processes for the timeline."""
    scheduler: str | None
    """A Dask scheduler for the timeline."""
    quiet: bool
    """Print nothing but errors."""


def run_probe(options: ProbeOptions) -> None:
    """Load, measure, write.

    Args:
        options: The arguments.

    Raises:
        ValueError: If anything is wrong with them or with the file; nothing is written then.
    """
    _check(options)
    path = probed_path(options.paths) if options.paths else demo_path()
    # A bad file is refused here, before the measures bring in TransformerLens, which takes seconds.
    checkpoint = load_probed(path, n_heads=options.heads, task=read_task(options.task), device=options.device)

    from icl_interp.cli.probe_timeline import follow

    torch.set_num_threads(options.threads or _threads(checkpoint))
    found = _measure(options, checkpoint)
    _write(options, checkpoint, found, follow(options, checkpoint))


def _measure(options: ProbeOptions, checkpoint: Checkpoint) -> "Study":
    from icl_interp.measure.controls import N_UNTRAINED
    from icl_interp.measure.cost import default_prompts, shift_reads, study_reads
    from icl_interp.measure.effort import effort_of
    from icl_interp.measure.sites import residual_sites
    from icl_interp.measure.study import study
    from icl_interp.measure.subspace_use import N_RANDOM

    config, layers = checkpoint.model.cfg, _read_layers(options.layers)
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


def _check(options: ProbeOptions) -> None:
    if len(options.paths) > 1 and not options.timeline:
        raise ValueError(
            f"--no-timeline probes one checkpoint, got {len(options.paths)} paths; leave it out, or name one."
        )
    if options.prompts is not None and options.prompts < 8:
        raise ValueError(f"--prompts needs at least 8, got {options.prompts}; leave it out for a sensible number.")
    if options.points is not None and options.points < 2:
        raise ValueError(f"--points needs at least 2, got {options.points}; leave it out for the training length.")
    if not 0 <= options.seed < 2**63:  # as in TrainConfig
        raise ValueError(f"--seed needs a number of at least 0 and below 2**63, got {options.seed}.")
    _read_layers(options.layers)
    if options.json is not None and options.json.resolve() == options.out.resolve():
        raise ValueError(f"--out and --json need two files, got {options.out} for both.")
    for flag, path in (("--out", options.out), ("--json", options.json)):
        if path is not None:
            _check_writable(flag, path)


def _check_writable(flag: str, path: Path) -> None:
    # Before minutes of measuring, not after them.
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ValueError(f"{flag} needs a file name in a folder that exists and can be written, got {path}.")


def read_task(words: tuple[str, ...]) -> dict[str, Any] | None:
    """Read what is in distribution.

    Args:
        words: One YAML file, or key=value pairs whose values are YAML.

    Returns:
        Settings by name; None where nothing was said.

    Raises:
        ValueError: If a word is neither.
    """
    if not words:
        return None
    settings: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if equals:
            settings[key] = _yaml(text, f"--task {word}")
        elif not Path(word).is_file():
            raise ValueError(f"--task needs a YAML file or key=value such as noise_std=0.5, got {word!r}.")
        else:
            contents = _yaml(Path(word).read_text(), word)
            if not isinstance(contents, dict):
                raise ValueError(f"--task {word} needs key: value lines, got {type(contents).__name__}.")
            settings |= {str(key): value for key, value in contents.items()}  # YAML's 1: 2 has a number for a key
    return settings


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where} is not YAML: {' '.join(str(error).split())}") from error


def _read_layers(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(f"--layers needs numbers separated by commas, such as 0,3,-1, got {text!r}.") from None


def _points(asked: int | None, checkpoint: Checkpoint) -> int:
    most = checkpoint.model.cfg.max_points
    if asked is not None and most is not None and asked > most:
        raise ValueError(f"--points is too large for this model, which has positions for {most} points, got {asked}.")
    return asked or checkpoint.task.default_points


def _threads(checkpoint: Checkpoint) -> int:
    # Small networks lose more to synchronisation than they win; beyond this width a second core pays.
    wide = checkpoint.model.cfg.d_model > SMALL
    return min(4, os.cpu_count() or 1) if wide else 1
