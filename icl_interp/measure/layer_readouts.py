"""What would each layer answer, and which number of steps of a known algorithm answers like it?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from icl_interp.door import ModelLike, TaskLike, as_model_and_task
from icl_interp.errors import InputError
from icl_interp.figures.choices import along, of_sites
from icl_interp.figures.heatmap import heatmap_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import predictor_style, role_style
from icl_interp.measure.controls import N_UNTRAINED, estimate_mean, resampled_means, untrained_networks
from icl_interp.measure.families import look_first
from icl_interp.measure.result import Result
from icl_interp.measure.sites import answering_features
from icl_interp.measure.study.measure import Claim, Features, Findings, Measure, StudyPlan, without_sites
from icl_interp.measure.verdicts import Excess, excess_of_replicates
from icl_interp.models.architecture import FINAL_NORM, READ_IN, Architecture
from icl_interp.predictors import gradient_descent, newton
from icl_interp.predictors.references import ByReference
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.query import Callee
from icl_interp.tasks.base import Task
from icl_interp.tasks.linear_regression import LinearTask
from icl_interp.tasks.references import references_with
from probes.bootstrap import Estimate
from probes.readouts import LayerReadouts, Method, fit_layer_readouts
from probes.step_matching import StepMatches, match_steps


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LayerReadoutReport(Result):
    """Linear read-outs of the labels, one per site; all errors held out by prompt, in units of E[y^2]."""

    sites: tuple[str, ...]
    """Sites along the network; the first is the read-in, the embedding layer."""
    errors: tuple[Estimate, ...]
    """Mean squared error of each site over points with an example before them, with intervals over prompts."""
    untrained_errors: Float64[Tensor, "network site"]
    """Errors of untrained networks; none if controls were switched off."""
    errors_by_prompt: Float64[Tensor, "any_network site sample"]
    """Errors of each prompt: the model first, then untrained networks."""
    distances: Mapping[str, tuple[Estimate, ...]]
    """Mean squared difference between each site's predictions and each reference's, in units of E[y^2]."""
    steps: Mapping[str, StepMatches]
    """"gradient descent" and "Newton": how near each number of steps is to each site; empty where `limits` says why."""
    n_prompts: int
    """Number of prompts behind the errors."""
    n_matched: int
    """Number of prompts behind the steps."""
    method: str
    """Method by which the read-outs were tuned."""
    limits: tuple[str, ...]
    """Sentences on what this network or task cannot show."""

    @property
    def blocks(self) -> list[int]:
        """Which sites are blocks, by their places in `sites`."""
        return [i for i, site in enumerate(self.sites) if site not in (READ_IN, FINAL_NORM)]

    def excess(self, n_verdicts: int = 1) -> Excess:
        """Compare what the blocks add to the embedding layer with what those of untrained networks add.

        Formula: 1 - (error after the last block) / (error of the read-in).
        """
        if self.sites[0] != READ_IN:
            raise InputError(f"what blocks add needs a site {READ_IN!r} before them, got {self.sites[0]!r} first.")
        last = self.blocks[-1]
        own, *controls = [_removed(errors, last) for errors in self.errors_by_prompt]
        return excess_of_replicates(own, controls, n_verdicts=n_verdicts, chance=0.0)

    def to_frame(self) -> pd.DataFrame:
        """Lay sites out, one per row."""
        found = self.errors
        untrained = self.untrained_errors.mean(0).tolist() if len(self.untrained_errors) else None
        columns: dict[str, Any] = {
            "site": list(self.sites),
            "error": [estimate.value for estimate in found],
            "low": [estimate.low for estimate in found],
            "high": [estimate.high for estimate in found],
            "error_untrained": untrained or [float("nan")] * len(self.sites),
        }
        columns |= {f"distance to {name}": [e.value for e in row] for name, row in self.distances.items()}
        columns |= {f"best steps of {name}": list(match.best_steps) for name, match in self.steps.items()}
        return pd.DataFrame(columns)

    def plot(self) -> Any:
        """Draw the error along the network, with untrained networks and the distance to each reference."""
        sites, lines = list(self.sites), []
        for name, row in self.distances.items():
            lines.append(Line(f"distance to {name}", sites, [e.value for e in row], predictor_style(name), width=1))
        if len(self.untrained_errors):
            means = self.untrained_errors
            low, high = means.amin(0).tolist(), means.amax(0).tolist()
            style = role_style("untrained")
            lines.append(Line("error, untrained networks", sites, means.mean(0).tolist(), style, low, high))
        own = self.errors
        low, high = [e.low for e in own], [e.high for e in own]
        style = role_style("model")
        lines.append(Line("error", sites, [e.value for e in own], style, low, high, 3, markers=True))
        figure = lines_figure(lines, x="site", y="mean square / E[y²]", y_type="log")
        return along(figure, x=of_sites(sites))

    def plot_steps(self, algorithm: str) -> Any:
        """Draw how near each number of steps of an algorithm is to each site."""
        if algorithm not in self.steps:
            raise InputError(
                f"plot_steps needs one of {', '.join(self.steps) or 'no algorithm (see limits)'}, got {algorithm!r}."
            )
        match = self.steps[algorithm]
        figure = heatmap_figure(
            match.values.tolist(),
            rows=self.sites,
            columns=[str(step) for step in match.steps],
            x=f"steps of {algorithm}",
            y="site",
            unit="SimE" if match.measure == "errors" else "mean square",
            marked=list(enumerate(match.best.tolist())),
        )
        return along(figure, y=of_sites(self.sites))

    def __repr__(self) -> str:
        errors = ", ".join(f"{estimate.value:.3g}" for estimate in self.errors)
        return f"LayerReadoutReport(errors=[{errors}], method={self.method!r}, n_prompts={self.n_prompts})"


def _removed(errors: Float64[Tensor, "site sample"], last: int) -> tuple[float, Tensor]:
    value = 1 - float(errors[last].mean() / errors[0].mean())
    return value, 1 - resampled_means(errors[last]) / resampled_means(errors[0])


GD_STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Steps of gradient descent that are compared, each with the largest stable step size of its prefix."""
NEWTON_STEPS = tuple(range(11))
"""Iterations of Newton's method that are compared."""
_MATCHED = 64
"""Prompts on which steps are compared."""


def _read_out_layers(
    features: Features,
    prompts: Prompts,
    *,
    method: Method = "ridge",
    seed: int = 0,
) -> LayerReadouts:
    """Tune one read-out per site to the labels."""
    return fit_layer_readouts(
        torch.stack(list(features.values())), prompts.ys[:, 1:].contiguous(), method=method, seed=seed, n_bootstrap=1
    )


def _summarise_readouts(
    readouts: LayerReadouts,
    untrained: Sequence[LayerReadouts],
    sites: Sequence[str],
    prompts: Prompts,
    task: Task,
    config: Architecture,
    *,
    answers: ByReference[Float[Tensor, "sample point"]],
    seed: int = 0,
) -> LayerReadoutReport:
    """Put the read-outs of a model beside those of untrained networks, references and steps of algorithms."""
    unit, ys = task.label_second_moment(), prompts.ys[:, 1:].double()

    def shares(said: Tensor, aim: Tensor) -> Tensor:
        return (said.double() - aim.double()).square().mean(-1) / unit

    errors = [shares(found.predictions, ys) for found in (readouts, *untrained)]
    linear = isinstance(task, LinearTask)
    limits = (
        (
            config.n_layers == 1,
            "A curve over layers makes no sense in a network of one layer: there is the read-in and the block.",
        ),
        (
            not linear,
            "Gradient descent and Newton's method are compared on linear tasks only: here they solve another problem.",
        ),
    )
    return LayerReadoutReport(
        sites=tuple(sites),
        errors=tuple(estimate_mean(row) for row in errors[0]),
        untrained_errors=torch.stack(errors)[1:].mean(2),
        errors_by_prompt=torch.stack(errors),
        distances={
            name: tuple(estimate_mean(row) for row in shares(readouts.predictions, said[:, 1:]))
            for name, said in answers.items()
        },
        steps=_match(readouts.predictions[:, :_MATCHED], prompts[:_MATCHED], seed) if linear else {},
        n_prompts=len(prompts),
        n_matched=min(len(prompts), _MATCHED),
        method=readouts.method,
        limits=tuple(sentence for applies, sentence in limits if applies),
    )


def layer_readouts(
    model: ModelLike,
    task: TaskLike = None,
    *,
    method: Method = "ridge",
    layers: Sequence[int] | None = None,
    references: Mapping[str, Callee] | None = None,
    n_prompts: int = 256,
    n_points: int | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
) -> LayerReadoutReport:
    """Tune a linear read-out of the labels to each layer, and find the algorithm that its answers are closest to.

    Formula: one read-out per site for all points with an example before them, held out by prompt; the error of each in
    units of E[y^2]; its distance to each reference; argmax over steps of SimE to gradient descent and to Newton's
    method. Controls are the read-in, which has seen no other token, and untrained networks. What a read-out finds need
    not be what the network uses. The final norm is a site of its own.

    Args:
        model: Model of any family; of a query-only model, the query token at each point is read.
        task: Task that prompts are drawn from.
        method: "ridge" in closed form, or "sgd" as Fu et al.
        layers: Blocks to look at; None means all.
        references: Predictors of your own by name, added to the task's; a `References` replaces them.
        n_prompts: Number of prompts, at least 5.
        n_points: Number of examples per prompt, at least 2; None takes the task's usual number.
        n_controls: Number of untrained networks; 0 switches them off.
        seed: The only source of randomness.

    Returns:
        Errors, distances and best-matching steps along the network.

    Raises:
        InputError: If there are too few prompts or points, or a layer or method does not exist.

    Source:
        Fu et al. (2024), arXiv 2310.17086, sections 3.3 and 4.1. The step size of gradient descent is 1 over the
        largest eigenvalue of each prefix, so that no prompt diverges (our choice; they take a constant).

    Example:
        >>> from icl_interp.models.build import build_model
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=2, n_heads=1, d_model=8), seed=0)
        >>> report = layer_readouts(model, LinearRegression(n_dims=2), n_prompts=32, n_controls=0)
        >>> report.sites
        ('read-in', 'block 0', 'block 1', 'final norm')
    """
    model, task = as_model_and_task("layer_readouts", model, task)
    n_points = task.default_points if n_points is None else n_points
    if n_points < 2:
        raise InputError(f"layer_readouts needs prompts of at least 2 points, got {n_points}; raise n_points.")
    look_first(model, task, n_points, seed=seed)
    prompts = task.sample(n_prompts, n_points, seed=derive_seed(seed, "evaluation: probes"))
    known = references_with(task, references, n_points=n_points)
    sites = model.cfg.residual_sites(layers)
    options: dict[str, Any] = {"method": method, "seed": seed}
    networks = [model, *untrained_networks(model, n_controls, seed=seed)]
    found = [_read_out_layers(answering_features(network, prompts, sites), prompts, **options) for network in networks]
    labels = [site.label for site in sites]
    answers = known.answers(prompts)
    return _summarise_readouts(found[0], found[1:], labels, prompts, task, model.cfg, answers=answers, seed=seed)


def _match(layers: Float[Tensor, "site sample point"], prompts: Prompts, seed: int) -> dict[str, StepMatches]:
    ys = prompts.ys[:, 1:].contiguous()
    algorithms = {
        "gradient descent": (GD_STEPS, [gradient_descent(steps, "per_prefix") for steps in GD_STEPS]),
        "Newton": (NEWTON_STEPS, [newton(steps) for steps in NEWTON_STEPS]),
    }
    found = {}
    for name, (steps, predictors) in algorithms.items():
        said = torch.stack([predictor(prompts.xs, prompts.ys)[:, 1:] for predictor in predictors])
        # Errors that vanish in all prompts, as with one dimension, have no direction that a cosine could compare.
        least = float((said - ys).double().abs().amax((1, 2)).min())
        by_errors = least > 1e-4 * float(ys.double().square().mean().sqrt())
        measure: Any = "errors" if by_errors else "spd"
        found[name] = match_steps(layers, said, ys, steps=steps, measure=measure, seed=seed)
    return found


def _read(plan: StudyPlan, features: Features, of_model: bool) -> LayerReadouts:  # noqa: ARG001, FBT001
    return _read_out_layers(features, plan.probe_prompts, seed=plan.seed)


def _readouts(found: Findings) -> LayerReadoutReport:
    plan, (own, *untrained) = found.plan, found.read[READOUTS.name]
    labels = [site.label for site in plan.sites]
    return _summarise_readouts(
        own, untrained, labels, plan.probe_prompts, plan.task, plan.config, answers=plan.probe_answers, seed=plan.seed
    )


def _claims(plan: StudyPlan) -> list[Claim]:
    if plan.sites[0].label != READ_IN:
        return []
    meaning = "share of the error of a read-out at the embedding that one after the last block removes"
    return [Claim("layers", meaning, lambda report, _, n_claims: report.excess(n_claims))]


READOUTS = Measure(
    "readouts",
    "read-outs at each site",
    run=_readouts,
    group="mechanism",
    without=without_sites,
    read=_read,
    claims=_claims,
)
