"""Does what it computes survive shifts of the prompts?"""

from dataclasses import replace

from icl_interp.measure.errors import MODEL, UNSEEN, ErrorReport, FamilyErrors
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.study.result import Study
from icl_interp.report.chapters.errors import curve_table, drawn
from icl_interp.report.model import Chapter, FigureGrid, FigureView, Section, Verdict
from icl_interp.report.sentences import answer, card, listing, number, percent, trend

_QUESTION, _ANCHOR = "Does that survive shifts?", "error-shifts"


def chapter(study: Study) -> Chapter:
    report = study.errors
    cells = tuple(_cell(report, errors) for label, errors in report.families.items() if label != IN_DISTRIBUTION)
    sentence = _sentence(report)
    grid = FigureGrid(id=_ANCHOR, title="Error under each shift", sentence=sentence, figures=cells)
    section = Section("part-shifts", "The same under each shift", sentence, figures=(grid,))
    return Chapter(section, (_card(study, sentence),))


def _card(study: Study, sentence: str) -> Verdict:
    if not study.families.shifted:
        return Verdict(_QUESTION, sentence, "unknown", None, _ANCHOR)
    excess = study.verdicts["under shift"]
    short = any(errors.fails(MODEL) for label, errors in study.errors.families.items() if label != IN_DISTRIBUTION)
    said = answer(
        excess,
        here=f"over the shifts it removes {percent(excess.value)} of the error on average",
        there=f"untrained networks remove {percent(excess.control)}",
        written=percent,
    )
    made = card(_QUESTION, excess, f"{said} {sentence}", anchor=_ANCHOR)
    if excess.verdict != "evidence" or not short:
        return made
    return replace(made, sentence=made.sentence.replace("Yes", "Partly", 1), tone="mixed")


def _sentence(report: ErrorReport) -> str:
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
        figure=drawn(report, label),
        sentence=sentence,
        aria_label=f"Line chart of errors, {errors.family.meaning}. {sentence}",
        data=curve_table(report, label),
        height=230,
    )


def _slug(label: str) -> str:
    # An anchor takes single hyphens and no "+": x_mean=-1, x_scale=1.5e+06.
    return label.replace("=-", "-minus-").replace("=", "-").replace("/", "_over_").replace("+", "").replace(" ", "-")
