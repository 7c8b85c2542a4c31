"""What a study asks of every network, and how much of it it can afford; drawn and checked before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icl_interp.errors import InputError
from icl_interp.measure.controls import N_UNTRAINED
from icl_interp.measure.families import Families, draw_families
from icl_interp.measure.linear_probes import ProbeTarget, probe_targets
from icl_interp.measure.sites import Conventions, ResidualSite, residual_sites
from icl_interp.models.config import ModelConfig
from icl_interp.predictors.references import References
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.query import Callee
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import references_with
from icl_interp.tasks.shifts.select import select_shifts
from probes._core.reprs import short_repr

__all__ = [
    "Effort",
    "StudyPlan",
    "default_prompts",
    "effort_of",
    "fresh_queries",
    "limits_of",
    "plan_study",
    "shift_reads",
    "spanned_by",
    "study_reads",
    "weighed_points",
]

MIN_PROMPTS, MAX_PROMPTS = 24, 128
_MAX_PROBE_PROMPTS = 256
"""Prompts that probes are fitted on at most: their features are held in memory, those of other prompts are not."""
_WORK = 8.0e12
"""Floating-point operations that the default number of prompts may cost: a few minutes on two cores."""


def default_prompts(
    config: ModelConfig, n_shifts: int, n_points: int, n_controls: int = N_UNTRAINED, *, extra: int = 0
) -> int:
    """Choose as many prompts a family as a few minutes allow.

    Formula: WORK / (operations for all points of one prompt * prompts that are read for one prompt a family),
    cut to [24, 128].
    """
    per_token = config.n_layers * (4 * config.d_model**2 + 2 * config.d_model * config.mlp_width)
    passes = n_points if config.query_only else 1
    per_prompt = 2 * 2 * n_points * per_token * passes
    reads = study_reads(1, n_shifts, n_controls, extra=extra)
    return max(MIN_PROMPTS, min(MAX_PROMPTS, int(_WORK / (per_prompt * reads))))


def shift_reads(
    task: Task, shifts: Sequence[str] | None, *, n_points: int | None = None, max_points: int | None = None
) -> tuple[int, int]:
    """Count what the shifts of a study cost."""
    n_points = task.default_points if n_points is None else n_points
    entries = select_shifts(task, shifts, n_points=n_points, max_points=max_points)
    extra = 0
    for entry in (entry for entry in entries if entry.shift.errors_only):
        extra += 1 if entry.shift.lengthens else entry.source.sample(1, n_points, seed=0).n_points
    return sum(not entry.shift.errors_only for entry in entries), extra


def _probe_count(n_prompts: int) -> int:
    """Say how many prompts the linear probes are fitted on."""
    return min(2 * n_prompts, _MAX_PROBE_PROMPTS)


def study_reads(n_prompts: int, n_shifts: int, n_controls: int, *, extra: int = 0) -> int:
    """Count the prompts that all networks read in a study."""
    return (n_prompts * (n_shifts + 2) + _probe_count(n_prompts)) * (1 + n_controls) + n_prompts * extra


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
    references: References
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
    references: Mapping[str, Callee] | None = None,
) -> StudyPlan:
    """Draw and check everything that a study needs."""
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
    known = references_with(task, references, n_points=n_points)
    probe_prompts = task.sample(_probe_count(n_prompts), n_points, seed=derive_seed(seed, "evaluation: probes"))
    targets, left_out = probe_targets(probe_prompts, known, task)
    return StudyPlan(
        config=config,
        task=task,
        families=families,
        n_prompts=n_prompts,
        n_points=n_points,
        sites=tuple(sites),
        conventions=Conventions(layout=config.tokens).of_prompts(n_points, config.d_model),
        references=known,
        probe_prompts=probe_prompts,
        targets=targets,
        left_out=left_out,
        n_controls=n_controls,
        seed=seed,
    )


_SHARE = _WORK / 32
"""Floating-point operations that each of these measures may cost."""
LEAST, MOST = 8, 32
"""Prompts a measure."""
N_KEPT = 9
"""Points of a pruning curve at most, the two ends among them."""
N_ORDERS = 3
"""Random orders of pruning beside the one by importance."""


@dataclass(frozen=True, slots=True)
class Effort:
    """Prompts of each measure, and how many sequences they amount to."""

    agreement: int
    """For induced weights and gradients."""
    heads: int
    """For importance, and as many again for pruning."""
    attention: int
    """For patterns."""
    use: int
    """For the signature's subspace."""
    reads: tuple[int, int, int, int]
    """About how many sequences all networks read for each of the four, in this order; for progress."""


def weighed_points(n_dims: int, n_points: int) -> tuple[int, ...]:
    """Choose the points at which weights are induced, each of which costs a forward pass a fresh query."""
    last = n_points - 1
    return tuple(sorted({min(max(1, n_dims // 2), last), min(n_dims, last), last}))


def fresh_queries(n_dims: int) -> int:
    """Say how many fresh queries a prompt's weights are fitted to."""
    return 2 * n_dims + 2


def effort_of(config: ModelConfig, n_prompts: int, n_points: int, n_controls: int, n_random: int) -> Effort:
    """Share the effort out.

    Formula: for each measure SHARE / (operations a sequence * sequences a prompt), cut to [8, 32] and to n_prompts.
    """
    queries = fresh_queries(config.n_dims) * len(weighed_points(config.n_dims, n_points))
    heads = config.n_layers * config.n_heads
    passes = n_points if config.query_only else 1
    costs: Sequence[int] = (
        queries + 3 * passes,
        (1 + n_controls) * (1 + heads) + 1 + (1 + N_ORDERS) * min(heads + 1, N_KEPT),
        1 + n_controls,
        4 + 2 * n_random + 3 * n_controls,
    )
    per_token = config.n_layers * (4 * config.d_model**2 + 2 * config.d_model * config.mlp_width)
    sequence = 4 * n_points * per_token
    prompts = [min(n_prompts, max(LEAST, min(MOST, int(_SHARE / (sequence * cost))))) for cost in costs]
    agreement, by_heads, attention, use = prompts
    reads = [count * cost for count, cost in zip(prompts, costs, strict=True)]
    return Effort(agreement, by_heads, attention, use, (reads[0], reads[1], reads[2], reads[3]))


def limits_of(config: ModelConfig, conventions: Conventions) -> list[str]:
    """List what does not apply to a network, or is decided before any prompt is read."""
    width, k = config.d_model, min(conventions.k, config.d_model)
    limits = (
        (
            config.n_layers == 1,
            "A network of one layer has no development along its depth: curves have the read-in and one block.",
        ),
        (
            config.query_only,
            "A pass answers one point, so spectra are those of the last point's sequence, and probes read the query "
            "token.",
        ),
        (
            conventions.side == "right" and k >= width,
            f"The stream is {width} wide and {spanned_by(k)}, so every overlap is 1 and no signature exists.",
        ),
        (
            config.family == "softmax_layer",
            "The block writes one number a token, so beyond the first direction its spectrum is 0 and directions are "
            "arbitrary.",
        ),
        (
            config.init == "zeros",
            "Untrained networks start from zeros and are all alike: they are one control, whatever their number.",
        ),
    )
    return [sentence for applies, sentence in limits if applies]


def spanned_by(k: int) -> str:
    """Say that directions are all there are."""
    return "1 direction spans it" if k == 1 else f"{k} directions span it"
