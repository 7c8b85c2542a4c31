"""What every experiment is asked for and what it gives back: the same for each paper."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from icl_interp.experiments.claims import Claim

if TYPE_CHECKING:
    from icl_interp.training.train_config import TrainConfig

__all__ = ["Experiment", "Means", "Outcome", "Panel", "Paper"]

Tick = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Means:
    """What an experiment may use, whatever its size."""

    workers: int = 1
    """Processes that train, one thread each."""
    device: str = "cpu"
    """Where models are trained that are too large to be trained together; most measures are taken on the CPU."""
    seeds: tuple[int, ...] | None = None
    """Other seeds than the preset's; fewer than three are not judged."""


@dataclass(frozen=True, slots=True)
class Paper:
    """What is reproduced."""

    name: str
    """As icl-reproduce takes it."""
    title: str
    """Of the paper."""
    citation: str
    """Authors, year, arXiv number."""


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One figure with its numbers."""

    id: str
    """An anchor: letters, digits, single hyphens."""
    title: str
    """What is drawn, with the paper's figure where there is one."""
    sentence: str
    """What is seen, made from the numbers."""
    figure: Any
    """A plotly figure."""
    columns: tuple[str, ...]
    """Of its numbers."""
    rows: tuple[tuple[str | float | int | None, ...], ...]
    """Its numbers."""
    height: int = 420
    """Of the figure on the page, in pixels."""

    def __repr__(self) -> str:
        return f"Panel({self.id}, {len(self.rows)} rows)"


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What one run of an experiment found."""

    paper: Paper
    """Which paper."""
    preset: str
    """At which size."""
    seeds: tuple[int, ...]
    """Of the models."""
    setting: tuple[str, ...]
    """What was run, a sentence each."""
    unknowns: tuple[str, ...]
    """What the paper does not say and what we took, a sentence each."""
    claims: tuple[Claim, ...]
    """The claims, judged."""
    panels: tuple[Panel, ...] = ()
    """The figures."""

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{claim.key}: {claim.verdict}" for claim in self.claims)
        return f"Outcome({self.paper.name}, {self.preset}, {len(self.seeds)} seeds, {verdicts})"


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """A paper's experiment: one of these in each of the paper's files, under the name EXPERIMENT."""

    paper: Paper
    """Which paper."""
    plan: Callable[[str, Means], Mapping[Any, "TrainConfig"]]
    """What a preset trains."""
    run: Callable[[str, Path, Means, Tick], Outcome]
    """Trains what is not trained yet in a folder, and measures; calls back with a number of finished units, of which
    there are as many as planned configs and then `n_measurements`."""
    n_measurements: Callable[[str, Means], int] = lambda preset, means: 0  # noqa: ARG005
    """Units after training."""

    def __repr__(self) -> str:
        return f"Experiment({self.paper.name})"
