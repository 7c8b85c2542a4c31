"""What icl-probe --compare does: several models, measured on the same prompts, in one report."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.cli.probe_options import ProbeOptions
from icl_interp.cli.shared import progress
from icl_interp.errors import InputError, StatedHeadsError
from icl_interp.files import write_atomically

if TYPE_CHECKING:
    from icl_interp.measure.comparison import Comparison
    from icl_interp.measure.study.measure import StudyPlan


def check_comparison(options: ProbeOptions) -> None:
    """Refuse what cannot be compared, before anything is read."""
    if len(options.paths) < 2:
        raise InputError(f"--compare needs two models or more, got {len(options.paths)}; name their files.")
    if repeated := [str(path) for path, count in Counter(options.paths).items() if count > 1]:
        raise InputError(f"--compare needs different models, got {', '.join(repeated)} more than once; leave one out.")
    if names := ", ".join(options.of_timeline()):
        raise InputError(f"--compare measures one checkpoint per model and has no timeline, so it takes no {names}.")


def name_models(paths: list[Path]) -> list[str]:
    """Name each model as short as they can be told apart: by file, or by folder and file."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def _load_each(paths: list[Path], load: Callable[..., Checkpoint]) -> dict[str, Checkpoint]:
    """Load all models; a number of heads that was given is for the files that do not state theirs."""
    found, refused = {}, []
    for name, path in zip(name_models(paths), paths, strict=True):
        try:
            found[name] = load(path)
        except StatedHeadsError as error:
            refused.append(error)
            found[name] = load(path, n_heads=None)
    if len(refused) == len(found):
        raise refused[0]
    return found


def run_comparison(options: ProbeOptions, load: Callable[..., Checkpoint], plan: Callable[..., "StudyPlan"]) -> None:
    """Load all, refuse what does not fit together, measure each, write."""
    from icl_interp.measure.comparison import check_same_task, compare_studies
    from icl_interp.measure.study.run import run_study

    checkpoints = _load_each(options.paths, load)
    check_same_task({name: found.task for name, found in checkpoints.items()})
    points = options.points or min(found.n_points_trained for found in checkpoints.values())
    plans = {name: plan(found, n_points=points) for name, found in checkpoints.items()}
    fewest = min(made.n_prompts for made in plans.values())
    plans = {
        name: made if made.n_prompts == fewest else plan(checkpoints[name], n_points=points, n_prompts=fewest)
        for name, made in plans.items()
    }
    studies = {}
    for name, made in plans.items():
        if not options.quiet:
            typer.echo(f"{name}: {made.config.describe()}")
        with progress(f"probing {name}", made.reads, quiet=options.quiet) as tick:
            studies[name] = run_study(made, tick)
    _write(options, compare_studies(studies), checkpoints)


def _write(options: ProbeOptions, comparison: "Comparison", checkpoints: Mapping[str, Checkpoint]) -> None:
    from icl_interp.provenance import provenance
    from icl_interp.report.compare import build_comparison_page
    from icl_interp.report.numbers import comparison_json
    from icl_interp.report.page import write_report
    from icl_interp.report.printed import print_figures

    circumstances: Mapping[str, Any] = provenance()
    page = build_comparison_page(comparison, checkpoints, circumstances)
    if options.json is not None:
        text = comparison_json(comparison, checkpoints, circumstances)
        write_atomically(options.json, lambda file: file.write(text.encode()))
    write_report(page, options.out, plotlyjs=options.plotlyjs)
    print_figures(page, options.figures, options.figures_set)
    if not options.quiet:
        for verdict in page.verdicts:
            typer.echo(f"{verdict.title} {verdict.sentence}")
        typer.echo(f"report: {options.out}")
