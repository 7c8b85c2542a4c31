"""Section 3: is this prompt familiar? Every detector in sight; signature, details and layers folded."""

from dataclasses import replace

from icl_interp.measure.study_result import Study
from icl_interp.report.chapters.detectors import detector_map, detectors_chapter
from icl_interp.report.chapters.ood import ood_chapter
from icl_interp.report.chapters.signature import signature_chapter
from icl_interp.report.chapters.similarity import similarity_chapter
from icl_interp.report.model import Section

__all__ = ["familiar_chapter"]


def familiar_chapter(study: Study) -> Section:
    """Write the section.

    Args:
        study: All numbers.

    Returns:
        The map of all detectors, the signature's AUROC and its score against the error in sight; the rest folded.
    """
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
