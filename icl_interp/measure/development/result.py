"""The development of several runs side by side, and its figures."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.figures.lines import Line, StepMark, timeline_figure
from icl_interp.figures.paths import Landmark, PlanePath, paths_figure
from icl_interp.figures.theme import TraceStyle, predictor_style, role_style, shift_style
from icl_interp.files import as_json
from icl_interp.measure.development.one_run import DistanceUnit, RunDevelopment
from icl_interp.measure.development.settings import DevelopmentSettings, LlcSettings
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.result import Result
from icl_interp.tasks.task_pool import TaskPool
from probes.learning_coefficient.exact import Crossover, free_energy_crossover
from probes.trajectory import JointTrajectoryPCA

Panel = Literal[
    "loss", "distance", "icl", "signature", "trajectory", "complexity", "diversity", "probes", "attention", "weights"
]
"""What can be drawn."""
_LOWEST = 1e-6
"""What lies below is drawn here: a logarithmic axis has no zero."""
_RELATIVE = ("weight norm", "scale norm", "read-in rank", "position rank", "read-out width")
"""Metrics that are positive, and that a collapse makes small."""
_SYMBOLS: Mapping[str, str] = {"ridge": "square", "dMMSE": "diamond"}


@dataclass(frozen=True, eq=False, repr=False)
class Development(Result):
    """One or several runs, measured in the same way."""

    runs: tuple[RunDevelopment, ...]
    """Runs in the order in which they were named."""
    trajectory: JointTrajectoryPCA | None
    """Principal components of all runs' function vectors, each run's checkpoints weighted by log(step + 1), with the
    reference predictors as landmarks; None with fewer than four checkpoints in all, or where runs share no prompts."""
    landmark_roles: Mapping[str, str]
    """What each landmark is, by its name in `trajectory`: "ridge", "dMMSE", or the reference's own name."""
    trajectory_task: str
    """Task that the prompts of the function vectors come from."""
    settings: DevelopmentSettings
    """Settings of the measures."""
    llc_settings: LlcSettings | None
    """Settings of the learning coefficients; None if none were estimated."""

    def run(self, name: str) -> RunDevelopment:
        """Pick a run.

        Args:
            name: Name of one of `runs`.

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
        """What is left out, one sentence per item: checkpoints that could not be read or measured, and coefficients."""
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
            unit: Unit of the distances.

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
        """Lay the checkpoints out, one per row.

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
        if lack := needs(self, panel):
            raise InputError(f"the panel {panel!r} {lack}")
        return _PANELS[panel](self)

    def to_dict(self) -> dict[str, Any]:
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
        return as_json(self.to_dict())

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


def needs(found: Development, panel: str) -> str | None:
    """Say what a view needs and does not have."""
    if panel == "trajectory" and found.trajectory is None:
        return "needs four checkpoints in all and prompts that all runs share; measure more, or fewer tasks."
    if panel == "complexity" and not any(_known(run) for run in found.runs):
        return "needs learning coefficients; pass llc=LlcSettings()."
    if panel == "attention" and not any(run.records[0].attention_entropy for run in found.runs):
        return "needs attention that sums to one, which these networks do not have."
    if panel == "diversity" and not any(None not in found.endpoints(run) for run in found.runs):
        return "needs a run on a task pool, whose references are dMMSE and ridge."
    return None


# Each run with its style, the same dotted, and what names its curves begin with.
def _styled(found: Development) -> Iterator[tuple[RunDevelopment, TraceStyle, TraceStyle, str]]:
    alone = len(found.runs) == 1
    for number, run in enumerate(found.runs):
        style = role_style("model") if alone else shift_style(number)
        yield run, style, replace(style, dash="dot"), "" if alone else f"{run.name}: "


def _timeline(found: Development, lines: list[Line], **how: Any) -> Any:
    stages = found.runs[0].stages if len(found.runs) == 1 else None
    return timeline_figure(lines, boundaries=[] if stages is None else stages.boundaries.tolist(), **how)


def _curve(name: str, run: RunDevelopment, values: Iterable[float], style: TraceStyle) -> Line:
    shown = [value if math.isfinite(value) else math.nan for value in values]
    return Line(name, run.steps, shown, style, markers=True)


def _log_curve(name: str, run: RunDevelopment, values: Tensor, style: TraceStyle) -> Line:
    return Line(name, run.steps, [max(value, _LOWEST) for value in values.tolist()], style, markers=True)


def _loss(found: Development) -> Any:
    lines, marks = [], []
    for run, style, dotted, name in _styled(found):
        plain = replace(style, dash="solid")
        lines.append(_log_curve(f"{name}in distribution", run, run.losses(), plain))
        lines.append(_log_curve(f"{name}{run.ood_family}", run, run.losses(run.ood_family), dotted))
        if run.t_crit is not None and run.fresh_family is not None:
            at = run.steps.index(run.t_crit)
            marks.append(StepMark("t_crit", run.t_crit, float(run.losses(run.fresh_family)[at]), style.colour))
    return _timeline(found, lines, y="squared error", y_type="log", marks=marks)


def _distance(found: Development) -> Any:
    # One run: all references. Several: a pool's posterior mean and ridge, each run in its colour.
    lines = []
    for run, style, _, name in _styled(found):
        if not name:
            for reference in run.records[0].distances[IN_DISTRIBUTION]:
                distances = run.distances(reference, unit="per_label")
                lines.append(_log_curve(reference, run, distances, predictor_style(reference)))
            continue
        ends = zip(("dMMSE", "ridge"), found.endpoints(run, unit="per_label"), ("solid", "dot"), strict=True)
        lines += [
            _log_curve(f"{name}{label}", run, values, replace(style, dash=dash))
            for label, values, dash in ends
            if values is not None
        ]
    return _timeline(found, lines, y="squared distance / E[y²]", y_type="log")


def _icl(found: Development) -> Any:
    several = len(found.runs) > 1
    lines = [
        _curve(run.name if several else "in-context-learning score", run, run.icl_scores().tolist(), style)
        for run, style, _, _ in _styled(found)
    ]
    return _timeline(found, lines, y="first minus last loss", legend=several)


def _signature(found: Development) -> Any:
    lines = []
    for run, style, dotted, name in _styled(found):
        overlaps = run.emergence
        lines.append(_log_curve(f"{name}overlap within prompts", run, overlaps.within, replace(style, dash="solid")))
        lines.append(_log_curve(f"{name}overlap with the last checkpoint", run, overlaps.overlap_with_final, dotted))
    first, untrained = found.runs[0], found.runs[0].untrained_overlaps
    if untrained:
        lines.insert(0, Line(
            "untrained networks, within prompts", [first.steps[0], first.steps[-1]],
            [sum(untrained) / len(untrained)] * 2, role_style("untrained"),
            low=[min(untrained)] * 2, high=[max(untrained)] * 2,
        ))  # fmt: skip
    return _timeline(found, lines, y="overlap of leading subspaces")


def _trajectory(found: Development) -> Any:
    pca = found.trajectory
    if pca is None:
        raise InputError("the panel 'trajectory' needs a trajectory.")
    paths = []
    for run, style, _, _ in _styled(found):
        x, y = pca.scores[run.name].T.tolist()[:2]
        ring = None if run.t_crit is None or run.fresh_family == IN_DISTRIBUTION else run.steps.index(run.t_crit)
        paths.append(PlanePath(run.name, run.steps, x, y, style, ring))
    landmarks = [
        Landmark(name, float(place[0]), float(place[1]), _SYMBOLS.get(found.landmark_roles.get(name, ""), "cross"))
        for name, place in pca.landmarks.items()
    ]
    shares = [f"PC{i + 1} ({float(share):.0%})" for i, share in enumerate(pca.explained)]
    return paths_figure(paths, x=shares[0], y=shares[1], landmarks=landmarks, slider=True)


def _complexity(found: Development) -> Any:
    paths = []
    for run, style, _, _ in _styled(found):
        if known := _known(run):
            steps, losses, values, errors = zip(*known, strict=True)
            paths.append(PlanePath(run.name, steps, losses, values, style, y_error=errors))
    return paths_figure(paths, x="training loss", y="learning coefficient", slider=True)


def _known(run: RunDevelopment) -> list[tuple[int, float, float, float]]:
    return [(r.step, r.loss, r.estimate, r.standard_error or 0.0) for r in run.llc if r.estimate is not None]


def _diversity(found: Development) -> Any:
    paths = []
    for run, style, _, _ in _styled(found):
        own, ridge = found.endpoints(run, unit="per_label")
        if own is not None and ridge is not None:
            ring = None if run.t_crit is None else run.steps.index(run.t_crit)
            paths.append(PlanePath(run.name, run.steps, own.tolist(), ridge.tolist(), style, ring))
    return paths_figure(paths, x="distance from dMMSE / E[y²]", y="distance from ridge / E[y²]", diagonal=True)


def best_probes(run: RunDevelopment) -> dict[str, list[float]]:
    """Give the R² of the best probe of each place, checkpoint by checkpoint."""
    return {
        site: [max(record.probe_r2[site].values(), default=math.nan) for record in run.records]
        for site in run.records[0].probe_r2
    }


def relative_weights(run: RunDevelopment) -> dict[str, list[float]]:
    """Give the metrics that shrink in a collapse, relative to their first values."""
    first = run.records[0].weights
    return {
        name: [record.weights[name] / value for record in run.records]
        for name, value in first.items()
        if name.endswith(_RELATIVE) and value > 0
    }


def _entropies(run: RunDevelopment) -> dict[str, list[float]]:
    first = run.records[0].attention_entropy
    places = [(layer, head) for layer, heads in enumerate(first) for head in range(len(heads))]
    return {f"head {i}.{j}": [r.attention_entropy[i][j] for r in run.records] for i, j in places}


def _many(curves_of: Callable[[RunDevelopment], dict[str, list[float]]], y: str) -> Callable[[Development], Any]:
    def draw(found: Development) -> Any:
        lines = [
            _curve(f"{name}{label}", run, values, shift_style(i))
            for run, _, _, name in _styled(found)
            for i, (label, values) in enumerate(curves_of(run).items())
        ]
        return _timeline(found, lines, y=y)

    return draw


_PANELS: Mapping[str, Callable[[Development], Any]] = {
    "loss": _loss,
    "distance": _distance,
    "icl": _icl,
    "signature": _signature,
    "trajectory": _trajectory,
    "complexity": _complexity,
    "diversity": _diversity,
    "probes": _many(best_probes, "best R²"),
    "attention": _many(_entropies, "entropy / max"),
    "weights": _many(relative_weights, "value / first"),
}
