"""How several runs developed, side by side."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.files import as_json
from icl_interp.measure.development.one_run import DistanceUnit, RunDevelopment
from icl_interp.measure.development.plots import draw
from icl_interp.measure.development.settings import DevelopmentSettings, LlcSettings
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.tasks.task_pool import TaskPool
from probes.learning_coefficient.exact import Crossover, free_energy_crossover
from probes.trajectory import JointTrajectoryPCA

Panel = Literal[
    "loss", "distance", "icl", "signature", "trajectory", "complexity", "diversity", "probes", "attention", "weights"
]
"""What can be drawn."""


@dataclass(frozen=True, eq=False, repr=False)
class Development:
    """One or several runs, measured alike."""

    runs: tuple[RunDevelopment, ...]
    """In the order in which they were named."""
    trajectory: JointTrajectoryPCA | None
    """Principal components of all runs' function vectors, each run's checkpoints weighted by log(step + 1), with the
    reference predictors as landmarks; None with fewer than four checkpoints in all, or where runs share no prompts."""
    landmark_roles: Mapping[str, str]
    """What each landmark is, by its name in `trajectory`: "ridge", "dMMSE", or the reference's own name."""
    trajectory_task: str
    """What the function vectors' prompts come from."""
    settings: DevelopmentSettings
    """What was measured."""
    llc_settings: LlcSettings | None
    """How learning coefficients were estimated; None where they were not."""

    def run(self, name: str) -> RunDevelopment:
        """Pick a run.

        Args:
            name: Of one of `runs`.

        Returns:
            The run.

        Raises:
            InputError: If there is no such run.
        """
        for run in self.runs:
            if run.name == name:
                return run
        raise InputError(f"there are the runs {', '.join(run.name for run in self.runs)}, got {name!r}.")

    @property
    def notes(self) -> tuple[str, ...]:
        """What is left out, a sentence each: checkpoints that could not be read or measured, and coefficients."""
        several = len(self.runs) > 1
        return tuple(
            f"{run.name}: step {step} {words}: {reason}." if several else f"Step {step} {words}: {reason}."
            for run in self.runs
            for words, left_out in (
                ("could not be read", run.unreadable),
                ("could not be measured", run.unmeasured),
                ("has no learning coefficient", run.without_llc),
            )
            for step, reason in left_out.items()
        )

    @property
    def diversity_threshold(self) -> int | None:
        """The largest M whose last checkpoint lies nearer to dMMSE than to ridge in distribution.

        Of several seeds all must; None where no pool's does. Our machine-readable version of the task-diversity
        threshold.
        """
        nearer: dict[int, bool] = {}
        for run in self.runs:
            own, ridge = self.endpoints(run)
            if isinstance(run.task, TaskPool) and own is not None and ridge is not None:
                size = run.task.n_tasks
                nearer[size] = nearer.get(size, True) and bool(own[-1] < ridge[-1])
        return max((size for size, near in nearer.items() if near), default=None)

    @staticmethod
    def endpoints(
        run: RunDevelopment, *, unit: DistanceUnit = "squared"
    ) -> tuple[Float64[Tensor, " checkpoint"] | None, Float64[Tensor, " checkpoint"] | None]:
        """Give the two distances of the task-diversity view.

        Args:
            run: One of `runs`.
            unit: Of the distances.

        Returns:
            Distance in distribution from dMMSE and from ridge; None where the task has no such reference.
        """
        known = run.reference_losses[IN_DISTRIBUTION]
        first, second = (run.distances(name, unit=unit) if name in known else None for name in ("dMMSE", "ridge"))
        return first, second

    @property
    def crossovers(self) -> dict[str, Crossover]:
        """Where each pool's free energy crosses that of ridge.

        From l(ridge) - l(end) on the pool's own prompts and the end's learning coefficient minus that of the
        M = infinity run's end, which stands for ridge's. Empty without such a run or without learning coefficients at
        both ends.
        """
        simple = [run for run in self.runs if run.fresh_family == IN_DISTRIBUTION and _end(run) is not None]
        found: dict[str, Crossover] = {}
        for run in self.runs if simple else ():
            known, own = run.reference_losses[IN_DISTRIBUTION], _end(run)
            if isinstance(run.task, TaskPool) and "ridge" in known and own is not None:
                gap = known["ridge"] - float(run.losses()[-1])
                found[run.name] = free_energy_crossover(gap, own - (_end(simple[0]) or 0.0))
        return found

    def to_frame(self) -> pd.DataFrame:
        """Lay the checkpoints out, one a row.

        Returns:
            Columns run, step, loss, loss_ood, icl_score, "distance: <reference>" in distribution (squared units of y),
            overlap_within, overlap_with_final, attention_entropy (mean over heads), "r2: <site>" (best reference),
            weight_norm, llc and llc_error (NaN where none was estimated).
        """
        return pd.DataFrame([row for run in self.runs for row in _rows(run)])

    def plot(self, panel: str = "loss") -> Any:
        """Draw one view.

        Args:
            panel: "loss", "distance", "icl" (score of in-context learning), "signature", "trajectory", "complexity",
                "diversity", "probes", "attention" or "weights".

        Returns:
            A plotly figure.

        Raises:
            InputError: If there is no such panel, or its numbers were not measured.
        """
        if panel not in get_args(Panel):
            raise InputError(f"plot needs one of {', '.join(get_args(Panel))}, got {panel!r}.")
        return draw(self, panel)

    def to_plain(self) -> dict[str, Any]:
        """Lay everything out, but prompts and function vectors.

        Returns:
            Plain data by name.
        """
        trajectory = None
        if self.trajectory is not None:
            pca = self.trajectory
            trajectory = {
                "explained": pca.explained.tolist(),
                "explained_random_walk": pca.null.explained.tolist(),
                "scores": {name: score.tolist() for name, score in pca.scores.items()},
                "landmarks": {name: score.tolist() for name, score in pca.landmarks.items()},
                "prompts_of": self.trajectory_task,
            }
        return {
            "format": "icl-interp development",
            "format_version": 1,
            "settings": asdict(self.settings),
            "llc_settings": None if self.llc_settings is None else asdict(self.llc_settings),
            "runs": [run.to_plain() for run in self.runs],
            "trajectory": trajectory,
            "diversity_threshold": self.diversity_threshold,
        }

    def to_json(self) -> str:
        """Write everything as JSON; equal analyses give equal text.

        Returns:
            Text with sorted keys.
        """
        return as_json(self.to_plain())

    def __repr__(self) -> str:
        checkpoints = sum(len(run.records) for run in self.runs)
        return f"Development({len(self.runs)} runs, {checkpoints} checkpoints: {', '.join(r.name for r in self.runs)})"


def _end(run: RunDevelopment) -> float | None:
    last = run.llc[-1] if run.llc else None
    return None if last is None or last.step != run.steps[-1] else last.trusted


def _rows(run: RunDevelopment) -> list[dict[str, Any]]:
    llc = {record.step: record for record in run.llc}
    scores, rows = run.icl_scores(), []
    for i, record in enumerate(run.records):
        heads = [value for layer in record.attention_entropy for value in layer]
        coefficient = llc.get(record.step)
        rows.append({
            "run": run.name,
            "step": record.step,
            "loss": record.loss(IN_DISTRIBUTION),
            "loss_ood": record.loss(run.ood_family),
            "icl_score": float(scores[i]),
            **{f"distance: {name}": value for name, value in record.distances[IN_DISTRIBUTION].items()},
            "overlap_within": float(run.emergence.within[i]),
            "overlap_with_final": float(run.emergence.overlap_with_final[i]),
            "attention_entropy": float(torch.tensor(heads).mean()) if heads else None,
            **{f"r2: {site}": max(by_name.values()) for site, by_name in record.probe_r2.items()},
            "weight_norm": record.weights["weight norm"],
            "llc": None if coefficient is None else coefficient.estimate,
            "llc_error": None if coefficient is None else coefficient.standard_error,
        })
    return rows
