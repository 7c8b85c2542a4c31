"""Are the quantities of known algorithms decodable from the residual stream, and where?"""

import functools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError, InputTypeError, users_code
from icl_interp.figures.choices import along, of_sites
from icl_interp.figures.heatmap import heatmap_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import role_style
from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.families import look_first
from icl_interp.measure.result import Result
from icl_interp.measure.sites import answering_features
from icl_interp.measure.study.measure import Claim, Features, Findings, Measure, StudyPlan, without_sites
from icl_interp.measure.verdicts import Excess, excess_over_controls
from icl_interp.models.architecture import READ_IN, ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.references import ByReference
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.query import Callee
from icl_interp.registry import Registry, check_callable, name_of
from icl_interp.tasks.base import Task
from icl_interp.tasks.fixed_prompts import FixedPrompts
from icl_interp.tasks.linear_regression import LinearTask
from icl_interp.tasks.references import references_with
from probes._core.results import short_repr
from probes.bootstrap import Estimate, estimate_difference, percentile_interval
from probes.linear import LinearProbe, fit_linear_probe
from probes.selectivity import control_task_targets, partial_r2
from probes.targets import least_squares_weights, moment_vector, prediction_differences

ProbeTarget = Float[Tensor, "sample point"] | Float[Tensor, "sample point dim"]
"""One number, or one vector, a prompt and point."""


def columns_of(target: ProbeTarget) -> Float[Tensor, "row column"]:
    """Lay a target out as a probe reads it."""
    return target.flatten()[:, None] if target.ndim == 2 else target.flatten(0, 1)


@dataclass(frozen=True, slots=True)
class LinearProbeReport(Result):
    """Held-out R² of linear read-outs, by site and target."""

    targets: tuple[str, ...]
    """Names of the targets: predictions of references, their differences, and vectors."""
    left_out: Mapping[str, str]
    """Targets without an R², with the reason."""
    probes: Mapping[str, LinearProbe]
    """Probes of the model by site label; columns are the targets' coordinates, then as many of the control task."""
    untrained: tuple[Mapping[str, LinearProbe], ...]
    """Probes of each untrained network."""
    n_prompts: int
    """Number of prompts, which are the groups of the hold-out."""
    widths: tuple[int, ...] = ()
    """Coordinates of each target; empty means one each, without a control task."""
    partial: Mapping[str, Estimate] = field(default_factory=dict)
    """By reference: R² beyond what all other references say, at its best site."""

    __repr__ = short_repr

    def r2(self, target: str) -> Float[Tensor, " site"]:
        """Take the model's R² along the network."""
        return _along(self.probes, self._columns(target))

    def untrained_r2(self, target: str) -> Float[Tensor, "network site"]:
        """Take the R² of untrained networks."""
        rows = [_along(probes, self._columns(target)) for probes in self.untrained]
        return torch.stack(rows) if rows else torch.empty(0, len(self.probes))

    def interval(self, target: str, site: str) -> tuple[float, float]:
        """Give the 95 % bootstrap interval of the model's R²."""
        columns, probe = self._columns(target), self.probes[site]
        if columns.stop == columns.start + 1:
            low, high = probe.r2_interval[columns.start].tolist()
            return low, high
        low, high = percentile_interval(probe.r2_replicates[:, columns].mean(1))
        return low, high

    def best_site(self, target: str) -> str:
        """Say where a target is read best."""
        return list(self.probes)[int(self.r2(target).argmax())]

    def selectivity(self, target: str, *, site: str | None = None) -> tuple[str, Estimate]:
        """Take the least excess of a target's R² over any control, at its best site or at a given one.

        Controls are targets exchanged between prompts, a control task, the read-in (the embedding layer, unless it is
        the site itself) and the best of the untrained networks at the same site. Intervals are paired over prompts.
        """
        site, columns = site or self.best_site(target), self._columns(target)
        own = self.probes[site]
        rivals = {"shuffled targets": _shuffled(own, columns)}
        if self.widths:
            total = sum(self.widths)
            rivals["control task"] = _score(own, slice(columns.start + total, columns.stop + total))
        first = next(iter(self.probes))
        if site != first == READ_IN:
            rivals["the embedding layer"] = _score(self.probes[first], columns)
        if self.untrained:
            scores = [_score(probes[site], columns) for probes in self.untrained]
            rivals["an untrained network"] = max(scores, key=lambda score: score[0])
        value, replicates = _score(own, columns)
        name = max(rivals, key=lambda rival: rivals[rival][0])
        return name, estimate_difference(value, rivals[name][0], replicates, rivals[name][1])

    def _columns(self, target: str) -> slice:
        place = self.targets.index(target)
        widths = self.widths or (1,) * len(self.targets)
        start = sum(widths[:place])
        return slice(start, start + widths[place])

    def excess(self, target: str, n_verdicts: int = 1, *, site: str | None = None) -> Excess:
        """Compare the best site of the model with the best site of each untrained network, and with its controls.

        With `site`, that site alone is compared in all networks. R² has to lie above 0 and above the control that comes
        nearest, as `selectivity` takes it; chance is whichever of the two is fewer standard errors away.
        """
        at, labels = site or self.best_site(target), list(self.probes)
        value = float(self.r2(target)[labels.index(at)])
        variance = _variance(*self.interval(target, at))
        chance, beyond = self._chance(target, at, value, variance)
        untrained = self.untrained_r2(target)
        beside = untrained.amax(1) if site is None and self.untrained else untrained[:, labels.index(at)]
        return excess_over_controls(
            value,
            beside.tolist(),
            sampling_variance=variance,
            n_verdicts=n_verdicts,
            chance=chance,
            value_variance=beyond,
        )

    def _chance(self, target: str, site: str, value: float, variance: float) -> tuple[float, float]:
        # The larger of two one-sided p-values decides, as in every claim; squares because signs agree with sizes.
        _, selective = self.selectivity(target, site=site)
        paired = _variance(selective.low, selective.high)
        control = value - selective.value
        if not math.isfinite(paired) or control <= 0:
            return 0.0, variance
        nearer = selective.value <= 0 or selective.value**2 * variance < value**2 * paired
        return (control, paired) if nearer else (0.0, variance)

    def to_frame(self) -> pd.DataFrame:
        """Lay sites and targets out in long form."""
        rows = []
        for i, (site, probe) in enumerate(self.probes.items()):
            for target in self.targets:
                low, high = self.interval(target, site)
                untrained = self.untrained_r2(target)[:, i]
                mean = float(untrained.mean()) if len(untrained) else float("nan")
                shuffled = _shuffled(probe, self._columns(target))[0]
                rows.append((site, target, float(self.r2(target)[i]), low, high, shuffled, mean))
        return pd.DataFrame(rows, columns=["site", "target", "r2", "low", "high", "r2_shuffled", "r2_untrained"])

    def summary(self) -> pd.DataFrame:
        """Lay targets out, one per row, each at its best site."""
        rows = []
        nan = float("nan")
        for target in self.targets:
            site = self.best_site(target)
            against, excess = self.selectivity(target)
            beyond = self.partial.get(target, Estimate(nan, nan, nan))
            cells = (float(self.r2(target).max()), *self.interval(target, site))
            rows.append((target, site, *cells, excess.value, excess.low, excess.high, against,
                         beyond.value, beyond.low, beyond.high))  # fmt: skip
        names = ("target", "site", "r2", "low", "high", "selectivity", "selectivity_low", "selectivity_high", "over",
                 "partial_r2", "partial_low", "partial_high")  # fmt: skip
        return pd.DataFrame(rows, columns=list(names))

    def plot(self, target: str | None = None) -> Any:
        """Draw R² along the network with both controls."""
        target = self.targets[0] if target is None else target
        sites = list(self.probes)
        ends = [self.interval(target, site) for site in sites]
        shuffled = [_shuffled(probe, self._columns(target))[0] for probe in self.probes.values()]
        lines = []
        if self.untrained:
            rows = self.untrained_r2(target)
            low, high = rows.amin(0).tolist(), rows.amax(0).tolist()
            lines.append(Line("untrained networks", sites, rows.mean(0).tolist(), role_style("untrained"), low, high))
        lines.append(Line("shuffled targets", sites, shuffled, role_style("shuffled")))
        low, high = [end[0] for end in ends], [end[1] for end in ends]
        lines.append(
            Line("this model", sites, self.r2(target).tolist(), role_style("model"), low, high, 3, markers=True)
        )
        figure = lines_figure(lines, x="site", y=f"held-out R² of {target}", y_range=(-0.25, 1.05))
        return along(figure, x=of_sites(sites))

    def plot_all(self) -> Any:
        """Draw R² of all targets along the network beyond the mean of untrained networks, as a heat map."""
        rows = []
        for target in self.targets:
            untrained = self.untrained_r2(target)
            base = untrained.mean(0).clamp(min=0) if len(untrained) else torch.zeros(len(self.probes))
            rows.append((self.r2(target) - base).clamp(min=0).tolist())
        figure = heatmap_figure(
            rows,
            rows=self.targets,
            columns=list(self.probes),
            x="site",
            y="target",
            unit="R² beyond untrained" if self.untrained else "R²",
            limits=(0.0, 1.0),
            text=len(self.probes) <= 14,
        )
        return along(figure, x=of_sites(self.probes))


def _variance(low: float, high: float) -> float:
    return ((high - low) / 3.92) ** 2  # a 95 % interval is 3.92 standard errors wide


def _along(probes: Mapping[str, LinearProbe], columns: slice) -> Float[Tensor, " site"]:
    return torch.stack([probe.r2[columns].mean() for probe in probes.values()])


def _score(probe: LinearProbe, columns: slice) -> tuple[float, Tensor]:
    return float(probe.r2[columns].mean()), probe.r2_replicates[:, columns].mean(1)


def _shuffled(probe: LinearProbe, columns: slice) -> tuple[float, Tensor]:
    if probe.r2_shuffled is None or probe.r2_shuffled_replicates is None:
        return float("nan"), torch.full((len(probe.r2_replicates),), torch.nan, dtype=torch.float64)
    return float(probe.r2_shuffled[columns].mean()), probe.r2_shuffled_replicates[:, columns].mean(1)


MOMENTS, WEIGHTS = "moment vector", "least-squares weights"
"""Names of the targets that are vectors."""
_MOST_SIGNS = 6
"""Coordinates of the query whose signs make the types of the control task: 64 types."""
_MOST_DRAWS = 16
"""Draws of the control task at most."""
_CONTRASTED = ("least squares", "ridge", "Bayes")


def probe_targets(
    prompts: Prompts, answers: ByReference[Float[Tensor, "sample asked"]], task: Task | None = None
) -> tuple[dict[str, ProbeTarget], dict[str, str]]:
    """Compute what probes shall find, at points with at least one example before them.

    What references say; differences of least squares, ridge and Bayes where they differ, since the predictions
    themselves are nearly collinear; on linear tasks also the moment vector X'y / k and the least-squares weights.
    """
    targets: dict[str, ProbeTarget] = {}
    left_out = {}
    for name, values in ((name, said[:, 1:]) for name, said in answers.items()):
        if bool(_constant(values.flatten())):
            left_out[name] = f"{name} predicts the same everywhere, so there is nothing to decode"
        else:
            targets[name] = values
    named = {name: shown for name in _CONTRASTED if (shown := answers.shown(name)) in targets}
    contrasted = list(named)
    pairs = [(a, b) for a, b in pairwise(contrasted) if named[a] != named[b]]
    targets |= prediction_differences({part: targets[named[part]] for part in contrasted}, pairs)
    if isinstance(task, LinearTask):
        targets |= _vectors(prompts, left_out)
    elif isinstance(task, FixedPrompts):
        left_out |= dict.fromkeys((MOMENTS, WEIGHTS), "no law says that labels of saved prompts are linear in inputs")
    return targets, left_out


Target = Callable[[Prompts], Tensor]
"""Gives what probes shall find at every point of prompts: [sample point], or [sample point k]."""
TARGETS = Registry[Target](__name__, "TARGETS")
"""Targets that join those of the task in every study and in `linear_probes`."""


def register_target(target: Target, *, name: str | None = None) -> Target:
    """Let linear probes look for a quantity of your own on every task, also under `--import`.

    `targets={"mine": f}` does so in a single call.

    Args:
        target: Called with `Prompts`; returns one number [sample point] or k numbers [sample point k] for each of their
            points. Entry k of a prompt should be something that a network can know from the k examples before it and
            input k. The first point is not probed. A function of the same module and name replaces the one before, so
            that a notebook's cell can run again.
        name: Name in tables and files; None takes the function's own name.

    Returns:
        The same function, so that this works as a decorator.

    Raises:
        InputTypeError: If it cannot be called with one argument.
        InputError: If it has no name, or one that another has.

    Example:
        >>> @register_target
        ... def input_length(prompts):
        ...     return prompts.xs.norm(dim=2)
        >>> TARGETS
        Registry(1: input_length)
        >>> del TARGETS["input_length"]  # for the examples that follow
    """
    found = name_of("register_target", target, name)
    check_callable(f"the target {found!r}", "a function", target, "prompts")
    TARGETS.add(found, target, who="register_target", what="name that no other target has", code=_itself)
    return target


def _itself(target: Target) -> Target:
    return target


def with_own_targets(
    known: tuple[dict[str, ProbeTarget], dict[str, str]],
    own: Mapping[str, Target] | None,
    prompts: Prompts,
    references: Collection[str],
) -> tuple[dict[str, ProbeTarget], dict[str, str]]:
    """Add what the user's targets are on the prompts, and why those that are constant are left out."""
    targets, left_out = dict(known[0]), dict(known[1])
    given = own or {}
    twice = [name for name in given if TARGETS.get(name, given[name]) is not given[name]]
    for name, f in {**TARGETS, **given}.items():
        if name in twice or name in references or name in {*targets, *left_out, MOMENTS, WEIGHTS}:
            raise InputError(f"targets need names that no other target has, got {name!r}; rename yours.")
        values = _own_target(name, f, prompts)[:, 1:]
        columns = values.flatten(0, 1) if values.ndim == 3 else values.flatten()[:, None]
        if bool(_constant(columns).any()):
            what = name if values.ndim == 2 else f"{name}: a coordinate"
            left_out[name] = f"{what} is the same everywhere, so there is nothing to decode"
        else:
            targets[name] = values
    return targets, left_out


def _own_target(name: str, f: Target, prompts: Prompts) -> Tensor:
    check_callable(f"the target {name!r}", "a function", f, "prompts")
    with users_code(f"the target {name!r}", passing=(InputError,)):
        said: object = f(prompts)
    values = torch.as_tensor(said) if isinstance(said, np.ndarray) else said
    need = f"the target {name!r} needs to return a tensor [{len(prompts)}, {prompts.n_points}], or with one axis more"
    if not isinstance(values, Tensor):
        raise InputTypeError(f"{need}, got {type(said).__name__}.")
    if values.shape[:2] != prompts.ys.shape or values.ndim > 3 or not values.numel() or values.is_complex():
        raise InputError(f"{need}, got {list(values.shape)} in {values.dtype}.")
    if not bool(values[:, 1:].isfinite().all()):
        raise InputError(f"{need}, got NaN or infinity in it after the first point.")
    return values.detach().to(prompts.xs)


def _constant(values: Tensor) -> Tensor:
    # Up to rounding, as the probes have it, which refuse such targets.
    spread = values.amax(dim=0) - values.amin(dim=0)
    return spread <= 8 * torch.finfo(values.dtype).eps * values.abs().amax(dim=0)


def _vectors(prompts: Prompts, left_out: dict[str, str]) -> dict[str, ProbeTarget]:
    vectors = {
        MOMENTS: moment_vector(prompts.xs, prompts.ys, normalise="mean")[:, 1:],
        WEIGHTS: least_squares_weights(prompts.xs, prompts.ys)[:, 1:],
    }
    fixed = [name for name, values in vectors.items() if bool(_constant(values.flatten(0, 1)).any())]
    left_out |= {name: f"{name}: a coordinate is the same everywhere, so there is nothing to decode" for name in fixed}
    return {name: values for name, values in vectors.items() if name not in fixed}


def _probe_network(
    model: HookedModel,
    prompts: Prompts,
    targets: Mapping[str, ProbeTarget],
    sites: Sequence[ResidualSite],
    *,
    batch_size: int = 64,
    seed: int = 0,
) -> dict[str, LinearProbe]:
    """Fit one probe per site: from the residual stream at x tokens, or at the query, to all targets at once."""
    return probe_features(answering_features(model, prompts, sites, batch_size=batch_size), prompts, targets, seed=seed)


def probe_features(
    features: Mapping[str, Float[Tensor, "sample point d_model"]],
    prompts: Prompts,
    targets: Mapping[str, ProbeTarget],
    *,
    controls: bool = True,
    seed: int = 0,
) -> dict[str, LinearProbe]:
    """Fit one probe per site to all targets and to their control task at once.

    The control task has for each orthant (around the mean) of the query's first coordinates a target drawn at random,
    so that a probe can find it only by storing a table of what the query alone shows.
    """
    if not targets:
        raise InputError("linear probes need a reference whose predictions vary, got none; change the task.")
    wanted = torch.cat([columns_of(target) for target in targets.values()], dim=1)
    groups = torch.arange(len(prompts)).repeat_interleave(prompts.n_points - 1)
    both = torch.cat([wanted, _control_task(prompts, wanted, seed)], dim=1) if controls else wanted
    return {
        label: fit_linear_probe(found.flatten(0, 1), both, groups=groups, controls=controls, seed=seed, n_bootstrap=400)
        for label, found in features.items()
    }


def _control_task(
    prompts: Prompts, wanted: Float[Tensor, "sample target"], seed: int
) -> Float[Tensor, "sample target"]:
    queries = prompts.xs[:, 1:, :_MOST_SIGNS].flatten(0, 1)
    signs = queries > queries.mean(0)
    types = (signs.long() * 2 ** torch.arange(signs.shape[1])).sum(1)
    control = wanted
    for attempt in range(_MOST_DRAWS):  # two types may draw one target, and what does not vary cannot be scored
        control = control_task_targets(types, wanted, seed=derive_seed(seed, f"control task {attempt}"))
        if bool((control.amax(0) - control.amin(0) > 1e-5 * control.abs().amax(0)).all()):
            break
    return control


def _summarise_probes(
    probes: Mapping[str, LinearProbe],
    untrained: Sequence[Mapping[str, LinearProbe]],
    targets: Mapping[str, ProbeTarget],
    left_out: Mapping[str, str],
    partial: Mapping[str, Estimate] | None = None,
) -> LinearProbeReport:
    """Put the probes of a model beside those of untrained networks."""
    n_prompts = len(next(iter(targets.values())))
    widths = tuple(columns_of(target).shape[1] for target in targets.values())
    return LinearProbeReport(
        tuple(targets), left_out, probes, tuple(untrained), n_prompts, widths, {} if partial is None else partial
    )


def _partial_scores(
    features: Mapping[str, Float[Tensor, "sample point d_model"]],
    probes: Mapping[str, LinearProbe],
    targets: Mapping[str, ProbeTarget],
    references: Collection[str],
    *,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Ask of each reference whether it can be read out beyond what all other references already say."""
    predictions = {name: columns_of(target) for name, target in targets.items() if name in references}
    if len(predictions) < 2:
        return {}
    groups = torch.arange(len(next(iter(targets.values())))).repeat_interleave(next(iter(features.values())).shape[1])
    found = {}
    for column, name in enumerate(predictions):  # predictions come first, one column each
        site = max(probes, key=lambda label: float(probes[label].r2[column]))
        given = torch.cat([other for rival, other in predictions.items() if rival != name], dim=1)
        score = partial_r2(
            features[site].flatten(0, 1), predictions[name], given, groups=groups, seed=seed, n_bootstrap=400
        )
        found[name] = score.partial[0]
    return found


def linear_probes(
    model: ModelLike,
    task: TaskLike = None,
    *,
    layers: Sequence[int] | None = None,
    references: Mapping[str, Callee] | None = None,
    targets: Mapping[str, Target] | None = None,
    n_prompts: int = 256,
    n_points: int | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
) -> LinearProbeReport:
    """Probe the residual stream at x tokens for the predictions of the task's references and what they rest on.

    One ridge probe per site, over all points with at least one example before them; whole prompts are held out. Targets
    as `probe_targets` lists them; of a vector, the mean R² over its coordinates.
    Decodable does not mean used: a high R² says where a prediction could be read, not that the model reads it.

    Args:
        model: The network.
        task: Task that prompts are drawn from and references are derived for.
        layers: Blocks to look at; None means all.
        references: Predictors of your own by name, added to the task's; a `References` replaces them.
        targets: Quantities of your own by name, added to the others: functions of prompts, see `register_target`. One
            that is constant over the prompts is in `left_out`.
        n_prompts: Number of prompts, at least 5.
        n_points: Number of examples per prompt, at least 2; None takes the task's usual number.
        n_controls: Number of untrained networks; 0 switches them off.
        seed: The only source of randomness.

    Returns:
        R² by site and target, with shuffled targets, a control task and untrained networks beside it.

    Example:
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.models.build import build_model
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> report = linear_probes(model, LinearRegression(n_dims=2), n_prompts=64, n_controls=0)
        >>> list(report.probes)
        ['read-in', 'block 0', 'final norm']
    """
    model, task = as_model_and_task("linear_probes", model, task)
    look_first(model, task, n_points, seed=seed)
    prompts = task.sample(n_prompts, n_points, seed=derive_seed(seed, "evaluation: probes"))
    known = references_with(task, references, n_points=n_points)
    sought, left_out = with_own_targets(probe_targets(prompts, known.answers(prompts), task), targets, prompts, known)
    sites = model.cfg.residual_sites(layers)
    features = answering_features(model, prompts, sites)
    own = probe_features(features, prompts, sought, seed=seed)
    controls = [
        probe_features(answering_features(network, prompts, sites), prompts, sought, controls=False, seed=seed)
        for network in untrained_networks(model, n_controls, seed=seed)
    ]
    partial = _partial_scores(features, own, sought, known, seed=seed)
    return _summarise_probes(own, controls, sought, left_out, partial)


def _read(
    plan: StudyPlan,
    features: Features,
    of_model: bool,  # noqa: FBT001
) -> tuple[dict[str, LinearProbe], dict[str, Estimate]]:
    probes = probe_features(features, plan.probe_prompts, plan.targets, controls=of_model, seed=plan.seed)
    if not of_model:
        return probes, {}
    return probes, _partial_scores(features, probes, plan.targets, plan.references, seed=plan.seed)


def _probes(found: Findings) -> LinearProbeReport:
    plan, ((own, partial), *untrained) = found.plan, found.read[PROBES.name]
    return _summarise_probes(own, [probes for probes, _ in untrained], plan.targets, plan.left_out, partial)


def _claims(plan: StudyPlan) -> list[Claim]:
    return [
        Claim(f"probe: {target}", "held-out R² at the best site", functools.partial(_judge, target))
        for target in plan.targets
    ]


def _judge(target: str, report: LinearProbeReport, _: Findings, n_claims: int) -> Excess:
    return report.excess(target, n_claims)


PROBES = Measure("probes", "linear probes", run=_probes, without=without_sites, read=_read, claims=_claims)
