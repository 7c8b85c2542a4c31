"""Does a model use a subspace, or is it only there? What interventions do to its error."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.door import ModelLike, PromptsLike, TaskLike, as_model_and_task, as_prompts
from icl_interp.errors import InputError
from icl_interp.figures.dots import DotSeries, dots_figure
from icl_interp.figures.theme import role_style
from icl_interp.interventions import (
    Intervention,
    answered_points,
    exchange_for_random,
    project_out,
)
from icl_interp.interventions.record import Positions
from icl_interp.interventions.replay import Replay
from icl_interp.measure.controls import N_UNTRAINED, estimate_mean, untrained_makers, untrained_networks
from icl_interp.measure.errors import first_scored_point
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.result import Result
from icl_interp.measure.sites import Conventions, spanned_by
from icl_interp.measure.study.measure import Absent, Claim, Findings, Measure, StudyPlan
from icl_interp.measure.verdicts import Excess, VerdictWord, beyond_both, excess_over_controls
from icl_interp.models.architecture import NO_SITES, Architecture, ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.references import References
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.query import Callee
from icl_interp.tasks.base import Task
from icl_interp.tasks.fixed_prompts import FixedPrompts
from icl_interp.tasks.references import references_with
from probes._core.arrays import takes_arrays
from probes.bootstrap import Estimate
from probes.signature import fit_signature


@dataclass(frozen=True, slots=True, eq=False)
class InterventionEffect:
    """Before and after, prompt by prompt; all errors are late ones, in units of E[y^2]."""

    description: str
    """Description of the intervention."""
    before: Estimate
    """Error of the untouched model."""
    after: Estimate
    """Error under the intervention."""
    change: Estimate
    """After minus before, with a paired interval: above 0, the intervention harms."""
    distance_changes: Mapping[str, Estimate]
    """By reference: mean squared distance to its predictions, after minus before; below 0, the model has become more
    like it."""
    changes: Float64[Tensor, " sample"]
    """The change of each prompt."""

    def to_frame(self) -> pd.DataFrame:
        """Lay the changes out, one per row."""
        rows = {"error": self.change, **{f"distance to {name}": e for name, e in self.distance_changes.items()}}
        return pd.DataFrame(
            [(name, e.value, e.low, e.high) for name, e in rows.items()], columns=["quantity", "change", "low", "high"]
        )

    def __repr__(self) -> str:
        return f"InterventionEffect({self.description}: error {self.before.value:.3g} -> {self.after.value:.3g})"


def intervention_effect(
    model: ModelLike,
    task: TaskLike,
    intervention: Intervention,
    *,
    prompts: PromptsLike | None = None,
    references: Mapping[str, Callee] | None = None,
    n_prompts: int = 256,
    seed: int = 0,
) -> InterventionEffect:
    """Measure how an intervention changes errors and distances to references.

    Formula: error = mean over late points (at least d examples before them; the last point for a model that answers
    only its query) of squared error / E[y^2]; distances to references in the same unit.

    Args:
        model: Model of any family.
        task: What is in distribution; its E[y^2] is the unit. None takes that of a `Checkpoint`.
        intervention: Intervention from `icl_interp.interventions`.
        prompts: Prompts to measure on; None draws from the task.
        references: Predictors of your own by name, added to the task's; a `References` replaces them.
        n_prompts: Number of prompts to draw.
        seed: Seed of the prompts and of the bootstrap.

    Returns:
        Errors and distances before and after, with bootstrap intervals over prompts.

    Raises:
        InputError: If the model lacks a hook of the intervention.

    Example:
        >>> import torch
        >>> from icl_interp.interventions import steer
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> nothing = steer(torch.ones(8), "hook_embed", amount=0.0)
        >>> intervention_effect(model, LinearRegression(n_dims=2), nothing, n_prompts=32).change.value
        0.0
    """
    model, task = as_model_and_task("intervention_effect", model, task)
    given = given_prompts("intervention_effect", task, prompts, n_prompts, seed)
    known = references_with(task, references)
    return Untouched(model, task, given, late_aims(model, given, known), seed, ()).effect(intervention)


def given_prompts(who: str, task: Task, prompts: PromptsLike | None, n_prompts: int, seed: int) -> Prompts:
    return task.sample(n_prompts, seed=seed) if prompts is None else as_prompts(who, prompts)


class Untouched:
    """A model left alone, asked once, beside which interventions are measured."""

    def __init__(
        self,
        model: HookedModel,
        task: Task,
        prompts: Prompts,
        aims: Mapping[str, Tensor],
        seed: int,
        hooks: Sequence[str],
    ) -> None:
        """Ask it; `aims` are what references say at late points, and `hooks` are where it will be changed."""
        self._aims, self._seed, self._replay = aims, seed, Replay(model, prompts, hooks)
        self._unit, self._late = task.label_second_moment(), late_answers(model, prompts)
        self._labels = prompts.targets.double()[:, self._late]
        self._said = self._lately(self._replay.answers)
        self._errors = self._shares(self._said, self._labels)
        self._error = estimate_mean(self._errors, seed=seed)

    def effect(self, intervention: Intervention) -> InterventionEffect:
        """Compare it with itself under an intervention."""
        before, after = self._said, self._lately(self._replay.under(intervention))
        errors = self._shares(after, self._labels)
        return InterventionEffect(
            description=intervention.description,
            before=self._error,
            after=estimate_mean(errors, seed=self._seed),
            change=estimate_mean(errors - self._errors, seed=self._seed),
            distance_changes={
                name: estimate_mean(self._shares(after, aim) - self._shares(before, aim), seed=self._seed)
                for name, aim in self._aims.items()
            },
            changes=errors - self._errors,
        )

    def activations(self, hook: str) -> Tensor:
        """Give what stood at one of its hooks."""
        return self._replay.activations(hook)

    def _lately(self, answers: Tensor) -> Tensor:
        return answers.double()[:, -len(self._late) :]

    def _shares(self, said: Tensor, aim: Tensor) -> Tensor:
        return (said - aim).square().mean(1) / self._unit


def late_aims(model: HookedModel, prompts: Prompts, references: References) -> dict[str, Tensor]:
    model.prepare(prompts.xs, prompts.ys)
    late = late_answers(model, prompts)
    return {name: said[:, late].double() for name, said in references.answers(prompts).items()}


def late_answers(model: HookedModel, prompts: Prompts) -> list[int]:
    """Say at which points a hooked model's answers count as late."""
    first = first_scored_point(prompts.n_dims, prompts.n_points)
    return [point for point in answered_points(model.cfg, prompts.n_points) if point >= first]


N_RANDOM = 20
"""Random subspaces beside the one that is asked about."""


@dataclass(frozen=True, slots=True, eq=False)
class Use(Result):
    """What taking something away does, beside taking as much away from the model at random and from untrained networks.

    The verdict is two-sided and asks for both controls at once: evidence harms more than one more random subspace and
    one more untrained network would show, and the opposite harms less than both.
    """

    effect: InterventionEffect
    """Of taking it away."""
    random: tuple[InterventionEffect, ...]
    """Of subtracting a vector of the same length along random subspaces of equal rank, at every position of every
    prompt."""
    untrained: tuple[InterventionEffect, ...]
    """Of the same intervention on each untrained network, fitted to it; empty where controls were switched off."""
    hook: str
    """Where."""
    rank: int
    """Directions taken away."""

    TAKEN: ClassVar[str] = "this subspace"
    """What is taken away, in figures."""

    @property
    def p_value(self) -> float:
        """Two-sided, beside the distribution of the random subspaces."""
        return self.over_random().p_value

    def over_untrained(self, n_verdicts: int = 1) -> Excess:
        """Compare the change with that in untrained networks."""
        return self._over(self.untrained, n_verdicts)

    def over_random(self, n_verdicts: int = 1) -> Excess:
        """Compare the change with that of the random subspaces."""
        return self._over(self.random, n_verdicts)

    def excess(self, n_verdicts: int = 1) -> Excess:
        """Compare the change with both controls at once."""
        return beyond_both(self.over_untrained(n_verdicts), self.over_random(n_verdicts))

    def _over(self, others: Sequence[InterventionEffect], n_verdicts: int) -> Excess:
        own = self.effect.changes
        paired = own - torch.stack([other.changes for other in others]).mean(0) if others else own
        return excess_over_controls(
            self.effect.change.value,
            [other.change.value for other in others],
            sampling_variance=float(paired.var() / len(paired)),
            n_verdicts=n_verdicts,
        )

    @property
    def verdict(self) -> VerdictWord:
        """Whether the model uses it, judged alone; beside random subspaces only without untrained networks.

        A study judges it together with its other claims.
        """
        return (self.excess() if self.untrained else self.over_random()).verdict

    def to_frame(self) -> pd.DataFrame:
        """Lay all effects out, one per row."""
        named = [(self.TAKEN, self.effect)]
        named += [(f"random {i + 1}", effect) for i, effect in enumerate(self.random)]
        named += [(f"untrained network {i + 1}", effect) for i, effect in enumerate(self.untrained)]
        rows = [(n, e.before.value, e.after.value, e.change.value, e.change.low, e.change.high) for n, e in named]
        return pd.DataFrame(rows, columns=["subspace", "error before", "error after", "change", "low", "high"])

    def plot(self) -> Any:
        """Draw the change of the late error beside both controls."""
        return changes_figure(self.series())

    def series(self, place: str = "") -> list[DotSeries]:
        """Lay the changes out for a figure, in rows that begin with the place."""
        kinds = (
            ("untrained networks", self.untrained, role_style("untrained")),
            ("random subspaces", self.random, role_style("shuffled")),
            (self.TAKEN, (self.effect,), role_style("model")),
        )
        return [
            DotSeries(
                name,
                [f"{place}{name}"] * len(effects),
                [effect.change.value for effect in effects],
                style,
                [effect.change.low for effect in effects],
                [effect.change.high for effect in effects],
            )
            for name, effects, style in kinds
        ]

    def _numbers(self) -> str:
        median = _median([effect.change.value for effect in self.random])
        return (
            f"rank {self.rank} at {self.hook}, error change {self.effect.change.value:.3g}, random subspaces "
            f"{median:.3g}, p beside them {self.p_value:.2g}"
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.verdict}: {self._numbers()})"


def changes_figure(series: Sequence[DotSeries]) -> Any:
    return dots_figure(series, x="change of late error / E[y²]", reference=0.0)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SubspaceUse(Use):
    """What taking a subspace away does: its component becomes the mean, or 0 by `ablation`."""

    to_zero: InterventionEffect
    """Of projecting the subspace out to 0, its constant part included: where norms follow, this also changes the scale
    of everything else."""
    energy: float
    """Share of the activation's mean square that lies in the subspace."""
    varying: float
    """Share of the subspace's own mean square that differs between prompts; the rest is constant at each position."""
    ablation: Literal["mean", "zero"]
    """What `effect`, `random` and `untrained` set the component to."""


MOST_SITES = 4
"""Sites at which a study tests the use of the signature: those that the atlas names with the largest |z|."""
_CLEAREST: tuple[VerdictWord, ...] = ("evidence", "opposite", "inconclusive", "negligible", "not applicable")
_FOUND = frozenset(_CLEAREST[:2])


@dataclass(frozen=True, slots=True, eq=False)
class SignatureUse(Result):
    """What replacing the signature by its mean does, at each site that the atlas names.

    The sites are one claim. Each is judged at the level of that claim divided by their number, and the clearest of them
    stands for all, so that the claim holds if any of them does.
    """

    by_site: Mapping[str, SubspaceUse]
    """By site, in the order of `named`; the last block alone where no site is named."""
    named: tuple[str, ...] = ()
    """Sites that the atlas names, the largest |z| first; only the first four are tested."""

    def excesses(self, n_verdicts: int = 1) -> dict[str, Excess]:
        """Compare the change at each site with both controls."""
        return {site: use.excess(n_verdicts * len(self.by_site)) for site, use in self.by_site.items()}

    def clearest(self, n_verdicts: int = 1) -> str:
        """Name the site that stands for all: the smallest p-value of those with a finding, else of those in doubt."""

        def order(site: str) -> tuple[int, float]:
            verdict, p_value = judged[site].verdict, judged[site].p_value
            return 0 if verdict in _FOUND else _CLEAREST.index(verdict), math.inf if math.isnan(p_value) else p_value

        judged = self.excesses(n_verdicts)
        return min(judged, key=order)

    def excess(self, n_verdicts: int = 1) -> Excess:
        """Give the comparison of the clearest site."""
        return self.excesses(n_verdicts)[self.clearest(n_verdicts)]

    @property
    def verdict(self) -> VerdictWord:
        """Whether the model uses the signature at any of the sites, judged alone."""
        return self.excess().verdict

    def to_frame(self) -> pd.DataFrame:
        """Lay all effects out, one per row."""
        frames = {site: use.to_frame() for site, use in self.by_site.items()}
        return pd.concat(frames, names=["site", None]).reset_index("site").reset_index(drop=True)

    def plot(self) -> Any:
        """Draw the change of the late error beside both controls, at each site."""
        by_kind = [use.series("" if len(self.by_site) == 1 else f"{site}: ") for site, use in self.by_site.items()]
        return changes_figure([_joined(of_one_kind) for of_one_kind in zip(*by_kind, strict=True)])

    def __repr__(self) -> str:
        site = self.clearest()
        return f"SignatureUse({self.verdict}, clearest at {site}: {self.by_site[site]})"


def _joined(series: Sequence[DotSeries]) -> DotSeries:
    """Put the rows of several sites into one series."""
    first = series[0]
    rows = [row for each in series for row in each.rows]
    values, low, high = (
        [number for each in series for number in getattr(each, part)] for part in ("values", "low", "high")
    )
    return replace(first, rows=rows, values=values, low=low, high=high)


@takes_arrays
def subspace_use(
    model: ModelLike,
    task: TaskLike,
    subspace: Float[Tensor, "d_model rank"],
    hook: str,
    *,
    positions: Positions = "all",
    prompts: PromptsLike | None = None,
    references: Mapping[str, Callee] | None = None,
    n_prompts: int = 256,
    ablation: Literal["mean", "zero"] = "mean",
    n_random: int = N_RANDOM,
    seed: int = 0,
) -> SubspaceUse:
    """Measure whether a model needs a subspace.

    The component along the subspace is set to its mean over prompts at each position, which removes what differs
    between prompts. The change of the error is compared with that of subtracting an equally long vector along random
    subspaces. Decodable does not mean used: only such a change shows use. Setting the component to 0 stands beside it.
    It does not measure use where norms follow, since a large constant part is then missing from the scale that
    everything is divided by. After the last block, whatever the read-out reads is needed trivially; earlier sites say
    more.

    Args:
        model: Model of any family.
        task: What is in distribution.
        subspace: Orthonormal columns.
        hook: Hook of width d_model.
        positions: Positions to change.
        prompts: Prompts to measure on; None draws from the task.
        references: Predictors of your own by name, added to the task's; a `References` replaces them.
        n_prompts: Number of prompts to draw.
        ablation: Basis of the verdict: "mean", our choice, or "zero".
        n_random: Number of random subspaces; at least 2 for a verdict.
        seed: Seed of prompts, bootstrap and random subspaces.

    Returns:
        The effect beside its controls, untrained networks not among them (see `signature_use`).

    Raises:
        InputError: If the columns are not orthonormal or the model lacks the hook.
    """
    model, task = as_model_and_task("subspace_use", model, task)
    known = references_with(task, references)
    given = given_prompts("subspace_use", task, prompts, n_prompts, seed)
    untouched = Untouched(model, task, given, late_aims(model, given, known), seed, [hook])
    return _use(untouched, subspace, hook, positions, ablation, n_random, seed)


def _use(
    untouched: Untouched,
    subspace: Float[Tensor, "d_model rank"],
    hook: str,
    positions: Positions,
    ablation: Literal["mean", "zero"],
    n_random: int,
    seed: int,
) -> SubspaceUse:
    effect, mean = untouched.effect, _mean_of(untouched, hook)
    baseline = mean if ablation == "mean" else None
    activations = untouched.activations(hook).double()
    held, total = activations @ subspace.double(), activations.square().sum()
    constant = mean.double() @ subspace.double()
    taken = effect(project_out(subspace, hook, positions=positions, mean=baseline))
    return SubspaceUse(
        effect=taken,
        to_zero=taken if ablation == "zero" else effect(project_out(subspace, hook, positions=positions)),
        random=tuple(
            effect(
                exchange_for_random(
                    subspace,
                    hook,
                    seed=derive_seed(seed, f"random subspace {i}"),
                    positions=positions,
                    mean=baseline,
                )
            )
            for i in range(n_random)
        ),
        untrained=(),
        hook=hook,
        rank=subspace.shape[1],
        energy=float(held.square().sum() / total),
        varying=float((held - constant).square().sum() / held.square().sum()),
        ablation=ablation,
    )


def _mean_of(untouched: Untouched, hook: str) -> Float[Tensor, "pos d_model"]:
    activations = untouched.activations(hook)
    return activations.double().mean(0).to(torch.promote_types(activations.dtype, torch.float32))


def signature_use(
    model: ModelLike,
    task: TaskLike,
    hook: str,
    *,
    conventions: Conventions | None = None,
    fit_prompts: PromptsLike | None = None,
    prompts: PromptsLike | None = None,
    references: Mapping[str, Callee] | None = None,
    n_prompts: int = 256,
    ablation: Literal["mean", "zero"] = "mean",
    n_random: int = N_RANDOM,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
) -> SubspaceUse:
    """Measure whether a model uses the directions of its spectral signature.

    The signature is fitted on prompts of its own, then `subspace_use` is asked of it. Each untrained network has its
    own signature fitted and taken away.

    Args:
        model: Model of any family.
        task: What is in distribution.
        hook: Hook of width d_model.
        conventions: Tokens, centring and k; None takes the defaults. The side is "right".
        fit_prompts: Prompts for the signature; None draws from the task, by another stream than `prompts`.
        prompts: Prompts for the effect; None draws from the task.
        references: Predictors of your own by name, added to the task's; a `References` replaces them.
        n_prompts: Number of prompts to draw for each.
        ablation: As in `subspace_use`.
        n_random: Number of random subspaces; at least 2 for a verdict.
        n_controls: Number of untrained networks; 0 switches them off.
        seed: The only source of randomness.

    Returns:
        The effect beside both controls.

    Raises:
        InputError: If the signature's side is "left": positions are no directions of the residual stream.

    Source:
        The question is ours: Hill et al. (2025) observe the signature and do not intervene on it.
    """
    chosen = Conventions(tokens="all", center=False, side="right", k=2) if conventions is None else conventions
    if chosen.side != "right":
        raise InputError("signature_use needs directions of the residual stream, got side 'left'; take side='right'.")
    model, task = as_model_and_task("signature_use", model, task)
    if isinstance(task, FixedPrompts) and fit_prompts is None and prompts is None:
        fit_prompts, scored = task.draw(n_prompts, seed=seed)  # two samples of it would share prompts
        prompts = scored[IN_DISTRIBUTION]
    fit = given_prompts("signature_use", task, fit_prompts, n_prompts, derive_seed(seed, "evaluation: fit"))
    given = given_prompts("signature_use", task, prompts, n_prompts, derive_seed(seed, "evaluation: score"))
    known = references_with(task, references)

    model.prepare(fit.xs, fit.ys)
    chosen = chosen.of_prompts(fit.n_points, model.cfg)
    aims = late_aims(model, given, known)
    asked = _Signature(task, (hook,), chosen, fit, given, aims, ablation, seed)
    effects = [asked.effects_on(network) for network in untrained_networks(model, n_controls, seed=seed)]
    return asked.beside(asked.used_by(model, n_random), effects)[hook]


@dataclass(frozen=True, slots=True, eq=False)
class _Signature:
    """What is asked of each network's own signature, at one hook after another."""

    task: Task
    hooks: tuple[str, ...]
    conventions: Conventions
    fit: Prompts
    given: Prompts
    aims: Mapping[str, Float64[Tensor, "sample late"]]
    ablation: Literal["mean", "zero"]
    seed: int

    def used_by(self, model: HookedModel, n_random: int) -> dict[str, SubspaceUse]:
        untouched, found = self._untouched(model), self._directions(model)
        return {
            hook: _use(untouched, directions, hook, "all", self.ablation, n_random, self.seed)
            for hook, directions in found.items()
        }

    def effects_on(self, network: HookedModel) -> dict[str, InterventionEffect]:
        untouched, found = self._untouched(network), self._directions(network)
        means = {hook: _mean_of(untouched, hook) if self.ablation == "mean" else None for hook in found}
        return {
            hook: untouched.effect(project_out(directions, hook, mean=means[hook]))
            for hook, directions in found.items()
        }

    def effects_on_made(self, make: Callable[[], HookedModel]) -> dict[str, InterventionEffect]:
        return self.effects_on(make())

    def beside(
        self, uses: Mapping[str, SubspaceUse], untrained: Sequence[Mapping[str, InterventionEffect]]
    ) -> dict[str, SubspaceUse]:
        return {hook: replace(use, untrained=tuple(each[hook] for each in untrained)) for hook, use in uses.items()}

    def _untouched(self, network: HookedModel) -> Untouched:
        return Untouched(network, self.task, self.given, self.aims, self.seed, self.hooks)

    def _directions(self, network: HookedModel) -> dict[str, Tensor]:
        streams, fitted = collect(network, self.fit, self.hooks), {}
        for hook, activations in streams.items():
            rows = self.conventions.rows(activations)
            signature = fit_signature(rows, k=self.conventions.k, center=self.conventions.center)
            fitted[hook] = signature.reference.T.contiguous()
        return fitted


def _median(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).median()) if values else math.nan


def _cost(config: Architecture, n_points: int, n_controls: int) -> int:  # noqa: ARG001
    """Count a pass to fit, one to look, and half of one for each change: softmax models go on from their own block."""
    sites = min(MOST_SITES, config.n_layers + bool(config.final_norm))
    changes = sites * (2 + N_RANDOM + n_controls)
    whole = config.query_only or config.is_wrapped
    return 2 * (1 + n_controls) + (changes if whole else changes // 2)


def _without_signature(plan: StudyPlan) -> str | None:
    width = plan.config.d_model
    if not plan.sites:
        return NO_SITES
    if plan.conventions.side != "right":
        return "The signature's directions are positions, which no intervention on the stream could remove."
    if plan.conventions.k >= width:
        return f"The stream is {width} wide and {spanned_by(width)}, so there is no signature to remove."
    return None


def _use_in_study(found: Findings) -> SignatureUse | Absent:
    """Ask at the sites that the atlas names, on prompts that did not name them; else after the last block."""
    plan, sites = found.plan, [found.main_site]
    named: tuple[ResidualSite, ...] = ()
    n_prompts = plan.efforts[USE.name].prompts
    fit, given = plan.families.fit[:n_prompts], plan.families.in_distribution.prompts[:n_prompts]
    answers: Mapping[str, Tensor] = found.answers[IN_DISTRIBUTION]
    atlas = found.results.get("atlas")
    if atlas is not None and atlas.found and not isinstance(plan.task, FixedPrompts):
        named = atlas.named_sites()
        sites = list(named[:MOST_SITES])
        fit, given = (
            plan.task.sample(n_prompts, plan.n_points, seed=derive_seed(plan.seed, f"evaluation: use, {part}"))
            for part in ("fit", "score")
        )
        answers = plan.references.answers(given)
    streams = [survey.families[IN_DISTRIBUTION].sites[sites[0].label].leading_value for survey in found.surveys]
    if not any(values.any() for values in streams):
        return Absent("The stream after the last block is zero, so there is no signature to remove.")
    late = late_answers(plan.model, given)
    aims = {name: said[:n_prompts, late].double() for name, said in answers.items()}
    hooks = tuple(site.hook for site in sites)
    asked = _Signature(plan.task, hooks, plan.conventions, fit, given, aims, "mean", plan.seed)
    makers = untrained_makers(plan.model, plan.n_controls, seed=plan.seed)
    untrained = found.divided(makers, asked.effects_on_made)
    uses = asked.beside(asked.used_by(plan.model, N_RANDOM), untrained)
    return SignatureUse({site.label: uses[site.hook] for site in sites}, tuple(site.label for site in named))


def _claims(_: StudyPlan) -> list[Claim]:
    meaning = "rise of the late error when the signature's directions are set to their mean"
    return [Claim("use", meaning, lambda use, _, n_claims: use.excess(n_claims))]


USE = Measure(
    "use", "use of the signature", run=_use_in_study, group="mechanism", without=_without_signature, cost=_cost,
    claims=_claims,
)  # fmt: skip
