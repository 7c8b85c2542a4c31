"""How large is the error after k examples, in distribution and under shifts, and which reference is closest?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from icl_interp.door import CalleeLike, TaskLike, as_callee_and_task, trained_points
from icl_interp.figures.lines import Line, Stretch, lines_figure
from icl_interp.figures.theme import predictor_style
from icl_interp.measure.controls import estimate_mean, mean_band, resampled_means
from icl_interp.measure.families import IN_DISTRIBUTION, Families, Family, draw_families, look_first
from icl_interp.measure.result import Result
from icl_interp.measure.study.measure import Claim, Findings, Measure, StudyPlan
from icl_interp.measure.study.survey import NetworkSurvey
from icl_interp.measure.verdicts import Excess, excess_of_replicates
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.references import ByReference, References
from icl_interp.prompts import Prompts
from icl_interp.query import Callee, predict
from icl_interp.tasks.fixed_prompts import FixedPrompts
from icl_interp.tasks.references import references_with
from icl_interp.tasks.shifts.select import Shifts
from probes._core.results import short_repr
from probes.bootstrap import Estimate

UNSEEN = "never seen in training"
"""What figures and tables call points beyond the length of training prompts."""
TOLERATED = 0.05
"""A gap to the best reference of this share of E[y^2] is not called a failure: our choice."""
MODEL = "model"
"""The model's name among the predictors."""
COLUMNS = ("family", "predictor", "examples", "error", "low", "high")


@dataclass(frozen=True, slots=True)
class ErrorCurve:
    """Mean squared error after k in-context examples, divided by E[y^2] of the family."""

    mean: Float64[Tensor, " point"]
    """Mean error over prompts; entry k has k examples before it."""
    low: Float64[Tensor, " point"]
    """Lower 95 % bootstrap band over prompts."""
    high: Float64[Tensor, " point"]
    """Upper band."""
    late: Estimate
    """Late error: mean over the points with at least d examples before them."""
    unseen: Estimate | None = None
    """Mean over the points beyond the training length; None if there are none."""

    __repr__ = short_repr


@dataclass(frozen=True, slots=True)
class FamilyErrors:
    """Errors of the model and of every reference on one family."""

    family: Family
    """The prompts and their unit."""
    curves: ByReference[ErrorCurve]
    """Error curves by name; "model" first."""
    gap_to_least_squares: Estimate
    """Late error of the model minus that of least squares, prompt by prompt."""
    gap_to_best: ByReference[Estimate]
    """Late error of the model and of each reference predictor minus that of the best one, prompt by prompt. Noise that
    nobody can predict cancels."""
    distances: ByReference[Estimate]
    """Mean squared difference between the model's and each reference's predictions over all points, in units of
    E[y^2]: how far the model is from doing what the reference does, whatever the labels."""

    first_point: int
    """The first point that counts as late."""

    __repr__ = short_repr

    @property
    def first_unseen_point(self) -> int | None:
        """The first point at which training never asked the model; None where training had all of them."""
        return self.family.first_unseen_point

    def fails(self, name: str) -> bool:
        """Tell whether a predictor fails on this family."""
        return not self.gap_to_best[name].low <= TOLERATED  # NaN fails as well

    def closest(self) -> str:
        """Name the reference predictor that is closest to the model."""
        return self.nearest()[0]

    def nearest(self) -> list[str]:
        """Order the reference predictors, the closest first."""
        return sorted(self.distances, key=lambda name: self.distances[name].value)


@dataclass(frozen=True, slots=True)
class ErrorReport(Result):
    """Error curves of a model and of the reference predictors, in distribution and under each shift."""

    families: Mapping[str, FamilyErrors]
    """By label; in distribution first."""
    first_point: int
    """The first point that counts as late, in distribution."""
    notes: tuple[str, ...] = ()
    """What was left out or cut, in one sentence per item with the reason."""

    __repr__ = short_repr

    @property
    def in_distribution(self) -> FamilyErrors:
        """The unshifted family."""
        return self.families[IN_DISTRIBUTION]

    def to_frame(self) -> pd.DataFrame:
        """Lay all curves out in long form."""
        rows = [
            (label, name, k, *map(float, triple), errors.family.seen(k))
            for label, errors in self.families.items()
            for name, curve in errors.curves.items()
            for k, triple in enumerate(zip(curve.mean, curve.low, curve.high, strict=True))
        ]
        return pd.DataFrame(rows, columns=[*COLUMNS, "seen_in_training"])

    def plot(self, label: str = IN_DISTRIBUTION, *, axis: Literal["log", "linear"] = "log") -> Any:
        """Draw one family's curves; points that training never had are shaded and labelled."""
        lines = [
            Line(
                name=name,
                x=range(len(curve.mean)),
                y=_floor(curve.mean, axis),
                low=_floor(curve.low, axis) if name == MODEL else None,
                high=_floor(curve.high, axis) if name == MODEL else None,
                style=predictor_style(name),
                width=3 if name == MODEL else 1.8,
            )
            for name, curve in self.families[label].curves.items()
        ]
        return lines_figure(
            lines, x="in-context examples", y="squared error / E[y²]", y_type=axis, stretch=self._unseen(label)
        )

    def _unseen(self, label: str) -> Stretch | None:
        family = self.families[label].family
        if family.first_unseen_point is None:
            return None
        return Stretch(family.first_unseen_point - 0.5, family.prompts.n_points - 0.5, UNSEEN)


def _floor(values: Tensor, axis: str) -> list[float]:
    return (values.clamp(min=1e-4) if axis == "log" else values).tolist()


BATCH = 256
"""Prompts per call."""


def first_scored_point(n_dims: int, n_points: int) -> int:
    """Say from which point on errors count as late."""
    return min(n_dims, n_points - 1)


def prompt_errors(predictions: Float[Tensor, "sample point"], family: Family) -> Float64[Tensor, " sample"]:
    """Give each prompt its error: the mean squared error over late points, divided by E[y^2] of its family."""
    first = first_scored_point(family.prompts.n_dims, family.prompts.n_points)
    return _squared_errors(predictions, family)[:, first:].mean(1)


def prompt_errors_of(survey: NetworkSurvey, families: Families) -> dict[str, Tensor]:
    """Give each prompt its error, by family; nothing where predictions or labels are not known."""
    if any(not record.predictions.shape[1] for record in survey.families.values()):
        return {}
    return {
        label: prompt_errors(survey.families[label].predictions, family) for label, family in families.by_label.items()
    }


def summarise_errors(
    predictions: Mapping[str, Float[Tensor, "sample point"]],
    families: Families,
    answers: Mapping[str, ByReference[Float[Tensor, "sample point"]]],
) -> ErrorReport:
    """Lay a model's errors beside those of the reference algorithms, whose answers come by family and name."""
    summaries = {
        label: _summarise_family(predictions[label], family, answers[label])
        for label, family in families.all_families.items()
    }
    fit = families.fit
    return ErrorReport(summaries, first_scored_point(fit.n_dims, fit.n_points), families.notes)


def _summarise_family(own: Tensor, family: Family, answers: ByReference[Tensor]) -> FamilyErrors:
    said = ByReference([((MODEL,), own), *((answers.names[name], values) for name, values in answers.items())])
    late = said.each(lambda name: prompt_errors(said[name], family))
    best = min(answers, key=lambda name: float(late[name].mean()))
    return FamilyErrors(
        family=family,
        curves=said.each(lambda name: _curve(said[name], family, late[name])),
        gap_to_least_squares=estimate_mean(late[MODEL] - late["least squares"]),
        gap_to_best=late.each(lambda name: estimate_mean(late[name] - late[best])),
        distances=answers.each(lambda name: _distance(own, answers[name], family)),
        first_point=first_scored_point(family.prompts.n_dims, family.prompts.n_points),
    )


def error_curves(
    model: CalleeLike,
    task: TaskLike = None,
    *,
    shifts: Shifts | None = None,
    references: Mapping[str, Callee] | None = None,
    n_prompts: int = 256,
    n_points: int | None = None,
    n_points_trained: int | None = None,
    seed: int = 0,
) -> ErrorReport:
    """Measure error against the number of examples, for a model and every reference predictor.

    Args:
        model: Any callable f(xs, ys): a model, or a predictor. Shifts of the query call f(xs, ys, points=[-1]).
        task: The task in distribution.
        shifts: Names or patterns, or your own `Shift` objects, see `select_shifts`; None means the core suite.
            Longer prompts are cut where the model (one with a `cfg`) has no more positions; the report's notes say so.
        references: Predictors of your own by name, added to the task's; a `References` replaces them.
        n_prompts: Number of prompts per family.
        n_points: Number of examples per prompt; None takes the task's usual number.
        n_points_trained: Number of examples per prompt in training (`Checkpoint.n_points_trained`); later ones are
            marked as never seen in training. None takes what a `Checkpoint` says, or the task's usual number.
        seed: The only source of randomness.

    Returns:
        Curves with bootstrap bands over prompts.

    Example:
        >>> from icl_interp.predictors import least_squares
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> report = error_curves(least_squares(), LinearRegression(n_dims=3), shifts=["x_scale=3"], n_prompts=64)
        >>> report.in_distribution.curves["model"].late.value < 1e-6
        True
    """
    n_points_trained = trained_points(model, n_points_trained)
    model, task = as_callee_and_task("error_curves", model, task)
    if isinstance(model, HookedModel):
        look_first(model, task, n_points, seed=seed)
    max_points = getattr(getattr(model, "cfg", None), "max_points", None)
    families = draw_families(
        task,
        shifts=shifts,
        n_prompts=n_prompts,
        n_points=n_points,
        max_points=max_points,
        n_points_trained=n_points_trained,
        seed=seed,
    )
    with torch.no_grad():
        said = {label: _predict(model, family.prompts) for label, family in families.all_families.items()}
    known = references_with(task, references, n_points=n_points)
    answers = {label: known.answers(family.prompts) for label, family in families.all_families.items()}
    return summarise_errors(said, families, answers)


def _predict(model: Callee, prompts: Prompts) -> Tensor:
    there = prompts.to(getattr(model, "device", "cpu"))
    parts = [there[start : start + BATCH] for start in range(0, len(there), BATCH)]
    return torch.cat([predict(model, part).cpu() for part in parts])


def _squared_errors(predictions: Tensor, family: Family) -> Tensor:
    return (predictions.double() - family.prompts.targets.double()).square() / family.label_second_moment


def _distance(own: Tensor, other: Tensor, family: Family) -> Estimate:
    squares = (own.double() - other.double()).square().mean(1) / family.label_second_moment
    return estimate_mean(squares)


def _curve(predictions: Tensor, family: Family, late: Tensor) -> ErrorCurve:
    squares = _squared_errors(predictions, family)
    mean, low, high = mean_band(squares)
    first = family.first_unseen_point
    unseen = None if first is None else estimate_mean(squares[:, first:].mean(1))
    return ErrorCurve(mean=mean, low=low, high=high, late=estimate_mean(late), unseen=unseen)


@dataclass(frozen=True, slots=True, eq=False)
class Likeness:
    """How much of a reference's predictions a network shares: each network with the reference that suits it best."""

    nearest: tuple[str, ...]
    """The reference; the model's first, then those of untrained networks."""
    values: tuple[float, ...]
    """1 - E(f - g)^2 / E g^2 over points with an example before them, at most 1; 0 is what predicting zero has."""
    replicates: Float64[Tensor, "network resample"]
    """The same on bootstrap resamples of the prompts."""

    __repr__ = short_repr

    def excess(self, n_verdicts: int = 1) -> Excess:
        """Compare the model with untrained networks."""
        own, *controls = zip(self.values, self.replicates, strict=True)
        return excess_of_replicates(own, controls, n_verdicts=n_verdicts, chance=0.0)


def likeness_to_references(
    predictions: Sequence[Float[Tensor, "sample point"]], answers: ByReference[Float[Tensor, "sample point"]]
) -> Likeness:
    """Find the reference, by its answers to the same prompts, that each network predicts most like.

    Formula: max over references g of 1 - sum (f - g)^2 / sum g^2, over points with an example before them. Each
    network has the choice, so that the choice gives the model no advantage. References that predict zero are left out.
    """
    said = {name: values[:, 1:].double() for name, values in answers.items()}
    said = {name: values for name, values in said.items() if float(values.abs().max()) > 0}
    if not said:
        n, nan = len(predictions), float("nan")
        return Likeness(("none",) * n, (nan,) * n, torch.full((n, 2), nan, dtype=torch.float64))
    best = [_best(own[:, 1:].double(), said) for own in predictions]
    return Likeness(
        tuple(name for name, _, _ in best),
        tuple(value for _, value, _ in best),
        torch.stack([replicates for _, _, replicates in best]),
    )


def _best(own: Float64[Tensor, "sample point"], said: Mapping[str, Tensor]) -> tuple[str, float, Tensor]:
    def shared(name: str) -> tuple[Tensor, Tensor]:
        return (own - said[name]).square().mean(1), said[name].square().mean(1)

    def value(name: str) -> float:
        apart, size = shared(name)
        return 1 - float(apart.mean() / size.mean())

    name = max(said, key=value)
    apart, size = shared(name)
    return name, value(name), 1 - resampled_means(apart) / resampled_means(size)


LEARNING = "in-context learning"
"""The claim that others presuppose."""


def _errors(found: Findings) -> ErrorReport:
    return summarise_errors(found.predictions, found.plan.families, found.answers)


def _claims(plan: StudyPlan) -> list[Claim]:
    claims = [
        Claim(
            LEARNING,
            "share of the error of the best guess without labels that the model removes, in distribution",
            _learning,
        )
    ]
    if plan.families.shifted:
        claims.append(
            Claim(
                "under shift",
                "share of the error of predicting zero that the model removes, at least 0, mean over shifts",
                _learning_under_shift,
                gate=LEARNING,
            )
        )
    return claims


def _learning(_: ErrorReport, found: Findings, n_claims: int) -> Excess:
    family = found.plan.families.in_distribution
    task = found.plan.task
    if isinstance(task, FixedPrompts):
        guess = torch.full_like(family.prompts.ys, task.mean_label())
    else:
        guess = _context_free(found.plan.references, family.prompts)

    def skill(survey: NetworkSurvey) -> tuple[float, Tensor]:
        # As under shift: how much worse than no reading at all an untrained network is says nothing of learning.
        value, replicates = _skill(survey, family, guess)
        return max(0.0, value), replicates.clamp(min=0)

    own, *controls = map(skill, found.surveys)
    return excess_of_replicates(
        own, controls, n_verdicts=n_claims, chance=0.0, scale="logit", n_prompts=found.plan.n_prompts
    )


def _learning_under_shift(_: ErrorReport, found: Findings, n_claims: int) -> Excess:
    families = found.plan.families.shifted

    def skill(survey: NetworkSurvey) -> tuple[float, Tensor]:
        skills = [_skill(survey, family, torch.zeros_like(family.prompts.ys)) for family in families]
        value = torch.tensor([value for value, _ in skills]).clamp(min=0).mean()
        return float(value), torch.stack([replicates.clamp(min=0) for _, replicates in skills]).mean(0)

    own, *controls = map(skill, found.surveys)
    return excess_of_replicates(
        own, controls, n_verdicts=n_claims, chance=0.0, scale="logit", n_prompts=found.plan.n_prompts
    )


def _skill(survey: NetworkSurvey, family: Family, guess: Tensor) -> tuple[float, Tensor]:
    # A ratio on the same prompts: how large their labels happen to be cancels.
    own, base = (prompt_errors(said, family) for said in (survey.families[family.label].predictions, guess))
    return 1 - float(own.mean() / base.mean()), 1 - resampled_means(own) / resampled_means(base)


def _context_free(references: References, prompts: Prompts) -> Tensor:
    # The best guess of each label that reads no label: the Bayes reference's answer to a lone input. Zero where no
    # Bayes reference is known: the tasks' labels have mean zero then.
    if "Bayes" not in references:
        return torch.zeros_like(prompts.ys)
    alone = prompts.xs.flatten(0, 1)[:, None]
    return references["Bayes"](alone, torch.zeros_like(alone[..., 0])).reshape(prompts.ys.shape)


ERRORS = Measure("errors", "errors beside reference predictors", run=_errors, claims=_claims)


def _likeness(found: Findings) -> Likeness:
    said = [survey.families[IN_DISTRIBUTION].predictions for survey in found.surveys]
    return likeness_to_references(said, found.answers[IN_DISTRIBUTION])


def _likeness_claim(_: StudyPlan) -> list[Claim]:
    meaning = "R² of the nearest reference's predictions with the model's"
    return [Claim("algorithm", meaning, lambda likeness, _, n_claims: likeness.excess(n_claims), LEARNING)]


LIKENESS = Measure(
    "likeness", "likeness to reference predictors", run=_likeness, group="mechanism", claims=_likeness_claim
)
