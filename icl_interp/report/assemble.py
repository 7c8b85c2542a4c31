"""From a study to a page: header, cards, chapters by question, footer."""

from collections.abc import Mapping
from dataclasses import replace

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.measure.controls import Excess
from icl_interp.measure.study.plan import limits_of
from icl_interp.measure.study.result import Study
from icl_interp.report.chapters.agreement import agreement_part, agreement_sentence
from icl_interp.report.chapters.detectors import detector_map, detectors_chapter
from icl_interp.report.chapters.errors import errors_chapter, likeness, shift_sentence, shifts_part
from icl_interp.report.chapters.heads import attention_part, heads_part, pruning_part
from icl_interp.report.chapters.layers import layers_part, readout_sentence, steps_part
from icl_interp.report.chapters.ood import ood_chapter
from icl_interp.report.chapters.probes import probe_targets_part, probes_chapter, readout_words
from icl_interp.report.chapters.signature import NO_SHIFT, signature_chapter
from icl_interp.report.chapters.similarity import similarity_chapter
from icl_interp.report.chapters.use import use_part, use_sentence
from icl_interp.report.chapters.worth import worth_chapter
from icl_interp.report.model import Fact, Page, Section, Tone, Verdict
from icl_interp.report.sentences import interval, listing, number, verdict_words

__all__ = [
    "build_page",
]


def _doing_chapter(study: Study) -> Section:
    """Write the section."""
    parts = (errors_chapter(study), agreement_part(study), shifts_part(study))
    return Section("doing", "What is this model doing?", parts=parts)


def _where_chapter(study: Study) -> Section:
    """Write the section."""
    parts = (
        layers_part(study),
        steps_part(study, "Newton", folded=False),
        heads_part(study),
        use_part(study),
        probes_chapter(study),
        steps_part(study, "gradient descent", folded=True),
        probe_targets_part(study),
        pruning_part(study),
        attention_part(study),
    )
    return Section("where", "Where does it do that?", parts=tuple(part for part in parts if part is not None))


def _familiar_chapter(study: Study) -> Section:
    """Write the section."""
    own = ood_chapter(study)
    folded = [
        replace(own, title="The signature's score in numbers", lead="", figures=(), folded=True),
        replace(signature_chapter(study), folded=True),
        similarity_chapter(study.similarity),
    ]
    title = "Is this prompt familiar?"
    if study.detectors is None:
        return Section("familiar", title, own.lead, figures=own.figures, parts=tuple(folded))
    lead = (
        "Scores of how far out a prompt is, fitted on in-distribution prompts that are not scored; larger is further "
        "out. They stand beside what needs no network at all: norms and second moments of the raw prompt. Where those "
        "see a shift as well, hidden states prove nothing, and what untrained networks see too is no sign of learning."
    )
    figures = (detector_map(study.detectors), *own.figures)
    signature = replace(folded[0], lead=own.lead)
    return Section(
        "familiar",
        title,
        lead,
        figures=figures,
        parts=(detectors_chapter(study.detectors), signature, *folded[1:]),
    )


def _verdict_cards(study: Study) -> tuple[Verdict, ...]:
    """Answer the report's questions."""
    excesses = study.verdicts
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


def _mechanism_cards(study: Study, excesses: Mapping[str, Excess]) -> tuple[Verdict, ...]:
    return (
        _told("Does it act like a known algorithm?", excesses["algorithm"], agreement_sentence(study), "algorithm"),
        _told("Does the answer arise along its layers?", excesses["layers"], readout_sentence(study), "layers"),
        _probes_card(study, excesses),
        _use_card(study),
    )


def _use_card(study: Study) -> Verdict:
    title, use = "Is its signature used?", study.use
    if use is None:
        return Verdict(title, study.absent["use"], "unknown", None, "use")
    told: Tone = "evidence" if use.verdict == "evidence" else "none"
    tone: Tone = told if use.untrained else "unknown"
    detail = f"p = {use.p_value:.2g} by {len(use.random)} random subspaces, for itself, not among the joint claims."
    return Verdict(title, use_sentence(use), tone, detail if use.untrained else None, "use")


def _probes_card(study: Study, excesses: Mapping[str, Excess]) -> Verdict:
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


def build_page(study: Study, checkpoint: Checkpoint, provenance: Mapping[str, str | int]) -> Page:
    """Lay a study out as a report."""
    return Page(
        title=f"What {checkpoint.path.name} does in context",
        subtitle=f"{study.config.describe()}; {study.task.describe()}.",
        assumptions=checkpoint.assumptions,
        facts=_facts(study, checkpoint),
        verdicts=_verdict_cards(study),
        sections=(
            _doing_chapter(study),
            _where_chapter(study),
            _familiar_chapter(study),
            worth_chapter(study),
        ),
        provenance=_footer(study, checkpoint, provenance),
        warnings=_warnings(study, checkpoint),
    )


def _facts(study: Study, checkpoint: Checkpoint) -> tuple[Fact, ...]:
    step = "unknown" if checkpoint.step is None else f"{checkpoint.step:,}"
    families = study.families
    facts = [
        Fact("Origin", checkpoint.origin),
        Fact("Network", f"{study.config.describe()}, {checkpoint.model.n_params:,} parameters"),
        Fact("Training steps", step),
        Fact("In distribution", study.task.describe()),
        Fact(
            "Prompts",
            f"{len(families.fit)} a family, {families.fit.n_points} points, {len(families.shifted)} shifts",
        ),
        Fact("Controls", f"{len(study.untrained)} untrained networks, initialisation {study.config.init!r}"),
    ]
    notes = (*checkpoint.notes, *families.notes, *limits_of(study.config, study.conventions))
    return (*facts, *(Fact("Note", note) for note in notes))


def _warnings(study: Study, checkpoint: Checkpoint) -> tuple[str, ...]:
    warnings = []
    asked, trained = study.families.fit.n_points, checkpoint.n_points_trained
    if asked > trained:
        warnings.append(
            f"Prompts have {asked} points, but in training they had {trained}: later positions were never trained."
        )
    if not study.untrained:
        warnings.append("Controls were switched off, so no number here speaks of learning; run without --no-controls.")
    return tuple(warnings)


def _footer(study: Study, checkpoint: Checkpoint, provenance: Mapping[str, str | int]) -> tuple[Fact, ...]:
    facts = [
        Fact("Checkpoint", checkpoint.path.name),
        Fact("SHA-256", checkpoint.sha256),
        Fact("Seed", str(study.seed)),
    ]
    return (*facts, *(Fact(name.replace("_", " "), str(value)) for name, value in provenance.items()))
