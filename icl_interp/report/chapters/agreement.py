"""Which algorithm does the model act like? Its agreement with each known one, by every metric."""

from dataclasses import replace

from icl_interp.measure.algorithm_agreement import AgreementReport
from icl_interp.measure.errors import FamilyErrors, Likeness
from icl_interp.measure.study.result import Study
from icl_interp.measure.verdicts import Excess
from icl_interp.report.model import Chapter, FigureView, Section
from icl_interp.report.sentences import answer, card, interval, listing, number, percent
from icl_interp.report.tables import Cell, TableView
from probes.bootstrap import Estimate
from probes.curves import Curve

LOW_R2 = 0.9
"""Below this R² of the linear fit a predictor has no weights to compare."""


def chapter(study: Study) -> Chapter:
    report = study.agreement
    excess = study.verdicts["algorithm"]
    sentence = _sentence(study.likeness, excess)
    as_near = _as_near(study.errors.in_distribution) if excess.verdict == "evidence" and excess.matters else None
    title = "Which algorithm does it act like?"
    made = card("Does it act like a known algorithm?", excess, sentence, anchor="algorithm")
    if as_near is not None:
        made = replace(made, sentence=sentence.replace("Yes", f"Partly. {as_near}", 1), tone="mixed")
    cards = (made,)
    if report is None:
        return Chapter(Section("algorithm", title, f"{sentence} {study.absent['agreement']}"), cards)
    shown = (
        "Mean squared difference after each number of examples. A model that acts like a reference has almost none to "
        f"it throughout. {_nearest(report)}"
    )
    figure = FigureView(
        id="algorithm-spd",
        title="Difference between the model's predictions and each reference's",
        figure=report.plot(),
        sentence=f"{shown} {_scale_sentence(report)}".strip(),
        aria_label=f"Line chart, one line per reference. {shown}",
        data=_curves(report),
        height=400,
    )
    lead = (
        f"The model and each reference predictor answer the same {report.n_prompts} prompts in distribution. Linear "
        f"weights are fitted to their answers to {report.n_queries} fresh queries after "
        f"{listing([str(k) for k in report.points])} examples. Cosines ignore scale, squared differences do not. Bands "
        f"and intervals are 95 % bootstraps over prompts. Values below 1e-6 are drawn at 1e-6; the "
        "table shows the true value."
    )
    return Chapter(Section("algorithm", title, lead, figures=(figure,), tables=(_table(report),)), cards)


def _sentence(likeness: Likeness, excess: Excess) -> str:
    here = f"of all reference predictors, {likeness.nearest[0]} explains its predictions best"
    if excess.value <= 0:
        here = "no reference explains its predictions"
    r2 = f"{'best ' if excess.value <= 0 else ''}R² {number(excess.value)}"
    return answer(
        excess,
        here=f"{here} ({r2})",
        there=f"in untrained networks the best reference has R² {number(excess.control)}",
    )


def _as_near(errors: FamilyErrors) -> str | None:
    """Say that the second reference is as near as the first, where its distance is within the first one's interval."""
    if len(names := errors.nearest()[:2]) < 2:
        return None
    first, second = (errors.distances[name] for name in names)
    if not second.value <= first.high:
        return None
    return f"{names[0]} is nearest ({percent(first.value)} apart), but {names[1]} is as near ({percent(second.value)})"


def _nearest(report: AgreementReport) -> str:
    nearest = report.nearest()[0]
    return f"This one is nearest to {nearest}: {_with(report.references[nearest].spd.mean)} of E[y²]."


def _scale_sentence(report: AgreementReport) -> str:
    """Say what weights and gradients add to the prediction differences."""
    r2 = report.linear_r2.mean.value
    nearest = report.nearest()[0]
    weights = report.references[nearest].similarity_of_weights
    text = ""
    if not r2 >= LOW_R2:  # NaN as well
        text = f"Its answers are not linear in the query (R² {number(r2)}), so it has no weights to compare."
    elif weights.value == weights.value:
        text = (
            f"Its answers are linear in the query (R² {number(r2)}); the mean cosine between its weights and those of "
            f"{nearest} is {_with(weights)}."
        )
    if report.step is not None and report.step.linearity == report.step.linearity:
        step, share = report.step.step_size, report.step.r2
        like = "acts like one such step" if share > LOW_R2 else "does not act like one such step"
        text += (
            f" The gradient step whose reaction to the labels is most like the model's has size {_with(step)}. It "
            f"explains {percent(share)} of the model's reaction, so the model {like}."
        )
    return text


def _table(report: AgreementReport) -> TableView:
    names = ("reference", "SPD", "low", "high", "MSPD", "ILWD", "SimE", "SimW", "R² of its fit", "|f - g|",
             "gradient cosine", "|f' - g'|")  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for name in report.nearest():
        found = report.references[name]
        by_gradient: tuple[float | None, ...] = (None, None, None)
        if (gradients := found.sensitivity) is not None:
            by_gradient = (
                gradients.prediction_difference.value,
                gradients.cosine.value,
                gradients.gradient_difference.value,
            )
        spd = found.spd.mean
        others = (found.mspd, found.ilwd, found.similarity_of_errors, found.similarity_of_weights, found.linear_r2)
        rows.append((name, spd.value, spd.low, spd.high, *(_value(other) for other in others), *by_gradient))
    missing = [f"{what}: {why}" for what, why in report.undefined.items()]
    return TableView(
        columns=names,
        rows=tuple(rows),
        caption="Agreement with each reference, by every metric",
        notes=" ".join((
            "SPD: squared prediction difference divided by E[y²]. MSPD: the same where examples do not determine the",
            "weights. ILWD: squared distance of the linear weights, in the same unit. SimE and SimW: mean cosines of",
            "errors and of the weights. R² of its fit: how linear the reference is in its query; where it is low, ILWD",
            "and SimW mean nothing. The last three columns compare predictions f and g and their gradients with",
            "respect to the query at the last point, in units of the labels. The JSON file has all intervals.",
            *missing,
        )),
    )


def _curves(report: AgreementReport) -> TableView:
    rows: list[tuple[Cell, ...]] = []
    for name, found in report.references.items():
        columns = (found.spd.values.tolist(), found.spd.low.tolist(), found.spd.high.tolist())
        rows += [(name, k, *numbers) for k, numbers in enumerate(zip(*columns, strict=True))]
    return TableView(("reference", "examples", "SPD", "low", "high"), tuple(rows), caption="SPD by examples")


def _value(found: Curve | Estimate) -> float:
    return found.mean.value if isinstance(found, Curve) else found.value


def _with(estimate: Estimate) -> str:
    return f"{number(estimate.value)} {interval(estimate.low, estimate.high)}"
