"""In which layer does the answer arise? What a read-out finds at each site, and to how many steps that compares."""

from dataclasses import replace
from itertools import pairwise

from icl_interp.measure.layer_readouts import LayerReadoutReport
from icl_interp.measure.study.result import Study
from icl_interp.measure.verdicts import Excess
from icl_interp.report.model import Chapter, FigureView, Section
from icl_interp.report.sentences import answer, card, number, percent
from icl_interp.report.tables import TableView
from probes.step_matching import StepMatches

_SHOWN_REFERENCES = 3
"""References whose distance is drawn, the nearest to the last site; the table has all."""


def chapter(study: Study) -> Chapter:
    report, title = study.readouts, "In which layer does the answer arise?"
    if report is None:
        return Chapter(Section("layers", title, study.absent["readouts"]))
    excess = study.verdicts.get("layers")
    said = _sentence(report, excess)
    sentence = _caption(report)
    view = FigureView(
        id="layer-errors",
        title="Error of a linear read-out at each site",
        figure=_nearest_only(report).plot(),
        sentence=sentence,
        aria_label=f"Line chart, error of linear read-outs along the network. {sentence}",
        data=_table(report),
        height=380,
    )
    where = "the query token" if study.config.query_only else "x tokens"
    lead = (
        f"At each site one {report.method} read-out is fitted to the labels at {where} and scored on held-out prompts "
        f"({report.n_prompts} prompts, 5 folds, predictions with at least one example before them), in units of E[y²]. "
        "The read-in is the embedding, which has seen no other token. What a read-out finds need not be what the "
        "network uses."
    )
    lead += "".join(f" {limit}" for limit in report.limits)
    section = Section("layers", title, lead, figures=(view,))
    if excess is None:
        return Chapter(section)
    return Chapter(section, (card("Does the answer arise along its layers?", excess, said, anchor="layers"),))


def newton(study: Study) -> Chapter | None:
    return _steps_chapter(study.readouts, "Newton")


def descent(study: Study) -> Chapter | None:
    return _steps_chapter(study.readouts, "gradient descent")


def _steps_chapter(report: LayerReadoutReport | None, algorithm: str) -> Chapter | None:
    if report is None or algorithm not in report.steps:
        return None
    match = report.steps[algorithm]
    sentence = _steps_sentence(report, algorithm)
    slug = algorithm.replace(" ", "-").lower()
    rows = tuple(
        (site, step, float(match.values[i, j]))
        for i, site in enumerate(report.sites)
        for j, step in enumerate(match.steps)
    )
    unit = "similarity of errors (SimE)" if match.measure == "errors" else "mean squared difference"
    view = FigureView(
        id=f"steps-{slug}",
        title=f"Sites against steps of {_name(algorithm)}",
        figure=report.plot_steps(algorithm),
        sentence=sentence,
        aria_label=f"Heat map of sites by steps of {_name(algorithm)}, {unit}. {sentence}",
        data=TableView(("site", "steps", unit), rows, caption=f"{unit[0].upper()}{unit[1:]} by site and steps"),
        height=140 + 34 * len(report.sites),
    )
    lead = (
        f"The predictions of each site's read-out are compared with those after a number of steps of "
        f"{_name(algorithm)}, on {report.n_matched} prompts. A frame marks the nearest number of steps by {unit}."
    )
    return Chapter(Section(f"part-{slug}", f"How many steps of {_name(algorithm)}?", lead, figures=(view,)))


def _sentence(report: LayerReadoutReport, excess: Excess | None) -> str:
    if excess is None:
        return 'What the blocks add is not judged, since no site before them is known; name a "read-in" in sites.'
    text = answer(
        excess,
        here=f"a linear read-out after the last block has {_less(excess.value)} error than one at the embedding",
        there=f"in untrained networks it has {_less(excess.control)}",
        written=percent,
    )
    if excess.verdict != "evidence" or len(report.sites) < 3:
        return text
    return f"{text} {_largest_fall(report)}"


def _caption(report: LayerReadoutReport) -> str:
    text = "Error of each read-out, and its distance from the predictions of the nearest references."
    if len(report.sites) < 2:
        return text
    return f"{text} Where blocks build up the answer, the error falls along the network. {_largest_fall(report)}"


def _largest_fall(report: LayerReadoutReport) -> str:
    errors = [estimate.value for estimate in report.errors]
    drops = [before - after for before, after in pairwise(errors)]
    place = max(range(len(drops)), key=drops.__getitem__)
    if not drops[place] > 0:
        return "Here it falls nowhere."
    return (
        f"The error falls most from {report.sites[place]} to {report.sites[place + 1]}: from {number(errors[place])} "
        f"to {number(errors[place + 1])}."
    )


def _less(share: float) -> str:
    if (said := percent(abs(share))) == "none":
        return "no less"
    return f"{said} {'less' if share > 0 else 'more'}"


def _steps_sentence(report: LayerReadoutReport, algorithm: str) -> str:
    match = report.steps[algorithm]
    blocks = report.blocks
    best = [match.best_steps[i] for i in blocks]
    said = ", ".join(f"{report.sites[i]}: {_steps(match, i)}" for i in blocks[:6])
    said += f", … {report.sites[blocks[-1]]}: {_steps(match, blocks[-1])}" if len(blocks) > 6 else ""
    if len(best) == 1:
        return f"The nearest number of steps of {_name(algorithm)}, with its range over resamples: {said}."
    rising = all(b >= a for a, b in pairwise(best)) and best[-1] > best[0]
    verb = "rises with depth" if rising else "does not rise steadily with depth"
    return (
        "Similarity of each site to each number of steps. A network with one step per block would show a diagonal. The "
        f"nearest number of steps {verb} ({said}; brackets: range over resamples)."
    )


def _steps(match: StepMatches, row: int) -> str:
    low, high = (match.steps[place] for place in match.best_interval[row].tolist())
    best = match.best_steps[row]
    beyond = " or more" if best == match.steps[-1] else ""
    how = (
        f"{'SimE' if match.measure == 'errors' else 'mean square'} {number(float(match.values[row, match.best[row]]))}"
    )
    return f"{best}{beyond} [{low}, {high}] at {how}" + (" (tied)" if bool(match.tied[row]) else "")


def _name(algorithm: str) -> str:
    return "Newton's method" if algorithm == "Newton" else algorithm


def _nearest_only(report: LayerReadoutReport) -> LayerReadoutReport:
    order = sorted(report.distances, key=lambda name: report.distances[name][-1].value)[:_SHOWN_REFERENCES]
    return replace(report, distances={name: report.distances[name] for name in order})


def _table(report: LayerReadoutReport) -> TableView:
    frame = report.to_frame()
    rows = tuple(tuple(row) for row in frame.itertuples(index=False, name=None))
    names = {"error_untrained": "error, untrained"}
    columns = tuple(names.get(str(name), str(name)) for name in frame.columns)
    return TableView(columns, rows, caption="Errors of read-outs, distances to references, nearest numbers of steps")
