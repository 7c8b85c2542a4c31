"""Where does each head look, position by position?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from jaxtyping import Float, Int64, Integer
from torch import Tensor

from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.figures.choices import along
from icl_interp.figures.heatmap import Pattern, heatmap_figure, patterns_figure
from icl_interp.measure.attention import patterns_of
from icl_interp.measure.families import look_first
from icl_interp.measure.result import Result
from icl_interp.measure.study.measure import Findings, Measure, StudyPlan
from icl_interp.models.architecture import Architecture, Layout
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import position_names, roles_of
from icl_interp.prompts import Prompts, derive_seed
from probes.attention import attention_to

MOST_POSITIONS = 48
"""Of a longer sequence the last positions are kept, so that the patterns of many heads fit on a page."""
PREVIOUS, COPY, INDUCTION = "previous token", "copy", "induction"
Of = Literal["mean", "one prompt"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CodedPatterns:
    """Attention of every head in 8 bits."""

    codes: Integer[Tensor, "layer head query key"]
    """Whole numbers: 0 to 255 where rows are distributions, -127 to 127 where weights have signs."""
    largest: float
    """The weight that the largest code stands for."""

    @property
    def values(self) -> Float[Tensor, "layer head query key"]:
        """The weights themselves, off by half a code at most."""
        return self.codes.float() * self.largest / (255 if self.codes.dtype == torch.uint8 else 127)

    def __repr__(self) -> str:
        return f"CodedPatterns({list(self.codes.shape)}, largest={self.largest:.3g})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AttentionPatterns(Result):
    """The attention of every head from position to position, and how far it is one of three known kinds."""

    mean: CodedPatterns
    """Means over prompts."""
    one: CodedPatterns
    """Of the first prompt."""
    scores: Mapping[str, Float[Tensor, "layer head"]]
    """Mean attention to the previous token, of labels to their own input ("copy"), and of inputs to the label of the
    most similar earlier input ("induction"); those that the layout has, none where weights are no distribution."""
    chance: Mapping[str, float]
    """What uniform attention over visible positions would score."""
    positions: tuple[str, ...]
    """Names of the positions that are kept: x1, y1, x2, ..."""
    n_positions: int
    """Number of positions of the whole sequence."""
    n_prompts: int
    """Number of prompts."""

    @property
    def is_distribution(self) -> bool:
        """Whether each row sums to 1 over the whole sequence."""
        return self.mean.codes.dtype == torch.uint8

    @property
    def most_telling(self) -> tuple[int, int]:
        """Layer and head with the largest score above chance, or the largest weight where there are no scores."""
        if self.scores:
            above = torch.stack([found - self.chance[name] for name, found in self.scores.items()]).nan_to_num(-1)
            place = int(above.amax(0).argmax())
        else:
            place = int(self.one.codes.abs().amax((2, 3)).argmax())
        return divmod(place, self.mean.codes.shape[1])

    def kind(self, layer: int, head: int) -> tuple[str, float] | None:
        """Name the score in which a head exceeds chance most, with its value."""
        if not self.scores:
            return None
        name = max(self.scores, key=lambda name: float(self.scores[name][layer, head]) - self.chance[name])
        return name, float(self.scores[name][layer, head])

    def to_frame(self) -> pd.DataFrame:
        """Lay the scores and the largest weights of all heads out in long form."""
        tables = {name: (found, self.chance[name]) for name, found in self.scores.items()}
        for name, found in (("mean", self.mean), ("one prompt", self.one)):
            most = found.values.abs().amax((2, 3))
            tables[f"largest weight, {name}"] = (most, float("nan"))
        rows = [
            (layer, head, name, float(found[layer, head]), chance)
            for name, (found, chance) in tables.items()
            for layer, head in torch.ones_like(found).nonzero().tolist()
        ]
        return pd.DataFrame(rows, columns=["layer", "head", "quantity", "value", "chance"])

    def pattern_frame(self, layer: int, head: int, *, of: Of = "mean") -> pd.DataFrame:
        """Lay one head's weights out in long form, without those that are coded as 0."""
        values = self._coded(of).values[self._check(layer, head)]
        rows = [
            (self.positions[query], self.positions[key], float(values[query, key]))
            for query, key in values.nonzero().tolist()
        ]
        return pd.DataFrame(rows, columns=["from", "to", "weight"])

    def plot(self, layer: int | None = None, head: int | None = None, *, of: Of = "mean") -> Any:
        """Draw one head; by default the most telling one. The others are in the figure too, but not visible."""
        coded, (telling, strongest) = self._coded(of), self.most_telling
        first = self._check(telling if layer is None else layer, strongest if head is None else head)
        n_layers, n_heads = coded.codes.shape[:2]
        places = [(i, j) for i in range(n_layers) for j in range(n_heads)]
        return patterns_figure(
            [Pattern(f"head {i}.{j}", coded.codes[i, j].numpy(), {"layer": i, "head": j}) for i, j in places],
            names=self.positions,
            shown=places.index(first),
            largest=coded.largest,
            unit="attention" if self.is_distribution else "weight",
            x="position that is looked at",
            y="position that looks",
        )

    def plot_scores(self) -> Any:
        """Draw the scores of all heads."""
        if not self.scores:
            raise InputError("plot_scores needs attention that is a distribution over positions, got linear attention.")
        n_layers, n_heads = self.mean.codes.shape[:2]
        heads = [{"layer": layer, "head": head} for layer in range(n_layers) for head in range(n_heads)]
        columns = [f"{place['layer']}.{place['head']}" for place in heads]
        figure = heatmap_figure(
            [found.flatten().tolist() for found in self.scores.values()],
            rows=list(self.scores),
            columns=columns,
            x="layer.head",
            y="score",
            unit="attention",
            limits=(0.0, 1.0),
            text=len(columns) <= 8,  # more would not be readable on a narrow screen
        )
        return along(figure, x=heads)

    def _coded(self, of: str) -> CodedPatterns:
        if of not in ("mean", "one prompt"):
            raise InputError(f"of needs 'mean' or 'one prompt', got {of!r}.")
        return self.mean if of == "mean" else self.one

    def _check(self, layer: int, head: int) -> tuple[int, int]:
        n_layers, n_heads = self.mean.codes.shape[:2]
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise InputError(
                f"a pattern needs a layer from 0 to {n_layers - 1} and a head from 0 to {n_heads - 1}, got layer "
                f"{layer} and head {head}."
            )
        return layer, head

    def __repr__(self) -> str:
        best = {name: float(found.nan_to_num(0).max()) for name, found in self.scores.items()}
        said = ", ".join(f"{name}={value:.2f}" for name, value in best.items())
        n_layers, n_heads = self.mean.codes.shape[:2]
        return f"AttentionPatterns({n_layers} x {n_heads} heads, most: {said or 'no scores'}, {self.n_prompts=})"


def attention_patterns(
    model: ModelLike, task: TaskLike = None, *, n_prompts: int = 32, n_points: int | None = None, seed: int = 0
) -> AttentionPatterns:
    """Read the attention of every head from position to position, as a mean over prompts and on one prompt.

    Formula: "previous token" is the mean attention to the position before, over all positions but the first; "copy"
    that of each label y_k to its own x_k; "induction" that of x_k to the label of the earlier input that is nearest to
    x_k, where there are at least two. A head that attends to a position need not carry anything from there.

    Args:
        model: A model with attention. Linear attention has weights with signs, and no scores.
        task: Task that prompts are drawn from.
        n_prompts: Number of prompts.
        n_points: Number of examples per prompt; None takes the task's usual number.
        seed: The only source of randomness.

    Returns:
        Patterns in 8 bits, of the last 48 positions where there are more, and the scores of each head. A query-only
        model shows the sequence of its last point.

    Raises:
        InputError: If no attention can be read, or there is no prompt.

    Source:
        Olsson et al. (2022), arXiv 2209.11895, for induction in sequences of words; von Oswald et al. (2023), arXiv
        2212.07677, for labels that copy their input. That "the same token" becomes "the nearest input" is our choice.

    Example:
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=2, d_model=8), seed=0)
        >>> found = attention_patterns(model, LinearRegression(n_dims=2, n_points=2), n_prompts=4)
        >>> found.positions, list(found.scores)
        (('x1', 'y1', 'x2', 'y2'), ['previous token', 'copy'])
    """
    model, task = as_model_and_task("attention_patterns", model, task)
    look_first(model, task, n_points, seed=seed)
    if (reason := _without_attention(model.cfg)) is not None:
        raise InputError(f"attention_patterns needs attention that can be read, got {model.cfg.describe()}. {reason}")
    return _read_patterns(model, task.sample(n_prompts, n_points, seed=derive_seed(seed, "evaluation: attention")))


def _read_patterns(model: HookedModel, prompts: Prompts) -> AttentionPatterns:
    means, firsts, scores = [], [], []
    wanted: dict[str, Int64[Tensor, "sample query"]] = {}
    n_positions = 0
    for pattern in patterns_of(model, prompts):
        if not n_positions:
            n_positions = pattern.shape[-1]
            wanted = _keys(model.cfg.tokens, prompts.xs, n_positions) if model.cfg.has_patterns else {}
        scores.append({name: attention_to(pattern, keys).double().nanmean((0, 2)) for name, keys in wanted.items()})
        last = pattern[..., -MOST_POSITIONS:, -MOST_POSITIONS:].double()
        means.append(last.mean(0))
        firsts.append(last[0])
    coded = [_in_eight_bits(torch.stack(found), signed=not model.cfg.has_patterns) for found in (means, firsts)]
    causal = model.cfg.attention == "causal"
    seen = n_positions - getattr(model.cfg, "mask_query", False)
    visible = torch.arange(1, n_positions + 1) if causal else torch.full((n_positions,), seen)
    return AttentionPatterns(
        mean=coded[0],
        one=coded[1],
        scores={name: torch.stack([found[name] for found in scores]).float() for name in wanted},
        chance={name: float((1 / visible).expand_as(keys)[keys >= 0].mean()) for name, keys in wanted.items()},
        positions=position_names(model.cfg.tokens, n_positions)[-MOST_POSITIONS:],
        n_positions=n_positions,
        n_prompts=len(prompts),
    )


def _in_eight_bits(values: Float[Tensor, "layer head query key"], *, signed: bool) -> CodedPatterns:
    if not signed:
        return CodedPatterns((255 * values).round().clamp(0, 255).to(torch.uint8), 1.0)
    largest = float(values.abs().max()) or 1.0
    return CodedPatterns((127 * values / largest).round().to(torch.int8), largest)


def _keys(tokens: Layout, xs: Float[Tensor, "sample point dim"], n_positions: int) -> dict[str, Tensor]:
    """Name the key that each score asks for, by prompt and query; scores that a layout lacks are left out."""
    none = torch.full((len(xs), n_positions), -1)
    found: dict[str, Tensor] = {}
    if tokens != "joint":
        found[PREVIOUS] = torch.arange(n_positions).sub(1).expand_as(none)
    inputs, labels = _examples(tokens, n_positions)
    if len(labels) and len(inputs) == len(labels) and tokens not in ("joint", "sequence"):
        copied = none.clone()
        copied[:, labels] = torch.tensor(inputs)
        found[COPY] = copied
    most_similar = _most_similar(tokens, xs, inputs, labels, none)
    if bool((most_similar >= 0).any()):
        found[INDUCTION] = most_similar
    return found


def _examples(tokens: Layout, n_positions: int) -> tuple[list[int], list[int]]:
    """Find where the input of each example is read, and where its label is."""
    places = range(n_positions)
    if tokens == "joint":
        return list(places), list(places)
    if tokens == "sequence":  # the label of a value is the next one
        return list(places), [place + 1 for place in places]
    roles = roles_of(tokens, n_positions)
    return [i for i in places if roles[i] == "x"], [i for i in places if roles[i] == "y"]


def _most_similar(
    tokens: Layout, xs: Float[Tensor, "sample point dim"], inputs: Sequence[int], labels: Sequence[int], none: Tensor
) -> Int64[Tensor, "sample query"]:
    """Find the label of the earlier input that is nearest to each input, where there are at least two."""
    keys, distances = none.clone(), torch.cdist(xs.double(), xs.double())
    n = min(len(inputs), xs.shape[1])
    for k in range(n - 1 if tokens == "joint" else 2, n):  # of joint tokens the last one asks
        earlier = k - (tokens == "sequence")  # whose last label is the query itself
        if earlier >= 2:
            nearest = distances[:, k, :earlier].argmin(1)
            keys[:, inputs[k]] = torch.tensor(labels)[nearest]
    return keys


def _without_attention(config: Architecture) -> str | None:
    if config.has_patterns or not config.is_wrapped:
        return None
    return "No site shows attention patterns; name one per block in sites, of shape [batch head query key]."


def _without(plan: StudyPlan) -> str | None:
    return _without_attention(plan.config)


def _cost(config: Architecture, n_points: int, n_controls: int) -> int:  # noqa: ARG001
    return 1


def _alone(found: Findings, network: HookedModel, of_model: bool) -> AttentionPatterns | None:  # noqa: FBT001
    if not of_model:
        return None
    plan = found.plan
    n_prompts, seed = plan.efforts[PATTERNS.name].prompts, derive_seed(plan.seed, "evaluation: attention")
    return _read_patterns(network, plan.task.sample(n_prompts, plan.n_points, seed=seed))


def _patterns(found: Findings) -> AttentionPatterns:
    patterns: AttentionPatterns = found.alone[PATTERNS.name][0]
    return patterns


PATTERNS = Measure(
    "patterns", "attention patterns", run=_patterns, group="mechanism", without=_without, cost=_cost, alone=_alone
)
