"""What do the weights say? Read-in, read-out and the two circuits of each head, in the coordinates of the input."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.checkpoints.record import Checkpoint
from icl_interp.door import ModelLike, TaskLike, as_model, as_task, trained_points
from icl_interp.errors import InputError
from icl_interp.figures.choices import along
from icl_interp.figures.dots import DotSeries, dots_figure
from icl_interp.figures.heatmap import Choice, choices_figure, heatmap_figure
from icl_interp.figures.theme import role_style
from icl_interp.measure.result import Result
from icl_interp.measure.study.measure import Findings, Measure, StudyPlan
from icl_interp.models.accessors import WeightAccessors
from icl_interp.models.config import ModelConfig
from icl_interp.models.direct_path import direct_path, why_no_direct_path
from icl_interp.models.hooked import HookedModel
from icl_interp.models.linear.components import context_divisor
from icl_interp.models.linear.constructions import effective_parameters
from icl_interp.models.linear.network import HookedLinearNetwork
from icl_interp.predictors import LearnedInitOptimum
from icl_interp.tasks.base import Task
from icl_interp.tasks.linear_regression import LinearRegression
from icl_interp.tasks.references import learned_step_optima
from probes._core.results import short_repr

_DIGITS = 4
"""Significant digits of the entries in figures, so that hundreds of heads fit on a page."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadWeights:
    """A head's two circuits in a few numbers."""

    layer: int
    """Number of the block, from 0."""
    head: int
    """Number of the head in it, from 0."""
    qk_norm: float
    """Frobenius norm of its query-key matrix."""
    qk_identity: float
    """Cosine of its query-key matrix with the identity over the inputs: 1 if it compares inputs by their product."""
    ov_answer: float
    """Length of what it writes into the answer, as a vector over input coordinates."""
    from_label: float
    """Share of `ov_answer` squared that comes from the coordinate that holds labels."""
    label_to_answer: float
    """What a label of 1 makes it write into the answer, up to the scales of norms."""

    __repr__ = short_repr


@dataclass(frozen=True, slots=True, eq=False)
class EffectiveStep:
    """The gradient step that a one-layer linear network takes, as far as its weights are one."""

    preconditioner: Float[Tensor, "dim dim"]
    """Preconditioner Gamma for a gradient that is a mean over examples, in inverse squared units of the inputs."""
    start: Float[Tensor, " dim"]
    """Start beta that the values imply."""
    without_examples: Float[Tensor, " dim"]
    """Weights by which it answers without examples; equal to the start if it is a gradient step."""
    n_pairs: int
    """Number of examples that the preconditioner is for."""

    __repr__ = short_repr


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class WeightViews(Result):
    """Weights in the coordinates of the input: what heads compare, what they write, and which step that makes."""

    inputs: tuple[str, ...]
    """What each coordinate of a token holds."""
    read_in: Float[Tensor, "d_token d_model"]
    """Where each coordinate enters the residual stream."""
    read_out: Float[Tensor, " d_model"]
    """What of the residual stream the answer reads, up to the scale of the final norm."""
    qk: Float[Tensor, "layer head d_token d_token"]
    """Query-key matrices between input coordinates: rows are the query's, columns the key's. The scores of softmax
    attention, up to the norm's scale; without positions and biases."""
    ov: Float[Tensor, "layer head d_token written"]
    """What a token's coordinates (rows) make a head write: into each input coordinate, and last into the answer."""
    heads: tuple[HeadWeights, ...]
    """Each head in a few numbers."""
    step: EffectiveStep | None
    """The gradient step of a linear network; None where `limits` says why."""
    optimum: LearnedInitOptimum | None
    """The best such step for the task; None where it is not known."""
    limits: tuple[str, ...]
    """Sentences on what this network or task cannot show."""

    @property
    def leader(self) -> HeadWeights:
        """The head that writes most into the answer, by its weights."""
        return max(self.heads, key=lambda head: head.ov_answer)

    @property
    def written(self) -> tuple[str, ...]:
        """Columns of `ov`."""
        return (*self.inputs, "answer")

    def to_frame(self) -> pd.DataFrame:
        """Lay the heads out, one per row, with what each input coordinate makes them write into the answer."""
        rows = [
            {
                "layer": each.layer, "head": each.head, "qk_norm": each.qk_norm, "qk_identity": each.qk_identity,
                "ov_answer": each.ov_answer, "from_label": each.from_label, "label_to_answer": each.label_to_answer,
                **{
                    f"{name} to answer": float(value)
                    for name, value in zip(self.inputs, self.ov[each.layer, each.head, :, -1], strict=True)
                },
            }
            for each in self.heads
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def plot(self, of: str | None = None) -> Any:
        """Draw "heads", "QK", "OV", "read-in", and of a linear network "preconditioner", "optimum" or "start".

        By default the preconditioner where there is one, else all heads in two numbers.
        """
        of = of or ("heads" if self.step is None else "preconditioner")
        draw = self._drawings().get(of)
        if draw is None:
            raise InputError(f"plot of these weights needs one of {', '.join(self._drawings())}, got {of!r}.")
        return draw()

    def _drawings(self) -> dict[str, Any]:
        known: dict[str, Any] = {
            "heads": self._plot_heads, "QK": self._plot_qk, "OV": self._plot_ov, "read-in": self._plot_read_in
        }  # fmt: skip
        if self.step is not None:
            known |= {"preconditioner": self._plot_preconditioner, "start": self._plot_start}
        if self.optimum is not None:
            known["optimum"] = self._plot_optimum
        return known

    def _plot_qk(self) -> Any:
        return self._by_head(self.qk, self.inputs, x="key's coordinate", y="query's coordinate", unit="score")

    def _plot_ov(self) -> Any:
        return self._by_head(self.ov, self.written, x="written into", y="token's coordinate", unit="written")

    def _by_head(self, tables: Tensor, columns: Sequence[str], *, x: str, y: str, unit: str) -> Any:
        choices = [
            Choice(
                f"head {each.layer}.{each.head}",
                _rounded(tables[each.layer, each.head]),
                {"layer": each.layer, "head": each.head},
            )
            for each in self.heads
        ]
        shown = self.heads.index(self.leader)
        return choices_figure(choices, rows=self.inputs, columns=columns, x=x, y=y, unit=unit, shown=shown)

    def _plot_heads(self) -> Any:
        most = self.leader.ov_answer or 1.0
        table = {
            "QK to identity": [each.qk_identity for each in self.heads],
            "label to answer": [each.label_to_answer / most for each in self.heads],
        }
        figure = heatmap_figure(
            list(table.values()),
            rows=list(table),
            columns=[f"{each.layer}.{each.head}" for each in self.heads],
            x="block.head",
            y="quantity",
            unit="share",
            limits=(-1.0, 1.0),
            scale="diverging",
            text=len(self.heads) <= 16,
        )
        return along(figure, x=[{"layer": each.layer, "head": each.head} for each in self.heads])

    def _plot_read_in(self) -> Any:
        # Read-in and read-out have units of their own: rows are scaled to one length, so that directions compare.
        table = torch.cat([self.read_in, self.read_out[None]])
        table = table / table.norm(dim=1, keepdim=True).clamp(min=torch.finfo(table.dtype).tiny)
        return heatmap_figure(
            _rounded(table),
            rows=[*self.inputs, "read-out"],
            columns=[str(i) for i in range(table.shape[1])],
            x="dimension of the stream",
            y="row",
            unit="entry",
            scale="diverging",
        )

    def _plot_preconditioner(self) -> Any:
        assert self.step is not None
        return self._square(self.step.preconditioner)

    def _plot_optimum(self) -> Any:
        assert self.optimum is not None
        return self._square(self.optimum.preconditioner)

    def _square(self, matrix: Tensor) -> Any:
        both = [step.preconditioner for step in (self.step, self.optimum) if step is not None]
        most = max(float(each.abs().max()) for each in both) or 1.0
        names = [f"x{i + 1}" for i in range(len(matrix))]
        return heatmap_figure(
            matrix.tolist(), rows=names, columns=names, x="coordinate", y="coordinate", unit="entry",
            limits=(-most, most), scale="diverging", text=len(matrix) <= 6,
        )  # fmt: skip

    def _plot_start(self) -> Any:
        assert self.step is not None
        rows = [f"x{i + 1}" for i in range(len(self.step.start))]
        series = [
            DotSeries("this model, from its values", rows, self.step.start.tolist(), role_style("model")),
            DotSeries("its answer without examples", rows, self.step.without_examples.tolist(), role_style("shuffled")),
        ]
        if self.optimum is not None:
            series.insert(0, DotSeries("optimum", rows, self.optimum.init.tolist(), role_style("bayes")))
        return dots_figure(series, x="start beta")

    def __repr__(self) -> str:
        step = "" if self.step is None else f", preconditioner diagonal mean {_diagonal(self.step.preconditioner):.3g}"
        return f"WeightViews({len(self.heads)} heads over {', '.join(self.inputs)}{step})"


def _rounded(table: Tensor) -> list[list[float]]:
    return [[float(f"{value:.{_DIGITS}g}") for value in row] for row in table.tolist()]


def _diagonal(matrix: Tensor) -> float:
    return float(matrix.diagonal().mean())


def weight_views(model: ModelLike, task: TaskLike = None, *, n_points: int | None = None) -> WeightViews:
    """Read what the weights of a model say in the coordinates of its input.

    Formula, with the read-in E and tokens as rows: QK_h = E W_Q W_K^T E^T (over sqrt(d_head) under softmax), OV_h = E
    W_V W_O E^+ with a last column E W_V W_O r, where r is what of a block's writes the answer reads directly. Norms
    count with their weights and the mean they take away, and not with their scale, which differs from token to token.
    In later blocks these are the heads' views of the read-in alone, without what earlier blocks wrote. For a linear
    network of one layer and one head, the gradient step that its weights make, beside the best one for the task.

    Args:
        model: A decoder, or linear attention with or without an MLP.
        task: Task that the best step is for; None takes that of a `Checkpoint`, or gives none.
        n_points: Number of examples per prompt with the query, for the step; None takes that of training, or the task's
            usual number.

    Returns:
        Read-in, read-out, both circuits of each head, and the step of a linear network.

    Raises:
        InputError: If the weights are not known by name.

    Source:
        Elhage et al. (2021), "A mathematical framework for transformer circuits"; Zhang, Wu and Bartlett (2024), arXiv
        2402.14951, section 5, for the step.

    Example:
        >>> import icl_interp as icl
        >>> config = icl.ModelConfig(family="lsa", n_dims=2, n_points=5)
        >>> model = icl.HookedLinearAttention.gradient_descent(config, step_size=0.5)
        >>> views = weight_views(model, icl.LinearRegression(n_dims=2))
        >>> views.step.preconditioner
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000]])
    """
    n_points = trained_points(model, n_points)
    found = as_model("weight_views", model)
    known = None if task is None and not isinstance(model, Checkpoint) else as_task("weight_views", model, task)
    if (reason := why_no_direct_path(found)) is not None:
        raise InputError(f"weight_views needs weights of heads that it knows: {reason}")
    points = n_points or (found.cfg.n_points if known is None else known.default_points)
    with torch.no_grad():
        return _views(found, known, points)


def _views(model: HookedModel, task: Task | None, n_points: int) -> WeightViews:
    assert isinstance(model, WeightAccessors)
    cfg, path = model.cfg, direct_path(model)
    read_in = model.W_E.detach()
    back = torch.linalg.pinv(read_in.double()).to(read_in)
    qk, ov = [], []
    for layer in range(cfg.n_layers):
        entering = read_in
        if cfg.normalization_type is not None:
            norm: Any = model.blocks[layer].ln1
            entering = (read_in - read_in.mean(1, keepdim=True)) * norm.w
        asked, offered = (torch.einsum("im,hmc->hic", entering, weight[layer]) for weight in (model.W_Q, model.W_K))
        qk.append(asked @ offered.mT / (math.sqrt(cfg.head_width) if cfg.has_patterns else 1.0))
        written = torch.einsum("im,hmc,hcn->hin", entering, model.W_V[layer], model.W_O[layer])
        ov.append(torch.cat([written @ back, (written @ path.blocks[layer])[..., None]], dim=2))
    limits: list[str] = []
    step = _step(model, n_points, limits)
    stacked_qk, stacked_ov = torch.stack(qk).detach().cpu(), torch.stack(ov).detach().cpu()
    return WeightViews(
        inputs=_inputs(cfg),
        read_in=read_in.cpu(),
        read_out=path.blocks[-1].cpu(),
        qk=stacked_qk,
        ov=stacked_ov,
        heads=tuple(
            _head(cfg, layer, head, stacked_qk[layer, head], stacked_ov[layer, head, :, -1])
            for layer in range(cfg.n_layers)
            for head in range(cfg.n_heads)
        ),
        step=step,
        optimum=None if step is None else _optimum(model, task, n_points, limits),
        limits=tuple(limits),
    )


def _inputs(cfg: ModelConfig) -> tuple[str, ...]:
    xs = [f"x{i + 1}" for i in range(cfg.n_dims)]
    match cfg.tokens:
        case "interleaved":  # labels come in tokens of their own, in the first coordinate
            return (f"{xs[0]} or y", *xs[1:])
        case "separate":
            return ("y", *xs)
        case "sequence":
            return ("value",)
        case _:
            return (*xs, "y", *(f"position {i + 1}" for i in range(cfg.d_position)))


def _inputs_at(cfg: ModelConfig) -> list[int]:
    first = 1 if cfg.tokens == "separate" else 0
    return list(range(first, first + cfg.n_dims))


def _head(cfg: ModelConfig, layer: int, head: int, qk: Tensor, answer: Tensor) -> HeadWeights:
    places = _inputs_at(cfg)
    norm, length = float(qk.norm()), float(answer.norm())
    trace = float(qk[places][:, places].diagonal().sum())
    return HeadWeights(
        layer,
        head,
        norm,
        trace / (math.sqrt(len(places)) * norm) if norm else math.nan,
        length,
        float(answer[cfg.label_coordinate]) ** 2 / length**2 if length else math.nan,
        float(answer[cfg.label_coordinate]),
    )


def _step(model: HookedModel, n_points: int, limits: list[str]) -> EffectiveStep | None:
    cfg = model.cfg
    if not isinstance(model, HookedLinearNetwork):
        return None
    if cfg.n_layers != 1 or cfg.n_heads != 1 or not cfg.is_textbook:
        limits.append(
            "The weights are no single gradient step: that needs one layer, one head, and tokens [x; y] whose query is "
            "nobody's key."
        )
        return None
    found, n_pairs = effective_parameters(model), max(1, n_points - 1)
    preconditioner = found.preconditioner * (n_pairs / context_divisor(cfg, n_pairs))
    if not bool(found.start.isfinite().all()):
        limits.append("The weights are no gradient step: their values do not read labels.")
        return None
    preconditioner, start, plain = (part.detach().cpu() for part in (preconditioner, found.start, found.gamma))
    return EffectiveStep(preconditioner, start, plain, n_pairs)


def _optimum(model: HookedModel, task: Task | None, n_points: int, limits: list[str]) -> LearnedInitOptimum | None:
    if not isinstance(task, LinearRegression) or bool(task.input_mean.any()):
        limits.append("The best step is known for Gaussian linear regression with inputs of mean 0, not for this task.")
        return None
    learned, frozen = learned_step_optima(task, n_points)
    return frozen if model.cfg.attn_only or not model.cfg.attn_skip else learned


def _without(plan: StudyPlan) -> str | None:
    return why_no_direct_path(plan.model)


def _in_study(found: Findings) -> WeightViews:
    with torch.no_grad():
        return _views(found.plan.model, found.plan.task, found.plan.n_points)


WEIGHTS = Measure("weights", "views of the weights", run=_in_study, group="mechanism", without=_without)
