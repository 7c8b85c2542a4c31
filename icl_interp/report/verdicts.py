"""The cards at the top of a report: each question, answered in one sentence."""

from icl_interp.measure.controls import Excess
from icl_interp.measure.study_result import Study
from icl_interp.report.chapters.agreement import agreement_sentence
from icl_interp.report.chapters.errors import likeness, shift_sentence
from icl_interp.report.chapters.layers import readout_sentence
from icl_interp.report.chapters.probes import readout_words
from icl_interp.report.chapters.signature import NO_SHIFT
from icl_interp.report.chapters.use import use_sentence
from icl_interp.report.model import Tone, Verdict
from icl_interp.report.sentences import interval, listing, number, verdict_words

__all__ = ["verdict_cards"]


def verdict_cards(study: Study) -> tuple[Verdict, ...]:
    """Answer the report's questions.

    Args:
        study: All numbers.

    Returns:
        One card a question; each tone follows from the interval of its excess.
    """
    excesses = study.verdicts()
    nearest = " " + likeness(study.errors.in_distribution)
    shifts = " " + shift_sentence(study.errors)
    learning = _card("Does it learn in context?", excesses["in-context learning"], "It does: share of error removed",
                     "that it learns in context: share of error removed", "errors", nearest,
    )  # fmt: skip
    error = _card("Does the score tell the error?", excesses["score and error"],
                  "Inside families it does: mean Spearman correlation",
                  "that the score tells the error: mean Spearman correlation inside families", "score-error",
    )  # fmt: skip
    if not study.families.shifted:
        survives = Verdict("Does that survive shifts?", shifts.strip(), "unknown", None, "error-shifts")
        unknown = Verdict("Does it detect shifts?", NO_SHIFT, "unknown", None, "ood")
        return (learning, survives, *_mechanism_cards(study, excesses), error, unknown)
    cards = [
        learning,
        _card("Does that survive shifts?", excesses["under shift"], "In part at least: mean share of error removed",
              "that it predicts under shift: mean share of error removed", "error-shifts", shifts),
        *_mechanism_cards(study, excesses),
        _card("Do spectra react to shifts?", excesses["spectra"], "More than untrained: mean |log ratio| of s1",
              "that leading singular values react to shifts: mean |log ratio| of s1", "spectra"),
        _card("Are leading directions shared?", excesses["shared directions"],
              "More in distribution than under shift: overlap difference",
              "that familiar prompts share directions which shifted ones do not: overlap difference", "agreement"),
        error,
        _card("Does it detect shifts?", excesses["detection"], "It does: mean AUROC over shifts",
              "that it detects shifts: mean AUROC over shifts", "auroc",
              _rivals(study)),
    ]  # fmt: skip
    return tuple(cards)


def _mechanism_cards(study: Study, excesses: dict[str, Excess]) -> tuple[Verdict, ...]:
    return (
        _told("Does it act like a known algorithm?", excesses["algorithm"], agreement_sentence(study), "algorithm"),
        _told("Does the answer arise along its layers?", excesses["layers"], readout_sentence(study), "layers"),
        _probes_card(study, excesses),
        _use_card(study),
    )


def _use_card(study: Study) -> Verdict:
    title, use = "Is its signature used?", study.mechanism.use
    if use is None:
        return Verdict(title, study.mechanism.absent["use"], "unknown", None, "use")
    told: Tone = "evidence" if use.verdict == "evidence" else "none"
    tone: Tone = told if use.untrained else "unknown"
    detail = f"p = {use.p_value:.2g} by {len(use.random)} random subspaces, for itself, not among the joint claims."
    return Verdict(title, use_sentence(use), tone, detail if use.untrained else None, "use")


def _probes_card(study: Study, excesses: dict[str, Excess]) -> Verdict:
    by_target = {target: excesses[f"probe: {target}"] for target in study.probes.targets}
    best = max(by_target, key=lambda target: by_target[target].value)
    finding, absence = f"Best is {best}: held-out R²", f"that {best} can be read out: held-out R²"
    said = readout_words(study, best, by_target[best], finding=finding, absence=absence)
    card = _told("Can known algorithms be read out?", by_target[best], said, "probes")
    without = [target for target, excess in by_target.items() if excess.verdict != "evidence"]
    if not without or len(without) == len(by_target):
        return card
    sentence = f"{card.sentence} No evidence for {listing(without)}."
    return Verdict(card.title, sentence, "mixed", card.detail, card.anchor)


def _told(title: str, excess: Excess, sentence: str, anchor: str) -> Verdict:
    made = _card(title, excess, "", "", anchor)
    return Verdict(title, sentence, made.tone, made.detail, anchor)


def _card(title: str, excess: Excess, finding: str, absence: str, anchor: str, more: str = "") -> Verdict:
    tone: Tone = {"evidence": "evidence", "none": "none"}.get(excess.verdict, "unknown")  # type: ignore[assignment]
    detail = None
    if excess.controls and tone != "unknown":
        detail = (
            f"Excess {number(excess.excess)}, bounds {interval(excess.low, excess.high)} (one-sided, together 95 %)."
        )
    return Verdict(title, verdict_words(excess, finding=finding, absence=absence) + more, tone, detail, anchor)


def _rivals(study: Study) -> str:
    shifts = study.ood.shifts
    better = sum(d.norms.auroc >= d.signature.auroc for d in shifts.values())
    reach = f" Norms alone reach {number(study.ood.mean_norm_auroc)} and do as well or better"
    return f"{reach} under {better} of {len(shifts)}."
