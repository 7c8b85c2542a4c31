"""What every experiment may use and what it gives back: the same for each paper."""

from dataclasses import dataclass
from typing import Any

from icl_interp.experiments.claims import Claim

__all__ = ["Means", "Outcome", "Panel", "Paper"]


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
