"""Where do the heads of a model look?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.figures.choices import along
from icl_interp.figures.heatmap import heatmap_figure
from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.families import look_first
from icl_interp.measure.result import Result
from icl_interp.measure.study.measure import Findings, Measure, StudyPlan
from icl_interp.models.architecture import Architecture, OwnRoles
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import Positions, Role, answering_positions, positions_of
from icl_interp.prompts import Prompts, derive_seed
from probes.attention import AttentionReport, attention_report, role_masks


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AttentionSummary(Result):
    """What each head looks at from the tokens that ask, means over prompts and queries."""

    layers: tuple[AttentionReport, ...]
    """One a block."""
    untrained: Mapping[str, Float[Tensor, "network layer head"]]
    """The same numbers of untrained networks, by `quantities`; no rows where controls were switched off."""
    n_prompts: int
    """Prompts."""

    @property
    def quantities(self) -> tuple[str, ...]:
        """What is measured of each head: entropy, the mass on each role of token, and variability."""
        return ("entropy", *self.layers[0].mass, "variability")

    def table(self, quantity: str) -> Float[Tensor, "layer head"]:
        """Take one number of each head."""
        return _table(self.layers, quantity)

    def chance(self, quantity: str) -> float:
        """Say what attention that is uniform over visible keys would have."""
        return {"entropy": 1.0, "variability": 0.0, **self.layers[0].chance}[quantity]

    def to_frame(self) -> pd.DataFrame:
        """Lay heads out in long form."""
        rows = []
        for quantity in self.quantities:
            table, others = self.table(quantity), self.untrained[quantity]
            for layer, head in torch.ones_like(table).nonzero().tolist():
                untrained = float(others[:, layer, head].mean()) if len(others) else float("nan")
                rows.append((layer, head, quantity, float(table[layer, head]), untrained, self.chance(quantity)))
        return pd.DataFrame(rows, columns=["layer", "head", "quantity", "value", "untrained", "chance"])

    def plot(self) -> Any:
        """Draw all quantities of all heads."""
        tables = {quantity: self.table(quantity).flatten().tolist() for quantity in self.quantities}
        n_heads = len(self.layers[0].variability)
        heads = [{"layer": layer, "head": head} for layer in range(len(self.layers)) for head in range(n_heads)]
        names = [f"{place['layer']}.{place['head']}" for place in heads]
        figure = heatmap_figure(
            list(tables.values()),
            rows=list(tables),
            columns=names,
            x="layer.head",
            y="quantity",
            unit="share",
            limits=(0.0, 1.0),
            text=len(names) <= 16,
        )
        return along(figure, x=heads)

    def __repr__(self) -> str:
        entropy = self.table("entropy")
        return f"AttentionSummary(entropy={float(entropy.min()):.2f} to {float(entropy.max()):.2f}, {self.n_prompts=})"


def attention_summary(
    model: ModelLike,
    task: TaskLike = None,
    *,
    n_prompts: int = 128,
    n_points: int | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
) -> AttentionSummary:
    """Summarise what each head looks at from the tokens that ask for a prediction.

    Formula: entropy over log of the number of visible keys; mass on the query itself, on the token before, on x and on
    y tokens; total variation distance of a prompt's pattern from the mean pattern. A head that looks somewhere need
    not carry anything from there; see `head_importance`.

    Args:
        model: A decoder with softmax attention.
        task: What prompts are drawn from.
        n_prompts: At least 2; patterns of all are held in memory.
        n_points: Pairs per prompt; None takes the task's usual number.
        n_controls: Untrained networks; 0 switches them off.
        seed: The only source of randomness.

    Returns:
        One entry per head, beside uniform attention and untrained networks.

    Raises:
        InputError: If attention is linear or merged, or n_prompts is below 2.

    Source:
        Our choice of summaries.

    Example:
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8), seed=0)
        >>> attention_summary(model, LinearRegression(n_dims=2), n_prompts=8, n_controls=0).quantities
        ('entropy', 'self', 'previous', 'x', 'y', 'variability')
    """
    model, task = as_model_and_task("attention_summary", model, task)
    look_first(model, task, n_points, seed=seed)
    config = model.cfg
    if not config.has_patterns and config.is_wrapped:
        raise InputError(
            f"attention_summary needs attention patterns, got {config.describe()}: no{_why_not(config)[2:]}"
        )
    if not config.has_patterns:
        raise InputError(
            f"attention_summary needs softmax attention over the tokens, got family {config.family!r}, whose weights "
            "are no distribution over them; look at its hook_pattern, or at head_importance."
        )
    if n_prompts < 2:
        raise InputError(f"attention_summary needs at least 2 prompts, got {n_prompts}; raise n_prompts.")
    prompts = task.sample(n_prompts, n_points, seed=derive_seed(seed, "evaluation: attention"))
    layers = _reports(model, prompts, seed)
    controls = [_reports(network, prompts, seed) for network in untrained_networks(model, n_controls, seed=seed)]
    return _beside(layers, [_tables(found) for found in controls], n_prompts)


def _tables(layers: tuple[AttentionReport, ...]) -> dict[str, Float[Tensor, "layer head"]]:
    return {quantity: _table(layers, quantity) for quantity in ("entropy", *layers[0].mass, "variability")}


def _beside(
    layers: tuple[AttentionReport, ...], untrained: Sequence[Mapping[str, Tensor]], n_prompts: int
) -> AttentionSummary:
    tables = {
        quantity: torch.stack([found[quantity] for found in untrained])
        if untrained
        else table.new_empty(0, *table.shape)
        for quantity, table in _tables(layers).items()
    }
    return AttentionSummary(layers=layers, untrained=tables, n_prompts=n_prompts)


def _reports(model: HookedModel, prompts: Prompts, seed: int) -> tuple[AttentionReport, ...]:
    found, causal = [], model.cfg.attention == "causal"
    for pattern in patterns_of(model, prompts):
        roles, asking = _roles(model.cfg, pattern.shape[-1])
        found.append(attention_report(pattern, roles, queries=asking, causal=causal, seed=seed, n_bootstrap=400))
    return tuple(found)


_PATTERN_ENTRIES = 2**24
"""64 MB of attention patterns."""


def patterns_of(model: HookedModel, prompts: Prompts) -> Iterator[Float[Tensor, "sample head query key"]]:
    """Read the attention patterns of each layer, a few layers at a time."""
    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(model.cfg.n_layers)]
    entries = len(prompts) * model.cfg.n_heads * model.cfg.positions_for(prompts.n_points) ** 2
    step = max(1, _PATTERN_ENTRIES // entries)
    for start in range(0, len(names), step):
        patterns = collect(model, prompts, names[start : start + step])
        for name in names[start : start + step]:
            yield patterns.pop(name).cpu()


def _roles(config: Architecture, n_pos: int) -> tuple[dict[str, Bool[Tensor, "query key"]], Bool[Tensor, " pos"]]:
    def mask(chosen: Positions) -> Bool[Tensor, " pos"]:
        kept = torch.zeros(n_pos, dtype=torch.bool)
        kept[chosen] = True
        return kept

    def role(name: Role) -> Bool[Tensor, " pos"]:
        return mask(positions_of(name, tokens=tokens, n_positions=n_pos))

    tokens = config.tokens
    asking = mask(answering_positions(tokens, n_pos))
    if tokens in ("interleaved", "separate") or (isinstance(tokens, OwnRoles) and {"x", "y"} <= {*tokens.of(n_pos)}):
        return role_masks(role("x"), role("y")), asking
    masks = role_masks(asking, ~asking)
    roles = {"self": masks["self"], "previous": masks["previous"]}
    return roles | ({"context": masks["y"]} if tokens == "joint" else {}), asking


def _table(layers: tuple[AttentionReport, ...], quantity: str) -> Float[Tensor, "layer head"]:
    def row(report: AttentionReport) -> Tensor:
        if quantity == "variability":
            return report.variability
        return report.entropy.values if quantity == "entropy" else report.mass[quantity].values

    return torch.stack([row(report) for report in layers])


def _cost(config: Architecture, n_points: int, n_controls: int) -> int:  # noqa: ARG001
    return 1 + n_controls


def _why_not(config: Architecture) -> str:
    if config.is_wrapped:
        return "No site shows attention patterns; name one per block in sites, of shape [batch head query key]."
    return "Its attention is no distribution over the tokens."


def _without_patterns(plan: StudyPlan) -> str | None:
    return None if plan.config.has_patterns else _why_not(plan.config)


def _alone(found: Findings, network: HookedModel, of_model: bool) -> Any:  # noqa: FBT001
    plan = found.plan
    n_prompts, seed = plan.efforts[ATTENTION.name].prompts, derive_seed(plan.seed, "evaluation: attention")
    layers = _reports(network, plan.task.sample(n_prompts, plan.n_points, seed=seed), plan.seed)
    return layers if of_model else _tables(layers)


def _attention(found: Findings) -> AttentionSummary:
    layers, *untrained = found.alone[ATTENTION.name]
    return _beside(layers, untrained, found.plan.efforts[ATTENTION.name].prompts)


ATTENTION = Measure(
    "attention", "attention", run=_attention, group="mechanism", without=_without_patterns, cost=_cost, alone=_alone
)
