"""What does the model compute? Its errors beside those of known algorithms."""

import math

from icl_interp.measure.errors import MODEL, TOLERATED, UNSEEN, ErrorReport, FamilyErrors
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.study.result import Study
from icl_interp.report.model import Chapter, FigureView, HasJSON, Section
from icl_interp.report.sentences import answer, card, number, percent, trend
from icl_interp.report.tables import Cell, TableView
from probes.bootstrap import Estimate

_LIMITS = (1e-4, 10.0)
"""Range of the error axes; what lies outside is drawn at its edge or cut off, the tables have it as it is."""
_NEAR = 0.1
"""An error that differs from that of predicting zero by a smaller share of it is near it."""


def chapter(study: Study) -> Chapter:
    report = study.errors
    own = report.in_distribution
    sentence = (
        "Error after each number of examples, for the model and for each reference predictor. A model that learns in "
        "context comes down to the best reference. "
    )
    sentence += error_trend("Here the error", own)
    sentence += f" {_beside_the_best(own)}"
    if own.curves[MODEL].unseen is not None:
        sentence += f" Prompts with {own.first_unseen_point} or more examples were {UNSEEN}."
    main = FigureView(
        id="error-curve",
        title="Error against in-context examples, in distribution",
        figure=drawn(report, IN_DISTRIBUTION),
        sentence=sentence,
        aria_label=f"Line chart, squared error over in-context examples, model and references. {sentence}",
        data=curve_table(report, IN_DISTRIBUTION),
        height=420,
    )
    lead = (
        "Squared errors are divided by E[y²] of the task family, so predicting zero has error 1. Bands are 95 % "
        "bootstrap intervals over prompts. Reference predictors get the same prompts and know the training "
        "distribution. Values below 1e-4 are drawn at 1e-4; the table shows the true value. A model falls short if its "
        f"gap to the best reference exceeds {TOLERATED:g} over the whole 95 % interval."
    )
    if any(errors.first_unseen_point is not None for errors in report.families.values()):
        lead += f" The shade marks prompts with more examples than in training; they were {UNSEEN}."
    section = Section("errors", "What does it compute?", lead, figures=(main,), tables=(_late_table(report),))
    excess = study.verdicts["in-context learning"]
    said = answer(
        excess,
        here=f"with {own.first_point} or more examples it removes {percent(excess.value)} of the error",
        there=f"untrained networks remove {percent(excess.control)}",
        written=percent,
    )
    learns = card("Does it learn in context?", excess, f"{said} {_likeness(own)}", anchor="errors")
    return Chapter(section, (learns,))


def error_trend(what: str, errors: FamilyErrors) -> str:
    """Say how the model's error runs; one that ends near that of predicting zero has learned nothing by then."""
    values, zero = errors.curves[MODEL].mean.tolist(), errors.curves.shown("zero")
    n_examples = len(values) - 1
    if zero is not None and all(map(math.isfinite, values)):
        idle = errors.curves[zero].mean.tolist()
        if abs(values[-1] - idle[-1]) <= _NEAR * idle[-1]:
            verb = "stays" if abs(values[0] - idle[0]) <= 2 * _NEAR * idle[0] else "ends"
            return (
                f"{what} {verb} near that of predicting zero: {number(values[-1])} after {n_examples} examples, where "
                f"zero has {number(idle[-1])}."
            )
    return trend(what, values, start="without examples", end=f"after {n_examples}")


def _beside_the_best(errors: FamilyErrors) -> str:
    late = {name: curve.late.value for name, curve in errors.curves.items()}
    text = f"The late error is {number(late.pop(MODEL))}"
    if not (finite := {name: value for name, value in late.items() if math.isfinite(value)}):
        return f"{text}."
    best = min(finite, key=finite.__getitem__)
    least = number(finite[best]) if finite[best] >= _LIMITS[0] else "below 1e-4"
    return f"{text}; that of the best reference ({best}) is {least}."


def _likeness(errors: FamilyErrors) -> str:
    """Say which reference predicts most like the model, and which comes next."""
    (first, nearest), *others = [(name, errors.distances[name]) for name in errors.nearest()[:2]]
    text = f"Its predictions are closest to those of {first} (they differ by {_apart(nearest)} of E[y²])"
    text += "".join(f"; next comes {name} ({_apart(estimate)})" for name, estimate in others)
    return f"{text}."


def _apart(estimate: Estimate) -> str:
    said = percent(estimate.value)
    return "less than 0.1 %" if said == "none" else said


def _late_table(report: ErrorReport) -> TableView:
    names = list(report.in_distribution.curves)
    columns = (
        "family", "late from", "first unseen point", "model", "low", "high", *names[1:], "gap to least squares",
        "gap low", "gap high", "model, unseen points",
    )  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for label, errors in report.families.items():
        model = errors.curves[MODEL].late
        others = [errors.curves[name].late.value for name in names[1:]]
        gap = errors.gap_to_least_squares
        unseen = errors.curves[MODEL].unseen
        rows.append((
            label,
            errors.first_point,
            errors.first_unseen_point,
            model.value,
            model.low,
            model.high,
            *others,
            gap.value,
            gap.low,
            gap.high,
            None if unseen is None else unseen.value,
        ))
    return TableView(
        columns=columns,
        rows=tuple(rows),
        caption="Late error of the model and of each reference predictor, in units of E[y²]",
        notes=" ".join((
            "Late from: only predictions with at least this many examples before them count; it is the number of",
            "dimensions, or the last prediction where a family has fewer examples.",
            f"First unseen point: prompts with this many examples were {UNSEEN}; n/a where training had prompts as",
            "long. Gap to least squares: the model's late error minus that of least squares on the same prompts.",
            _meanings(report),
            *report.notes,
        )),
    )


def curve_table(report: ErrorReport, label: str) -> TableView:
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


def drawn(report: ErrorReport, label: str) -> HasJSON:
    figure = report.plot(label)
    return figure.update_yaxes(range=[math.log10(limit) for limit in _LIMITS], title_text="error / E[y²]")
