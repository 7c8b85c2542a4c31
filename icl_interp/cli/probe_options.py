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
            help="Checkpoint files or run folders; the newest of the first is probed, and where there are several "
            "checkpoints a timeline compares them all. Or a file of activations (.npz or .safetensors). Nothing means "
            "the embedded demo.",
            readable=False,
        ),
    ] = field(default_factory=list)
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("icl-report.html")
    json: Annotated[Path | None, typer.Option(help="Where all numbers go, as JSON.")] = None
    figures: FiguresFolder = None
    figures_set: FiguresSet = field(default_factory=list)
    task: Annotated[
        list[str],
        typer.Option(
            help="What is in distribution: a YAML file, key=value such as noise_std=0.5 (repeatable), or saved prompts "
            "(.npz or .safetensors)."
        ),
    ] = field(default_factory=list)
    imports: Annotated[
        list[Path],
        typer.Option(
            "--import",
            help="A Python file of your own that is run first: what it registers (icl_interp.register_task, "
            "register_shift, register_reference, ...) holds; repeatable.",
        ),
    ] = field(default_factory=list)
    heads: Annotated[int | None, typer.Option(min=1, help="Attention heads, where the file does not say.")] = None
    layout: Annotated[
        list[str],
        typer.Option(
            help="What else a foreign file does not say: key=value such as tokens=separate or sign=-1; repeatable."
        ),
    ] = field(default_factory=list)
    model: Annotated[
        str | None,
        typer.Option(
            help="FILE.py:NAME, a function of yours from the path to a torch module or a wrapped one; needs --task.",
            metavar="FILE.py:NAME",
        ),
    ] = None
    prompts: Annotated[int | None, typer.Option(help="Prompts per family; by default what a few minutes allow.")] = None
    points: Annotated[int | None, typer.Option(help="Pairs per prompt; by default as in training.")] = None
    shifts: Annotated[
        str | None,
        typer.Option(help="Names, globs or name=value, separated by commas: 'x_*,w_rotation=1/4'; or 'all'."),
    ] = None
    layers: Annotated[str | None, typer.Option(help="Blocks to look at, separated by commas; by default all.")] = None
    seed: Annotated[int, typer.Option(help="The only source of randomness.")] = 0
    device: Annotated[str, typer.Option(help="Where the networks run, as torch names it.")] = "cpu"
    threads: Annotated[int | None, typer.Option(min=1, help="Threads; by default chosen by the model's size.")] = None
    plotlyjs: Annotated[
        Literal["embed", "cdn", "directory"],
        typer.Option(help="plotly.js inside the file, from the web or beside it."),
    ] = "embed"
    controls: Annotated[
        int | None,
        typer.Option(min=2, help="Untrained networks to compare with; by default 20, or 10 for large networks."),
    ] = None
    no_controls: Annotated[bool, typer.Option("--no-controls", help="Skip untrained networks; no verdicts then.")] = (
        False
    )
    no_timeline: Annotated[bool, typer.Option("--no-timeline", help="Probe one checkpoint only.")] = False
    llc: Annotated[
        int | None,
        typer.Option(min=0, help="Checkpoints of a run with a learning coefficient; by default 5 for small networks."),
    ] = None
    llc_set: Annotated[
        list[str],
        typer.Option(
            help="key=value for the sampler of --llc: nbeta, lr, localization, num_chains, num_draws, "
            "num_burnin_steps or batch_size; repeatable."
        ),
    ] = field(default_factory=list)
    workers: Annotated[int, typer.Option(min=1, help="Processes for the timeline, one thread each.")] = 1
    scheduler: Annotated[
        str | None, typer.Option(help="A Dask scheduler for the timeline instead, tcp://host:port.")
    ] = None
    cache: Annotated[
        Path | None,
        typer.Option(
            help="A folder for the timeline's records, so that a stopped one goes on; by default the run's own, or the "
            "user's cache where that cannot be written."
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
            "--workers": self.workers != 1,
            "--scheduler": self.scheduler is not None,
            "--cache": self.cache is not None,
        }
        return tuple(name for name, there in given.items() if there)
