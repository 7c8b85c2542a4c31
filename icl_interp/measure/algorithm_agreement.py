"""Which algorithm does a model act like, by predictions, errors, induced weights and gradients?"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.door import CalleeLike, TaskLike, as_callee_and_task
from icl_interp.errors import InputError
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import predictor_style
from icl_interp.measure.result import Result
from icl_interp.measure.study.measure import Findings, Measure, StudyPlan
from icl_interp.models.architecture import Architecture
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.references import ByReference
from icl_interp.prompts import derive_seed
from icl_interp.query import Callee
from icl_interp.tasks.fixed_prompts import FixedPrompts
from icl_interp.tasks.references import references_with
from probes.agreement import ilwd, mspd, similarity_of_errors, similarity_of_weights, spd
from probes.bootstrap import Estimate
from probes.curves import Curve, curve_over_prompts
from probes.effective_descent import EffectiveStep, effective_step
from probes.induced_weights import InducedWeights, induced_weights
from probes.sensitivity import SensitivityAgreement, sensitivity_agreement

_COLUMNS = {
    "SPD": "spd",
    "MSPD": "mspd",
    "ILWD": "ilwd",
    "SimE": "similarity_of_errors",
    "SimW": "similarity_of_weights",
    "R² of linear fit": "linear_r2",
}
_GRADIENTS = {
    "|f - g|": "prediction_difference",
    "cosine of gradients": "cosine",
    "|f' - g'|": "gradient_difference",
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ReferenceAgreement:
    """How far the model agrees with one reference."""

    spd: Curve
    """Squared prediction difference by number of examples, in units of E[y^2]."""
    mspd: Estimate
    """Mean of `spd` over 1 <= n < d examples; NaN with a reason if there are none."""
    ilwd: Curve
    """Squared distance of induced weights at `points`, times E[x_j^2] / E[y^2]: for inputs of one variance, the part
    of a prediction difference that is linear in the query."""
    linear_r2: Curve
    """R² of the linear fit to the reference at `points`."""
    similarity_of_errors: Estimate
    """SimE over all points, in [-1, 1]; blind to scale."""
    similarity_of_weights: Estimate
    """SimW over `points`, in [-1, 1]; blind to scale."""
    sensitivity: SensitivityAgreement | None
    """Three metrics of gradients at the last point; None where `undefined` says why."""

    def __repr__(self) -> str:
        return f"ReferenceAgreement(spd={self.spd.mean}, similarity_of_weights={self.similarity_of_weights})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AgreementReport(Result):
    """How far a predictor agrees with each reference."""

    references: ByReference[ReferenceAgreement]
    """By name."""
    linear_r2: Curve
    """R² of the linear fit to the model at `points`; if it is low, ILWD and SimW are meaningless."""
    step: EffectiveStep | None
    """The one gradient step that reacts to labels most like the model at the last point; None where `undefined` says
    why."""
    undefined: Mapping[str, str]
    """What could not be computed, and why."""
    points: tuple[int, ...]
    """Examples before the fresh queries."""
    n_points: int
    """Number of examples per prompt."""
    n_prompts: int
    """Number of prompts."""
    n_queries: int
    """Number of fresh queries per prompt and point."""

    def nearest(self) -> list[str]:
        """Order the references."""
        return sorted(self.references, key=lambda name: self.references[name].spd.mean.value)

    def to_frame(self) -> pd.DataFrame:
        """Lay all metrics out in long form."""
        rows = []
        for name in self.nearest():
            found = self.references[name]
            estimates = {metric: _mean(getattr(found, field)) for metric, field in _COLUMNS.items()}
            if found.sensitivity is not None:
                estimates |= {metric: getattr(found.sensitivity, field) for metric, field in _GRADIENTS.items()}
            rows += [(name, metric, e.value, e.low, e.high) for metric, e in estimates.items()]
        return pd.DataFrame(rows, columns=["reference", "metric", "value", "low", "high"])

    def plot(self) -> Any:
        """Draw SPD against the number of examples."""
        lines = []
        for name in reversed(self.nearest()):
            curve = self.references[name].spd
            low, high = (_floored(ends.tolist()) for ends in (curve.low, curve.high))
            values = _floored(curve.values.tolist())
            lines.append(Line(name, list(range(len(values))), values, predictor_style(name), low, high))
        return lines_figure(
            lines, x="in-context examples", y="squared difference / E[y²]", y_type="log", y_range=(_FLOOR, 10.0)
        )

    def __repr__(self) -> str:
        name = self.nearest()[0]
        return f"AgreementReport(nearest={name!r}, spd={self.references[name].spd.mean}, n_prompts={self.n_prompts})"


_FLOOR = 1e-6
"""Smaller differences are drawn there."""


def _mean(found: Curve | Estimate) -> Estimate:
    return found.mean if isinstance(found, Curve) else found


def _floored(values: list[float]) -> list[float]:
    return [value if math.isnan(value) else max(value, _FLOOR) for value in values]


def algorithm_agreement(
    model: CalleeLike,
    task: TaskLike = None,
    *,
    references: Mapping[str, Callee] | None = None,
    n_prompts: int = 64,
    n_points: int | None = None,
    points: Sequence[int] | None = None,
    n_queries: int | None = None,
    seed: int = 0,
) -> AgreementReport:
    """Compare a model with each reference predictor of its task.

    Formula: SPD, MSPD, ILWD, SimE, SimW and von Oswald et al.'s three metrics as in `probes.agreement` and
    `probes.sensitivity`; the effective step as in `probes.effective_descent`. Squared differences are divided by
    E[y^2], those of weights by E[y^2] / E[x_j^2]. SPD, MSPD and SimE ask all points; weights are induced at a few
    only, for each of which the model reads n_prompts * n_queries sequences. Fresh queries are further inputs of the
    same prompt.

    Args:
        model: Any callable f(xs, ys, points=[...]): a model, or a predictor.
        task: Task that prompts are drawn from and references are derived for.
        references: Predictors of your own by name, added to the task's; a `References` replaces them.
        n_prompts: Number of prompts, at least 2.
        n_points: Number of examples per prompt, at least 2; None takes the task's usual number.
        points: Numbers of examples before the fresh queries, each at least 1; None takes d / 2, d and all.
        n_queries: Number of fresh queries per prompt and point, more than d; None takes 2 d + 2.
        seed: The only source of randomness.

    Returns:
        All metrics, one reference per row, with bootstrap intervals over prompts.

    Raises:
        InputError: If there are too few prompts, points or queries, or a point does not exist.

    Source:
        Akyürek et al. (2023), arXiv 2211.15661; Fu et al. (2024), arXiv 2310.17086; von Oswald et al. (2023),
        arXiv 2212.07677. Their common table, and the units, are ours.

    Example:
        >>> from icl_interp.predictors import least_squares
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> report = algorithm_agreement(least_squares(), LinearRegression(n_dims=2), n_prompts=16)
        >>> report.nearest()[0]
        'least squares = ridge = Bayes'
    """
    model, task = as_callee_and_task("algorithm_agreement", model, task)
    n_points = task.default_points if n_points is None else n_points
    n_queries = _fresh_queries(task.n_dims) if n_queries is None else n_queries
    if n_prompts < 2 or n_points < 2:
        raise InputError(
            f"algorithm_agreement needs at least 2 prompts of 2 points, got {n_prompts} of {n_points}; raise them."
        )
    asked = list(_weighed_points(task.n_dims, n_points) if points is None else points)
    known = references_with(task, references, n_points=n_points)
    drawn = task.sample(n_prompts, n_points + n_queries, seed=derive_seed(seed, "evaluation: agreement"))
    drawn = drawn.to(getattr(model, "device", "cpu"))
    xs, ys, queries = drawn.xs[:, :n_points], drawn.ys[:, :n_points], drawn.xs[:, n_points:]
    undefined: dict[str, str] = {}
    own = _Answers(model, xs, ys, queries, asked)
    unit = task.label_second_moment()
    scale = float(xs.double().square().mean())
    return AgreementReport(
        references=known.each(
            lambda name: _compare(
                own, _Answers(known[name], xs, ys, queries, asked), name, unit, scale, undefined, seed
            )
        ),
        linear_r2=curve_over_prompts(own.weights.r2.cpu(), seed=seed),
        step=_or_reason(undefined, "effective step", lambda: _step(own, seed)),
        undefined=undefined,
        points=tuple(asked),
        n_points=n_points,
        n_prompts=n_prompts,
        n_queries=n_queries,
    )


class _Answers:
    """What one callable says, asked once."""

    def __init__(self, f: Callee, xs: Tensor, ys: Tensor, queries: Tensor, points: Sequence[int]) -> None:
        self.f, self.xs, self.ys = f, xs, ys
        with torch.no_grad():
            self.predictions: Float[Tensor, "batch point"] = f(xs, ys, points=list(range(xs.shape[1])))
        self.weights: InducedWeights = induced_weights(f, xs, ys, queries, points=points)


def _compare(
    own: _Answers, other: _Answers, name: str, unit: float, scale: float, undefined: dict[str, str], seed: int
) -> ReferenceAgreement:
    n_dims, n_points = own.xs.shape[2], own.xs.shape[1]
    both = own.predictions, other.predictions
    weights = own.weights.weights, other.weights.weights
    sensitivity = _or_reason(
        undefined, f"gradients of {name}", lambda: sensitivity_agreement(own.f, other.f, own.xs, own.ys, seed=seed)
    )
    nan = float("nan")
    return ReferenceAgreement(
        spd=spd(*both, divide_by=unit, seed=seed),
        mspd=mspd(*both, n_dims=n_dims, divide_by=unit, seed=seed)
        if min(n_dims, n_points) > 1
        else Estimate(nan, nan, nan, "no point has fewer examples than dimensions"),
        ilwd=ilwd(*weights, divide_by=unit / scale, seed=seed),
        linear_r2=curve_over_prompts(other.weights.r2.cpu(), seed=seed),
        similarity_of_errors=similarity_of_errors(*both, own.ys, seed=seed),
        similarity_of_weights=similarity_of_weights(*weights, seed=seed),
        sensitivity=sensitivity,
    )


def _step(own: _Answers, seed: int) -> EffectiveStep:
    return effective_step(own.f, own.xs, own.ys, seed=seed)


# Some predictors carry no gradient (the Lasso is fitted outside of torch); the reason goes into the report.
def _or_reason(undefined: dict[str, str], what: str, measure: Callable[[], Any]) -> Any:
    try:
        return measure()
    except ValueError as error:
        undefined[what] = str(error)
        return None


def _weighed_points(n_dims: int, n_points: int) -> tuple[int, ...]:
    # Weights are induced at few points, each of which costs a forward pass a fresh query.
    last = n_points - 1
    return tuple(sorted({min(max(1, n_dims // 2), last), min(n_dims, last), last}))


def _fresh_queries(n_dims: int) -> int:
    return 2 * n_dims + 2


def _cost(config: Architecture, n_points: int, n_controls: int) -> int:  # noqa: ARG001
    queries = _fresh_queries(config.n_dims) * len(_weighed_points(config.n_dims, n_points))
    return queries + 3 * (n_points if config.query_only else 1)


def _without_law(plan: StudyPlan) -> str | None:
    if isinstance(plan.task, FixedPrompts):
        return "It asks each prompt at fresh queries, and saved prompts have none."
    return None


def _alone(found: Findings, network: HookedModel, of_model: bool) -> AgreementReport | None:  # noqa: FBT001
    plan = found.plan
    if not of_model:
        return None
    return algorithm_agreement(
        network,
        plan.task,
        references=plan.references,
        n_prompts=plan.efforts[AGREEMENT.name].prompts,
        n_points=plan.n_points,
        seed=plan.seed,
    )


def _agreement(found: Findings) -> AgreementReport:
    report: AgreementReport = found.alone[AGREEMENT.name][0]
    return report


AGREEMENT = Measure(
    "agreement", "agreement", run=_agreement, group="mechanism", without=_without_law, cost=_cost, alone=_alone
)
