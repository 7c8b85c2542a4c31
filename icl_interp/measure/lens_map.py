"""Where along the network and along the prompt does the answer arise?"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.figures.choices import along, of_sites
from icl_interp.figures.heatmap import log_heatmap_figure
from icl_interp.measure.families import look_first
from icl_interp.measure.result import Result
from icl_interp.measure.sites import answering_features
from icl_interp.measure.study.measure import Features, Findings, Measure, StudyPlan, without_sites
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.references import ByReference
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.query import Callee, predict
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import references_with
from probes.readouts import readout_errors

MODEL = "this model"
_MOST_COLUMNS = 24
"""Numbers of examples that get read-outs; more are thinned out evenly."""
_BATCH = 64
LOWEST = 1e-4
"""Smaller errors are drawn here."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LensMap(Result):
    """The error of a linear read-out of its own at each site and for each number of examples, in units of E[y^2]."""

    errors: Float[Tensor, "site point"]
    """Leave-one-out mean squared errors of the read-outs, by site and entry of `points`."""
    model: Float[Tensor, " point"]
    """Errors of the model's own predictions."""
    references: ByReference[Float[Tensor, " point"]]
    """Errors of the reference predictors."""
    sites: tuple[str, ...]
    """Sites along the network."""
    points: tuple[int, ...]
    """Numbers of examples before the query."""
    n_prompts: int
    """Number of prompts; each read-out is fitted to as many vectors."""
    width: int
    """Width of the widest site: how many numbers a read-out weighs."""

    @property
    def best_reference(self) -> str:
        """The reference predictor with the least mean error: Bayes where it is known."""
        return self.references.optimal or min(self.references, key=lambda name: float(self.references[name].mean()))

    def arrives(self, site: str, *, error: float = 0.1) -> int | None:
        """Give the least number of examples from which on a read-out at this site has a smaller error."""
        if site not in self.sites:
            raise InputError(f"arrives needs one of {', '.join(self.sites)}, got {site!r}.")
        above = (self.errors[self.sites.index(site)] >= error).nonzero().flatten().tolist()
        first = above[-1] + 1 if above else 0
        return self.points[first] if first < len(self.points) else None

    def rows(self) -> dict[str, list[float]]:
        """Lay out what is drawn: each site, then the model itself and the best reference predictor."""
        best = self.best_reference
        ends = {MODEL: self.model, best: self.references[best]}
        return {
            **{site: row.tolist() for site, row in zip(self.sites, self.errors, strict=True)},
            **{name: row.tolist() for name, row in ends.items()},
        }

    def to_frame(self) -> pd.DataFrame:
        """Lay out one row per site, predictor and number of examples."""
        rows = [
            (site, k, error) for site, row in self.rows().items() for k, error in zip(self.points, row, strict=True)
        ]
        return pd.DataFrame(rows, columns=["site", "examples", "error"])

    def plot(self) -> Any:
        """Draw the errors as colours, sites from the first to the last."""
        rows = self.rows()
        figure = log_heatmap_figure(
            list(rows.values()),
            rows=list(rows),
            columns=[str(k) for k in self.points],
            x="in-context examples",
            y="site",
            unit="error / E[y²]",
            floor=LOWEST,
        )
        return along(figure, y=of_sites(rows))

    def __repr__(self) -> str:
        last = float(self.errors[-1, -1])
        return f"LensMap({len(self.sites)} sites x {len(self.points)} points, last={last:.3g}, {self.n_prompts=})"


def lens_map(
    model: ModelLike,
    task: TaskLike = None,
    *,
    layers: Sequence[int] | None = None,
    references: Mapping[str, Callee] | None = None,
    n_prompts: int = 256,
    n_points: int | None = None,
    seed: int = 0,
) -> LensMap:
    """Fit a linear read-out of the labels at each site for each number of examples, and map its error.

    Formula: for each site and each k the leave-one-out error over prompts of a ridge regression from the stream at the
    query after k examples to its label, in units of E[y^2]. `layer_readouts` fits one read-out per site for all k
    instead, with controls. What a read-out finds need not be what the network uses.

    Args:
        model: Model of any family; of a query-only model, the query token at each point is read.
        task: Task that prompts are drawn from.
        layers: Blocks to look at; None means all.
        references: Predictors of your own by name, added to the task's; a `References` replaces them.
        n_prompts: Number of prompts, at least 8; with fewer than the stream is wide, errors come out too large.
        n_points: Number of examples per prompt, at least 2; None takes the task's usual number.
        seed: The only source of randomness.

    Returns:
        Errors by site and number of examples, beside those of the model itself and of the reference predictors.

    Raises:
        InputError: If there are too few prompts or points, no site is known, or a layer does not exist.

    Source:
        Belrose et al. (2023), arXiv 2303.08112 (tuned lens); Fu et al. (2024), arXiv 2310.17086, section 4.1. A
        read-out for each number of examples is our choice.

    Example:
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=2, n_heads=1, d_model=8), seed=0)
        >>> lens_map(model, LinearRegression(n_dims=2), n_prompts=32).errors.shape
        torch.Size([4, 4])
    """
    model, task = as_model_and_task("lens_map", model, task)
    n_points = task.default_points if n_points is None else n_points
    if n_prompts < 8 or n_points < 2:
        raise InputError(f"lens_map needs at least 8 prompts of 2 points, got {n_prompts} of {n_points}; raise them.")
    look_first(model, task, n_points, seed=seed)
    prompts = task.sample(n_prompts, n_points, seed=derive_seed(seed, "evaluation: probes"))
    answers = references_with(task, references, n_points=n_points).answers(prompts)
    features = answering_features(model, prompts, model.cfg.residual_sites(layers))
    if not features:
        raise InputError("lens_map needs a place of the residual stream, got a model without one; name some in sites.")
    return _read_lens(model, features, prompts, answers, task)


def _read_lens(
    model: HookedModel,
    features: Features,
    prompts: Prompts,
    answers: ByReference[Float[Tensor, "sample entry"]],
    task: Task,
) -> LensMap:
    unit, last = task.label_second_moment(), prompts.n_points - 1
    points = list(range(last, 0, -math.ceil(last / _MOST_COLUMNS)))[::-1]
    entries, ys = [k - 1 for k in points], prompts.ys[:, points].double()

    def of(said: Tensor) -> Float[Tensor, " shown"]:
        return (said[:, points].cpu().double() - ys).square().mean(0) / unit

    with torch.no_grad():
        parts = [prompts[start : start + _BATCH].to(model.device) for start in range(0, len(prompts), _BATCH)]
        own = torch.cat([predict(model, part).cpu() for part in parts])
    rows = [readout_errors(found[None, :, entries].double(), ys)[0] / unit for found in features.values()]
    return LensMap(
        errors=torch.stack(rows),
        model=of(own),
        references=answers.each(lambda name: of(answers[name])),
        sites=tuple(features),
        points=tuple(points),
        n_prompts=len(prompts),
        width=max(found.shape[-1] for found in features.values()),
    )


def _read(plan: StudyPlan, features: Features, of_model: bool) -> LensMap | None:  # noqa: FBT001
    return _read_lens(plan.model, features, plan.probe_prompts, plan.probe_answers, plan.task) if of_model else None


def _lens(found: Findings) -> LensMap:
    lens: LensMap = found.read[LENS.name][0]
    return lens


LENS = Measure("lens", "lens map", run=_lens, group="mechanism", without=without_sites, read=_read)
