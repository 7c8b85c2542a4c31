"""Is the signature used, and what is decodable, or are they only there? Interventions."""

from collections.abc import Mapping
from dataclasses import replace

from icl_interp.measure.study.result import Study
from icl_interp.measure.subspace_use import SignatureUse, Use
from icl_interp.measure.verdicts import Excess, VerdictWord
from icl_interp.models.architecture import FINAL_NORM
from icl_interp.report.model import Chapter, FigureView, Section, Verdict
from icl_interp.report.sentences import answer, card, interval, listing, number, percent
from icl_interp.report.tables import TableView

_SIGNATURE = "Does the model use its signature?"
_DECODABLE = "Does the model use what is decodable?"


def chapter(study: Study) -> Chapter:
    """Write what replacing the signature by its mean does."""
    found, title = study.use, "Is its signature used, or only there?"
    if found is None:
        return _absent(study, "use", title, _SIGNATURE)
    clearest = found.clearest(study.n_verdicts)
    use, several = found.by_site[clearest], len(found.by_site) > 1
    where = f" at {_place(clearest)}" if several else ""
    sentence = _sentence(
        use,
        study.verdicts["use"],
        f"replacing the {use.rank} signature directions{where} by their mean {_moves(use)} the late error by "
        f"{number(abs(use.effect.change.value))} of E[y²]",
    )
    more = (
        f"Setting the signature directions to 0 also removes their constant part ({percent(1 - use.varying)} of their "
        f"energy) and {_moved('the error', use.to_zero.change.value)}; that moves the scale a norm divides by, so it "
        "does not show use."
    )
    what = f"the signature{where} at its mean"
    points = _by_site(study, found) if several else ()
    return _chapter(
        "use", title, _lead(study, found), found, use, study.verdicts["use"], sentence, more, _SIGNATURE, what, points
    )


def _lead(study: Study, found: SignatureUse) -> str:
    use, sites = next(iter(found.by_site.values())), list(found.by_site)
    last = next(site.label for site in study.sites if site.hook == study.main_site.hook)
    place = listing(["the last block" if site == last else _place(site) for site in sites])
    lead = (
        f"At every position after {place} the {use.rank} directions of the signature are set to their mean over "
        f"{len(use.effect.changes)} prompts, so that they no longer differ between prompts. Beside it a vector of the "
        f"same length is subtracted along {len(use.random)} random subspaces of rank {use.rank}, and each untrained "
        "network loses its own signature."
    )
    if found.named:
        lead += " " + _named(found)
    if {last, FINAL_NORM} & set(sites):
        lead += " After the last block only what the read-out reads can matter."
    return lead


def _place(site: str) -> str:
    return f"the {site}" if site == FINAL_NORM else site


def _named(found: SignatureUse) -> str:
    n_named, tested = len(found.named), len(found.by_site)
    few = "The atlas names this site, since the model differs from untrained networks here."
    if tested > 1:
        few = (
            "The atlas names these sites, since the model differs from untrained networks here. Each site is tested by "
            "itself, at a level that is divided by their number."
        )
    if n_named > tested:
        few = (
            f"The atlas names {n_named} sites where the model differs from untrained networks. The {tested} with the "
            "clearest difference are tested, each by itself, at a level that is divided by their number."
        )
    return f"{few} Other prompts are used than those that named {'it' if tested == 1 else 'them'}."


_SAID: Mapping[VerdictWord, str] = {
    "evidence": "used",
    "opposite": "the opposite",
    "negligible": "no effect that matters",
    "inconclusive": "not shown",
    "not applicable": "no verdict",
}


def _by_site(study: Study, found: SignatureUse) -> tuple[str, ...]:
    """Write one line per site, in the order of the network."""
    excesses, order = found.excesses(study.n_verdicts), [site.label for site in study.sites]
    return tuple(
        _line(site, excesses[site], found.by_site[site], trivial=site in (study.main_site.label, FINAL_NORM))
        for site in sorted(excesses, key=lambda site: order.index(site) if site in order else len(order))
    )


def _line(site: str, excess: Excess, use: Use, *, trivial: bool) -> str:
    change = use.effect.change
    text = (
        f"{site[0].upper()}{site[1:]}: {_SAID[excess.verdict]}. The late error changes by {number(change.value)} "
        f"{interval(change.low, change.high)} of E[y²], in untrained networks by {number(excess.control)}"
    )
    return f"{text} (only what the read-out reads can matter there)." if trivial else f"{text}."


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
    )
    if excess.gate is not None:
        nothing = (
            f"Not asked: at {site} no linear probe is shown to read {use.target} better than in untrained networks, so "
            "there is nothing to erase."
        )
        sentence = sentence.replace(f"Not asked, since {excess.gate} is not shown.", nothing, 1)
    more = (
        f"{_damage(use)}A linear probe reads them there with R² {number(use.r2)}, and with {number(use.r2_after)} "
        f"after erasure, which takes {percent(use.removed)} of the variance away."
    )
    what = f"the erasure of {use.target}"
    return _chapter("erasure", title, lead, use, use, excess, sentence, more, _DECODABLE, what)


def _moves(use: Use) -> str:
    return _verb(use.effect.change.value)


def _verb(change: float) -> str:
    return "lowers" if change < 0 else "raises"


def _moved(what: str, change: float) -> str:
    return f"{_verb(change)} {what} by {number(abs(change))}"


def _damage(use: Use) -> str:
    # What is missing can cost no more than knowing nothing.
    beyond = use.effect.after.value > 1 and use.effect.change.value > 0
    if not beyond:
        return ""
    return "The error rises above 1, which is worse than predicting 0, so a part of this is damage. "


def _absent(study: Study, name: str, title: str, question: str) -> Chapter:
    why = study.absent[name]
    sentence = f"Not asked, since {why[0].lower()}{why[1:]}"
    return Chapter(Section(name, title, why), (Verdict(question, sentence, "unknown", None, name),))


def _chapter(
    name: str,
    title: str,
    lead: str,
    drawn: Use | SignatureUse,
    use: Use,
    excess: Excess,
    sentence: str,
    more: str,
    question: str,
    what: str,
    points: tuple[str, ...] = (),
) -> Chapter:
    frame = drawn.to_frame()
    places = frame["site"].nunique() if "site" in frame else 1
    shown = (
        "Change of the late error, beside random directions and untrained networks. If the model uses what is removed, "
        f"its dot is to the right of theirs. {more}"
    )
    view = FigureView(
        id=f"{name}-effect",
        title="Change of the late error under interventions",
        figure=drawn.plot(),
        sentence=shown,
        aria_label=f"Dots with intervals. {shown}",
        data=TableView(
            (*(["site"] if "site" in frame else []), "removed", "error before", "error after", "change", "low", "high"),
            tuple(tuple(row) for row in frame.itertuples(index=False, name=None)),
            caption="Late error / E[y²] before and after",
        ),
        height=160 + 90 * places,
    )
    table = TableView(
        ("quantity", "change", "low", "high"),
        tuple(tuple(row) for row in use.effect.to_frame().itertuples(index=False, name=None)),
        caption=f"What {what} does to the error and to the distance from each reference, / E[y²]",
    )
    return Chapter(
        Section(name, title, lead, figures=(view,), tables=(table,)),
        (replace(card(question, excess, sentence, anchor=name), points=points),),
    )


def _sentence(use: Use, excess: Excess, here: str) -> str:
    said = answer(
        excess, here=here, there=f"in untrained networks the removal {_moved('it', excess.control)} on average"
    )
    random = use.over_random(round(0.05 / excess.level))
    beside = f"An equally long change along random directions {_moved('it', random.control)} on average"
    reach = "" if excess.verdict != "inconclusive" else _reach(use, random, excess)
    return f"{said} {beside}{reach}."


def _reach(use: Use, random: Excess, excess: Excess) -> str:
    untrained = use.over_untrained(round(0.05 / excess.level))
    if untrained.verdict == "evidence":
        return ", not clearly less than in the model"
    return ", less than in the model" if random.verdict == "evidence" else ""
