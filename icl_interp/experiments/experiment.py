"""The frame of a paper's experiment: plan, train, measure, judge, draw; and the papers by name."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import numpy as np

from icl_interp.errors import InputError
from icl_interp.experiments.claims import Check, Claim, Interval, Stated, over_seeds
from icl_interp.experiments.trained import train_all
from icl_interp.jobs import stop_signals
from icl_interp.models.hooked import HookedModel
from icl_interp.training.train_config import TrainConfig

_EXPERIMENTS: Mapping[str, str] = MappingProxyType({
    "zhang2024": "icl_interp.experiments.zhang2024.paper",
    "hill2025": "icl_interp.experiments.hill2025.paper",
    "carroll2025": "icl_interp.experiments.carroll2025.paper",
})
"""Name to the module whose EXPERIMENT it is: one line per paper; nothing is imported before one is asked for."""

PRESETS = ("smoke", "laptop", "paper")
"""Sizes that every experiment has: seconds and nothing is judged; two cores for two hours at most; the paper's own."""

Tick = Callable[[int], None]
Record = TypeVar("Record")


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


def combine(number: Callable[..., float], *columns: Sequence[Any]) -> tuple[float, ...]:
    """Make one number per seed from what the columns say of it; NaN where arithmetic has no answer.

    Such a number leaves its check undecided, and ends nothing.

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
        self.records, self.seeds = records, seeds
        self.words = words
        """For sentences of claims, see `Row`."""

    def all(self, *run: Any) -> list[Record]:
        """What was measured of each seed."""
        return [self.records[*run, seed] for seed in self.seeds]

    def first(self, *run: Any) -> Record:
        """What was measured of the first seed."""
        return self.records[*run, self.seeds[0]]

    def each(self, number: Callable[[Record], float], *run: Any) -> tuple[float, ...]:
        """One number per seed, see `combine`."""
        return combine(number, self.all(*run))

    def interval(self, number: Callable[[Record], float], *run: Any) -> Interval:
        """Its mean over seeds."""
        return over_seeds(self.each(number, *run))

    def mean(self, number: Callable[[Record], float], *run: Any) -> float:
        """Its mean over seeds alone."""
        values = self.each(number, *run)
        return sum(values) / len(values)

    def check(self, key: str, label: str, number: Callable[[Record], float], *run: Any, **expected: Any) -> Check:
        """Make a check of it; `low`, `high` and `reason` as there."""
        return Check(key, label, self.each(number, *run), **expected)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedRuns:
    """What there is to be measured."""

    configs: Mapping[Any, TrainConfig]
    """Of all runs."""
    models: Mapping[Any, HookedModel]
    """The same runs, with their final weights."""
    folder: Path
    """Of the experiment; checkpoints and measurements are kept there."""
    means: Means
    """Processes and device."""
    on_done: Tick
    """Called with a number of finished measurements."""

    def __repr__(self) -> str:
        return f"TrainedRuns({len(self.models)} models)"


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """A paper's experiment: one of these in each paper's paper.py, under the name EXPERIMENT.

    Sizes are the paper's own dataclass with a field `seeds`; readers, whatever its claims and figures are made from.
    """

    paper: Paper
    """Which paper."""
    unknowns: tuple[str, ...]
    """What it does not say and what we took, a sentence each."""
    sizes: Mapping[str, Any]
    """What each preset spends."""
    plan: Callable[[Any], Mapping[Any, TrainConfig]]
    """Sizes to what is trained."""
    setting: Callable[[Any], tuple[str, ...]]
    """Sizes to what is run, a sentence each."""
    measure: Callable[[TrainedRuns, Any], Any]
    """Runs and sizes to numbers."""
    n_measurements: Callable[[Mapping[Any, TrainConfig]], int]
    """How many `measure` reports as done."""
    reader: Callable[[Any, Any], Any]
    """Numbers and sizes to what claims and figures read them by."""
    claims: tuple[Stated[Any], ...]
    """What the paper says: the same at every size."""
    panels: tuple[Callable[[Any], Panel], ...]
    """Figures, each drawn from a reader."""

    def __repr__(self) -> str:
        return f"Experiment({self.paper.name})"

    def configs(self, preset: str, means: Means) -> Mapping[Any, TrainConfig]:
        """List what a preset trains, by run."""
        return self.plan(self._sizes(preset, means))

    def setting_of(self, preset: str, seeds: tuple[int, ...]) -> tuple[str, ...]:
        """Say what a preset runs, a sentence each: equal sentences, equal sizes."""
        return self.setting(replace(self.sizes[preset], seeds=seeds))

    def train(
        self,
        configs: Mapping[Any, TrainConfig],
        folder: Path,
        means: Means,
        on_done: Tick,
        on_stop: Tick | None = None,
    ) -> dict[Any, HookedModel]:
        """Train what a folder does not hold yet, see `train_all`; the same call goes on after a stop."""
        return train_all(configs, folder, workers=means.workers, device=means.device, on_done=on_done, on_stop=on_stop)

    def judge(
        self,
        preset: str,
        configs: Mapping[Any, TrainConfig],
        models: Mapping[Any, HookedModel],
        folder: Path,
        means: Means,
        on_done: Tick,
    ) -> Outcome:
        """Measure what `train` gave of `configs`, keep in the folder what takes long, and judge the claims.

        `on_done` is called with a number of finished measurements out of `n_measurements`.
        """
        sizes = self._sizes(preset, means)
        runs = TrainedRuns(configs, models, folder, means, on_done)
        with stop_signals():  # nothing to wait for, but SIGTERM is no death
            found = self.measure(runs, sizes)
        return Outcome(
            paper=self.paper,
            preset=preset,
            seeds=sizes.seeds,
            setting=self.setting(sizes),
            unknowns=self.unknowns,
            claims=self.judged(found, sizes),
            panels=self.drawn(found, sizes),
        )

    def judged(self, found: Any, sizes: Any) -> tuple[Claim, ...]:
        """Fill the claims in with what was measured."""
        read = self.reader(found, sizes)
        return tuple(stated.judged(read) for stated in self.claims)

    def drawn(self, found: Any, sizes: Any) -> tuple[Panel, ...]:
        """Draw all figures."""
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
    found: Experiment = importlib.import_module(_EXPERIMENTS[name]).EXPERIMENT
    return found
