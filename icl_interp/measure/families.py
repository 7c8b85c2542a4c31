"""The prompts of a study: one family in distribution, one for each shift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

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
    """"nothing", "inputs", "weights", "labels", "queries" or "length"."""
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
    errors_only: Mapping[str, Family] = field(default_factory=dict)
    """Families whose prompts have queries of their own, or more points. Errors are measured on them; spectra,
    signatures and detection are not, since their activations would compare unlike with unlike."""

    @property
    def in_distribution(self) -> Family:
        """The unshifted family."""
        return self.by_label[IN_DISTRIBUTION]

    @property
    def shifted(self) -> list[Family]:
        """All others that are read in full."""
        return [family for label, family in self.by_label.items() if label != IN_DISTRIBUTION]

    @property
    def all_families(self) -> dict[str, Family]:
        """Those with errors: `by_label`, then `errors_only`."""
        return {**self.by_label, **self.errors_only}


def draw_families(
    task: Task,
    *,
    shifts: Sequence[str] | None = None,
    n_prompts: int,
    n_points: int | None = None,
    max_points: int | None = None,
    seed: int = 0,
) -> Families:
    """Draw the prompts of a study.

    Fit and score prompts come from different streams, and neither meets training prompts.

    Args:
        task: What is in distribution.
        shifts: Patterns as `select_shifts` takes them; None means the core suite.
        n_prompts: For each family, and for fitting.
        n_points: Pairs a prompt; None takes the task's usual number.
        max_points: Points that the model has positions for: longer prompts are cut there. None means no limit.
        seed: The only source of randomness.

    Returns:
        The families, in distribution first.

    Raises:
        ValueError: If a pattern names nothing that applies, a count is below 1, or all labels of a family are zero,
            so that its errors have no unit.
    """
    score_seed = derive_seed(seed, "evaluation: score")
    if n_points is not None:
        task = task.model_copy(update={"n_points": n_points})  # labels of recurrences grow with the length
    own = Family(
        label=IN_DISTRIBUTION,
        meaning="prompts as the model was trained on",
        changes="nothing",
        prompts=task.sample(n_prompts, n_points, seed=score_seed),
        label_second_moment=task.label_second_moment(),
    )
    families = {own.label: own}
    errors_only: dict[str, Family] = {}
    for entry in select_shifts(task, shifts, n_points=n_points, max_points=max_points):
        prompts = entry.source.sample(n_prompts, n_points, seed=score_seed)
        if max_points is not None and prompts.n_points > max_points:
            prompts = prompts.first_points(max_points)
        length = f" ({prompts.n_points} points)" if entry.shift.lengthens else ""
        (errors_only if entry.shift.errors_only else families)[entry.label] = Family(
            label=entry.label,
            meaning=entry.meaning + length,
            changes=entry.shift.changes,
            prompts=prompts,
            label_second_moment=entry.source.label_second_moment(),
        )
    for family in (*families.values(), *errors_only.values()):
        if not family.label_second_moment > 1e-14 * own.label_second_moment:
            raise ValueError(
                f"errors are given in units of E[y²] and need labels that are not all zero, got E[y²] = "
                f"{family.label_second_moment:g} for {family.label!r}; change the task or leave the shift out."
            )
    fit = task.sample(n_prompts, n_points, seed=derive_seed(seed, "evaluation: fit"))
    return Families(fit=fit, by_label=families, errors_only=errors_only)
