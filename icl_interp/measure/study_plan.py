"""What a study asks of every network: prompts, sites, targets; drawn and checked before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icl_interp.errors import InputError
from icl_interp.measure.conventions import Conventions
from icl_interp.measure.cost import default_prompts, probe_count, shift_reads
from icl_interp.measure.families import Families, draw_families
from icl_interp.measure.linear_probes import probe_targets
from icl_interp.measure.probe_report import ProbeTarget
from icl_interp.measure.sites import ResidualSite, residual_sites
from icl_interp.models.config import ModelConfig
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import reference_predictors
from probes._reprs import short_repr

__all__ = ["StudyPlan", "plan_study"]


@dataclass(frozen=True, slots=True, eq=False)
class StudyPlan:
    """The same for the model and for every untrained network."""

    config: ModelConfig
    """Of all networks."""
    task: Task
    """In distribution."""
    families: Families
    """The prompts."""
    n_prompts: int
    """A family."""
    n_points: int
    """Pairs a prompt."""
    sites: tuple[ResidualSite, ...]
    """Along the network."""
    conventions: Conventions
    """How activations become directions."""
    references: Mapping[str, Predictor]
    """Algorithms by name."""
    probe_prompts: Prompts
    """For linear probes and read-outs, of a stream of their own."""
    targets: Mapping[str, ProbeTarget]
    """Of linear probes, on those prompts."""
    left_out: Mapping[str, str]
    """Targets that cannot be probed, with the reason."""
    n_controls: int
    """Untrained networks."""
    seed: int
    """The only source of randomness."""

    __repr__ = short_repr


def plan_study(
    config: ModelConfig,
    task: Task,
    *,
    n_prompts: int | None,
    n_points: int | None,
    shifts: Sequence[str] | None,
    layers: Sequence[int] | None,
    n_controls: int,
    n_points_trained: int | None,
    seed: int,
) -> StudyPlan:
    """Draw and check everything that a study needs.

    Args:
        config: Of the model.
        task: What is in distribution.
        n_prompts: As in `study`.
        n_points: Likewise.
        shifts: Likewise.
        layers: Likewise.
        n_controls: Likewise.
        n_points_trained: Likewise.
        seed: Likewise.

    Returns:
        The plan.

    Raises:
        InputError: As `study`.
    """
    n_points = task.default_points if n_points is None else n_points
    if n_prompts is None:
        n_shifts, extra = shift_reads(task, shifts, n_points=n_points, max_points=config.max_points)
        n_prompts = default_prompts(config, n_shifts, n_points, n_controls, extra=extra)
    if n_prompts < 8 or n_points < 2:
        raise InputError(
            f"a study needs at least 8 prompts of 2 points, got {n_prompts} prompts of {n_points} points; raise "
            "--prompts or --points."
        )
    sites = residual_sites(config, layers)
    families = draw_families(
        task,
        shifts=shifts,
        n_prompts=n_prompts,
        n_points=n_points,
        max_points=config.max_points,
        n_points_trained=n_points_trained,
        seed=seed,
    )
    if len(families.all_families) == 1:
        raise InputError(
            "a study compares prompts in distribution with shifted ones, got no shift; add one, such as x_scale=3, to "
            "--shifts."
        )
    references = reference_predictors(task, n_points=n_points)
    probe_prompts = task.sample(probe_count(n_prompts), n_points, seed=derive_seed(seed, "evaluation: probes"))
    targets, left_out = probe_targets(probe_prompts, references, task)
    return StudyPlan(
        config=config,
        task=task,
        families=families,
        n_prompts=n_prompts,
        n_points=n_points,
        sites=tuple(sites),
        conventions=Conventions(layout=config.tokens).of_prompts(n_points, config.d_model),
        references=references,
        probe_prompts=probe_prompts,
        targets=targets,
        left_out=left_out,
        n_controls=n_controls,
        seed=seed,
    )
