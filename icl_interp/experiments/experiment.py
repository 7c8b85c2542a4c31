"""The frame of a paper's experiment: plan, train, measure, judge, draw; and the papers by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np

from icl_interp.errors import InputError
from icl_interp.experiments.claims import Claim, Interval, Stated, mean, over_seeds
from icl_interp.jobs import stop_signals
from icl_interp.models.hooked import HookedModel
from icl_interp.training.train_config import TrainConfig

_EXPERIMENTS = (
    "zhang2024",
    "hill2025",
    "carroll2025",
    "huang2023",
)  # a folder each; nothing is imported before one is asked for

PRESETS = ("smoke", "laptop", "paper")
"""Sizes that every experiment has: seconds and nothing is judged; two cores for two hours at most; the paper's own."""

Tick = Callable[[int], None]
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Means:
    """Resources that an experiment may use, whatever its size."""

    workers: int = 1  # processes that train, one thread each
    device: str = "cpu"
    """Device for models that are too large to be trained together; most measures run on the CPU."""
    seeds: tuple[int, ...] | None = None  # other seeds than the preset's; fewer than three are not judged


@dataclass(frozen=True, slots=True)
class Paper:
    """What is reproduced."""

    name: str  # as icl-reproduce takes it
    title: str  # of the paper
    citation: str  # authors, year, arXiv number
    caveat: str = ""  # what a reader has to know before any verdict, such as that the text was not at hand


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Panel:
    """One figure with its numbers."""

    id: str  # an anchor: letters, digits, single hyphens
    title: str  # what is drawn, with the paper's figure where there is one
    sentence: str  # what is seen, made from the numbers
    figure: Any  # a plotly figure
    columns: tuple[str, ...]  # of its numbers
    rows: Sequence[Sequence[str | float | int | None]]  # its numbers
    height: int = 420  # of the figure on the page, in pixels


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Outcome:
    """What one run of an experiment found."""

    paper: Paper
    preset: str
    seeds: tuple[int, ...]
    setting: tuple[str, ...]  # what was run, a sentence each
    unknowns: tuple[str, ...]  # what the paper does not say and what we took, a sentence each
    claims: tuple[Claim, ...]
    panels: tuple[Panel, ...] = ()


def combine(number: Callable[..., float], *columns: Sequence[Any]) -> tuple[float, ...]:
    """Make one number per seed from columns of numbers; NaN, which leaves a check undecided, if there is none.

    >>> combine(lambda a, b: a / b, [1.0, 2.0], [4.0, 0.0])
    (0.25, nan)
    """
    return tuple(_number(number, *row) for row in zip(*columns, strict=True))


def _number(number: Callable[..., float], *of: Any) -> float:
    try:
        return float(number(*of))
    except (ArithmeticError, np.linalg.LinAlgError):
        return float("nan")


class PerSeed(Generic[Record]):
    """Looks up what was measured of runs that are alike but for their seeds; the seed is the last field of a run."""

    def __init__(self, records: Mapping[Any, Record], seeds: tuple[int, ...], words: Mapping[str, object]) -> None:
        self.records, self.seeds, self.words = records, seeds, words

    def seeds_of(self, *_run: Any) -> tuple[int, ...]:
        """The seeds that a kind of run was trained with: all of them, unless a paper says otherwise."""
        return self.seeds

    def all(self, *run: Any) -> list[Record]:
        return [self.records[*run, seed] for seed in self.seeds_of(*run)]

    def first(self, *run: Any) -> Record:
        return self.records[*run, self.seeds[0]]

    def each(self, number: Callable[[Record], float], *run: Any) -> tuple[float, ...]:
        """One number per seed, see `combine`."""
        return combine(number, self.all(*run))

    def interval(self, number: Callable[[Record], float], *run: Any) -> Interval:
        return over_seeds(self.each(number, *run))

    def mean(self, number: Callable[[Record], float], *run: Any) -> float:
        return mean(self.each(number, *run))


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TrainedRuns:
    """What there is to be measured."""

    configs: Mapping[Any, TrainConfig]  # by run
    models: Mapping[Any, HookedModel]  # with their final weights
    folder: Path  # of the experiment; checkpoints and measurements are kept there
    means: Means
    on_done: Tick  # called with a number of finished measurements


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """A paper's experiment: what its folder says under these names, see `experiment`."""

    paper: Paper
    unknowns: tuple[str, ...]  # what it does not say and what we took, a sentence each
    sizes: Mapping[str, Any]  # what each preset spends: a dataclass of the paper's own with a field `seeds`
    plan: Callable[[Any], Mapping[Any, TrainConfig]]  # sizes to what is trained
    setting: Callable[[Any], tuple[str, ...]]  # sizes to what is run, a sentence each
    measure: Callable[[TrainedRuns, Any], Any]  # runs and sizes to numbers
    n_measurements: Callable[[Mapping[Any, TrainConfig]], int]  # how many `measure` reports as done, of configs
    reader: Callable[[Any, Any], Any]  # numbers and sizes to what claims and figures read them by
    claims: tuple[Stated[Any], ...]  # what the paper says: the same at every size
    panels: tuple[Callable[[Any], Panel], ...]  # figures, each drawn from a reader

    def __repr__(self) -> str:
        return f"Experiment({self.paper.name})"

    def configs(self, preset: str, means: Means) -> Mapping[Any, TrainConfig]:
        return self.plan(self._sizes(preset, means))

    def setting_of(self, preset: str, seeds: tuple[int, ...]) -> tuple[str, ...]:
        """Describe what a preset runs, one sentence per item; equal sentences mean equal sizes."""
        return self.setting(replace(self.sizes[preset], seeds=seeds))

    def judge(self, preset: str, runs: TrainedRuns) -> Outcome:
        """Measure, keep in the folder what takes long, and judge the claims."""
        sizes = self._sizes(preset, runs.means)
        with stop_signals():  # nothing to wait for, but SIGTERM is no death
            found = self.measure(runs, sizes)
        claims, panels = self.judged(found, sizes), self.drawn(found, sizes)
        return Outcome(self.paper, preset, sizes.seeds, self.setting(sizes), self.unknowns, claims, panels)

    def judged(self, found: Any, sizes: Any) -> tuple[Claim, ...]:
        read = self.reader(found, sizes)
        return tuple(stated.judged(read) for stated in self.claims)

    def drawn(self, found: Any, sizes: Any) -> tuple[Panel, ...]:
        read = self.reader(found, sizes)
        return tuple(draw(read) for draw in self.panels)

    def _sizes(self, preset: str, means: Means) -> Any:
        sizes = self.sizes[preset]
        return sizes if means.seeds is None else replace(sizes, seeds=means.seeds)


def experiment(name: str) -> Experiment:
    """Load an experiment by the paper's name.

    >>> experiment("zhang2024").paper.citation
    'Zhang, Wu, Bartlett (2024), arXiv 2402.14951'
    """
    if name not in _EXPERIMENTS:
        raise InputError(f"icl-reproduce needs one of {', '.join(_EXPERIMENTS)}, got {name!r}.")
    parts = ("paper", "setting", "measures", "claims", "figures")
    paper, setting, measures, claims, figures = (import_module(f"{__package__}.{name}.{part}") for part in parts)
    return Experiment(
        paper.PAPER, paper.UNKNOWNS, setting.SIZES, setting.plan, paper.setting, measures.measure, measures.count,
        measures.Reader, claims.CLAIMS, figures.PANELS,
    )  # fmt: skip
