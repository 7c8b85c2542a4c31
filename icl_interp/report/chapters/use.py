"""Is the signature used, or only there? Interventions on its directions."""

from icl_interp.figures.dots import DotSeries, dots_figure
from icl_interp.figures.theme import role_style
from icl_interp.measure.study.result import Study
from icl_interp.measure.subspace_use import SubspaceUse
from icl_interp.report.model import Chapter, FigureView, HasJSON, Section, Tone, Verdict
from icl_interp.report.sentences import interval, number
from icl_interp.report.tables import TableView

_OWN, _RANDOM, _UNTRAINED = "signature at its mean", "random subspaces", "untrained networks"
_QUESTION = "Is its signature used?"


def chapter(study: Study) -> Chapter:
    use, title = study.use, "Is its signature used, or only there?"
    if use is None:
        why = study.absent["use"]
        return Chapter(Section("use", title, why), (Verdict(_QUESTION, why, "unknown", None, "use"),))
    sentence = _sentence(use)
    frame = use.to_frame()
    view = FigureView(
        id="signature-use",
        title="Change of the late error when directions tell nothing any more",
        figure=_figure(use),
        sentence=sentence,
        aria_label=f"Dots with intervals, change of the error under interventions. {sentence}",
        data=TableView(
            ("removed", "error before", "error after", "change", "low", "high"),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption="Late error / E[y²] before and after",
        ),
        height=250,
    )
    changes = use.effect.to_frame()
    table = TableView(
        ("quantity", "change", "low", "high"),
        tuple(tuple(row) for row in changes.itertuples(index=False, name=None)),
        caption="What the signature at its mean does to the error and to the distance from each reference, / E[y²]",
    )
    lead = (
        f"At every position after the last block the {use.rank} directions of the signature are set to their mean over "
        f"{len(use.effect.changes)} prompts, so that they tell nothing of a prompt any more; beside it a vector of the "
        f"same length is subtracted along {len(use.random)} random subspaces of rank {use.rank}, and each untrained "
        "network loses its own signature. After the last block only what the read-out reads can matter."
    )
    return Chapter(Section("use", title, lead, figures=(view,), tables=(table,)), (_card(use, sentence),))


def _card(use: SubspaceUse, sentence: str) -> Verdict:
    if not use.untrained:
        return Verdict(_QUESTION, sentence, "unknown", None, "use")
    tone: Tone = "evidence" if use.verdict == "evidence" else "none"
    detail = f"p = {use.p_value:.2g} by {len(use.random)} random subspaces, for itself, not among the joint claims."
    return Verdict(_QUESTION, sentence, tone, detail, "use")


def _sentence(use: SubspaceUse) -> str:
    change = use.effect.change
    if not use.random:
        return "No verdict that the signature is used: no random subspaces were tried."
    random = sorted(effect.change.value for effect in use.random)
    worse = sum(value >= change.value for value in random)
    numbers = (
        f"without what it tells of a prompt the late error changes by {number(change.value)} "
        f"{interval(change.low, change.high)} of E[y²], "
        f"as much or more do {worse} of {len(random)} random subspaces (median {number(random[len(random) // 2])})"
    )
    if not use.untrained:
        return f"No verdict that the signature is used: {numbers}, and there are no untrained networks to compare with."
    most = max(effect.change.value for effect in use.untrained)
    numbers += f" and at most {number(most)} is seen in untrained networks"
    zero = use.to_zero.change
    aside = (
        f" Set to zero, its constant part too ({number(1 - use.varying)} of its energy), it changes the error by "
        f"{number(zero.value)} {interval(zero.low, zero.high)}; that also moves the scale which a norm divides by, and "
        "speaks of no use."
    )
    if use.verdict == "evidence":
        return f"It is used: {numbers}.{aside}"
    return f"No evidence beyond an untrained network and random directions that it is used: {numbers}.{aside}"


def _figure(use: SubspaceUse) -> HasJSON:
    series = []
    for name, effects, style in (
        (_UNTRAINED, use.untrained, role_style("untrained")),
        (_RANDOM, use.random, role_style("shuffled")),
        (_OWN, (use.effect,), role_style("model")),
    ):
        series.append(
            DotSeries(
                name,
                [name] * len(effects),
                [effect.change.value for effect in effects],
                style,
                [effect.change.low for effect in effects],
                [effect.change.high for effect in effects],
            )
        )
    figure: HasJSON = dots_figure(series, x="change of late error / E[y²]", reference=0.0)
    return figure
