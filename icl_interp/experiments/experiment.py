"""The frame of a paper's experiment: plan, train, measure, judge, draw."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from icl_interp.experiments.claims import Claim
from icl_interp.experiments.measuring_time import measuring
from icl_interp.experiments.outcome import Means, Outcome, Panel, Paper
from icl_interp.experiments.trained import train_all
from icl_interp.jobs import stop_signals
from icl_interp.models.hooked import HookedModel
from icl_interp.training.train_config import TrainConfig

__all__ = ["Experiment", "TrainedRuns"]

Tick = Callable[[int], None]


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

    Sizes are the paper's own dataclass with a field `seeds`; numbers, whatever its claims and figures are made from.
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
    claims: Callable[[Any, Any], tuple[Claim, ...]]
    """Numbers and sizes to claims."""
    panels: Callable[[Any, Any], tuple[Panel, ...]]
    """Numbers and sizes to figures."""
    claim_keys: tuple[str, ...]
    """Of all claims, the same at every size: known before anything is trained."""

    def __repr__(self) -> str:
        return f"Experiment({self.paper.name})"

    def configs(self, preset: str, means: Means) -> Mapping[Any, TrainConfig]:
        """List what a preset trains."""
        return self.plan(self._sizes(preset, means))

    def setting_of(self, preset: str, seeds: tuple[int, ...]) -> tuple[str, ...]:
        """Say what a preset runs."""
        return self.setting(replace(self.sizes[preset], seeds=seeds))

    def train(
        self, preset: str, folder: Path, means: Means, on_done: Tick, on_stop: Tick | None = None
    ) -> dict[Any, HookedModel]:
        """Train what a folder does not hold yet."""
        configs = self.configs(preset, means)
        return train_all(configs, folder, workers=means.workers, device=means.device, on_done=on_done, on_stop=on_stop)

    def judge(
        self, preset: str, models: Mapping[Any, HookedModel], folder: Path, means: Means, on_done: Tick
    ) -> Outcome:
        """Measure what is trained, and judge the claims."""
        sizes = self._sizes(preset, means)
        runs = TrainedRuns(self.plan(sizes), models, folder, means, on_done)
        with stop_signals(), measuring(folder):  # nothing to wait for, but SIGTERM is no death
            found = self.measure(runs, sizes)
        return Outcome(
            paper=self.paper,
            preset=preset,
            seeds=sizes.seeds,
            setting=self.setting(sizes),
            unknowns=self.unknowns,
            claims=self.claims(found, sizes),
            panels=self.panels(found, sizes),
        )

    def _sizes(self, preset: str, means: Means) -> Any:
        sizes = self.sizes[preset]
        return sizes if means.seeds is None else replace(sizes, seeds=means.seeds)
