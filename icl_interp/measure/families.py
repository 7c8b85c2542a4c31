"""The prompts of a study: one family in distribution, one for each shift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icl_interp.prompts import Prompts, derive_seed
from icl_interp.tasks.base import Task
from icl_interp.tasks.shifts import select_shifts

__all__ = ["IN_DISTRIBUTION", "Families", "Family", "draw_families"]

IN_DISTRIBUTION = "in distribution"
"""Label of the unshifted family."""


@dataclass(frozen=True, slots=True)
class Family:
    """Prompts of one distribution."""

    label: str
    """Such as "x_scale=3"."""
    meaning: str
    """One clause for people."""
    changes: str
    """"nothing", "inputs", "weights" or "labels"."""
    prompts: Prompts
    """What was drawn."""
    label_second_moment: float
    """E[y^2] of the family, the unit that errors are given in."""


@dataclass(frozen=True, slots=True)
class Families:
    """All prompts of a study."""

    fit: Prompts
    """In distribution; only for fitting signatures and probes, never scored."""
    by_label: Mapping[str, Family]
    """The scored families; the first is in distribution, and prompt i shares its random numbers across all."""

    @property
    def in_distribution(self) -> Family:
        """The unshifted family."""
        return self.by_label[IN_DISTRIBUTION]

    @property
    def shifted(self) -> list[Family]:
        """All others."""
        return [family for label, family in self.by_label.items() if label != IN_DISTRIBUTION]


def draw_families(
    task: Task,
    *,
    shifts: Sequence[str] | None = None,
    n_prompts: int,
    n_points: int | None = None,
    seed: int = 0,
) -> Families:
    """Draw the prompts of a study.

    Fit and score prompts come from different streams, and neither meets training prompts.

    Args:
        task: What is in distribution.
        shifts: Patterns as `select_shifts` takes them; None means all that apply.
        n_prompts: For each family, and for fitting.
        n_points: Pairs a prompt; None takes the task's usual number.
        seed: The only source of randomness.

    Returns:
        The families, in distribution first.

    Raises:
        ValueError: If a pattern names nothing that applies, a count is below 1, or all labels of a family are zero,
            so that its errors have no unit.
    """
    score_seed = derive_seed(seed, "evaluation: score")
    own = Family(
        label=IN_DISTRIBUTION,
        meaning="prompts as the model was trained on",
        changes="nothing",
        prompts=task.sample(n_prompts, n_points, seed=score_seed),
        label_second_moment=task.label_second_moment(),
    )
    families = {own.label: own}
    for entry in select_shifts(task, shifts):
        families[entry.label] = Family(
            label=entry.label,
            meaning=entry.meaning,
            changes=entry.shift.changes,
            prompts=entry.source.sample(n_prompts, n_points, seed=score_seed),
            label_second_moment=entry.source.label_second_moment(),
        )
    for family in families.values():
        if not family.label_second_moment > 0:
            raise ValueError(
                f"errors are given in units of E[y²] and need labels that are not all zero, got E[y²] = "
                f"{family.label_second_moment:g} for {family.label!r}; change the task or leave the shift out."
            )
    fit = task.sample(n_prompts, n_points, seed=derive_seed(seed, "evaluation: fit"))
    return Families(fit=fit, by_label=families)
