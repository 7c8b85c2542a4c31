"""Section 1: what is this model doing?"""

from icl_interp.measure.study_result import Study
from icl_interp.report.chapters.agreement import agreement_part
from icl_interp.report.chapters.errors import errors_chapter, shifts_part
from icl_interp.report.model import Section

__all__ = ["doing_chapter"]


def doing_chapter(study: Study) -> Section:
    """Write the section.

    Args:
        study: All numbers.

    Returns:
        Errors and agreement with algorithms in sight, errors under shifts folded.
    """
    parts = (errors_chapter(study), agreement_part(study), shifts_part(study))
    return Section("doing", "What is this model doing?", parts=parts)
