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
        f"Entropy is from {number(float(entropy.min()))} to {number(float(entropy.max()))} of that of uniform "
        f"attention{beside}. The pattern of head {place[0]}.{place[1]} depends most on the prompt: mean distance "
        f"{number(float(varying.max()))} from its mean pattern."
    )
    frame = summary.to_frame()
    view = FigureView(
        id="attention",
        title="Entropy, mass by role of token, and variability of each head",
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
        f"Means over {summary.n_prompts} prompts and the tokens that ask for a prediction. Roles overlap: the query is "
        "itself an x token. A head that looks somewhere need not carry anything from there."
    )
    return Chapter(Section("part-attention", title, lead, figures=(view,)))
