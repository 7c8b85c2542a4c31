"""Section 2: where does it do that?"""

from icl_interp.measure.study_result import Study
from icl_interp.report.chapters.heads import attention_part, heads_part, pruning_part
from icl_interp.report.chapters.layers import layers_part, steps_part
from icl_interp.report.chapters.probes import probe_targets_part, probes_chapter
from icl_interp.report.chapters.use import use_part
from icl_interp.report.model import Section

__all__ = ["where_chapter"]


def where_chapter(study: Study) -> Section:
    """Write the section.

    Args:
        study: All numbers.

    Returns:
        Layers, steps of Newton's method, heads, the use of the signature and all probes in one in sight; steps of
        gradient descent, each probe, pruning and attention folded.
    """
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
