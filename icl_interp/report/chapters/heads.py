"""Which heads does the model need, and how many?"""

import math

from icl_interp.measure.heads import HeadReport
from icl_interp.measure.study.result import Study
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
        title="Rise of the late error when one head is masked",
        figure=report.plot(),
        sentence=sentence,
        aria_label=f"Heat map of layers by heads, rise of the error when the head is masked. {sentence}",
        data=TableView(
            ("layer", "head", "rise", "low", "high", "share of its layer", "rise, untrained"),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption="Rise of the late error / E[y²] by head",
        ),
        height=120 + 40 * study.config.n_layers,
    )
    lead = (
        f"One head's output is set to zero at a time ({report.n_prompts} prompts, late error in units of E[y²]). That "
        "takes the network off its distribution, so part of the rise may come from that alone; another baseline, such "
        "as a head's mean output, may cost more or less. Heads that stand in for each "
        "other look unimportant. Framed are heads whose whole interval exceeds what the most important head of one "
        "more untrained network would show."
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
        f"Heads stay in the order of their importance over all layers, all others are masked, on {report.n_prompts} "
        f"other prompts; beside it {len(report.random_pruning)} random orders."
    )
    return Chapter(Section("part-pruning", "How many heads does it need?", lead, figures=(view,)))


def _heads_sentence(report: HeadReport) -> str:
    layer, head = report.top
    found = report.importance
    rise, low, high = (float(x[layer, head]) for x in (found.increase, found.increase_low, found.increase_high))
    said = f"head {layer}.{head} most, by {number(rise)} {interval(low, high)} of E[y²]"
    without = math.isnan(report.untrained_most)
    beside = "" if without else f"; in untrained networks no head does so by more than {number(report.untrained_most)}"
    needed = report.needed()
    if not needed:
        if without:
            return (
                "No verdict on heads, since there are no untrained networks to compare with: masking raises the error "
                f"for {said}."
            )
        return f"Not shown that any head is needed: masking raises the error for {said}{beside}."
    text = f"Masking raises the error for {said}{beside}."
    n_heads = found.increase.numel()
    return f"{text} {len(needed)} of {n_heads} heads are needed in this sense ({listing(needed)})." + (
        " There are no untrained networks to compare with, so this is beyond zero only." if without else ""
    )


def _pruning_sentence(report: HeadReport) -> str:
    curve = report.pruning
    total = curve.n_kept[-1]
    if curve.n_needed is None:
        text = f"Not even all {total} heads keep the error within 5 % of the whole network's."
    else:
        text = f"With {curve.n_needed} of {total} heads the error stays within 5 % of the whole network's."
    middle = len(curve.n_kept) // 2
    own = float(curve.losses.values[middle])
    others = [float(other.losses.values[middle]) for other in report.random_pruning]
    if not others:
        return text
    better = sum(own < other for other in others)
    return (
        f"{text} With {curve.n_kept[middle]} heads it is {number(own)}, less than under {better} of {len(others)} "
        f"random orders (the best has {number(min(others))})."
    )
