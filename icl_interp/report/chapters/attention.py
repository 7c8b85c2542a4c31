"""Where do heads look?"""

from icl_interp.measure.study.result import Study
from icl_interp.report.model import Chapter, FigureView, Section
from icl_interp.report.sentences import number
from icl_interp.report.tables import TableView


def chapter(study: Study) -> Chapter:
    summary, title = study.attention, "Where do heads look?"
    if summary is None:
        return Chapter(Section("part-attention", title, study.absent["attention"]))
    entropy = summary.table("entropy")
    varying = summary.table("variability")
    untrained = summary.untrained["entropy"]
    beside = f" ({number(float(untrained.mean()))} on average in untrained networks)" if len(untrained) else ""
    place = divmod(int(varying.argmax()), varying.shape[1])
    sentence = (
        "Entropy (1: looks everywhere alike, 0: at one token), attention to each role of token, and dependence on the "
        f"prompt. Here entropies go from {number(float(entropy.min()))} to {number(float(entropy.max()))}{beside}. "
        f"Head {place[0]}.{place[1]} depends most on the prompt: its mean distance from its mean pattern is "
        f"{number(float(varying.max()))}."
    )
    frame = summary.to_frame()
    view = FigureView(
        id="attention",
        title="What each head attends to",
        figure=summary.plot(),
        sentence=sentence,
        aria_label=f"Heat map of heads by quantities of their attention. {sentence}",
        data=TableView(
            ("layer", "head", "quantity", "value", "untrained", "uniform attention"),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption="Attention by head",
        ),
        height=320,
    )
    lead = (
        f"Means over {summary.n_prompts} prompts and over the tokens at which the model predicts. Roles overlap: the "
        "query is an x token too. A head that attends to a token need not carry information from it."
    )
    return Chapter(Section("part-attention", title, lead, figures=(view,)))
