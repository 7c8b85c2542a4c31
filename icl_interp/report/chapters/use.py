"""Is the signature used, or only there? Interventions on its directions."""

from icl_interp.figures.dots import DotSeries, dots_figure
from icl_interp.figures.theme import role_style
from icl_interp.measure.study.result import Study
from icl_interp.measure.subspace_use import SubspaceUse
from icl_interp.measure.verdicts import Excess
from icl_interp.report.model import Chapter, FigureView, HasJSON, Section, Verdict
from icl_interp.report.sentences import answer, card, number, percent
from icl_interp.report.tables import TableView

_OWN, _RANDOM, _UNTRAINED = "signature at its mean", "random subspaces", "untrained networks"
_QUESTION = "Does the model use its signature?"


def chapter(study: Study) -> Chapter:
    use, title = study.use, "Is its signature used, or only there?"
    if use is None:
        why = study.absent["use"]
        return Chapter(Section("use", title, why), (Verdict(_QUESTION, why, "unknown", None, "use"),))
    excess = study.verdicts["use"]
    sentence = _sentence(use, excess)
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
    last = use.hook == study.main_site.hook
    place = "the last block" if last else next(site.label for site in study.sites if site.hook == use.hook)
    lead = (
        f"At every position after {place} the {use.rank} directions of the signature are set to their mean over "
        f"{len(use.effect.changes)} prompts, so that they tell nothing of a prompt any more; beside it a vector of the "
        f"same length is subtracted along {len(use.random)} random subspaces of rank {use.rank}, and each untrained "
        "network loses its own signature."
    )
    lead += (
        " After the last block only what the read-out reads can matter."
        if last
        else " The atlas names this site: before the final norm, the model differs from untrained networks most here. "
        "Other prompts are used than those that named it."
    )
    return Chapter(
        Section("use", title, lead, figures=(view,), tables=(table,)),
        (card(_QUESTION, excess, sentence, anchor="use"),),
    )


def _sentence(use: SubspaceUse, excess: Excess) -> str:
    changes = [effect.change.value for effect in use.random]
    worse = sum(value >= use.effect.change.value for value in changes)
    said = answer(
        excess,
        here=f"replacing the {use.rank} signature directions by their mean changes the late error by "
        f"{number(excess.value)} of E[y²]",
        there=f"in untrained networks by {number(excess.control)} on average",
        chance="along random subspaces",
    )
    planes = f"{worse or 'None'} of {len(changes)} random subspaces {'do' if worse > 1 else 'does'} as much."
    zero = use.to_zero.change
    return (
        f"{said} {planes} Setting them to 0 also removes their constant part ({percent(1 - use.varying)} of their "
        f"energy) and changes the error by {number(zero.value)}; that moves the scale a norm divides by, so it does "
        "not show use."
    )


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
