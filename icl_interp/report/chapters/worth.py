"""Section 4: what is that evidence worth?"""

from icl_interp.measure.study_result import Study
from icl_interp.report.chapters.controls import controls_chapter
from icl_interp.report.model import Section

__all__ = ["worth_chapter"]


def worth_chapter(study: Study) -> Section:
    """Write the section.

    Args:
        study: All numbers.

    Returns:
        Every claim beside its control.
    """
    return Section("worth", "What is that evidence worth?", parts=(controls_chapter(study),))
