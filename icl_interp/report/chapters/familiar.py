"""Section 3: is this prompt familiar?"""

from dataclasses import replace

from icl_interp.measure.study_result import Study
from icl_interp.report.chapters.ood import ood_chapter
from icl_interp.report.chapters.signature import signature_chapter
from icl_interp.report.model import Section

__all__ = ["familiar_chapter"]


def familiar_chapter(study: Study) -> Section:
    """Write the section.

    Args:
        study: All numbers.

    Returns:
        Detection in sight, the signature folded.
    """
    detection, signature = ood_chapter(study), signature_chapter(study)
    return Section("familiar", "Is this prompt familiar?", parts=(detection, replace(signature, folded=True)))
