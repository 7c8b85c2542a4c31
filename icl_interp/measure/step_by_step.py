"""What happens on one prompt, example by example?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from icl_interp.activations import collect
from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.figures.choices import along, of_sites
from icl_interp.figures.heatmap import log_heatmap_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import TraceStyle, predictor_style, role_style
from icl_interp.measure.families import look_first
from icl_interp.measure.result import Result
from icl_interp.measure.study.measure import Findings, Measure
from icl_interp.models.architecture import NO_SITES, ResidualSite
from icl_interp.models.hooked import HookedModel
from icl_interp.models.layout import position_names
from icl_interp.predictors.references import ByReference
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.query import Callee, predict
from icl_interp.tasks.references import references_with

LABEL, MODEL = "label", "model"
_SHOWN_REFERENCES = 2
"""References that are drawn: the best one, and least squares where there is another."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StepByStep(Result):
    """One prompt: its labels, what is predicted for each, and how large the residual stream is."""

    labels: Float[Tensor, " point"]
    """Labels of the prompt."""
    predicted: Float[Tensor, " point"]
    """Predictions of the model, each from the examples before it."""
    references: ByReference[Float[Tensor, " point"]]
    """Predictions of the reference predictors."""
    norms: Float64[Tensor, "site pos"]
    """Length of the residual stream at each site and position; of a query-only model those of the last point's
    sequence. No rows where no site is known."""
    sites: tuple[str, ...]
    """Sites along the network."""
    positions: tuple[str, ...]
    """Names of the positions: x1, y1, x2, ..."""

    @property
    def shown(self) -> list[str]:
        """References that are drawn."""
        known = self.references
        nearest = (
            min(known, key=lambda name: float((known[name] - self.labels).square().mean())) if len(known) else None
        )
        wanted = (known.optimal or nearest, known.shown("least squares"))
        return [name for name in dict.fromkeys(wanted) if name is not None][:_SHOWN_REFERENCES]

    def to_frame(self) -> pd.DataFrame:
        """Lay out one row per example."""
        columns: dict[str, Any] = {
            "examples before": list(range(len(self.labels))),
            LABEL: self.labels.tolist(),
            MODEL: self.predicted.tolist(),
        }
        return pd.DataFrame(columns | {name: said.tolist() for name, said in self.references.items()})

    def norm_frame(self) -> pd.DataFrame:
        """Lay out one row per site and position."""
        rows = [
            (site, position, float(self.norms[i, j]))
            for i, site in enumerate(self.sites)
            for j, position in enumerate(self.positions)
        ]
        return pd.DataFrame(rows, columns=["site", "position", "norm"])

    def plot(self) -> Any:
        """Draw labels and predictions along the prompt."""
        before = list(range(len(self.labels)))
        lines = [Line(name, before, self.references[name].tolist(), predictor_style(name)) for name in self.shown[::-1]]
        lines.append(Line(MODEL, before, self.predicted.tolist(), role_style("model"), width=3))
        figure = lines_figure(lines, x="in-context examples", y="y")
        return figure.add_scatter(
            x=before,
            y=self.labels.tolist(),
            name=LABEL,
            mode="markers",
            marker=TraceStyle(role_style("zero").colour, "solid", "diamond").marker(size=9),
        )

    def plot_norms(self) -> Any:
        """Draw the length of the residual stream by site and position."""
        if not self.sites:
            raise InputError(f"plot_norms needs a place of the residual stream, got none. {NO_SITES}")
        figure = log_heatmap_figure(
            self.norms.tolist(), rows=self.sites, columns=self.positions, x="position", y="site", unit="length"
        )
        return along(figure, y=of_sites(self.sites))

    def __repr__(self) -> str:
        return f"StepByStep({len(self.labels)} examples, {len(self.sites)} sites x {len(self.positions)} positions)"


def step_by_step(
    model: ModelLike,
    task: TaskLike = None,
    *,
    prompt: int = 0,
    layers: Sequence[int] | None = None,
    references: Mapping[str, Callee] | None = None,
    n_points: int | None = None,
    seed: int = 0,
) -> StepByStep:
    """Follow one prompt example by example: labels, predictions, and the size of the residual stream.

    Formula: prediction k comes from x_k and the k examples before it; the norm is the Euclidean length of the stream.
    One prompt is an illustration and no measurement.

    Args:
        model: Model of any family.
        task: Task that the prompt is drawn from.
        prompt: Which of the prompts of this seed, counted from 0.
        layers: Blocks to look at; None means all.
        references: Predictors of your own by name, added to the task's; a `References` replaces them.
        n_points: Number of examples; None takes the task's usual number.
        seed: The only source of randomness.

    Returns:
        One prompt, all of whose numbers can be drawn.

    Raises:
        InputError: If the number of the prompt is negative, or a layer does not exist.

    Example:
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> step_by_step(model, LinearRegression(n_dims=2, n_points=2)).positions
        ('x1', 'y1', 'x2', 'y2')
    """
    model, task = as_model_and_task("step_by_step", model, task)
    if prompt < 0:
        raise InputError(f"step_by_step needs the number of a prompt from 0 on, got {prompt}.")
    look_first(model, task, n_points, seed=seed)
    prompts = task.sample(prompt + 1, n_points, seed=derive_seed(seed, "evaluation: score"))[prompt : prompt + 1]
    answers = references_with(task, references, n_points=prompts.n_points).answers(prompts)
    with torch.no_grad():
        predicted = predict(model, prompts.to(model.device)).cpu()
    return _follow(model, prompts, predicted, answers, model.cfg.residual_sites(layers))


def _follow(
    model: HookedModel,
    prompts: Prompts,
    predicted: Float[Tensor, "1 point"],
    answers: ByReference[Float[Tensor, "1 point"]],
    sites: Sequence[ResidualSite],
) -> StepByStep:
    found = collect(model, prompts, [site.hook for site in sites]) if sites else {}
    norms = [found[site.hook][0].double().norm(dim=-1) for site in sites]
    n_positions = len(norms[0]) if norms else 0
    return StepByStep(
        labels=prompts.ys[0],
        predicted=predicted[0],
        references=answers.each(lambda name: answers[name][0]),
        norms=torch.stack(norms) if norms else torch.zeros(0, 0, dtype=torch.float64),
        sites=tuple(site.label for site in sites),
        positions=position_names(model.cfg.tokens, n_positions),
    )


def _steps(found: Findings) -> StepByStep:
    plan = found.plan
    family = plan.families.in_distribution
    answers = found.answers[family.label]
    one = answers.each(lambda name: answers[name][:1].cpu())
    return _follow(plan.model, family.prompts[:1], found.predictions[family.label][:1], one, plan.sites)


STEPS = Measure("steps", "one prompt step by step", run=_steps, group="mechanism")
