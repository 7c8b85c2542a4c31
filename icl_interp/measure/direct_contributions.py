"""Which heads and MLPs write the answer? The residual stream of the query, split into what each of them wrote."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.figures.choices import Place, along
from icl_interp.figures.heatmap import heatmap_figure
from icl_interp.measure.controls import resampled_means
from icl_interp.measure.errors import first_scored_point
from icl_interp.measure.families import look_first
from icl_interp.measure.result import Result
from icl_interp.measure.study.measure import Findings, Measure, StudyPlan
from icl_interp.models.architecture import Architecture
from icl_interp.models.direct_path import direct_path, why_no_direct_path
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import answering_positions
from icl_interp.prompts import Prompts, derive_seed
from probes.bootstrap import Estimate, percentile_interval

_DRAWN = ("blocks", "examples")
_ROWS = 24
"""Components that are drawn over the number of examples; the others are summed."""
_LEAST_ANSWER = 0.01
"""Where answers are smaller, relative to late ones and squared, no share of them is given."""
_BATCH = 64


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DirectContributions(Result):
    """What each part of a network writes directly into the answer; the shares of all parts sum to 1."""

    components: tuple[str, ...]
    """"read-in", "positions" where there are any, "head 0.0" (block, head) and "MLP 0" of each block, "biases"."""
    shares: tuple[Estimate, ...]
    """Share of the late answers that each component writes, with intervals over prompts; below 0 where it writes
    against the answer."""
    sizes: Float64[Tensor, " component"]
    """Root mean square of what each component writes, divided by that of the late answers."""
    by_examples: Float64[Tensor, "component point"]
    """The same shares of the answers after 0, 1, ... examples; NaN where all answers are close to 0."""
    n_layers: int
    """Number of blocks."""
    n_heads: int
    """Number of heads per block."""
    first_late: int
    """Number of examples from which on answers count as late."""
    n_prompts: int
    """Number of prompts."""

    def share(self, component: str) -> Estimate:
        """Give the share of one component by its name."""
        if component not in self.components:
            raise InputError(f"a share needs one of {', '.join(self.components)}, got {component!r}.")
        return self.shares[self.components.index(component)]

    def ordered(self) -> list[int]:
        """Order components by the size of their shares, largest first."""
        values = [abs(share.value) if math.isfinite(share.value) else 0.0 for share in self.shares]
        return sorted(range(len(values)), key=values.__getitem__, reverse=True)

    def to_frame(self) -> pd.DataFrame:
        """Lay the components out, one per row."""
        return pd.DataFrame({
            "component": list(self.components),
            "share": [share.value for share in self.shares],
            "low": [share.low for share in self.shares],
            "high": [share.high for share in self.shares],
            "size": self.sizes.tolist(),
            **{f"after {k} examples": column.tolist() for k, column in enumerate(self.by_examples.T)},
        })

    def plot(self, of: str = "blocks") -> Any:
        """Draw the shares of late answers by block and head, or of the largest components over the examples."""
        if of not in _DRAWN:
            raise InputError(f"plot of contributions needs one of {', '.join(_DRAWN)}, got {of!r}.")
        return self._over_blocks() if of == "blocks" else self._over_examples()

    def _over_blocks(self) -> Any:
        known = dict(zip(self.components, self.shares, strict=True))
        columns = [f"head {head}" for head in range(self.n_heads)]
        rows = [[known[f"head {layer}.{head}"].value for head in range(self.n_heads)] for layer in range(self.n_layers)]
        if "MLP 0" in known:
            columns.append("MLP")
            rows = [[*row, known[f"MLP {layer}"].value] for layer, row in enumerate(rows)]
        figure = heatmap_figure(
            rows,
            rows=[f"block {layer}" for layer in range(self.n_layers)],
            columns=columns,
            x="part of the block",
            y="block",
            unit="share of the answer",
            scale="diverging",
            text=len(columns) <= 9,
        )
        heads: list[Place] = [{"head": head} for head in range(self.n_heads)]
        return along(figure, x=[*heads, {}][: len(columns)], y=[{"layer": layer} for layer in range(self.n_layers)])

    def _over_examples(self) -> Any:
        order = self.ordered()
        chosen, others = order[:_ROWS], order[_ROWS:]
        table = self.by_examples[sorted(chosen)]
        names = [self.components[i] for i in sorted(chosen)]
        if others:
            table = torch.cat([table, self.by_examples[others].sum(0, keepdim=True)])
            names.append(f"{len(others)} others")
        known = table[table.isfinite()]
        most = max(1.0, float(known.abs().quantile(0.98))) if len(known) else 1.0  # first answers are small
        figure = heatmap_figure(
            table.tolist(),
            rows=names,
            columns=[str(k) for k in range(table.shape[1])],
            x="examples",
            y="component",
            unit="share of the answer",
            limits=(-most, most),
            scale="diverging",
        )
        return along(figure, y=[_place(name) for name in names])

    def __repr__(self) -> str:
        most = [f"{self.components[i]} {self.shares[i].value:.3g}" for i in self.ordered()[:3]]
        return f"DirectContributions({', '.join(most)}, {len(self.components)} components)"


def _place(component: str) -> Place:
    """Give the layer, and the head, that a component belongs to."""
    kind, _, numbers = component.partition(" ")
    if kind not in ("head", "MLP"):
        return {}
    return dict(zip(("layer", "head"), map(int, numbers.split(".")), strict=False))


def direct_contributions(
    model: ModelLike, task: TaskLike = None, *, n_prompts: int = 64, n_points: int | None = None, seed: int = 0
) -> DirectContributions:
    """Split the answer into what the read-in, each head and each MLP write into it directly.

    Formula: the answer is the sum of all contributions c_i, where c_i is what component i adds to the residual stream
    of the query, through the final norm (its scale as it is in that pass) and the read-out. Share: E[c_i answer] /
    E[answer^2] over prompts and late answers, so that shares sum to 1. Only the direct path counts: a head that
    prepares what a later one reads has no share. No untrained networks stand beside it.

    Args:
        model: A decoder, or linear attention with or without an MLP.
        task: Task that prompts are drawn from.
        n_prompts: Number of prompts, at least 2.
        n_points: Number of examples per prompt; None takes the task's usual number.
        seed: The only source of randomness.

    Returns:
        Shares of all components.

    Raises:
        InputError: If the weights of the direct path are not known, or there are fewer than 2 prompts.

    Source:
        Elhage et al. (2021), "A mathematical framework for transformer circuits": direct logit attribution. Shares of
        a real-valued answer are our choice.

    Example:
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8), seed=0)
        >>> found = direct_contributions(model, LinearRegression(n_dims=2), n_prompts=8)
        >>> found.components
        ('read-in', 'positions', 'head 0.0', 'head 0.1', 'MLP 0', 'biases')
        >>> assert abs(sum(share.value for share in found.shares) - 1) < 1e-5
    """
    model, task = as_model_and_task("direct_contributions", model, task)
    if (reason := why_no_direct_path(model)) is not None:
        raise InputError(f"direct_contributions needs a direct path to the answer: {reason}")
    if n_prompts < 2:
        raise InputError(f"direct_contributions needs at least 2 prompts, got {n_prompts}; raise n_prompts.")
    look_first(model, task, n_points, seed=seed)
    return _measure(model, task.sample(n_prompts, n_points, seed=derive_seed(seed, "evaluation: direct path")))


def _measure(model: HookedModel, prompts: Prompts) -> DirectContributions:
    names, written = contributions_of(model, prompts)
    answers = written.sum(0)
    first = first_scored_point(prompts.n_dims, prompts.n_points)
    late, said = written[:, :, first:], answers[:, first:]
    whole = resampled_means(said.square().mean(1))
    shares = []
    for part in (late * said).mean(2):
        value = float(part.mean() / said.square().mean())
        shares.append(Estimate(value, *percentile_interval(resampled_means(part) / whole)))
    power = answers.square().mean(0)
    by_examples = (written * answers).mean(1) / power
    by_examples[:, power <= _LEAST_ANSWER * said.square().mean()] = math.nan
    return DirectContributions(
        components=tuple(names),
        shares=tuple(shares),
        sizes=(late.square().mean((1, 2)) / said.square().mean()).sqrt(),
        by_examples=by_examples,
        n_layers=model.cfg.n_layers,
        n_heads=model.cfg.n_heads,
        first_late=first,
        n_prompts=len(prompts),
    )


def contributions_of(
    model: HookedModel, prompts: Prompts
) -> tuple[list[str], Float64[Tensor, "component sample point"]]:
    """Split every answer of a model; the components sum to it."""
    points = range(prompts.n_points) if model.cfg.query_only else [-1]
    found = [_of_batch(model, prompts[i : i + _BATCH], points) for i in range(0, len(prompts), _BATCH)]
    return found[0][0], torch.cat([written for _, written in found], dim=1)


def _of_batch(model: HookedModel, prompts: Prompts, points: Sequence[int]) -> tuple[list[str], Tensor]:
    parts = [_of_pass(model, prompts, point) for point in points]
    return parts[0][0], torch.cat([written for _, written in parts], dim=2)


def _of_pass(model: HookedModel, prompts: Prompts, point: int) -> tuple[list[str], Tensor]:
    cfg, path = model.cfg, direct_path(model)
    adds_mlp = cfg.family == "gpt2" and not cfg.attn_only
    hooks = ["hook_embed"]
    hooks += ["hook_pos_embed"] if "hook_pos_embed" in model.hook_dict else []
    hooks += [f"blocks.{layer}.attn.hook_z" for layer in range(cfg.n_layers)]
    hooks += [f"blocks.{layer}.hook_mlp_out" for layer in range(cfg.n_layers) if adds_mlp]
    hooks += ["ln_final.hook_scale"] if cfg.final_norm else []
    held = collect(model, prompts, hooks, point=point)
    asking = answering_positions(cfg.tokens, held["hook_embed"].shape[1])
    held = {name: values[:, asking].double() for name, values in held.items()}
    start, blocks = path.start.double().cpu(), path.blocks.double().cpu()
    written = {"read-in": held["hook_embed"] @ start}
    if "hook_pos_embed" in held:
        written["positions"] = held["hook_pos_embed"].expand_as(held["hook_embed"]) @ start
    for layer in range(cfg.n_layers):
        reads = model.W_O[layer].detach().double().cpu() @ blocks[layer]  # [head d_head]
        by_head = torch.einsum("bphe,he->hbp", held[f"blocks.{layer}.attn.hook_z"], reads)
        written |= {f"head {layer}.{head}": each for head, each in enumerate(by_head)}
        if adds_mlp:
            written[f"MLP {layer}"] = held[f"blocks.{layer}.hook_mlp_out"] @ blocks[layer]
    written["biases"] = torch.full_like(written["read-in"], float(path.biases))
    if cfg.final_norm:
        scale = held["ln_final.hook_scale"][..., 0]
        written = {name: each / scale for name, each in written.items()}
    written["biases"] = written["biases"] + float(path.constant)
    if cfg.family != "gpt2":  # which have none
        del written["biases"]
    return list(written), torch.stack(list(written.values()))


def _without(plan: StudyPlan) -> str | None:
    return why_no_direct_path(plan.model)


def _cost(config: Architecture, n_points: int, n_controls: int) -> int:  # noqa: ARG001
    return n_points if config.query_only else 1


def _in_study(found: Findings) -> DirectContributions:
    plan = found.plan
    n_prompts = plan.efforts[CONTRIBUTIONS.name].prompts
    prompts = plan.task.sample(n_prompts, plan.n_points, seed=derive_seed(plan.seed, "evaluation: direct path"))
    return _measure(plan.model, prompts)


CONTRIBUTIONS = Measure(
    "contributions", "direct contributions", run=_in_study, group="mechanism", without=_without, cost=_cost
)
