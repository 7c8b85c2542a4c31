"""The input of every checkpoint of a run: fixed prompts, and the answers of the reference predictors to them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.measure.development.settings import DevelopmentSettings
from icl_interp.measure.families import IN_DISTRIBUTION, Families, draw_families
from icl_interp.measure.linear_probes import probe_targets
from icl_interp.predictors.references import ByReference, OwnReference, References
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.query import Callee, predict
from icl_interp.tasks.base import Task
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.references import reference_predictors
from icl_interp.tasks.shifts.select import Shifts
from icl_interp.tasks.shifts.suite import SHIFTS
from icl_interp.tasks.task_pool import TaskPool
from probes._core.results import short_repr

_FRESH, _LARGER = "w_fresh", "x_scale=3"


@dataclass(frozen=True, slots=True)
class OwnParts:
    """What the user chose or brought along: which families are drawn, and predictors beside the task's."""

    shifts: Shifts | None = None
    """As `select_shifts` takes them; None draws the one family of `ood_label`."""
    references: tuple[tuple[str, Callee], ...] = field(default=(), hash=False)
    """By name, those that are registered among them; some callables have no hash."""

    __repr__ = short_repr


@dataclass(frozen=True)
class Material:
    """Prompts and the references' answers, drawn when they are first needed."""

    task: Task
    """In distribution."""
    shared_task: Task | None
    """What the prompts of the joint trajectory come from; None where the runs have none in common."""
    settings: DevelopmentSettings
    max_points: int | None
    """Points that the model has positions for."""
    own: OwnParts = OwnParts()  # frozen
    """What the user chose or brought along."""

    @cached_property
    def families(self) -> Families:
        settings = self.settings
        return draw_families(
            self.task,
            shifts=[ood_label(self.task)] if self.own.shifts is None else self.own.shifts,
            n_prompts=settings.n_prompts,
            n_points=settings.n_points,
            max_points=self.max_points,
            seed=settings.seed,
        )

    @cached_property
    def references(self) -> References:
        """Reference predictors of the task by name."""
        known = reference_predictors(self.task, n_points=self.settings.n_points)
        return known.and_own(dict(self.own.references)) if self.own.references else known

    @cached_property
    def said(self) -> dict[str, ByReference[Tensor]]:
        """What each reference says to each family."""
        return {label: self.references.answers(family.prompts) for label, family in self.families.all_families.items()}

    @property
    def ood_family(self) -> str:
        """The family that counts as out of distribution: the first that is shifted."""
        shifted = [label for label in self.families.all_families if label != IN_DISTRIBUTION]
        if not shifted:
            raise InputError("development needs a shifted family, got none; name one, such as shifts=['x_scale=3'].")
        return shifted[0]

    @property
    def fresh_family(self) -> str | None:
        """As `fresh_weights_family`, where that family was drawn."""
        label = fresh_weights_family(self.task)
        return label if label in self.families.all_families else None

    @property
    def own_references(self) -> tuple[str, ...]:
        """Names of the predictors that the user brought along."""
        return tuple(name for name, f in self.references.items() if isinstance(f, OwnReference))

    def digest(self) -> str | None:
        """Name the prompts and answers of the user's parts, on which records depend; None where there are none."""
        if self.own.shifts is None and not self.own_references:
            return None
        parts = hashlib.sha256()
        shown = {label: family.prompts for label, family in self.families.all_families.items()}
        for label, prompts in {**shown, "": self.probe_prompts}.items():
            said = {name: self.references.answer(name, prompts) for name in self.own_references}
            for name, values in {"xs": prompts.xs, "ys": prompts.targets, **said}.items():
                parts.update(f"{label}:{name}:{values.dtype}".encode() + values.contiguous().numpy().tobytes())
        return parts.hexdigest()[:16]

    @cached_property
    def probe_prompts(self) -> Prompts:
        """In distribution, for signatures, probes and attention."""
        settings = self.settings
        seed = derive_seed(settings.seed, "development: probes")
        return self.task.sample(settings.n_probe_prompts, settings.n_points, seed=seed)

    @cached_property
    def targets(self) -> dict[str, Tensor]:
        """What probes shall find on `probe_prompts`."""
        prompts = self.probe_prompts
        return probe_targets(prompts, self.references.answers(prompts))[0]

    @cached_property
    def shared_prompts(self) -> Prompts | None:
        """The same for every run, for the joint trajectory."""
        settings = self.settings
        if self.shared_task is None:
            return None
        seed = derive_seed(settings.seed, "development: trajectory")
        return self.shared_task.sample(settings.n_pca_prompts, settings.n_points, seed=seed)

    def landmarks(self) -> ByReference[Tensor]:
        """Give the references' function vectors on `shared_prompts`."""
        prompts = self.shared_prompts
        if prompts is None:
            return ByReference([])
        return self.references.each(lambda name: self.references.answer(name, prompts).double().flatten())


@lru_cache(maxsize=4)
def material(
    task: Task, shared_task: Task | None, settings: DevelopmentSettings, max_points: int | None, own: OwnParts
) -> Material:
    """Prepare what checkpoints are shown, once for all checkpoints that a process measures."""
    return Material(task, shared_task, settings, max_points, own)


def ood_label(task: Task) -> str:
    """Name the family that counts as out of distribution."""
    return _FRESH if SHIFTS[_FRESH].applies_to(task) else _LARGER


def fresh_weights_family(task: Task) -> str | None:
    """Name the family that follows q_inf, standard normal weights: the loss that task-diversity curves show."""
    if isinstance(task, TaskPool):
        return _FRESH
    plain = isinstance(task, LinearRegression) and task == LinearRegression(
        task.n_dims, noise_std=task.noise_std, n_points=task.n_points
    )
    return IN_DISTRIBUTION if plain else None


def pca_task(tasks: Sequence[Task]) -> Task | None:
    """Choose the task whose prompts all runs are compared on."""
    pools = [task for task in tasks if isinstance(task, TaskPool)]
    if pools and len({(task.n_dims, task.default_points) for task in tasks}) == 1:
        return pools[0].model_copy(update={"n_tasks": 1})
    return tasks[0] if all(task == tasks[0] for task in tasks) else None


def answers(model: object, prompts: Prompts, *, batch_size: int = 256) -> Tensor:
    device = getattr(model, "device", "cpu")
    with torch.no_grad():
        parts = [
            predict(model, prompts[start : start + batch_size].to(device)).cpu().double()  # type: ignore[arg-type]
            for start in range(0, len(prompts), batch_size)
        ]
    return torch.cat(parts)
