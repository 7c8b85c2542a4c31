"""Is the signature used, and what is decodable, or are they only there? Interventions."""

from icl_interp.measure.study.result import Study
from icl_interp.measure.subspace_use import Use
from icl_interp.measure.verdicts import Excess
from icl_interp.report.model import Chapter, FigureView, Section, Verdict
from icl_interp.report.sentences import answer, card, number, percent
from icl_interp.report.tables import TableView

_SIGNATURE = "Does the model use its signature?"
_DECODABLE = "Does the model use what is decodable?"


def chapter(study: Study) -> Chapter:
    """Write what replacing the signature by its mean does."""
    use, title = study.use, "Is its signature used, or only there?"
    if use is None:
        return _absent(study, "use", title, _SIGNATURE)
    last = use.hook == study.main_site.hook
    place = "the last block" if last else next(site.label for site in study.sites if site.hook == use.hook)
    lead = (
        f"At every position after {place} the {use.rank} directions of the signature are set to their mean over "
        f"{len(use.effect.changes)} prompts, so that they no longer differ between prompts. Beside it a vector of the "
        f"same length is subtracted along {len(use.random)} random subspaces of rank {use.rank}, and each untrained "
        "network loses its own signature."
    )
    lead += (
        " After the last block only what the read-out reads can matter."
        if last
        else " The atlas names this site: before the final norm, the model differs from untrained networks most here. "
        "Other prompts are used than those that named it."
    )
    zero = use.to_zero.change
    sentence = _sentence(
        use,
        study.verdicts["use"],
        f"replacing the {use.rank} signature directions by their mean {_moves(use)} the late error by "
        f"{number(abs(use.effect.change.value))} of E[y²]",
        f"Setting them to 0 also removes their constant part ({percent(1 - use.varying)} of their energy) and changes "
        f"the error by {number(zero.value)}; that moves the scale a norm divides by, so it does not show use.",
    )
    what = "the signature at its mean"
    return _chapter("use", title, lead, use, study.verdicts["use"], sentence, _SIGNATURE, what)


def erasure(study: Study) -> Chapter:
    """Write what erasing a decodable prediction does."""
    use, title = study.erasure, "Is a decodable prediction used, or only there?"
    if use is None:
        return _absent(study, "erasure", title, _DECODABLE)
    site = next(site.label for site in study.sites if site.hook == use.hook)
    lead = (
        f"Of all reference predictors, {use.target} explains the model's predictions best. At {site} its predictions "
        "are erased where the model is asked, from the second point on: the smallest linear change after which no "
        "linear probe reads them (LEACE), fitted on other prompts. Beside it a "
        f"vector of the same length is subtracted along random directions ({len(use.random)} times), and from each "
        "untrained network the same predictions are erased."
    )
    excess = study.verdicts["erasure"]
    sentence = _sentence(
        use,
        excess,
        f"erasing the predictions of {use.target} at {site} {_moves(use)} the late error by "
        f"{number(abs(use.effect.change.value))} of E[y²]",
        _damage(use)
        + f"A linear probe reads them there with R² {number(use.r2)}, and with {number(use.r2_after)} after erasure, "
        f"which takes {percent(use.removed)} of the variance away.",
    )
    what = f"the erasure of {use.target}"
    return _chapter("erasure", title, lead, use, excess, sentence, _DECODABLE, what)


def _moves(use: Use) -> str:
    return "lowers" if use.effect.change.value < 0 else "raises"


def _damage(use: Use) -> str:
    # What is missing can cost no more than knowing nothing.
    beyond = use.effect.after.value > 1
    return "An error above 1 is worse than predicting 0, so a part of this is damage. " if beyond else ""


def _absent(study: Study, name: str, title: str, question: str) -> Chapter:
    why = study.absent[name]
    sentence = f"Not asked, since {why[0].lower()}{why[1:]}"
    return Chapter(Section(name, title, why), (Verdict(question, sentence, "unknown", None, name),))


def _chapter(
    name: str, title: str, lead: str, use: Use, excess: Excess, sentence: str, question: str, what: str
) -> Chapter:
    view = FigureView(
        id=f"{name}-effect",
        title="Change of the late error under interventions",
        figure=use.plot(),
        sentence=sentence,
        aria_label=f"Dots with intervals, change of the error under interventions. {sentence}",
        data=TableView(
            ("removed", "error before", "error after", "change", "low", "high"),
            tuple(tuple(row) for row in use.to_frame().itertuples(index=False, name=None)),
            caption="Late error / E[y²] before and after",
        ),
        height=250,
    )
    table = TableView(
        ("quantity", "change", "low", "high"),
        tuple(tuple(row) for row in use.effect.to_frame().itertuples(index=False, name=None)),
        caption=f"What {what} does to the error and to the distance from each reference, / E[y²]",
    )
    return Chapter(
        Section(name, title, lead, figures=(view,), tables=(table,)), (card(question, excess, sentence, anchor=name),)
    )


def _sentence(use: Use, excess: Excess, here: str, more: str) -> str:
    said = answer(excess, here=here, there=f"in untrained networks by {number(excess.control)} on average")
    random = use.over_random(round(0.05 / excess.level))
    beside = f"An equally long change along random directions changes it by {number(random.control)} on average"
    reach = "" if excess.verdict != "inconclusive" else _reach(use, random, excess)
    return f"{said} {beside}{reach}. {more}"


def _reach(use: Use, random: Excess, excess: Excess) -> str:
    untrained = use.over_untrained(round(0.05 / excess.level))
    if untrained.verdict == "evidence":
        return ", which the model does not clearly exceed"
    return ", which the model exceeds" if random.verdict == "evidence" else ""
