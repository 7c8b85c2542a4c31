"""Which heads does a model need?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import scipy.stats
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.figures.choices import along
from icl_interp.figures.heatmap import heatmap_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import role_style
from icl_interp.interventions import Intervention, ablate_heads, predict_under
from icl_interp.interventions.replay import can_go_on
from icl_interp.measure.controls import N_UNTRAINED, untrained_networks
from icl_interp.measure.families import look_first
from icl_interp.measure.result import Result
from icl_interp.measure.study.measure import Findings, Measure, StudyPlan
from icl_interp.measure.subspace_use import late_answers
from icl_interp.measure.verdicts import LEVEL
from icl_interp.models.architecture import Architecture
from icl_interp.models.hooked import HookedModel
from icl_interp.models.softmax.transformer import HookedICLTransformer
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.tasks.base import Task
from probes import head_importance as by_loss
from probes.head_importance import HeadImportance, PruningCurve, pruning_curve, pruning_masks

_N_KEPT = 9
"""Points of a pruning curve at most, the two ends among them."""
_N_ORDERS = 3
"""Random orders of pruning beside the one by importance."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class HeadReport(Result):
    """What the late error does when heads are masked, in units of E[y^2]."""

    importance: HeadImportance
    """Increases of the error, one head masked at a time, and shares of the layer."""
    untrained: Float[Tensor, "network layer head"]
    """The increases in untrained networks; none where controls were switched off."""
    pruning: PruningCurve
    """Error with the most important heads kept, on prompts of its own."""
    random_pruning: tuple[PruningCurve, ...]
    """The same for heads kept in a random order."""
    n_prompts: int
    """Prompts for the importance, and as many again for the pruning."""

    @property
    def top(self) -> tuple[int, int]:
        """Layer and head whose masking raises the error most."""
        place = int(self.importance.increase.argmax())
        return divmod(place, self.importance.increase.shape[1])

    @property
    def untrained_most(self) -> float:
        """The largest increase in any untrained network; NaN without any."""
        return float(self.untrained.max()) if len(self.untrained) else float("nan")

    def needed(self) -> list[str]:
        """Name the heads that matter more than the most important head of one more untrained network.

        Each is compared with the largest increase of each network, so that no head is found for being one of many; its
        interval over prompts lies above 0, and above that bar, too.
        """
        most = self.untrained.double().flatten(1).amax(1) if len(self.untrained) else torch.zeros(1).double()
        bar = most.mean()
        if len(most) > 1:
            bar += float(scipy.stats.t.isf(LEVEL, df=len(most) - 1)) * most.std() * (1 + 1 / len(most)) ** 0.5
        places = (self.importance.increase_low > bar.clamp(min=0)).nonzero().tolist()  # none above a bar of NaN
        places.sort(key=lambda place: -float(self.importance.increase[place[0], place[1]]))
        return [f"{layer}.{head}" for layer, head in places]

    def to_frame(self) -> pd.DataFrame:
        """Lay heads out, one a row."""
        found, rows = self.importance, []
        for layer, head in torch.ones_like(found.increase).nonzero().tolist():
            cells = (found.increase, found.increase_low, found.increase_high, found.importance)
            untrained = float(self.untrained[:, layer, head].mean()) if len(self.untrained) else float("nan")
            rows.append((layer, head, *(float(cell[layer, head]) for cell in cells), untrained))
        return pd.DataFrame(rows, columns=["layer", "head", "increase", "low", "high", "share", "increase_untrained"])

    def plot(self) -> Any:
        """Draw the increase of the error for each head."""
        n_layers, n_heads = self.importance.increase.shape
        figure = heatmap_figure(
            self.importance.increase.tolist(),
            rows=[f"block {layer}" for layer in range(n_layers)],
            columns=[str(head) for head in range(n_heads)],
            x="head",
            y="layer",
            unit="rise of error / E[y²]",
            marked=[(int(name.split(".")[0]), int(name.split(".")[1])) for name in self.needed()],
            text=n_layers * n_heads <= 64,
        )
        heads = [{"head": head} for head in range(n_heads)]
        return along(figure, x=heads, y=[{"layer": layer} for layer in range(n_layers)])

    def plot_pruning(self) -> Any:
        """Draw the error by the number of heads that are kept."""
        kept = list(self.pruning.n_kept)
        lines = []
        if self.random_pruning:
            rows = torch.stack([curve.losses.values for curve in self.random_pruning])
            low, high = rows.amin(0).tolist(), rows.amax(0).tolist()
            lines.append(Line("random order", kept, rows.mean(0).tolist(), role_style("shuffled"), low, high))
        own = self.pruning.losses
        low, high = own.low.tolist(), own.high.tolist()
        style = role_style("model")
        lines.append(Line("most important first", kept, own.values.tolist(), style, low, high, 3, markers=True))
        return lines_figure(lines, x="heads kept", y="late error / E[y²]", y_type="log")

    def __repr__(self) -> str:
        layer, head = self.top
        rise = float(self.importance.increase[layer, head])
        return f"HeadReport(top={layer}.{head}, increase={rise:.3g}, needed={len(self.needed())} heads)"


def _heads_can_be_masked(model: HookedModel) -> bool:
    """Say whether a model has heads with a hook of their own."""
    return "blocks.0.attn.hook_z" in model.hook_dict


def head_importance(
    model: ModelLike,
    task: TaskLike = None,
    *,
    n_prompts: int = 128,
    n_points: int | None = None,
    n_orders: int = _N_ORDERS,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
) -> HeadReport:
    """Mask heads one at a time, then keep only the most important ones.

    Formula: importance_lh = max(0, R_lh - R) / sum_h max(0, R_lh - R), with R the late error and R_lh that with the
    head's output masked (z_h = 0), in units of E[y^2]. A masked head takes the network off its distribution, so part
    of the increase may come from that alone; replacing the output by its mean is another baseline, which may cost more
    or less. Heads that stand in for each other look unimportant. The order of pruning is by increase over all layers,
    and is tried on other prompts, beside random orders.

    Args:
        model: Any family with heads.
        task: What prompts are drawn from.
        n_prompts: For the importance, and as many again for the pruning.
        n_points: Pairs per prompt; None takes the task's usual number.
        n_orders: Random orders of pruning.
        n_controls: Untrained networks; 0 switches them off.
        seed: The only source of randomness.

    Returns:
        Increases, shares and pruning curves.

    Raises:
        InputError: If the model has no heads with a hook of their own, or n_prompts is below 2.

    Source:
        Chen, Zhao and Zou (2024), arXiv 2408.04532, figure 1(c, d).

    Example:
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8), seed=0)
        >>> report = head_importance(model, LinearRegression(n_dims=2), n_prompts=16, n_controls=0)
        >>> report.importance.increase.shape, report.pruning.n_kept
        (torch.Size([1, 2]), (0, 1, 2))
    """
    model, task = as_model_and_task("head_importance", model, task)
    look_first(model, task, n_points, seed=seed)
    if not _heads_can_be_masked(model):
        reason = _why_not(model.cfg)
        raise InputError(
            f"head_importance needs heads with a hook of their own, got {model.cfg.describe()}: "
            f"{reason[0].lower()}{reason[1:]}"
        )
    if n_prompts < 2:
        raise InputError(f"head_importance needs at least 2 prompts, got {n_prompts}; raise n_prompts.")
    first, second = _drawn(task, n_prompts, n_points, seed)
    unit = task.label_second_moment()
    report = _report(model, first, second, unit, n_orders, seed)
    return _beside(report, [_increase(each, first, unit) for each in untrained_networks(model, n_controls, seed=seed)])


def _drawn(task: Task, n_prompts: int, n_points: int | None, seed: int) -> tuple[Prompts, Prompts]:
    prompts = task.sample(2 * n_prompts, n_points, seed=derive_seed(seed, "evaluation: heads"))
    return prompts[:n_prompts], prompts[n_prompts:]


def _report(model: HookedModel, first: Prompts, second: Prompts, unit: float, n_orders: int, seed: int) -> HeadReport:
    found = by_loss.head_importance(*_masked(model, first, unit), seed=seed)
    orders = [found.increase, *_random_orders(found.increase, n_orders, seed)]
    whole = _losses(model, second, None, unit)
    curves = [_pruned(model, second, order, whole, unit, seed) for order in orders]
    return HeadReport(
        importance=found,
        untrained=found.increase.new_empty(0, *found.increase.shape),
        pruning=curves[0],
        random_pruning=tuple(curves[1:]),
        n_prompts=len(first),
    )


def _increase(network: HookedModel, prompts: Prompts, unit: float) -> Float[Tensor, "layer head"]:
    masked, losses = _masked(network, prompts, unit)
    return (masked - losses).mean(2)


def _beside(report: HeadReport, untrained: Sequence[Float[Tensor, "layer head"]]) -> HeadReport:
    return replace(report, untrained=torch.stack(list(untrained))) if untrained else report


def _masked(
    model: HookedModel, prompts: Prompts, unit: float
) -> tuple[Float[Tensor, "layer head batch"], Float[Tensor, " batch"]]:
    layers, heads = range(model.cfg.n_layers), range(model.cfg.n_heads)
    whole = _losses(model, prompts, None, unit)
    if isinstance(model, HookedICLTransformer) and can_go_on(model, prompts):
        parts = [prompts[start : start + _AT_ONCE] for start in range(0, len(prompts), _AT_ONCE)]
        said = torch.cat([_each_masked(model, part) for part in parts], dim=2)
        late = late_answers(model, prompts)
        return (said.double()[..., late] - prompts.ys.double()[:, late]).square().mean(3) / unit, whole
    rows = [torch.stack([_losses(model, prompts, [(layer, h)], unit) for h in heads]) for layer in layers]
    return torch.stack(rows), whole


_AT_ONCE = 32
"""Prompts whose residual streams are in memory before every block; the last batches hold one per head of them."""


def _each_masked(model: HookedICLTransformer, prompts: Prompts) -> Float[Tensor, "layer head batch point"]:
    """Answer with each head masked in turn: from its own block on, and all heads of a layer at once."""
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(model.cfg.n_layers)]
    streams, rows, n_heads = collect(model, prompts, names), [], model.cfg.n_heads

    def mask(z: Tensor, hook: object) -> Tensor:  # noqa: ARG001
        turns = z.clone().reshape(n_heads, -1, *z.shape[1:])
        turns.diagonal(dim1=0, dim2=3).zero_()  # [head batch pos head d_head]: each of its own turn
        return turns.flatten(0, 1)

    for layer, name in enumerate(names):
        with torch.no_grad(), model.hooks(fwd_hooks=[(f"blocks.{layer}.attn.hook_z", mask)]):
            said = model.answers_from(layer, streams[name].repeat(n_heads, 1, 1))
        rows.append(said.reshape(n_heads, -1, said.shape[1]).cpu())
    return torch.stack(rows)


def _losses(
    model: HookedModel, prompts: Prompts, heads: Sequence[tuple[int, int]] | None, unit: float
) -> Float[Tensor, " batch"]:
    intervention: Intervention | None = ablate_heads(heads) if heads else None
    late = late_answers(model, prompts)
    said = predict_under(model, prompts, intervention).double()[:, -len(late) :]
    return (said - prompts.ys.double()[:, late]).square().mean(1) / unit


def _pruned(
    model: HookedModel, prompts: Prompts, order: Float[Tensor, "layer head"], whole: Tensor, unit: float, seed: int
) -> PruningCurve:
    masks = pruning_masks(order)
    kept = sorted({round(i * (len(masks) - 1) / (_N_KEPT - 1)) for i in range(_N_KEPT)})
    losses = [_losses(model, prompts, _gone(masks[count]), unit) for count in kept]
    return pruning_curve(torch.stack(losses), whole, n_kept=tuple(kept), seed=seed)


def _gone(mask: Bool[Tensor, "layer head"]) -> list[tuple[int, int]]:
    return [(layer, head) for layer, head in (~mask).nonzero().tolist()]


def _random_orders(like: Float[Tensor, "layer head"], n: int, seed: int) -> list[Float[Tensor, "layer head"]]:
    generator = torch.Generator().manual_seed(derive_seed(seed, "pruning orders"))
    return [torch.rand(like.shape, generator=generator, dtype=like.dtype) for _ in range(n)]


def _cost(config: Architecture, n_points: int, n_controls: int) -> int:  # noqa: ARG001
    heads, layers = config.n_layers * config.n_heads, max(1, config.n_layers)
    masked = heads if config.query_only or config.is_wrapped else heads * (layers + 1) // (2 * layers)
    return (1 + n_controls) * (1 + masked) + 1 + (1 + _N_ORDERS) * min(heads + 1, _N_KEPT)


def _without_heads(plan: StudyPlan) -> str | None:
    return None if _heads_can_be_masked(plan.model) else _why_not(plan.config)


def _why_not(config: Architecture) -> str:
    if config.is_wrapped:
        return "No site shows the outputs of heads; name one per block in sites, of shape [batch pos head d_head]."
    return "The merged layer has no heads that could be masked."


def _alone(found: Findings, network: HookedModel, of_model: bool) -> HeadReport | Tensor:  # noqa: FBT001
    plan = found.plan
    first, second = _drawn(plan.task, plan.efforts[HEADS.name].prompts, plan.n_points, plan.seed)
    unit = plan.task.label_second_moment()
    return _report(network, first, second, unit, _N_ORDERS, plan.seed) if of_model else _increase(network, first, unit)


def _heads(found: Findings) -> HeadReport:
    report, *untrained = found.alone[HEADS.name]
    return _beside(report, untrained)


HEADS = Measure("heads", "heads", run=_heads, group="mechanism", without=_without_heads, cost=_cost, alone=_alone)
