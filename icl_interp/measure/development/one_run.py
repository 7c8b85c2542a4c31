"""The development of one run: its checkpoints in order, and numbers from their curves."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.measure.development.record import CheckpointRecord, LlcRecord
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.models.architecture import Architecture
from icl_interp.predictors.references import ByReference
from icl_interp.tasks.base import Task
from icl_interp.tasks.registry import describe_task
from probes.learning_coefficient.exact import Crossover, free_energy_crossover
from probes.signature import SignatureEmergence
from probes.trajectory.stages import StageBoundaries, find_stages

DistanceUnit = Literal["squared", "per_dim", "per_label"]
"""Of distances: squared units of y; divided by n_dims as Raventos et al. do; divided by E[y²] as the reports do."""

LEAST_LLC = 8
"""Learning coefficients that make a curve on which stages are sought (our choice); with fewer, the loss is taken."""
_LEAST_LOSS = 4
_LEFT_OUT = ("unreadable", "unmeasured", "without_llc")


@dataclass(frozen=True, eq=False, repr=False)
class RunDevelopment:
    """One run, checkpoint by checkpoint."""

    name: str
    """Name, unique in the analysis."""
    task: Task
    """In distribution."""
    config: Architecture
    """Configuration of the network."""
    seed: int | None
    """Training seed, if the run's config says it."""
    records: tuple[CheckpointRecord, ...]
    """Records by rising step."""
    llc: tuple[LlcRecord, ...]
    """Learning coefficients of the chosen checkpoints, by rising step; empty if none was asked for."""
    emergence: SignatureEmergence
    """The spectral signature after the last block, over the checkpoints."""
    untrained_overlaps: tuple[float, ...]
    """The overlap within prompts of each untrained network, the control of `emergence.within`."""
    ood_family: str
    """Family that counts as out of distribution."""
    fresh_family: str | None
    """The family that follows standard normal weights; None where none does."""
    label_second_moments: Mapping[str, float]
    """E[y²] by family."""
    reference_losses: Mapping[str, ByReference[float]]
    """Mean squared error of each reference predictor, by family, in squared units of y."""
    stages: StageBoundaries | None
    """Where a smoothed curve is flat; None with fewer than four checkpoints, or where none were sought."""
    stages_from: str
    """"learning coefficient" or "loss"."""
    unreadable: Mapping[int, str] = field(default_factory=dict)
    """Reasons, by rising step, for checkpoints that are left out because their files could not be read."""
    unmeasured: Mapping[int, str] = field(default_factory=dict)
    """Reasons, by rising step, for checkpoints that are left out because measuring failed, see `FAILURES`."""
    without_llc: Mapping[int, str] = field(default_factory=dict)
    """Reasons, by rising step, for checkpoints of `records` of which only the learning coefficient failed."""

    @property
    def steps(self) -> tuple[int, ...]:
        """Optimiser steps of the checkpoints, rising."""
        return tuple(record.step for record in self.records)

    def losses(self, family: str = IN_DISTRIBUTION) -> Float64[Tensor, " checkpoint"]:
        self._check_family(family)
        return torch.tensor([record.loss(family) for record in self.records], dtype=torch.float64)

    def distances(
        self, reference: str, *, family: str = IN_DISTRIBUTION, unit: str = "squared"
    ) -> Float64[Tensor, " checkpoint"]:
        """Give the distance from a reference predictor, checkpoint by checkpoint.

        Formula: mean over prompts and points of (f - g)^2; divided by n_dims or by the family's E[y²] on demand.
        """
        self._check_family(family)
        by_name = [record.distances[family] for record in self.records]
        name = self.reference_losses[family].shown(reference)
        if name is None:
            raise InputError(f"distances need a reference out of {', '.join(by_name[0])}, got {reference!r}.")
        divisors = {"squared": 1.0, "per_dim": self.task.n_dims, "per_label": self.label_second_moments[family]}
        if unit not in divisors:
            raise InputError(f"distances need a unit out of {', '.join(divisors)}, got {unit!r}.")
        return torch.tensor([row[name] for row in by_name], dtype=torch.float64) / divisors[unit]

    def icl_scores(self, early: int = 0, late: int = -1) -> Float64[Tensor, " checkpoint"]:
        """Measure how much examples help.

        Formula: l_early - l_late, the loss after `early` examples minus that after `late`; positive where later points
        are easier. Which two points is our choice.
        """
        curves = [record.losses[IN_DISTRIBUTION] for record in self.records]
        return torch.tensor([curve[early] - curve[late] for curve in curves], dtype=torch.float64)

    @property
    def t_crit(self) -> int | None:
        """The step with the smallest loss on standard normal weights; None where no family follows them."""
        if self.fresh_family is None:
            return None
        return self.steps[int(self.losses(self.fresh_family).argmin())]

    @property
    def transience(self) -> float | None:
        """Rise of that loss after its minimum, up to the end, in squared units of y.

        Never negative, so it means something only beyond the curve's noise from checkpoint to checkpoint.
        """
        if self.fresh_family is None:
            return None
        curve = self.losses(self.fresh_family)
        return float(curve[-1] - curve.min())

    @property
    def crossover(self) -> Crossover | None:
        """Where the free energies n l + lambda log n of the simple and of the last solution cross.

        Simple is the checkpoint with a learning coefficient that is nearest to t_crit in log(step + 1). None with fewer
        than two coefficients that are not negative, without one at the end, or where t_crit is nearest to the end.
        """
        known = [record for record in self.llc if record.trusted is not None]
        if self.t_crit is None or len(known) < 2 or known[-1].step != self.steps[-1]:
            return None
        simple = min(known, key=lambda record: abs(math.log1p(record.step) - math.log1p(self.t_crit or 0)))
        if simple is known[-1]:
            return None
        return free_energy_crossover(simple.loss - known[-1].loss, (known[-1].trusted or 0.0) - (simple.trusted or 0.0))

    def _check_family(self, family: str) -> None:
        if family not in self.records[0].losses:
            raise InputError(
                f"a run's curves need a family out of {', '.join(self.records[0].losses)}, got {family!r}."
            )

    def __repr__(self) -> str:
        stages = "no stages" if self.stages is None else f"{len(self.stages.stages)} stages by {self.stages_from}"
        return (
            f"RunDevelopment({self.name}, {len(self.records)} checkpoints, steps {self.steps[0]}..{self.steps[-1]}, "
            f"t_crit {self.t_crit}, {stages})"
        )

    def to_plain(self) -> dict[str, Any]:
        emergence = self.emergence
        stages = None
        if self.stages is not None:
            stages = {
                "from": self.stages_from,
                "boundaries": self.stages.boundaries.tolist(),
                "kinds": "".join(stage.kind for stage in self.stages.stages),
                "max_slope": self.stages.max_slope,
            }
        return {
            "name": self.name,
            "task": describe_task(self.task),
            "model": self.config.model_dump(mode="json"),
            "seed": self.seed,
            "checkpoints": [asdict(record) for record in self.records],
            "learning_coefficients": [asdict(record) for record in self.llc],
            "signature": {
                "overlap_with_final": emergence.overlap_with_final.tolist(),
                "overlap_with_previous": emergence.overlap_with_previous.tolist(),
                "within": emergence.within.tolist(),
                "within_untrained": list(self.untrained_overlaps),
                "chance": emergence.chance,
            },
            "ood_family": self.ood_family,
            "reference_losses": {family: dict(by_name) for family, by_name in self.reference_losses.items()},
            "t_crit": self.t_crit,
            "transience": self.transience,
            "stages": stages,
            **{name: {str(step): why for step, why in getattr(self, name).items()} for name in _LEFT_OUT},
        }


def stages_of(records: tuple[CheckpointRecord, ...], llc: tuple[LlcRecord, ...]) -> tuple[StageBoundaries | None, str]:
    known = [record for record in llc if record.trusted is not None]
    if len(known) >= LEAST_LLC:
        errors = [record.standard_error or 0.0 for record in known]
        steps, values = [r.step for r in known], [r.trusted or 0.0 for r in known]
        noise = torch.tensor(errors, dtype=torch.float64) if min(errors) > 0 else None
        return find_stages(_row(steps), _row(values), errors=noise), "learning coefficient"
    if len(records) < _LEAST_LOSS:
        return None, "loss"
    steps, values = [r.step for r in records], [r.loss(IN_DISTRIBUTION) for r in records]
    return find_stages(_row(steps), _row(values)), "loss"


def _row(values: list[Any]) -> Tensor:
    return torch.tensor([float(value) for value in values], dtype=torch.float64)
