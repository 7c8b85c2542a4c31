"""Does what it computes survive shifts of the prompts?"""

from dataclasses import replace

from icl_interp.figures.choices import along
from icl_interp.measure.errors import MODEL, UNSEEN, ErrorReport, FamilyErrors
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.study.result import Study
from icl_interp.measure.verdicts import Excess
from icl_interp.report.chapters.errors import curve_table, drawn, error_trend
from icl_interp.report.model import Chapter, FigureGrid, FigureView, Section, Verdict
from icl_interp.report.sentences import answer, card, listing, number, percent

_QUESTION, _ANCHOR = "Does it learn under shifts too?", "error-shifts"
_MOST_NAMES = 8
"""Shifts that one sentence names."""


def chapter(study: Study) -> Chapter:
    report = study.errors
    cells = tuple(_cell(report, errors) for label, errors in report.families.items() if label != IN_DISTRIBUTION)
    sentence = _sentence(report)
    failed = sum(errors.fails(MODEL) for label, errors in report.families.items() if label != IN_DISTRIBUTION)
    drawn_is = (
        "Error after each number of examples, one plot per shift. A model that learns under a shift comes down to the "
        f"best reference there. Here it does not under {failed} of {len(cells)}."
    )
    grid = FigureGrid(id=_ANCHOR, title="Error under each shift", sentence=drawn_is, figures=cells)
    lead = "The same errors as above, on prompts of each shifted task family."
    section = Section("part-shifts", "Errors under each shift", lead, figures=(grid,))
    return Chapter(section, (_card(study, sentence),))


def _card(study: Study, sentence: str) -> Verdict:
    if not study.families.shifted:
        return Verdict(_QUESTION, sentence, "unknown", None, _ANCHOR)
    excess = study.verdicts["under shift"]
    shifts = [errors for label, errors in study.errors.families.items() if label != IN_DISTRIBUTION]
    fine = sum(not errors.fails(MODEL) for errors in shifts)
    said = answer(
        excess,
        here=f"averaged over the shifts it removes {percent(excess.value)} of the error",
        there=f"untrained networks remove {percent(excess.control)}",
        written=percent,
    )
    made = card(_QUESTION, excess, f"{said} {sentence}", anchor=_ANCHOR)
    if excess.verdict != "evidence" or fine == len(shifts):
        return made
    if fine == 0:
        return replace(made, sentence=_nowhere(excess, sentence, len(shifts)), tone="none", word="No")
    partly = f"Partly, under {fine} of {len(shifts)} shifts"
    return replace(made, sentence=made.sentence.replace("Yes", partly, 1), tone="mixed")


def _nowhere(excess: Excess, sentence: str, n_shifts: int) -> str:
    """Say that it falls short everywhere, though it reduces the error."""
    under = f"all {n_shifts} shifts" if n_shifts > 1 else "the only shift"
    said = f"It falls short of the best reference under {n_shifts} of {n_shifts} shifts"
    return (
        f"No. It reduces the error ({percent(excess.value)} on average; untrained networks {percent(excess.control)}) "
        f"but falls short of the best reference under {under}{sentence.removeprefix(said)}"
    )


def _sentence(report: ErrorReport) -> str:
    names = report.in_distribution.curves
    least_squares, bayes = names.shown("least squares"), names.shown("Bayes")
    shifts = {label: errors for label, errors in report.families.items() if label != IN_DISTRIBUTION}
    failed = [label for label, errors in shifts.items() if errors.fails(MODEL)]
    if not failed:
        return f"It falls short of the best reference under none of the {len(shifts)} shifts."
    named = listing(failed, most=_MOST_NAMES)
    text = f"It falls short of the best reference under {len(failed)} of {len(shifts)} shifts ({named})."
    alone = [label for label in failed if not shifts[label].fails("least squares")]
    if not alone:
        return text + " Least squares falls short under all of these too."
    among = "any" if len(alone) == len(failed) else str(len(alone))
    text += f" Least squares does not fall short under {among} of these"
    if bayes is None or bayes == least_squares:
        return text + "."
    prior = [label for label in alone if shifts[label].fails("Bayes")]
    if not prior:
        return text + ", nor does the Bayes predictor for its training tasks."
    return (
        text
        + f"; the Bayes predictor for its training tasks does under {len(prior)} ({listing(prior, most=_MOST_NAMES)})."
    )


def _cell(report: ErrorReport, errors: FamilyErrors) -> FigureView:
    label, curve = errors.family.label, errors.curves[MODEL]
    sentence = error_trend("The error", errors)
    if curve.unseen is not None:
        mean = number(curve.unseen.value)
        sentence += f" With {errors.first_unseen_point} or more examples, {UNSEEN}, it is {mean} on average."
    return FigureView(
        id=f"error-{_slug(label)}",
        title=label,
        figure=along(drawn(report, label), whole={"shift": label}),
        sentence=sentence,
        aria_label=f"Line chart of errors, {errors.family.meaning}. {sentence}",
        data=curve_table(report, label),
        height=230,
    )


def _slug(label: str) -> str:
    # An anchor takes single hyphens and no "+": x_mean=-1, x_scale=1.5e+06.
    return label.replace("=-", "-minus-").replace("=", "-").replace("/", "_over_").replace("+", "").replace(" ", "-")
