"""Which weights does the model act by?"""

from icl_interp.measure.induced_weights import MODEL, InducedWeightsReport
from icl_interp.measure.study.result import Study
from icl_interp.report.chapters.agreement import LOW_R2
from icl_interp.report.model import Chapter, FigureGrid, FigureView, Section
from icl_interp.report.sentences import number, percent
from icl_interp.report.tables import TableView

_MOST_COORDINATES = 3
"""Coordinates of one prompt that are drawn."""


def chapter(study: Study) -> Chapter:
    report, title = study.induced, "Which weights does it act by?"
    if report is None:
        return Chapter(Section("part-induced", title, study.absent["induced"]))
    n_prompts, explained = report.true.shape[0], study.likeness.values[0] > 0
    lead = (
        f"After the same examples the model answers {report.n_queries} fresh queries, and the weights are those of the "
        f"linear map that fits its answers ({n_prompts} prompts). {percent(float(report.r2[-1].nanmean()))} of the "
        "variance of its answers after all examples is linear in the query; where that share is low, the weights mean "
        "nothing."
    )
    return Chapter(
        Section("part-induced", title, lead, figures=(_scatter(report, explained=explained), _paths(report)))
    )


def _scatter(report: InducedWeightsReport, *, explained: bool) -> FigureGrid:
    return FigureGrid(
        id="induced-weights",
        title="Induced weights against the true ones",
        sentence=_sentence(report, explained=explained),
        figures=tuple(_cloud(report, k) for k in report.asked),
    )


def _cloud(report: InducedWeightsReport, examples: int) -> FigureView:
    sentence = f"{_far(report, examples)}."
    frame = report.to_frame()
    frame = frame[frame["examples"] == examples].drop(columns="examples")
    return FigureView(
        id=f"induced-weights-{examples}",
        title=f"After {examples} example{'' if examples == 1 else 's'}",
        figure=report.plot(examples),
        sentence=sentence,
        aria_label=f"Scatter plot, induced weights over true weights after {examples} examples. {sentence}",
        data=TableView(
            tuple(map(str, frame.columns)),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption=f"Weights after {examples} examples, by prompt and coordinate",
        ),
        height=360,
    )


def _sentence(report: InducedWeightsReport, *, explained: bool) -> str:
    text = "One dot per prompt and coordinate. A predictor that has found the weights has all dots on the dotted line."
    few, names = report.asked[0], list(report.references)
    distances = {name: report.distance(MODEL, other=name, examples=few) for name in names}
    linear = float(report.r2[0].nanmean()) >= LOW_R2
    if len(names) < 2 or not (linear and explained):
        return text
    nearest = min(distances, key=distances.__getitem__)
    (other,) = [name for name in names if name != nearest]
    return (
        f"{text} After {few} example{'' if few == 1 else 's'} the model's weights are nearer to those of {nearest} "
        f"(squared distance {percent(distances[nearest])} of the true weights' square) than to those of {other} "
        f"({percent(distances[other])})."
    )


def _far(report: InducedWeightsReport, examples: int) -> str:
    others = ", ".join(f"{name} {percent(report.distance(name, examples=examples))}" for name in report.references)
    own = percent(report.distance(examples=examples))
    return f"Squared distance from the true weights, relative to their square: model {own}; {others}"


def _paths(report: InducedWeightsReport) -> FigureGrid:
    chosen = report.largest_coordinates[:_MOST_COORDINATES]
    n_dims = report.true.shape[1]
    which = f"the {len(chosen)} largest of {n_dims} coordinates" if len(chosen) < n_dims else "all coordinates"
    last = report.points[-1]
    off = float((report.path[-1, chosen] - report.true[0, chosen]).abs().max())
    return FigureGrid(
        id="induced-paths",
        title="How the weights of one prompt arise",
        sentence=(
            f"Induced weights on one prompt, {which}. In a good model they move from the mean of the training weights "
            f"to the true weight. After {last} examples the largest difference here is {number(off)}."
        ),
        figures=tuple(_path(report, coordinate) for coordinate in chosen),
    )


def _path(report: InducedWeightsReport, coordinate: int) -> FigureView:
    true, found = float(report.true[0, coordinate]), float(report.path[-1, coordinate])
    sentence = f"True weight {number(true)}, at the end {number(found)}."
    frame = report.path_frame(coordinate)
    return FigureView(
        id=f"induced-path-{coordinate + 1}",
        title=f"Coordinate {coordinate + 1}",
        figure=report.plot_path(coordinate),
        sentence=sentence,
        aria_label=f"Line chart, weight of coordinate {coordinate + 1} over the number of examples. {sentence}",
        data=TableView(
            tuple(map(str, frame.columns)),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption=f"Weight of coordinate {coordinate + 1} by number of examples",
        ),
        height=300,
    )
