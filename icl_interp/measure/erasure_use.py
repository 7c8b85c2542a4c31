"""Does a model use what is decodable of a quantity? What erasing it with a guarantee does to the answer."""

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.door import ModelLike, PromptsLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.interventions import erase
from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.errors import likeness_to_references
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.linear_probes import (
    PROBES,
    ProbeTarget,
    Target,
    columns_of,
    probe_targets,
    with_own_targets,
)
from icl_interp.measure.sites import answering_features
from icl_interp.measure.study.measure import Absent, Claim, Features, Findings, Measure, StudyPlan
from icl_interp.measure.subspace_use import (
    N_RANDOM,
    InterventionEffect,
    Untouched,
    Use,
    given_prompts,
    late_aims,
    late_answers,
)
from icl_interp.measure.verdicts import Excess
from icl_interp.models.architecture import FINAL_NORM, NO_SITES, READ_IN, Architecture, ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import answering_positions
from icl_interp.predictors.references import ByReference, References
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.query import Callee
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import references_with
from probes._core.arrays import takes_arrays
from probes.erasure import Eraser, ErasureFitter, fit_eraser
from probes.linear import fit_linear_probe


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ErasureUse(Use):
    """What erasing a quantity at one site does to the answer."""

    target: str
    """Name of the erased quantity."""
    r2: float
    """Held-out R² of a linear probe of the target at the site, before; mean over coordinates."""
    r2_after: float
    """The same after erasure, on prompts that the eraser was not fitted on: what erasure left of it."""
    removed: float
    """Share of the activations' variance at these positions that is taken away."""

    TAKEN: ClassVar[str] = "erased target"

    def _numbers(self) -> str:
        return f"{self.target}, R² {self.r2:.2f} -> {self.r2_after:.2f}, {super(ErasureUse, self)._numbers()}"


@takes_arrays
def erasure_use(
    model: ModelLike,
    task: TaskLike,
    target: str | Target | ProbeTarget,
    hook: str,
    *,
    prompts: PromptsLike | None = None,
    references: Mapping[str, Callee] | None = None,
    n_prompts: int = 256,
    n_random: int = N_RANDOM,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
) -> ErasureUse:
    """Measure whether a model uses what can be read of a quantity at one place.

    Formula: h <- r(h) at the tokens that ask, from the second point on, with r the smallest affine change after which
    no linear probe that all points share reads the target (LEACE, `probes.erasure.fit_eraser`); then the change of the
    late error and of the distances to references. Beside it as large a change along random directions, and untrained
    networks with erasers of their own. Decodable does not mean used: an answer that stays shows that the model does not
    need what the probe reads, or finds it elsewhere. After the last block a prediction is needed trivially; earlier
    sites say more. The erased quantity may still be there in a form that no linear probe reads; and where `r2` is near
    0 nothing decodable was erased.

    Args:
        model: Model of any family.
        task: The task in distribution.
        target: Name of a target of linear probes, such as "least squares" (see `linear_probes`); a function of
            prompts, see `register_target`; or an array [sample point] or [sample point k] for `prompts`, whose rows of
            the first point are not read.
        hook: Hook of width d_model.
        prompts: Prompts; the first half is fitted, the second half measured. None draws from the task.
        references: Predictors of your own by name, added to the task's; a `References` replaces them.
        n_prompts: Number of prompts to draw for the fit, and as many again for the measurement.
        n_random: Number of random directions; at least 2 for a verdict.
        n_controls: Number of untrained networks; 0 switches them off.
        seed: The only source of randomness.

    Returns:
        The effect beside both controls, and what a linear probe reads before and after.

    Raises:
        InputError: If no such target exists, it does not vary, or the model lacks the hook.

    Source:
        Belrose et al. (2023), arXiv 2306.03819, for the eraser; to set it beside random directions and untrained
        networks is ours.

    Example:
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=2, n_heads=1, d_model=8), seed=0)
        >>> use = erasure_use(model, LinearRegression(n_dims=2), "least squares", "blocks.0.hook_resid_post")
        >>> use.rank, use.r2_after < 0.1
        (1, True)
    """
    model, task = as_model_and_task("erasure_use", model, task)
    known = references_with(task, references)
    both = _drawn(task, prompts, n_prompts, seed)
    model.prepare(both.xs, both.ys)
    name, values = _target(target, both, task, known)
    n_fit = len(both) // 2
    fit, given = both[:n_fit], both[n_fit:]
    site = ResidualSite(hook, hook)

    def eraser(network: HookedModel) -> Eraser:
        return _fit(answering_features(network, fit, [site])[hook], values[:n_fit])

    untrained = ((network, eraser(network)) for network in untrained_networks(model, n_controls, seed=seed))
    aims = late_aims(model, given, known)
    found = ((model, eraser(model)), *untrained)
    return _use(task, found, site, name, given, values[n_fit:], given, aims, n_random, seed)


def _drawn(task: Task, prompts: PromptsLike | None, n_prompts: int, seed: int) -> Prompts:
    """Draw prompts, the first half for the fit; of saved ones, none is in both halves."""
    given = given_prompts("erasure_use", task, prompts, 2 * n_prompts, derive_seed(seed, "evaluation: erasure"))
    if len(given) < 10:
        raise InputError(f"erasure_use needs at least 10 prompts, got {len(given)}; give or draw more.")
    return given


def _target(target: str | Target | ProbeTarget, prompts: Prompts, task: Task, known: References) -> tuple[str, Tensor]:
    """Compute what is to be erased, from the second point on."""
    if isinstance(target, str):
        answers = known.answers(prompts)
        found, left_out = with_own_targets(probe_targets(prompts, answers, task), None, prompts, known)
        name = answers.shown(target) or target
        if name not in found:
            reason = left_out.get(name, f"there are {', '.join(found)}")
            raise InputError(f"erasure_use needs a target that linear probes look for, got {target!r}: {reason}.")
        return name, found[name]
    name = str(getattr(target, "__name__", "the given target")).strip("<>")
    given = (lambda _: target) if isinstance(target, Tensor) else target
    found, left_out = with_own_targets(({}, {}), {name: given}, prompts, ())
    if name not in found:
        raise InputError(f"erasure_use needs a target that varies: {left_out[name]}.")
    return name, found[name]


def _fit(features: Float[Tensor, "sample point d_model"], values: ProbeTarget) -> Eraser:
    return fit_eraser(features.flatten(0, 1), columns_of(values))


def _use(
    task: Task,
    networks: Iterable[tuple[HookedModel, Eraser]],
    site: ResidualSite,
    name: str,
    read: Prompts,
    values: ProbeTarget,
    given: Prompts,
    aims: Mapping[str, Tensor],
    n_random: int,
    seed: int,
) -> ErasureUse:
    """Erase in the model, which comes first, and in untrained networks; probes look at `read`, effects at `given`."""
    (model, eraser), *untrained = networks
    positions = _asking(model, given.n_points)

    def effect(untouched: Untouched, fitted: Eraser) -> InterventionEffect:
        return untouched.effect(erase(fitted, site.hook, positions=positions))

    own = Untouched(model, task, given, aims, seed, [site.hook])
    randomly = (eraser.along_random_directions(seed=derive_seed(seed, f"erasure {i}")) for i in range(n_random))
    before = answering_features(model, read, [site])[site.label]
    after = eraser(before)
    spread = (before - before.mean((0, 1))).double().square().sum()
    return ErasureUse(
        effect=effect(own, eraser),
        random=tuple(effect(own, random) for random in randomly),
        untrained=tuple(
            effect(Untouched(network, task, given, aims, seed, [site.hook]), fitted) for network, fitted in untrained
        ),
        hook=site.hook,
        rank=eraser.rank,
        target=name,
        r2=_r2(before, values, seed),
        r2_after=_r2(after, values, seed),
        removed=float((after - before).double().square().sum() / spread),
    )


def _asking(model: HookedModel, n_points: int) -> list[int]:
    """List the positions that ask, from the second point on; the last alone of a model that answers only its query."""
    n_positions = model.cfg.positions_for(n_points)
    chosen = answering_positions(model.cfg.tokens, n_positions)
    asking = list(range(n_positions))[chosen] if isinstance(chosen, slice) else chosen
    return asking[-1:] if model.cfg.query_only else asking[1:]


def _r2(features: Float[Tensor, "sample point d_model"], values: ProbeTarget, seed: int) -> float:
    groups = torch.arange(len(values)).repeat_interleave(values.shape[1])
    found = fit_linear_probe(
        features.flatten(0, 1), columns_of(values), groups=groups, controls=False, seed=seed, n_bootstrap=1
    )
    return float(found.r2.mean())


def _place(plan: StudyPlan) -> ResidualSite | None:
    """Choose where a study erases: the last place before the last block, other than the read-in."""
    inner = [site for site in plan.sites if site.label not in (READ_IN, FINAL_NORM)][:-1]
    return inner[-1] if inner else None


def _candidates(plan: StudyPlan) -> list[str]:
    """List what a study may erase: the predictions of references that vary."""
    return [name for name in plan.targets if name in plan.probe_answers]


def _followed(found: Findings) -> str:
    """Choose the reference that the model's predictions are most like, as the chapter on algorithms does."""
    answers = found.answers[IN_DISTRIBUTION]
    among = ByReference((answers.names[name], answers[name]) for name in _candidates(found.plan))
    (name,) = likeness_to_references([found.model.families[IN_DISTRIBUTION].predictions], among).nearest
    return name


def _without(plan: StudyPlan) -> str | None:
    if not plan.sites:
        return NO_SITES
    if _place(plan) is None:
        return (
            "Nothing lies between the read-in and the last block, after which whatever is read out is used trivially."
        )
    return None if _candidates(plan) else "The predictions of no reference vary, so there is nothing to erase."


def _chosen(plan: StudyPlan) -> ResidualSite:
    site = _place(plan)
    assert site is not None, "the measure is absent without it"
    return site


def _read(plan: StudyPlan, features: Features, of_model: bool) -> ErasureFitter:  # noqa: ARG001, FBT001
    """Sum up what every reference says beside the features: which of them the model follows is not known yet."""
    said = [columns_of(plan.targets[name]) for name in _candidates(plan)]
    fitter = ErasureFitter()
    fitter.update(features[_chosen(plan).label].flatten(0, 1), torch.cat(said, dim=1))
    return fitter


def _in_study(found: Findings) -> ErasureUse | Absent:
    plan, site, target = found.plan, _chosen(found.plan), _followed(found)
    column = _candidates(plan).index(target)
    erasers = [fitter.fit([column]) for fitter in found.read[ERASURE.name]]
    if not erasers[0].rank:
        return Absent(f"At {site.label} nothing is correlated with the predictions of {target}.")
    read, answers = plan.families.in_distribution.prompts, found.answers[IN_DISTRIBUTION]
    given = read[: plan.efforts[ERASURE.name].prompts]
    late = late_answers(plan.model, given)
    return _use(
        plan.task,
        zip([plan.model, *untrained_networks(plan.model, plan.n_controls, seed=plan.seed)], erasers, strict=True),
        site,
        target,
        read,
        answers[target][:, 1:],
        given,
        {name: said[: len(given), late].double() for name, said in answers.items()},
        N_RANDOM,
        plan.seed,
    )


def _cost(config: Architecture, n_points: int, n_controls: int) -> int:
    return 2 + N_RANDOM + (n_points if config.query_only else 1) + 2 * n_controls


def _claims(plan: StudyPlan) -> list[Claim]:
    site = _chosen(plan).label
    meaning = f"rise of the late error when the predictions of the reference that it follows are erased at {site}"
    return [Claim("erasure", meaning, functools.partial(_judge, site))]


def _judge(site: str, use: ErasureUse, found: Findings, n_claims: int) -> Excess:
    """Judge the use of what can be read at the site itself, whatever can be read elsewhere."""
    excess, probes = use.excess(n_claims), found.results.get(PROBES.name)
    if probes is None or probes.excess(use.target, n_claims, site=site).verdict == "evidence":
        return excess
    return replace(excess, gate=f"a linear read-out of {use.target} at {site}", p_value=math.nan)


ERASURE = Measure(
    "erasure", "use of what is decodable", run=_in_study, group="mechanism", without=_without, cost=_cost, read=_read,
    claims=_claims,
)  # fmt: skip
