"""Which site at which position carries the answer? Clean activations put into a pass on prompts with other labels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.figures.choices import along, of_sites
from icl_interp.figures.heatmap import heatmap_figure
from icl_interp.interventions import predict_under
from icl_interp.interventions.patching import put
from icl_interp.interventions.replay import Replay
from icl_interp.measure.controls import resampled_means
from icl_interp.measure.families import look_first
from icl_interp.measure.result import Result
from icl_interp.measure.study.measure import Findings, Measure, StudyPlan, without_sites
from icl_interp.models.architecture import FINAL_NORM, NO_SITES, Architecture, ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import answering_positions, position_names
from icl_interp.models.softmax.transformer import HookedICLTransformer
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.tasks.base import FunctionTask, Task
from probes.bootstrap import percentile_interval

QUERY = "query"
"""The kind of the position that answers."""
_ROUNDING = 16.0
"""Units in the last place by which unchanged answers may differ (our choice)."""
_BUDGET = 1e11
"""Floating-point operations that single positions may cost in a study: a second or two."""
_MOST_PLACES = 48
_KINDS = 3


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class PatchingMap(Result):
    """How much of the answer's change each place restores, site by site."""

    sites: tuple[str, ...]
    """Sites along the network, up to the last block."""
    places: tuple[str, ...]
    """Positions up to the query, by what they hold (x1, y1, ..., query) or as stretches of them (x1 to y4); none where
    they were too many for the time."""
    kinds: tuple[str, ...]
    """Kinds of positions, all of a kind patched together: the query, and the tokens before it by their role."""
    restored: Float64[Tensor, "site place"]
    """Share of the answer's change that the clean activation at one place restores: 0 nothing, 1 all of it."""
    restored_by_kind: Float64[Tensor, "site kind"]
    """The same for all positions of a kind."""
    low: Float64[Tensor, "site kind"]
    """Lower end of the 95 % interval over prompts, by kind."""
    high: Float64[Tensor, "site kind"]
    """Upper end."""
    corruption: str
    """What the other prompts have in common with the clean ones, as a clause."""
    change: float
    """Mean squared change of the answer, divided by the mean squared clean answer."""
    difference: float
    """The same change in units of E[y^2]."""
    n_prompts: int
    """Number of pairs of prompts."""

    def carriers(self) -> dict[str, str]:
        """Name for each site the kind of position that restores most."""
        most = self.restored_by_kind.nan_to_num(nan=-math.inf).argmax(1).tolist()
        return {site: self.kinds[i] for site, i in zip(self.sites, most, strict=True)}

    def to_frame(self) -> pd.DataFrame:
        """Lay sites and places out, one row each; kinds first, with their intervals."""
        rows = [
            ("kind", site, kind, *(float(table[i, j]) for table in (self.restored_by_kind, self.low, self.high)))
            for i, site in enumerate(self.sites)
            for j, kind in enumerate(self.kinds)
        ]
        rows += [
            ("position", site, place, float(self.restored[i, j]), math.nan, math.nan)
            for i, site in enumerate(self.sites)
            for j, place in enumerate(self.places)
        ]
        return pd.DataFrame(rows, columns=["patched", "site", "positions", "restored", "low", "high"])

    def plot(self, of: str | None = None) -> Any:
        """Draw the share restored by site, over positions where these were patched one by one, or over their kinds."""
        known = ("positions", "kinds") if self.places else ("kinds",)
        of = of or known[0]
        if of not in known:
            raise InputError(f"plot of a patching map needs one of {', '.join(known)}, got {of!r}.")
        table, columns = (self.restored, self.places) if of == "positions" else (self.restored_by_kind, self.kinds)
        figure = heatmap_figure(
            table.tolist(),
            rows=self.sites,
            columns=columns,
            x="position" if of == "positions" else "kind of position",
            y="site",
            unit="share restored",
            limits=(-1.0, 1.0),
            scale="diverging",
            text=of == "kinds",
        )
        return along(figure, y=of_sites(self.sites))

    def __repr__(self) -> str:
        carried = ", ".join(f"{site}: {kind}" for site, kind in self.carriers().items())
        return f"PatchingMap({carried}, {self.n_prompts} prompts)"


def patching_map(
    model: ModelLike,
    task: TaskLike = None,
    *,
    layers: Sequence[int] | None = None,
    n_prompts: int = 32,
    n_points: int | None = None,
    n_places: int = _MOST_PLACES,
    seed: int = 0,
) -> PatchingMap:
    """Find the sites and positions that carry the answer to the last query.

    Clean prompts have twins with the same inputs and the labels of another function, so that the answer changes. The
    residual stream of the clean prompt replaces that of its twin at one site and one position, or at all positions of
    a kind. Formula: sum (patched - other) (clean - other) / sum (clean - other)^2 over prompts, of the answers: 0 if
    nothing is restored, 1 if all is. Shares of several places need not sum to 1. No untrained networks stand beside it.

    Args:
        model: Model of any family, or wrapped with sites.
        task: Task that prompts are drawn from. If its labels are no function of given inputs, twins are other prompts
            with the same query.
        layers: Blocks to look at; None means all.
        n_prompts: Number of pairs of prompts, at least 2.
        n_points: Number of examples per prompt with the query, at least 2; None takes the task's usual number.
        n_places: Number of places at most; more positions are patched as stretches of neighbours. 0 leaves only the
            kinds of positions.
        seed: The only source of randomness.

    Returns:
        Shares restored at each site, by place and by kind of position.

    Raises:
        InputError: If there are too few prompts or points, or no site is known.

    Source:
        Meng et al. (2022), "Locating and editing factual associations in GPT"; Heimersheim and Nanda (2024), "How to
        use and interpret activation patching". The share of a real-valued answer is our choice.

    Example:
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> found = patching_map(model, LinearRegression(n_dims=2), n_prompts=8)
        >>> found.carriers()  # what labels say is in their own tokens first, and in the query's after the last block
        {'read-in': 'y tokens', 'block 0': 'query'}
    """
    model, task = as_model_and_task("patching_map", model, task)
    n_points = task.default_points if n_points is None else n_points
    if n_prompts < 2 or n_points < 2:
        raise InputError(
            f"patching_map needs at least 2 prompts of 2 points, got {n_prompts} prompts of {n_points} points; raise "
            "n_prompts or n_points."
        )
    if n_places < 0:
        raise InputError(f"patching_map needs n_places from 0, got {n_places}.")
    look_first(model, task, n_points, seed=seed)
    sites = _patched_sites(model.cfg.residual_sites(layers))
    if not sites:
        raise InputError(f"patching_map needs a site of the residual stream: {NO_SITES}")
    return _measure(model, task, sites, n_prompts, n_points, n_places, seed)


def twins(task: Task, n_prompts: int, n_points: int, *, seed: int) -> tuple[Prompts, Prompts, str]:
    """Draw clean prompts, others with the same query and another answer, and say what the two have in common."""
    clean = task.sample(n_prompts, n_points, seed=derive_seed(seed, "evaluation: patching"))
    if isinstance(task, FunctionTask):
        other = task.prompts_at(clean.xs, seed=derive_seed(seed, "evaluation: patching, other labels"))
        return clean, other, "the same inputs and the labels of another function"
    xs, ys = clean.xs.roll(1, 0), clean.ys.roll(1, 0)
    xs[:, -1] = clean.xs[:, -1]
    return clean, replace(clean, xs=xs, ys=ys, ws=None), "the same query and the examples of another prompt"


def _measure(
    model: HookedModel,
    task: Task,
    sites: Sequence[ResidualSite],
    n_prompts: int,
    n_points: int,
    n_places: int,
    seed: int,
) -> PatchingMap:
    clean, other, corruption = twins(task, n_prompts, n_points, seed=seed)
    model.prepare(clean.xs, clean.ys)
    names = _names(model.cfg, n_points)
    kinds, places = _kinds(names), _stretches(names, n_places)
    hooks = _hooks(model, sites)
    held = collect(model, clean, list(hooks.values()))
    replay = Replay(model, other, list(hooks.values()), batch_size=n_prompts)  # a patch is for all prompts at once
    said = predict_under(model, clean)[:, -1]
    wanted, started = said.double(), replay.answers[:, -1].double()
    change = wanted - started
    small = float(change.abs().max()) <= _ROUNDING * torch.finfo(said.dtype).eps * float(wanted.abs().max())

    def gain(site: ResidualSite, positions: list[int]) -> Tensor:
        hook = hooks[site.label]
        return (replay.under(put(hook, held[hook], positions))[:, -1].double() - started) * change

    def gains(of: Mapping[str, list[int]]) -> Tensor:
        rows = [torch.stack([gain(site, positions) for positions in of.values()]) for site in sites]
        return torch.stack(rows) * (math.nan if small else 1.0)  # [site place sample]

    by_kind, whole = gains(kinds), change.square()
    replicates = torch.stack([torch.stack([resampled_means(g) for g in row]) for row in by_kind])
    ends = torch.tensor([[percentile_interval(r / resampled_means(whole)) for r in row] for row in replicates])
    return PatchingMap(
        sites=tuple(site.label for site in sites),
        places=tuple(places),
        kinds=tuple(kinds),
        restored=(gains(places).mean(2) if places else by_kind.new_zeros(len(sites), 0, 1).mean(2)) / whole.mean(),
        restored_by_kind=by_kind.mean(2) / whole.mean(),
        low=ends[..., 0].double(),
        high=ends[..., 1].double(),
        corruption=corruption,
        change=float(whole.mean() / wanted.square().mean()),
        difference=float(whole.mean() / task.label_second_moment()),
        n_prompts=n_prompts,
    )


def _hooks(model: HookedModel, sites: Sequence[ResidualSite]) -> dict[str, str]:
    """Give where each site is changed: what comes out of a block of ours is what the next one reads, one block less."""
    cfg = model.cfg
    n_moved = cfg.n_layers - 1 if isinstance(model, HookedICLTransformer) else 0
    moved = {cfg.site("resid_post", layer).hook: f"blocks.{layer + 1}.hook_resid_pre" for layer in range(n_moved)}
    return {site.label: moved.get(site.hook, site.hook) for site in sites}


def _patched_sites(sites: Sequence[ResidualSite]) -> tuple[ResidualSite, ...]:
    # After the final norm each position answers for itself.
    return tuple(site for site in sites if site.label != FINAL_NORM)


def _names(config: Architecture, n_points: int) -> list[str]:
    """Name the positions up to the last one that answers; what comes after it, the answer cannot read."""
    n_positions = config.positions_for(n_points)
    asking = torch.arange(n_positions)[answering_positions(config.tokens, n_positions)]
    return [*position_names(config.tokens, n_positions)[: int(asking[-1])], QUERY]


def _kinds(names: Sequence[str]) -> dict[str, list[int]]:
    kinds: dict[str, list[int]] = {QUERY: [len(names) - 1]}
    for place, name in enumerate(names[:-1]):
        role = name.rstrip("0123456789")
        kinds.setdefault("examples" if role == "xy" else f"{role} tokens", []).append(place)
    return kinds


def _stretches(names: Sequence[str], most: int) -> dict[str, list[int]]:
    """Divide positions into at most so many stretches of neighbours, the query alone."""
    if most < 2:
        return {}
    length = math.ceil((len(names) - 1) / (most - 1))
    parts = [list(range(i, min(i + length, len(names) - 1))) for i in range(0, len(names) - 1, length)]
    found = {names[part[0]] + (f" to {names[part[-1]]}" if len(part) > 1 else ""): part for part in parts}
    return {**found, QUERY: [len(names) - 1]}


def _places(config: Architecture, n_points: int, n_sites: int) -> int:
    """Choose how many places a study patches; from shapes, never from a clock."""
    affordable = int(_BUDGET / (config.operations(n_points) * n_sites * 8))
    return 0 if affordable < 4 else min(_MOST_PLACES, config.positions_for(n_points), affordable)


def _cost(config: Architecture, n_points: int, n_controls: int) -> int:  # noqa: ARG001
    n_sites = len(_patched_sites(config.residual_sites()))
    return 3 + n_sites * (_KINDS + _places(config, n_points, n_sites))


def _in_study(found: Findings) -> PatchingMap:
    plan, sites = found.plan, _patched_sites(found.plan.sites)
    n_prompts = plan.efforts[PATCHING.name].prompts
    n_places = _places(plan.config, plan.n_points, len(sites))
    return _measure(plan.model, plan.task, sites, n_prompts, plan.n_points, n_places, plan.seed)


def _without(plan: StudyPlan) -> str | None:
    return without_sites(plan)


PATCHING = Measure("patching", "patching", run=_in_study, group="mechanism", without=_without, cost=_cost)
