"""Section 1, errors: what the model computes, judged by its errors beside those of known algorithms."""

import math

from icl_interp.measure.errors import MODEL, TOLERATED, UNSEEN, ErrorReport, FamilyErrors
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.study.result import Study
from icl_interp.report.model import FigureGrid, FigureView, HasJSON, Section
from icl_interp.report.sentences import interval, listing, number, trend
from icl_interp.report.tables import Cell, TableView
from probes.bootstrap import Estimate

__all__ = ["errors_chapter", "shifts_part"]

_LIMITS = (1e-4, 10.0)
"""Range of the error axes; what lies outside is drawn at its edge or cut off, the tables have it as it is."""


def errors_chapter(study: Study) -> Section:
    """Write the chapter."""
    report = study.errors
    own = report.in_distribution
    curve = own.curves[MODEL].mean.tolist()
    sentence = trend(
        "In distribution the model's error", curve, start="without examples", end=f"after {len(curve) - 1}"
    )
    late = f"From {report.first_point} examples on it is {number(own.curves[MODEL].late.value)}. {likeness(own)}"
    if own.curves[MODEL].unseen is not None:
        late += f" Points from {own.first_unseen_point} examples on were {UNSEEN}."
    main = FigureView(
        id="error-curve",
        title="Error against in-context examples, in distribution",
        figure=_drawn(report, IN_DISTRIBUTION),
        sentence=f"{sentence} {late}",
        aria_label=f"Line chart, squared error over in-context examples, model and references. {sentence}",
        data=_curve_table(report, IN_DISTRIBUTION),
        height=420,
    )
    lead = (
        "Squared error of each prediction, divided by E[y²] of its family, so that predicting zero has 1. Bands are "
        "95 % bootstrap intervals over prompts. References get the same prompts and know the training distribution; "
        "errors below 1e-4 are drawn there. To fall short is to have a late error whose excess over the best reference "
        f"of the family is more than {TOLERATED:g}, with its whole interval."
    )
    if any(errors.first_unseen_point is not None for errors in report.families.values()):
        lead += f" Points beyond the length of training prompts, {UNSEEN}, are shaded."
    return Section("errors", "What does it compute?", lead, figures=(main,), tables=(_late_table(report),))


def shifts_part(study: Study) -> Section:
    """Write the folded part on shifts."""
    report = study.errors
    cells = tuple(_cell(report, errors) for label, errors in report.families.items() if label != IN_DISTRIBUTION)
    sentence = shift_sentence(report)
    grid = FigureGrid(id="error-shifts", title="Error under each shift", sentence=sentence, figures=cells)
    return Section("part-shifts", "The same under each shift", sentence, figures=(grid,), folded=True)


def shift_sentence(report: ErrorReport) -> str:
    """Say where the model fails, and whether least squares and Bayes fail there too."""
    names = report.in_distribution.curves
    least_squares, bayes = names.shown("least squares"), names.shown("Bayes")
    shifts = {label: errors for label, errors in report.families.items() if label != IN_DISTRIBUTION}
    failed = [label for label, errors in shifts.items() if errors.fails(MODEL)]
    if not failed:
        return f"Under none of the {len(shifts)} shifts does the model fall short of the best reference."
    text = f"The model falls short of the best reference under {len(failed)} of {len(shifts)} ({listing(failed)})."
    alone = [label for label in failed if not shifts[label].fails("least squares")]
    if not alone:
        return text + " Least squares does so as well."
    text += f" Least squares does not under {len(alone)} of these"
    if bayes is None or bayes == least_squares:
        return text + "."
    prior = [label for label in alone if shifts[label].fails("Bayes")]
    if not prior:
        return text + ", nor does the Bayes predictor of the training prior."
    return text + f"; the Bayes predictor of the training prior does under {len(prior)} ({listing(prior)})."


def likeness(errors: FamilyErrors) -> str:
    """Say which reference predicts most like the model, and which comes next."""
    said = [(name, errors.distances[name]) for name in errors.nearest()[:2]]
    (first, nearest), *others = said
    text = f"{first} predicts most like it: mean squared difference {_distance(nearest)} of E[y²]"
    text += "".join(f"; next is {name} with {_distance(estimate)}" for name, estimate in others)
    return text[0].upper() + text[1:] + "."


def _distance(estimate: Estimate) -> str:
    return f"{number(estimate.value)} {interval(estimate.low, estimate.high)}"


def _late_table(report: ErrorReport) -> TableView:
    """Lay out the late errors, one family a row."""
    names = list(report.in_distribution.curves)
    columns = (
        "family", "late from", "first unseen point", "model", "low", "high", *names[1:], "excess", "excess low",
        "excess high", "model, unseen points",
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for label, errors in report.families.items():
        model = errors.curves[MODEL].late
        others = [errors.curves[name].late.value for name in names[1:]]
        excess = errors.excess
        unseen = errors.curves[MODEL].unseen
        rows.append((
            label,
            errors.first_point,
            errors.first_unseen_point,
            model.value,
            model.low,
            model.high,
            *others,
            excess.value,
            excess.low,
            excess.high,
            None if unseen is None else unseen.value,
        ))
    return TableView(
        columns=columns,
        rows=tuple(rows),
        caption="Late error: mean over the points with at least as many examples before them as “late from” says, in "
        "units of E[y²]",
        notes=" ".join((
            "Late from: the number of dimensions, or the last point of families without so many.",
            f"First unseen point: the number of examples from which on prompts were {UNSEEN}; n/a where training had",
            "prompts as long. Excess is the model's error minus that of least squares, prompt by prompt.",
            _meanings(report),
            *report.notes,
        )),
    )


def _curve_table(report: ErrorReport, label: str) -> TableView:
    family = report.families[label].family
    rows: list[tuple[Cell, ...]] = [
        (name, k, float(mean), float(low), float(high), "yes" if family.seen(k) else "no")
        for name, curve in report.families[label].curves.items()
        for k, (mean, low, high) in enumerate(zip(curve.mean, curve.low, curve.high, strict=True))
    ]
    columns = ("predictor", "examples", "error", "low", "high", "seen_in_training")
    return TableView(columns=columns, rows=tuple(rows), caption=f"Error curves, {label}")


def _meanings(report: ErrorReport) -> str:
    said = [
        f"{label}: {errors.family.meaning}" for label, errors in report.families.items() if label != IN_DISTRIBUTION
    ]
    return "; ".join(said) + "."


def _cell(report: ErrorReport, errors: FamilyErrors) -> FigureView:
    label, curve = errors.family.label, errors.curves[MODEL]
    values = curve.mean.tolist()
    sentence = trend("The error", values, start="without examples", end=f"after {len(values) - 1}")
    if curve.unseen is not None:
        sentence += (
            f" From {errors.first_unseen_point} examples on, {UNSEEN}, it is {number(curve.unseen.value)} on average."
        )
    return FigureView(
        id=f"error-{_slug(label)}",
        title=label,
        figure=_drawn(report, label),
        sentence=sentence,
        aria_label=f"Line chart of errors, {errors.family.meaning}. {sentence}",
        data=_curve_table(report, label),
        height=230,
    )


def _drawn(report: ErrorReport, label: str) -> HasJSON:
    figure = report.plot(label)
    return figure.update_yaxes(range=[math.log10(limit) for limit in _LIMITS], title_text="error / E[y²]")


def _slug(label: str) -> str:
    # An anchor takes single hyphens and no "+": x_mean=-1, x_scale=1.5e+06.
    return label.replace("=-", "-minus-").replace("=", "-").replace("/", "_over_").replace("+", "").replace(" ", "-")
