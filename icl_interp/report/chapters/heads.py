"""Which heads does the model need, and how many?"""

import math

from icl_interp.measure.heads import HeadReport
from icl_interp.measure.study.result import Study
from icl_interp.measure.verdicts import OF_SHARES
from icl_interp.report.model import Chapter, FigureView, Section
from icl_interp.report.sentences import interval, listing, number
from icl_interp.report.tables import TableView


def chapter(study: Study) -> Chapter:
    report, title = study.heads, "Which heads does it need?"
    if report is None:
        return Chapter(Section("heads", title, study.absent["heads"]))
    sentence = _heads_sentence(report)
    frame = report.to_frame()
    view = FigureView(
        id="head-importance",
        title="Rise of the late error when one head is ablated",
        figure=report.plot(),
        sentence=sentence,
        aria_label=f"Heat map of layers by heads. {sentence}",
        data=TableView(
            ("layer", "head", "rise", "low", "high", "share of its layer", "rise, untrained"),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption="Rise of the late error / E[y²] by head",
        ),
        height=120 + 40 * study.config.n_layers,
    )
    lead = (
        f"The output of one head at a time is set to zero ({report.n_prompts} prompts, late error in units of E[y²]). "
        "The network never saw such activations, so part of the rise may come from that alone. Replacing the output by "
        "its mean may cost more or less. Heads that can replace each other look unimportant. A frame marks heads whose "
        "whole interval exceeds the most important head of one more untrained network."
    )
    return Chapter(Section("heads", title, lead, figures=(view,)))


def pruning(study: Study) -> Chapter | None:
    report = study.heads
    if report is None or report.pruning.n_kept[-1] < 2:
        return None
    sentence = _pruning_sentence(report)
    view = FigureView(
        id="pruning",
        title="Late error by the number of heads kept",
        figure=report.plot_pruning(),
        sentence=sentence,
        aria_label=f"Line chart, late error over the number of heads kept. {sentence}",
        height=300,
    )
    lead = (
        f"The n most important heads are kept and the rest is ablated, on {report.n_prompts} other prompts. For "
        f"comparison, n heads are kept in {len(report.random_pruning)} random orders."
    )
    return Chapter(Section("part-pruning", "How many heads does it need?", lead, figures=(view,)))


def _heads_sentence(report: HeadReport) -> str:
    layer, head = report.top
    found = report.importance
    rise, low, high = (float(x[layer, head]) for x in (found.increase, found.increase_low, found.increase_high))
    text = "Rise of the late error without each head. A head that the model needs has a large rise. "
    text += f"Here head {layer}.{head} has the largest: {number(rise)} {interval(low, high)} of E[y²]"
    without = math.isnan(report.untrained_most)
    text += "." if without else f"; in untrained networks no head exceeds {number(report.untrained_most)}."
    needed = report.needed()
    if without:
        against = " There are no untrained networks to compare with, so a head counts as needed if its rise exceeds 0."
        return f"{text}{against} {len(needed)} of {found.increase.numel()} do ({listing(needed)})."
    if not needed:
        return f"{text} It is not shown that any head is needed."
    places = [map(int, name.split(".")) for name in needed]
    matter = sum(float(found.increase[layer, head]) > OF_SHARES for layer, head in places)
    return (
        f"{text} {len(needed)} of {found.increase.numel()} heads exceed untrained networks ({listing(needed)}); "
        f"{matter} of them raise the error by more than {OF_SHARES:g} when they are ablated."
    )


def _pruning_sentence(report: HeadReport) -> str:
    curve = report.pruning
    total = curve.n_kept[-1]
    if curve.n_needed is None:
        text = f"Not even all {total} heads keep the error within 5 % of the whole network's."
    elif curve.n_needed == 0:
        text = "Here no head matters: without any of them the error is within 5 % of the whole network's."
    else:
        text = f"With {curve.n_needed} of {total} heads the error is within 5 % of the whole network's."
    text = f"Late error by the number of heads kept. If few heads do the work, it stays low until few are left. {text}"
    middle = len(curve.n_kept) // 2
    own = float(curve.losses.values[middle])
    others = [float(other.losses.values[middle]) for other in report.random_pruning]
    if not others:
        return text
    better = sum(float(number(own)) < float(number(other)) for other in others)  # as they are written
    return (
        f"{text} With {curve.n_kept[middle]} heads it is {number(own)}; {better} of {len(others)} random orders have a "
        f"larger one (the smallest is {number(min(others))})."
    )
