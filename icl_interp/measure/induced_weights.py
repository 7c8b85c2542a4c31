"""Which weights does a model act by, and are they the true ones?"""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from icl_interp.door import CalleeLike, TaskLike, as_callee_and_task
from icl_interp.errors import InputError
from icl_interp.figures.dots import Cloud, clouds_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import GREY, predictor_style, role_style
from icl_interp.measure.result import Result
from icl_interp.measure.study.measure import Findings, Measure, StudyPlan
from icl_interp.models.architecture import Architecture
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.references import ByReference, References
from icl_interp.prompts import derive_seed
from icl_interp.query import Callee
from icl_interp.tasks.base import Task
from icl_interp.tasks.linear_regression import LinearTask
from icl_interp.tasks.references import references_with
from probes.induced_weights import InducedWeights
from probes.induced_weights import induced_weights as weights_of

MODEL, TRUE = "model", "true weight"
_MOST_NUMBERS = 24
"""Numbers of examples at which one prompt's weights are followed; more are thinned out evenly."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class InducedWeightsReport(Result):
    """The linear map from query to prediction that a model carries out, beside the true one."""

    weights: Float[Tensor, "asked sample dim"]
    """Of the model, after each of `asked` numbers of examples; label units per input unit."""
    true: Float[Tensor, "sample dim"]
    """By which the labels were made."""
    references: ByReference[Float[Tensor, "asked sample dim"]]
    """Of least squares and of the Bayes predictor, where they exist."""
    r2: Float[Tensor, "asked sample"]
    """Share of the model's answers to fresh queries that is linear in the query."""
    asked: tuple[int, ...]
    """Numbers of examples before the queries of `weights`: half as many as dimensions, and all."""
    path: Float[Tensor, "point dim"]
    """Of the model on the first prompt, by number of examples."""
    reference_paths: ByReference[Float[Tensor, "point dim"]]
    """The same of the reference predictors."""
    points: tuple[int, ...]
    """Numbers of examples along the paths."""
    n_queries: int
    """Number of fresh queries per prompt."""

    def distance(self, name: str = MODEL, *, other: str = TRUE, examples: int | None = None) -> float:
        """Say how far weights are from the true ones, or from other ones.

        Formula: sum |w - v|^2 / sum |w*|^2 over prompts, w* the true weights: for v = w*, 0 means that all weights are
        found, and 1 is what weights of 0 have.
        """
        one, two = (self._named(asked)[self._row(examples)].double() for asked in (name, other))
        return float((one - two).square().sum() / self.true.double().square().sum())

    @property
    def largest_coordinates(self) -> list[int]:
        """Coordinates of the first prompt, the one with the largest true weight first."""
        return [int(i) for i in self.true[0].abs().argsort(descending=True)]

    def to_frame(self) -> pd.DataFrame:
        """Lay out one row per number of examples, prompt and coordinate."""
        n_prompts, n_dims = self.true.shape
        places = [(k, i, j + 1) for k in self.asked for i in range(n_prompts) for j in range(n_dims)]
        columns: dict[str, Any] = dict(
            zip(("examples", "prompt", "coordinate"), zip(*places, strict=True), strict=True)
        )
        columns[TRUE] = self.true.expand_as(self.weights).flatten().tolist()
        return pd.DataFrame(columns | {name: found.flatten().tolist() for name, found in self._all().items()})

    def path_frame(self, coordinate: int) -> pd.DataFrame:
        """Lay out one coordinate of the first prompt, one row per number of examples."""
        columns: dict[str, Any] = {
            "examples": list(self.points),
            TRUE: [float(self.true[0, coordinate])] * len(self.points),
        }
        return pd.DataFrame(columns | {name: path[:, coordinate].tolist() for name, path in self._paths().items()})

    def plot(self, examples: int | None = None) -> Any:
        """Draw induced weights against true ones, a point per prompt and coordinate; by default after all examples."""
        row, true = self._row(examples), self.true.flatten().tolist()
        ends = [min(true), max(true)]
        clouds = [Cloud(name, true, found[row].flatten().tolist(), _style(name)) for name, found in self._all().items()]
        figure = clouds_figure(clouds[::-1], x=TRUE, y="induced weight", y_type="linear")
        return figure.add_scatter(
            x=ends, y=ends, mode="lines", name="equal", line={"color": GREY, "dash": "dot", "width": 1}
        )

    def plot_path(self, coordinate: int = 0) -> Any:
        """Draw one coordinate of the first prompt over the number of examples."""
        if not 0 <= coordinate < self.true.shape[1]:
            raise InputError(f"plot_path needs a coordinate from 0 to {self.true.shape[1] - 1}, got {coordinate}.")
        points = list(self.points)
        lines = [Line(TRUE, points, [float(self.true[0, coordinate])] * len(points), role_style("reference"))]
        for name, path in reversed(self._paths().items()):
            style, markers = _style(name), name == MODEL
            lines.append(
                Line(name, points, path[:, coordinate].tolist(), style, width=3 if markers else 2, markers=markers)
            )
        return lines_figure(lines, x="in-context examples", y="weight")

    def _named(self, name: str) -> Float[Tensor, "asked sample dim"]:
        if name in (MODEL, TRUE):
            return self.weights if name == MODEL else self.true.expand_as(self.weights)
        if name not in self.references:
            known = ", ".join((MODEL, TRUE, *self.references))
            raise InputError(f"distance needs two of {known}, got {name!r}.")
        return self.references[name]

    def _row(self, examples: int | None) -> int:
        if examples is not None and examples not in self.asked:
            raise InputError(f"examples needs one of {', '.join(map(str, self.asked))}, got {examples}.")
        return -1 if examples is None else self.asked.index(examples)

    def _all(self) -> dict[str, Tensor]:
        return {MODEL: self.weights, **self.references}

    def _paths(self) -> dict[str, Tensor]:
        return {MODEL: self.path, **self.reference_paths}

    def __repr__(self) -> str:
        return f"InducedWeightsReport(distance={self.distance():.3g}, r2={float(self.r2.nanmean()):.3f})"


def _style(name: str) -> Any:
    return role_style("model") if name == MODEL else predictor_style(name)


def induced_weights(
    model: CalleeLike,
    task: TaskLike = None,
    *,
    n_prompts: int = 32,
    n_points: int | None = None,
    n_queries: int | None = None,
    seed: int = 0,
) -> InducedWeightsReport:
    """Find the weights that a model acts by, and compare them with the true ones.

    Formula: the least-squares fit of the answers to fresh queries after the same examples, see
    `probes.induced_weights`; fresh queries are further inputs of the same prompt. Meaningless where `r2` is low: then
    the answers are not linear in the query.

    Args:
        model: Any callable f(xs, ys, points=[...]): a model, or a predictor.
        task: Task whose labels are linear in the inputs.
        n_prompts: Number of prompts.
        n_points: Number of examples per prompt with the query, at least 2; None takes the task's usual number.
        n_queries: Number of fresh queries per prompt, more than d; None takes 2 d + 2.
        seed: The only source of randomness.

    Returns:
        Weights of all prompts after d / 2 and after all examples, and those of the first prompt by number of examples,
        beside the true weights and those of least squares and of the Bayes predictor.

    Raises:
        InputError: If the task has no weights, or there are too few prompts, points or queries.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661, section 4.1. The two figures are ours.

    Example:
        >>> from icl_interp.predictors import least_squares
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> found = induced_weights(least_squares(), LinearRegression(n_dims=2), n_prompts=4)
        >>> found.distance() < 1e-6
        True
    """
    model, task = as_callee_and_task("induced_weights", model, task)
    if (reason := _without_weights(task)) is not None:
        raise InputError(f"induced_weights needs a task with weights, got {task.describe()}. {reason}")
    n_points = task.default_points if n_points is None else n_points
    if n_prompts < 1 or n_points < 2:
        raise InputError(
            f"induced_weights needs at least 1 prompt of 2 points, got {n_prompts} of {n_points}; raise them."
        )
    n_queries = _fresh_queries(task.n_dims) if n_queries is None else n_queries
    known = references_with(task, None, n_points=n_points)
    return _find(model, task, known, n_prompts, n_points, n_queries, seed)


def _find(
    model: Callee, task: Task, known: References, n_prompts: int, n_points: int, n_queries: int, seed: int
) -> InducedWeightsReport:
    drawn = task.sample(n_prompts, n_points - 1 + n_queries, seed=derive_seed(seed, "evaluation: induced weights"))
    drawn = drawn.to(getattr(model, "device", "cpu"))
    assert drawn.ws is not None, "linear tasks have weights"
    last = n_points - 1
    asked = sorted({min(max(1, task.n_dims // 2), last), last})
    points = list(range(last, 0, -math.ceil(last / _MOST_NUMBERS)))[::-1]
    wanted = (known.shown("least squares"), known.optimal)
    chosen = [name for name in dict.fromkeys(wanted) if name is not None]

    def everywhere(f: Callee) -> InducedWeights:
        return weights_of(f, drawn.xs[:, :n_points], drawn.ys[:, :n_points], drawn.xs[:, last:], points=asked)

    def along(f: Callee) -> Float[Tensor, "point dim"]:
        xs, ys, queries = drawn.xs[:1, :n_points], drawn.ys[:1, :n_points], drawn.xs[:1, last:]
        return weights_of(f, xs, ys, queries, points=points).weights[0].cpu()

    own = everywhere(model)
    return InducedWeightsReport(
        weights=own.weights.transpose(0, 1).cpu(),
        true=drawn.ws.cpu(),
        references=ByReference(
            (known.names[name], everywhere(known[name]).weights.transpose(0, 1).cpu()) for name in chosen
        ),
        r2=own.r2.T.cpu(),
        asked=tuple(asked),
        path=along(model),
        reference_paths=ByReference((known.names[name], along(known[name])) for name in chosen),
        points=tuple(points),
        n_queries=n_queries,
    )


def _fresh_queries(n_dims: int) -> int:
    return 2 * n_dims + 2


def _without_weights(task: Task) -> str | None:
    if not isinstance(task, LinearTask):
        return "Its labels are no linear function of its inputs that is known, so there are no true weights."
    if task.input_rank < task.n_dims:
        return "Its inputs do not span all dimensions, so the answers do not determine all weights."
    return None


def _without(plan: StudyPlan) -> str | None:
    return _without_weights(plan.task)


def _cost(config: Architecture, n_points: int, n_controls: int) -> int:  # noqa: ARG001
    # Two numbers of examples; one prompt is followed over all of them, which costs about as much as a third.
    return 3 * _fresh_queries(config.n_dims)


def _alone(found: Findings, network: HookedModel, of_model: bool) -> InducedWeightsReport | None:  # noqa: FBT001
    if not of_model:
        return None
    plan = found.plan
    n_prompts = plan.efforts[INDUCED.name].prompts
    n_queries = _fresh_queries(plan.task.n_dims)
    return _find(network, plan.task, plan.references, n_prompts, plan.n_points, n_queries, plan.seed)


def _induced(found: Findings) -> InducedWeightsReport:
    report: InducedWeightsReport = found.alone[INDUCED.name][0]
    return report


INDUCED = Measure(
    "induced", "induced weights", run=_induced, group="mechanism", without=_without, cost=_cost, alone=_alone
)
