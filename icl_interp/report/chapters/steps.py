"""What happens on one prompt, example by example?"""

from icl_interp.measure.step_by_step import StepByStep
from icl_interp.measure.study.result import Study
from icl_interp.models.architecture import NO_SITES
from icl_interp.report.model import Chapter, FigureView, Section
from icl_interp.report.sentences import listing, number
from icl_interp.report.tables import TableView


def chapter(study: Study) -> Chapter:
    steps: StepByStep = study.steps
    lead = (
        "The first prompt in distribution. Each prediction comes from its own input and the examples before it. One "
        "prompt illustrates and proves nothing."
    )
    lead += "" if steps.sites else f" {NO_SITES}"
    figures = (_predictions(steps), *([_norms(steps, query_only=study.config.query_only)] if steps.sites else []))
    return Chapter(Section("part-steps", "One prompt, step by step", lead, figures=figures))


def _predictions(steps: StepByStep) -> FigureView:
    misses = (steps.predicted - steps.labels).abs()
    worst = int(misses.argmax())
    after = f"{worst} example{'' if worst == 1 else 's'}"
    most, last = number(float(misses[worst])), number(float(misses[-1]))
    sentence = (
        f"Labels (diamonds) and what {listing(['the model', *steps.shown])} predict for them. A good model meets the "
        f"labels once it has seen enough examples. Here it misses most after {after}, by {most}, and the last label by "
        f"{last}."
    )
    frame = steps.to_frame()
    return FigureView(
        id="steps-predictions",
        title="Labels and predictions along one prompt",
        figure=steps.plot(),
        sentence=sentence,
        aria_label=f"Line chart, labels and predictions over the number of examples. {sentence}",
        data=TableView(
            tuple(map(str, frame.columns)),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption="Labels and predictions of one prompt",
        ),
        height=340,
    )


def _norms(steps: StepByStep, *, query_only: bool) -> FigureView:
    first, last = (float(row.mean()) for row in (steps.norms[0], steps.norms[-1]))
    where = "in the sequence of its last point" if query_only else "at each position"
    sentence = (
        f"Length of the residual stream {where}, by site. It usually grows from block to block; a position that stands "
        f"out is treated apart from the others. Here its mean goes from {number(first)} ({steps.sites[0]}) to "
        f"{number(last)} ({steps.sites[-1]})."
    )
    frame = steps.norm_frame()
    return FigureView(
        id="steps-norms",
        title="Length of the residual stream on the same prompt",
        figure=steps.plot_norms(),
        sentence=sentence,
        aria_label=f"Heat map of sites by positions. {sentence}",
        data=TableView(
            ("site", "position", "length"),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption="Length of the residual stream by site and position",
        ),
        height=140 + 32 * len(steps.sites),
    )
