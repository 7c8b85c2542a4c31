"""What is measured on the networks of Carroll et al. (2025)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from icl_interp.experiments.carroll2025.pool_gaps import gap_ratios
from icl_interp.experiments.carroll2025.setting import INFINITE, Run, Sizes
from icl_interp.experiments.trained import run_path
from icl_interp.measure.development.material import reference_named
from icl_interp.measure.development.one_run import RunDevelopment
from icl_interp.measure.development.run import Development, development
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.training.train_config import TrainConfig
from probes.trajectory import JointTrajectoryPCA

__all__ = ["Measures", "Pair", "Plane", "Trained", "count_records", "measure"]

Curve = tuple[float, ...]
_Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Pair:
    """One number for each of the two solutions."""

    dmmse: float
    """The best predictor for the pool; for M = infinity that is ridge."""
    ridge: float
    """The best predictor for tasks from N(0, I)."""


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """One run. Losses and distances are in squared units of y, means over prompts and points."""

    steps: tuple[int, ...]
    """Of its checkpoints, rising."""
    ood: Curve
    """Loss on q_inf, tasks from N(0, I), by checkpoint; the same prompts for every run."""
    own: Curve
    """Loss on q_M, by checkpoint."""
    to_dmmse: Curve
    """Distance from dMMSE on q_M, by checkpoint; for M = infinity that from ridge."""
    to_ridge: Curve
    """Distance from ridge on q_M, by checkpoint."""
    place: tuple[_Point, ...]
    """First two joint principal components, by checkpoint."""
    ood_of: Pair
    """Losses of the solutions on q_inf."""
    own_of: Pair
    """Losses of the solutions on q_M."""
    llc: float | None
    """Local learning coefficient of the last checkpoint; None where the sampler diverged."""
    llc_error: float
    """Standard error of the sampler; 0 where there is none."""
    llc_flags: tuple[str, ...]
    """What speaks against the estimate."""

    def __repr__(self) -> str:
        return f"Trained({len(self.steps)} checkpoints, loss on fresh tasks {self.ood[-1]:.3g}, LLC {self.llc})"


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """The joint principal components of one seed's runs."""

    explained: _Point
    """Shares of variance."""
    null: _Point
    """The same of random walks with the runs' own steps."""
    landmarks: Mapping[int | None, _Point]
    """Places of dMMSE by M; None is ridge."""

    def __repr__(self) -> str:
        return f"Plane(explained {sum(self.explained):.1%}, random walks {sum(self.null):.1%})"


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """All numbers of the experiment; claims and figures are made from these alone."""

    runs: Mapping[Run, Trained]
    """Every network."""
    planes: Mapping[int, Plane]
    """By seed."""
    pool_gaps: Curve
    """Ridge's loss minus dMMSE's at the large M over that at the low one, by `gap_ratios`: one a pool."""

    def __repr__(self) -> str:
        return f"Measures({len(self.runs)} runs)"


def measure(
    configs: Mapping[Run, TrainConfig],
    folder: Path,
    sizes: Sizes,
    *,
    workers: int,
    device: str,
    on_done: Callable[[int], None],
) -> Measures:
    """Measure trained networks, the runs of one seed together; what was measured is read from the run folders."""
    found: dict[Run, Trained] = {}
    planes: dict[int, Plane] = {}
    for seed in sizes.seeds:
        runs = [run for run in configs if run.seed == seed]
        seen = development(
            [run_path(folder, configs[run]) for run in runs], settings=sizes.measured, llc=sizes.llc, stages=False,
            workers=workers, device=device, on_checkpoint=lambda done, _: on_done(done),
        )  # fmt: skip
        planes[seed] = _plane(seen)
        found |= {run: _trained(run, one, seen) for run, one in zip(runs, seen.runs, strict=True)}
    return Measures(found, planes, gap_ratios(sizes))


def count_records(configs: Mapping[Run, TrainConfig]) -> int:
    """Count what `measure` reports as done."""
    return sum(len(config.checkpoint_steps) + 1 for config in configs.values())


def _plane(seen: Development) -> Plane:
    pca = _pca(seen)
    places: dict[int | None, _Point] = {INFINITE: _point(pca.landmarks["ridge"])}
    for name, place in pca.landmarks.items():
        if seen.landmark_roles[name] == "dMMSE":
            places[int(name.rpartition("=")[2])] = _point(place)
    return Plane(_point(pca.explained), _point(pca.null.explained), places)


def _pca(seen: Development) -> JointTrajectoryPCA:
    # Always there: the pools share their root task, and three runs have four checkpoints and more.
    return cast(JointTrajectoryPCA, seen.trajectory)


def _point(values: Tensor) -> _Point:
    first, second = values.tolist()[:2]
    return first, second


def _trained(run: Run, one: RunDevelopment, seen: Development) -> Trained:
    fresh = IN_DISTRIBUTION if run.n_tasks is INFINITE else one.ood_family
    own, other, last = one.reference_losses[IN_DISTRIBUTION], one.reference_losses[fresh], one.llc[-1]
    ridge = str(reference_named(own, "ridge"))
    dmmse = ridge if run.n_tasks is INFINITE else str(reference_named(own, "dMMSE"))
    return Trained(
        steps=one.steps,
        ood=tuple(one.losses(fresh).tolist()),
        own=tuple(one.losses().tolist()),
        to_dmmse=tuple(one.distances(dmmse).tolist()),
        to_ridge=tuple(one.distances(ridge).tolist()),
        place=tuple(_point(row) for row in _pca(seen).scores[one.name]),
        ood_of=Pair(other[dmmse], other[ridge]),
        own_of=Pair(own[dmmse], own[ridge]),
        llc=last.estimate,
        llc_error=last.standard_error or 0.0,
        llc_flags=tuple(last.flags),
    )
