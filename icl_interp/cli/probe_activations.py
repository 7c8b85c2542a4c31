"""What icl-probe does with a file of activations: the report that needs no model."""

from contextlib import suppress
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import typer

from icl_interp.arrays import StoredArray, keeps_order, stored_arrays
from icl_interp.checkpoints.registry import is_claimed
from icl_interp.checkpoints.safe_load import sha256_of
from icl_interp.cli.probe_options import ProbeOptions
from icl_interp.cli.shared import progress
from icl_interp.errors import InputError
from icl_interp.files import write_atomically
from icl_interp.measure.activations_file import ActivationsFile, read_activations, why_no_activations
from icl_interp.tasks.fixed_prompts import holds_prompts

if TYPE_CHECKING:
    from icl_interp.measure.activation_study import ActivationStudy

_TAKEN = (
    "paths", "out", "json", "figures", "figures_set", "prompts", "seed", "threads", "plotlyjs", "no_controls",
    "no_timeline", "quiet",
)  # fmt: skip
"""Options that have a meaning without a model."""


def open_activations(options: ProbeOptions) -> ActivationsFile | None:
    """Open the file that is probed, where it holds activations and no reader of checkpoints claims it."""
    if saved := [path for path in options.paths if path.is_file() and holds_prompts(path)]:
        raise InputError(
            f"{saved[0]} holds saved prompts, which are read as a task: icl-probe CHECKPOINT --task {saved[0]}."
        )
    if options.model is not None:  # the user's own code opens whatever it is
        return None
    found = [(path, held) for path in options.paths if (held := _opened(path)) is not None]
    if not found:
        return None
    if len(options.paths) > 1:
        raise InputError(
            f"activations are probed one file at a time, got {len(options.paths)} paths; name {found[0][0]} alone, or "
            "store the arrays in one file."
        )
    names = ", ".join(f"--{field.name.replace('_', '-')}" for field in fields(options) if _is_refused(options, field))
    if names:
        raise InputError(f"{found[0][0]} holds activations and no model, which {names} would need; leave that out.")
    return found[0][1]


def _opened(path: Path) -> ActivationsFile | None:
    arrays = None
    with suppress(InputError, OSError):  # what cannot be read is refused by the readers of checkpoints
        arrays = stored_arrays(path) if path.is_file() else None
    if not arrays or is_claimed(path, {name: _stand_in(array) for name, array in arrays.items()}):
        return None
    held = read_activations(path)
    if held is None and keeps_order(path) and (reason := why_no_activations(path)):
        raise InputError(reason)
    return held


def _stand_in(array: StoredArray) -> torch.Tensor:
    return torch.zeros(1).expand(array.shape)  # a shape without its numbers


def _is_refused(options: ProbeOptions, field: "Field[Any]") -> bool:
    usual = field.default if field.default_factory is MISSING else field.default_factory()
    taken = field.name in _TAKEN or field.name.startswith("import")
    return not taken and getattr(options, field.name) != usual


def probe_activations(options: ProbeOptions, held: ActivationsFile) -> None:
    """Measure, write."""
    from icl_interp.measure.activation_study import activation_study, count_reads
    from icl_interp.provenance import provenance
    from icl_interp.report.assemble import build_activations_page
    from icl_interp.report.numbers import activations_json
    from icl_interp.report.page import write_report
    from icl_interp.report.printed import print_figures

    path = options.paths[0]
    torch.set_num_threads(options.threads or 1)
    controls = () if options.no_controls else held.controls
    total = count_reads(held.families, len(controls), options.prompts)
    with progress("probing", total, quiet=options.quiet) as tick:
        found = activation_study(
            held.families,
            controls=controls,
            control_predictions=None if options.no_controls else held.said_by_controls,
            predictions=held.beside.get("predictions"),
            targets=held.beside.get("targets"),
            inputs=held.beside.get("inputs"),
            n_prompts=options.prompts,
            seed=options.seed,
            tick=tick,
        )
    circumstances, sha256 = provenance(), sha256_of(path)
    page = build_activations_page(found, path.name, sha256, circumstances)
    if options.json is not None:
        text = activations_json(found, path.name, sha256, circumstances)
        write_atomically(options.json, lambda file: file.write(text.encode()))
    write_report(page, options.out, plotlyjs=options.plotlyjs)
    print_figures(page, options.figures, options.figures_set)
    if not options.quiet:
        _say(found)
        for verdict in page.verdicts:
            typer.echo(f"{verdict.title} {verdict.sentence}")
        typer.echo(f"report: {options.out}")


def _say(found: "ActivationStudy") -> None:
    for note in found.families.notes:
        typer.echo(f"note: {note}")
    if found.without_verdicts:
        typer.echo(f"note: {found.without_verdicts}")
