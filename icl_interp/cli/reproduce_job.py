"""What icl-reproduce does once its arguments are read: train, measure, judge, write; or say what that would cost."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import typer

from icl_interp.cli.shared import progress
from icl_interp.errors import InputError
from icl_interp.experiments.claims import LEAST_SEEDS, differences
from icl_interp.experiments.cost import Cost, PresetCost, first_steps, measuring, seconds_of_measuring
from icl_interp.experiments.experiment import PRESETS, Experiment, Means, Outcome, TrainedRuns, experiment
from icl_interp.experiments.files import FigureTables, Summary, read_summary, write_summary, write_tables
from icl_interp.experiments.trained import train_all, trained_by
from icl_interp.provenance import provenance
from icl_interp.report.chapters.claims import claims_page
from icl_interp.report.page import check_report_place, write_report
from icl_interp.report.printed import check_figures, print_figures


def reproduce(
    name: str,
    preset: str,
    out: Path,
    *,
    means: Means,
    against: Path | None = None,
    figures: Path | None = None,
    figures_set: Sequence[str] = (),
    quiet: bool = False,
) -> None:
    """Run an experiment; write report.html, NAME.json, NAME-tables.json, and figures for a paper where asked for."""
    chosen = _chosen(name, preset, means)
    committed = None if against is None else _committed(against, chosen, preset)
    torch.set_num_threads(1)
    _check_places(name, out, against)
    check_figures(figures, figures_set)
    _make(out)
    started = time.monotonic()
    configs = chosen.configs(preset, means)

    def stops(count: int) -> None:
        if not quiet:
            typer.echo(f"stopping: waiting for {count} run{'s' * (count > 1)} to write their state", err=True)

    try:
        # Two forecasts: a run takes minutes and a measurement often less than a second.
        with progress(f"{name}, training", len(configs), quiet=quiet) as trained:
            models = train_all(
                configs, out, workers=means.workers, device=means.device, on_done=lambda n: trained(n), on_stop=stops
            )
        n_measurements = chosen.n_measurements(configs)
        with progress(f"{name}, measuring", n_measurements, quiet=quiet) as measured, measuring(out):
            outcome = chosen.judge(preset, TrainedRuns(configs, models, out, means, lambda done: measured(done)))
    except KeyboardInterrupt as stop:
        typer.echo("stopped: the same command resumes; linear models in training start again.", err=True)
        raise SystemExit(128 + getattr(stop, "number", signal.SIGINT)) from None
    made_with = {
        **provenance(),
        "workers": means.workers,
        "device": means.device,
        "seconds_of_this_command": round(time.monotonic() - started, 1),
    }
    made_with |= trained_by(out, configs.values())
    made_with["seconds_of_measuring_in_this_folder"] = round(seconds_of_measuring(out), 1)
    chosen_seeds = "".join(f" --seed {seed}" for seed in means.seeds or ())
    made_with["command"] = f"icl-reproduce {name} --preset {preset}{chosen_seeds}"  # the folder is the machine's
    summary = write_summary(outcome, out / f"{name}.json", made_with)
    tables = write_tables(outcome, out / f"{name}-tables.json", made_with)
    page = claims_page(outcome, made_with)
    report = write_report(page, out / "report.html")
    print_figures(page, figures, figures_set)
    if not quiet:
        for claim in outcome.claims:
            typer.echo(f"{claim.said}. {claim.statement}")
        typer.echo(f"{report}, {summary}, {tables}")
    if committed is not None and not _agrees(outcome, committed, against, quiet=quiet):
        raise SystemExit(1)


def estimate(name: str, preset: str, n_steps: int, *, out: Path | None, means: Means, quiet: bool) -> None:
    """Take the first steps of every kind of run and say what the preset would cost; no model is kept."""
    plan = _chosen(name, preset, means).configs(preset, means)
    torch.set_num_threads(1)
    if out is not None:
        PresetCost.check_place(out / f"{name}-cost.json")
        _make(out)

    def say(cost: Cost) -> None:
        if not quiet:
            typer.echo(repr(cost))

    costs = first_steps(plan, n_steps, device=means.device, on_kind=say)
    command = f"icl-reproduce {name} --preset {preset} --first-steps {n_steps}"
    made_with = {**provenance(), "device": means.device, "command": command}
    found = PresetCost(paper=name, preset=preset, n_steps=n_steps, costs=tuple(costs), provenance=made_with)
    if not quiet:
        typer.echo(f"about {found.hours:.3g} hours of one process, for training alone")
    if out is not None:
        path = found.write(out / f"{name}-cost.json")
        if not quiet:
            typer.echo(str(path))


def _chosen(name: str, preset: str, means: Means) -> Experiment:
    chosen = experiment(name)
    if preset not in PRESETS:
        raise InputError(f"--preset needs one of {', '.join(PRESETS)}, got {preset!r}.")
    _check_seeds(preset, means.seeds or ())
    try:
        torch.zeros(1, device=means.device)
    except Exception as error:  # torch raises RuntimeError, AssertionError and more
        raise InputError(f"--device needs one that this machine has, got {means.device!r}; take cpu.") from error
    return chosen


def _committed(path: Path, chosen: Experiment, preset: str) -> Summary:
    # Before hours are spent; `differences` would say it afterwards.
    summary, name = read_summary(path), chosen.paper.name
    if (summary.paper.name, summary.preset) != (name, preset):
        raise InputError(
            f"--against needs a summary of {name} at size {preset}, got one of {summary.paper.name} at size "
            f"{summary.preset}: {path}."
        )
    if list(summary.setting) != list(chosen.setting_of(preset, summary.seeds)):
        raise InputError(
            f"--against needs a summary of the sizes that {preset} has in this version, got one of others: {path}; "
            "write it again by icl-reproduce."
        )
    known = {claim.key for claim in summary.claims}
    if missing := [stated.key for stated in chosen.claims if stated.key not in known]:
        raise InputError(
            f"--against needs a summary that has all claims of this version, got one without {', '.join(missing)}: "
            f"{path}; write it again by icl-reproduce."
        )
    return summary


def _agrees(outcome: Outcome, committed: Summary, path: Path | None, *, quiet: bool) -> bool:
    differing = differences(outcome.claims, committed.claims)
    for difference in differing:
        typer.echo(f"differs: {difference}")
    if not differing and not quiet:
        typer.echo(f"every check agrees with {path}")
    return not any(difference.contradicts for difference in differing)


def _check_seeds(preset: str, seeds: Sequence[int]) -> None:
    if len(set(seeds)) < len(seeds):
        raise InputError(f"--seed needs different seeds, got {', '.join(map(str, seeds))}.")
    if preset == "smoke" and len(seeds) >= LEAST_SEEDS:
        raise InputError(
            f"--preset smoke takes fewer than {LEAST_SEEDS} seeds, since its numbers are not to be judged, got "
            f"{len(seeds)}; take laptop."
        )


def _check_places(name: str, out: Path, against: Path | None) -> None:
    # Before hours are spent; whoever writes asks again.
    summary = out / f"{name}.json"
    if against is not None and summary.exists() and against.samefile(summary):
        raise InputError(
            f"--against needs a summary that this command does not write anew, got {against}; copy it to another "
            "folder, or choose another --out."
        )
    check_report_place(out / "report.html")
    Summary.check_place(summary)
    FigureTables.check_place(out / f"{name}-tables.json")
    seconds_of_measuring(out)


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out needs a folder that can be written, got {out} ({error.strerror}).") from error
