"""Which algorithm does a model act like, by predictions, errors, induced weights and gradients?"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.measure.agreement_report import AgreementReport, ReferenceAgreement
from icl_interp.measure.effort import fresh_queries, weighed_points
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import derive_seed
from icl_interp.query import Callee
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import reference_predictors
from probes.agreement import ilwd, mspd, similarity_of_errors, similarity_of_weights, spd
from probes.bootstrap import Estimate
from probes.curves import curve_over_prompts
from probes.effective_descent import EffectiveStep, effective_step
from probes.induced_weights import InducedWeights, induced_weights
from probes.sensitivity import sensitivity_agreement

__all__ = ["AgreementReport", "ReferenceAgreement", "algorithm_agreement"]


def algorithm_agreement(
    model: Callee,
    task: Task,
    *,
    references: Mapping[str, Predictor] | None = None,
    n_prompts: int = 64,
    n_points: int | None = None,
    points: Sequence[int] | None = None,
    n_queries: int | None = None,
    seed: int = 0,
) -> AgreementReport:
    """Compare a model with each reference algorithm of its task.

    Formula: SPD, MSPD, ILWD, SimE, SimW and von Oswald et al.'s three metrics as in `probes.agreement` and
    `probes.sensitivity`; the effective step as in `probes.effective_descent`. Squared differences are divided by
    E[y^2], those of weights by E[y^2] / E[x_j^2]. SPD, MSPD and SimE ask all points; weights are induced at a few
    only, for each of which the model reads n_prompts * n_queries sequences. Fresh queries are further inputs of the
    same prompt.

    Args:
        model: Any callable f(xs, ys, points=[...]): a model, or a predictor.
        task: What prompts are drawn from and references are derived for.
        references: Predictors by name; None takes the task's.
        n_prompts: At least 2.
        n_points: Pairs a prompt, at least 2; None takes the task's usual number.
        points: Examples before the fresh queries, each at least 1; None takes d / 2, d and all.
        n_queries: Fresh queries a prompt and point, more than d; None takes 2 d + 2.
        seed: The only source of randomness.

    Returns:
        All metrics, one reference a row, with bootstrap intervals over prompts.

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
    n_points = task.default_points if n_points is None else n_points
    n_queries = fresh_queries(task.n_dims) if n_queries is None else n_queries
    if n_prompts < 2 or n_points < 2:
        raise InputError(
            f"algorithm_agreement needs at least 2 prompts of 2 points, got {n_prompts} of {n_points}; raise them."
        )
    asked = list(weighed_points(task.n_dims, n_points) if points is None else points)
    known = reference_predictors(task, n_points=n_points) if references is None else references
    drawn = task.sample(n_prompts, n_points + n_queries, seed=derive_seed(seed, "evaluation: agreement"))
    drawn = drawn.to(getattr(model, "device", "cpu"))
    xs, ys, queries = drawn.xs[:, :n_points], drawn.ys[:, :n_points], drawn.xs[:, n_points:]
    undefined: dict[str, str] = {}
    own = _Answers(model, xs, ys, queries, asked)
    unit = task.label_second_moment()
    scale = float(xs.double().square().mean())
    return AgreementReport(
        references={
            name: _compare(own, _Answers(predictor, xs, ys, queries, asked), name, unit, scale, undefined, seed)
            for name, predictor in known.items()
        },
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
