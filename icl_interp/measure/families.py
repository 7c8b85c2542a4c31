"""The prompts of a study: one family in distribution, one for each shift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from icl_interp.errors import InputError
from icl_interp.models.hooked import HookedModel
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.tasks.base import Task
from icl_interp.tasks.fixed_prompts import REFERENCE, FixedPrompts
from icl_interp.tasks.shifts.record import ShiftedTask
from icl_interp.tasks.shifts.select import Shifts, left_out_for_length, select_shifts
from icl_interp.tasks.shifts.sources import LongerPrompts
from probes._core.results import short_repr

IN_DISTRIBUTION = REFERENCE
"""Label of the unshifted family."""


@dataclass(frozen=True, slots=True)
class Family:
    """Prompts of one distribution."""

    label: str
    """Name, such as "x_scale=3"."""
    meaning: str
    """Description in one clause."""
    changes: str
    """"nothing", "inputs", "weights", "labels", "queries" or "length"."""
    prompts: Prompts
    """Prompts of the family."""
    label_second_moment: float
    """E[y^2] of the family, the unit that errors are given in."""
    first_unseen_point: int | None = None
    """The first point at which training never asked the model (it counts the examples before it); None where training
    had all points of these prompts."""

    __repr__ = short_repr

    def seen(self, point: int) -> bool:
        """Tell whether training asked the model at a point."""
        return self.first_unseen_point is None or point < self.first_unseen_point


@dataclass(frozen=True, slots=True)
class Families:
    """All prompts of a study."""

    fit: Prompts
    """Prompts in distribution that only fit signatures and probes and are never scored."""
    by_label: Mapping[str, Family]
    """The scored families; the first is in distribution, and prompt i shares its random numbers across all."""
    errors_only: Mapping[str, Family] = field(default_factory=dict)
    """Families whose prompts have queries of their own, or more points. Errors are measured on them; spectra,
    signatures and detection are not, since their activations would compare unlike with unlike."""
    notes: tuple[str, ...] = ()
    """What was left out or cut, in one sentence per item with the reason."""

    __repr__ = short_repr

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


def look_first(model: HookedModel, task: Task, n_points: int | None = None, *, seed: int = 0) -> None:
    """Show a network a few prompts, by which a wrapped one is understood."""
    first = task.sample(8, n_points, seed=derive_seed(seed, "evaluation: first look"))
    model.prepare(first.xs, first.ys)


def draw_families(
    task: Task,
    *,
    shifts: Shifts | None = None,
    n_prompts: int,
    n_points: int | None = None,
    max_points: int | None = None,
    n_points_trained: int | None = None,
    seed: int = 0,
) -> Families:
    """Draw the prompts of a study.

    Fit and score prompts come from different streams, and neither meets training prompts.
    """
    score_seed = derive_seed(seed, "evaluation: score")
    trained = task.default_points if n_points_trained is None else n_points_trained
    if isinstance(task, FixedPrompts):
        return _saved_families(task, shifts, n_prompts, n_points, max_points, trained, seed)
    if n_points is not None:
        task = task.model_copy(update={"n_points": n_points})  # labels of recurrences grow with the length
    own = Family(
        label=IN_DISTRIBUTION,
        meaning="prompts as the model was trained on",
        changes="nothing",
        prompts=task.sample(n_prompts, n_points, seed=score_seed),
        label_second_moment=task.label_second_moment(),
    )
    drawn = [own]
    entries = select_shifts(task, shifts, n_points=n_points, max_points=max_points)
    drawn += [_family(entry, n_prompts, n_points, max_points, score_seed) for entry in entries]
    _check_units(drawn)
    drawn = [_marked(family, trained) for family in drawn]
    apart = {entry.label for entry in entries if entry.shift.errors_only}
    return Families(
        fit=task.sample(n_prompts, n_points, seed=derive_seed(seed, "evaluation: fit")),
        by_label={family.label: family for family in drawn if family.label not in apart},
        errors_only={family.label: family for family in drawn if family.label in apart},
        notes=(*left_out_for_length(task, shifts, max_points=max_points), *_cuts(entries, max_points)),
    )


_NO_LAW = (
    "Prompts are saved ones and no law of them is known: there is no Bayes reference, no probe of weights, no "
    "agreement at fresh queries, and no shift that draws new prompts."
)


def _saved_families(
    task: FixedPrompts,
    shifts: Shifts | None,
    n_prompts: int,
    n_points: int | None,
    max_points: int | None,
    n_points_trained: int,
    seed: int,
) -> Families:
    fit, scored = task.draw(n_prompts, n_points, seed=seed)
    entries = {entry.label: entry for entry in select_shifts(task, shifts)}
    drawn, notes = [], [_NO_LAW]
    for label, prompts in scored.items():
        if label != IN_DISTRIBUTION and label not in entries:
            continue
        if max_points is not None and prompts.n_points > max_points:
            notes.append(
                f"{label} is cut to {max_points} of its {prompts.n_points} points, for which the model has positions."
            )
            prompts = prompts.first_points(max_points)
        meaning = entries[label].meaning if label in entries else "prompts that were saved as in distribution"
        changes = entries[label].changes if label in entries else "nothing"
        drawn.append(_marked(Family(label, meaning, changes, prompts, task.second_moment_of(label)), n_points_trained))
    _check_units(drawn)
    apart = {entry.label for entry in entries.values() if entry.shift.errors_only}
    return Families(
        fit=fit,
        by_label={family.label: family for family in drawn if family.label not in apart},
        errors_only={family.label: family for family in drawn if family.label in apart},
        notes=tuple(notes),
    )


def _family(entry: ShiftedTask, n_prompts: int, n_points: int | None, max_points: int | None, seed: int) -> Family:
    source = entry.source
    if isinstance(source, LongerPrompts):  # cut by the source, so that E[y^2] is that of the points that stay
        source = replace(source, most_points=max_points)
    prompts = source.sample(n_prompts, n_points, seed=seed)
    length = f" ({prompts.n_points} points)" if entry.shift.lengthens else ""
    return Family(entry.label, entry.meaning + length, entry.changes, prompts, source.label_second_moment())


def _marked(family: Family, n_points_trained: int) -> Family:
    unseen = n_points_trained if family.prompts.n_points > n_points_trained else None
    return replace(family, first_unseen_point=unseen)


def _cuts(entries: Sequence[ShiftedTask], max_points: int | None) -> list[str]:
    asked = {entry.label: entry.source.count() for entry in entries if isinstance(entry.source, LongerPrompts)}
    return [
        f"{label} is cut to {max_points} of its {count} points, for which the model has positions."
        for label, count in asked.items()
        if max_points is not None and count > max_points
    ]


def _check_units(families: Sequence[Family]) -> None:
    for family in families:
        if not family.label_second_moment > 1e-14 * families[0].label_second_moment:
            raise InputError(
                f"errors are given in units of E[y²] and need labels that are not all zero, got E[y²] = "
                f"{family.label_second_moment:g} for {family.label!r}; change the task or leave the shift out."
            )
