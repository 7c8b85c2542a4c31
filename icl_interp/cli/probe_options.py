"""The arguments of icl-probe: their names, defaults and help, and the record that they make."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from icl_interp.cli.shared import FiguresFolder, FiguresSet


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """The arguments of icl-probe."""

    paths: Annotated[
        list[Path],
        typer.Argument(
            help="Checkpoint files or run folders. The newest checkpoint of the first one is measured in full; with "
            "several checkpoints the report has a timeline too. Or one file of activations (.npz or .safetensors), or "
            "demo:NAME for an embedded model: transience, lsa, ltb, sparse, recurrence, memoriser or generaliser. "
            "Without a path: the embedded demo.",
            readable=False,
        ),
    ] = field(default_factory=list)
    out: Annotated[Path, typer.Option(help="File for the report.")] = Path("icl-report.html")
    json: Annotated[Path | None, typer.Option(help="File for all numbers, as JSON.")] = None
    figures: FiguresFolder = None
    figures_set: FiguresSet = field(default_factory=list)
    task: Annotated[
        list[str],
        typer.Option(
            help="The training distribution: a YAML file, key=value such as noise_std=0.5 (repeatable), or a file of "
            "prompts (.npz or .safetensors)."
        ),
    ] = field(default_factory=list)
    imports: Annotated[
        list[Path],
        typer.Option(
            "--import",
            help="Python file to run first, for tasks, shifts, references and so on that it registers. Repeatable.",
        ),
    ] = field(default_factory=list)
    heads: Annotated[int | None, typer.Option(min=1, help="Number of attention heads, if the file does not say.")] = (
        None
    )
    layout: Annotated[
        list[str],
        typer.Option(
            help="Anything else that the file does not say: key=value, such as tokens=separate or sign=-1. Repeatable."
        ),
    ] = field(default_factory=list)
    model: Annotated[
        str | None,
        typer.Option(
            help="Your own function that takes the path and returns a torch module or a wrapped one. Needs --task.",
            metavar="FILE.py:NAME",
        ),
    ] = None
    prompts: Annotated[
        int | None, typer.Option(help="Prompts per family (default: as many as fit in a few minutes).")
    ] = None
    points: Annotated[int | None, typer.Option(help="Examples per prompt (default: as in training).")] = None
    shifts: Annotated[
        str | None,
        typer.Option(
            help="Shifts to measure: names, globs or name=value, separated by commas ('x_*,w_rotation=1/4'), or 'all'."
        ),
    ] = None
    layers: Annotated[str | None, typer.Option(help="Blocks to measure, separated by commas (default: all).")] = None
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.")] = 0
    device: Annotated[str, typer.Option(help="Device to run on, such as cpu or cuda.")] = "cpu"
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Number of threads of this process (default: one, and --workers share the work)."),
    ] = None
    plotlyjs: Annotated[
        Literal["embed", "cdn", "directory"],
        typer.Option(help="Put plotly.js into the report, load it from the web, or from a file beside the report."),
    ] = "embed"
    controls: Annotated[
        int | None,
        typer.Option(
            min=2, help="Number of untrained networks to compare with (default: 20, or 10 for large networks)."
        ),
    ] = None
    no_controls: Annotated[
        bool, typer.Option("--no-controls", help="Skip untrained networks. The report then has no verdicts.")
    ] = False
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Measure every path on the same prompts and show the models side by side, without a timeline.",
        ),
    ] = False
    no_timeline: Annotated[bool, typer.Option("--no-timeline", help="Measure one checkpoint only.")] = False
    llc: Annotated[
        int | None,
        typer.Option(
            min=0, help="Number of checkpoints with a learning coefficient (default: 5 for small networks, else 0)."
        ),
    ] = None
    llc_set: Annotated[
        list[str],
        typer.Option(
            help="Setting of the sampler of --llc: key=value, with nbeta, lr, localization, num_chains, num_draws, "
            "num_burnin_steps or batch_size. Repeatable."
        ),
    ] = field(default_factory=list)
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of processes, one thread each. By default up to 4 read untrained networks, as cores and work "
            "allow (one with --threads), and one computes the timeline.",
        ),
    ] = None
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler that computes the timeline (tcp://host:port).")
    ] = None
    cache: Annotated[
        Path | None,
        typer.Option(
            help="Where to cache timeline results, so that an interrupted run can resume (default: the run folder, or "
            "the user's cache folder if that cannot be written)."
        ),
    ] = None
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False

    def __repr__(self) -> str:
        return f"ProbeOptions({', '.join(map(str, self.paths)) or 'the embedded demo'})"

    @property
    def n_controls(self) -> dict[str, Any]:
        """How many untrained networks, where that is not left to the measures."""
        if self.no_controls:
            return {"n_controls": 0}
        return {} if self.controls is None else {"n_controls": self.controls}

    def of_timeline(self) -> tuple[str, ...]:
        """Name the given options that only a timeline uses."""
        given = {
            "--llc": self.llc,
            "--llc-set": self.llc_set,
            "--scheduler": self.scheduler is not None,
            "--cache": self.cache is not None,
        }
        return tuple(name for name, there in given.items() if there)
