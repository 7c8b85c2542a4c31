"""Which algorithm does the model act like? Its agreement with each known one, by every metric."""

from icl_interp.measure.algorithm_agreement import AgreementReport
from icl_interp.measure.errors import Likeness
from icl_interp.measure.study.result import Study
from icl_interp.measure.verdicts import Excess
from icl_interp.report.model import Chapter, FigureView, Section
from icl_interp.report.sentences import answer, card, interval, listing, number
from icl_interp.report.tables import Cell, TableView
from probes.bootstrap import Estimate
from probes.curves import Curve

_LOW_R2 = 0.9
"""Below this R² of the linear fit a predictor has no weights to speak of."""


def chapter(study: Study) -> Chapter:
    report = study.agreement
    excess = study.verdicts["algorithm"]
    sentence = _sentence(study.likeness, excess)
    title = "Which algorithm does it act like?"
    cards = (card("Does it act like a known algorithm?", excess, sentence, anchor="algorithm"),)
    if report is None:
        return Chapter(Section("algorithm", title, f"{sentence} {study.absent['agreement']}"), cards)
    figure = FigureView(
        id="algorithm-spd",
        title="Squared difference to each reference's predictions",
        figure=report.plot(),
        sentence=f"{sentence} {_scale_sentence(report)}",
        aria_label=f"Line chart, squared prediction difference over in-context examples, one line per reference. "
        f"{sentence}",
        data=_curves(report),
        height=400,
    )
    lead = (
        f"The same {report.n_prompts} prompts in distribution are put to the model and to each reference. Weights are "
        f"fitted to the answers to {report.n_queries} fresh queries after {listing([str(k) for k in report.points])} "
        "examples. Cosines are blind to scale, squared differences are not; bands and intervals are 95 % bootstraps "
        f"over prompts. Differences below {number(1e-6)} are drawn there."
    )
    return Chapter(Section("algorithm", title, lead, figures=(figure,), tables=(_table(report),)), cards)


def _sentence(likeness: Likeness, excess: Excess) -> str:
    name = likeness.nearest[0]
    return answer(
        excess,
        here=f"the predictions of {name} account best for its own (R² {number(excess.value)})",
        there=f"in untrained networks the best reference has R² {number(excess.control)}",
    )


def _scale_sentence(report: AgreementReport) -> str:
    """Say what weights and gradients add to the prediction differences."""
    r2 = report.linear_r2.mean.value
    nearest = report.nearest()[0]
    found = report.references[nearest]
    text = f"By squared difference {nearest} is nearest: {_with(found.spd.mean)} of E[y²]."
    if not r2 >= _LOW_R2:  # NaN as well
        text += f" Its answers are not linear in the query (R² {number(r2)}), so it has no weights to compare."
    elif found.similarity_of_weights.value == found.similarity_of_weights.value:
        text += (
            f" Its answers are linear in the query (R² {number(r2)}); their weights have a mean cosine of "
            f"{_with(found.similarity_of_weights)} with those of {nearest}."
        )
    if report.step is not None and report.step.linearity == report.step.linearity:
        step, share = report.step.step_size, report.step.r2
        like = "acts like one such step" if share > _LOW_R2 else "is not one such step"
        text += (
            f" The gradient step that reacts to labels most like it has size {_with(step)} and explains "
            f"{number(share)} of its reaction, so the model {like}."
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
            "SPD: squared prediction difference / E[y²]; MSPD: the same where examples do not determine the weights;",
            "ILWD: squared distance of induced weights, in the same unit; SimE, SimW: mean cosines of errors and of",
            "weights. The last three compare predictions and their gradients with respect to the query at the last",
            "point, in units of the labels. R² of its fit: how linear the reference is in its query; where it is low,",
            "ILWD and SimW say nothing. The JSON file has an interval for each.",
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
