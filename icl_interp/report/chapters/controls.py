"""Chapter 5: every claim beside its control, in one table."""

import math

from icl_interp.measure.study_result import Study
from icl_interp.report.model import Section
from icl_interp.report.tables import TableView

__all__ = ["MEANINGS", "controls_chapter"]

MEANINGS = {
    "in-context learning": "1 - late error / that of the best guess that reads no label, in distribution",
    "under shift": "1 - late error / that of zero, not below 0, mean over shifts",
    "spectra": "|log ratio| of leading singular values, shifted to in distribution, mean over shifts",
    "shared directions": "overlap in distribution minus mean overlap under shift",
    "score and error": "Spearman of score and log error, mean inside families",
    "detection": "AUROC of the signature, mean over shifts",
    "algorithm": "share of the nearest reference's predictions, 1 - E(f - g)² / E g²",
    "layers": "share of the read-in's error that a read-out of the last block removes",
}
"""What each verdict's number is."""


def controls_chapter(study: Study) -> Section:
    """Write the chapter.

    Args:
        study: All numbers.

    Returns:
        The table of verdicts.
    """
    rows = []
    for name, excess in study.verdicts().items():
        meaning = MEANINGS.get(name, "held-out R², best site")
        chance = excess.chance if math.isfinite(excess.chance) else None
        bounds = (excess.low, excess.high, excess.value_low if chance is not None else None, chance)
        numbers = (excess.value, excess.control, excess.excess, *bounds)
        rows.append((name, meaning, *numbers, excess.verdict))
    table = TableView(
        columns=(
            "claim",
            "number",
            "this model",
            "untrained",
            "excess",
            "low",
            "high",
            "value low",
            "chance",
            "evidence",
        ),
        rows=tuple(rows),
        caption=f"Each claim as an excess over {len(study.untrained)} untrained networks",
        notes="The bounds of the excess cover the spread over untrained networks and the bootstrap over prompts; each "
        f"end is one-sided, and all {study.n_verdicts} claims hold together at 95 % (Bonferroni). Evidence means that "
        "the lower bound of the excess lies above zero and that of the value (value low) above chance; none does not "
        "mean that there is no effect.",
        align=("left", "left", "right", "right", "right", "right", "right", "right", "right", "left"),
    )
    lead = (
        "Untrained networks have the model's own configuration and initialisation, other seeds, and read the same "
        "prompts. What they show as well is no sign of learning."
    )
    return Section("controls", "What is this evidence worth?", lead, tables=(table,))
