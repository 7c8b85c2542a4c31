"""Can the predictions of least squares and gradient descent be read off the residual stream, and where?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import role_style
from icl_interp.measure.controls import N_UNTRAINED, Excess, excess_over_controls, untrained_networks
from icl_interp.measure.features import answering_features
from icl_interp.measure.sites import ResidualSite, residual_sites
from icl_interp.models.hooked import HookedModel
from icl_interp.predictors.protocol import Predictor
from icl_interp.prompts import Prompts, derive_seed
from icl_interp.tasks.base import Task
from icl_interp.tasks.references import reference_predictors
from probes.linear import LinearProbe, fit_linear_probe

__all__ = ["LinearProbeReport", "linear_probes", "probe_network", "probe_targets", "summarise_probes"]


@dataclass(frozen=True, slots=True)
class LinearProbeReport:
    """Held-out R² of linear read-outs, by site and target."""

    targets: tuple[str, ...]
    """Reference predictors whose predictions vary."""
    left_out: Mapping[str, str]
    """Targets without an R², and the reason."""
    probes: Mapping[str, LinearProbe]
    """Of the model, by site label; columns are the targets."""
    untrained: tuple[Mapping[str, LinearProbe], ...]
    """Of each untrained network."""
    n_prompts: int
    """Prompts, the groups of the hold-out."""

    def r2(self, target: str) -> Float[Tensor, " site"]:
        """Take the model's R² along the network.

        Args:
            target: One of `targets`.

        Returns:
            One value a site, in order.
        """
        return _along(self.probes, self.targets.index(target))

    def untrained_r2(self, target: str) -> Float[Tensor, "network site"]:
        """Take the R² of untrained networks.

        Args:
            target: One of `targets`.

        Returns:
            One row a network; no rows without controls.
        """
        rows = [_along(probes, self.targets.index(target)) for probes in self.untrained]
        return torch.stack(rows) if rows else torch.empty(0, len(self.probes))

    def excess(self, target: str, n_verdicts: int = 1) -> Excess:
        """Compare the best site of the model with the best site of each untrained network.

        Args:
            target: One of `targets`.
            n_verdicts: How many claims the report makes.

        Returns:
            The excess with its interval; its sampling variance is that of the held-out R² over prompts.
        """
        r2 = self.r2(target)
        best = list(self.probes.values())[int(r2.argmax())]
        low, high = best.r2_interval[self.targets.index(target)].tolist()
        variance = ((high - low) / 3.92) ** 2  # a 95 % interval is 3.92 standard errors wide
        return excess_over_controls(
            float(r2.max()),
            self.untrained_r2(target).amax(1).tolist() if self.untrained else [],
            sampling_variance=variance,
            n_verdicts=n_verdicts,
            chance=0.0,
            value_variance=variance,
        )

    def to_frame(self) -> pd.DataFrame:
        """Lay sites and targets out in long form.

        Returns:
            Columns site, target, r2, low, high, r2_shuffled, r2_untrained.
        """
        rows = []
        for i, (site, probe) in enumerate(self.probes.items()):
            for j, target in enumerate(self.targets):
                low, high = probe.r2_interval[j].tolist()
                shuffled = float("nan") if probe.r2_shuffled is None else float(probe.r2_shuffled[j])
                untrained = self.untrained_r2(target)[:, i]
                mean = float(untrained.mean()) if len(untrained) else float("nan")
                rows.append((site, target, float(probe.r2[j]), low, high, shuffled, mean))
        return pd.DataFrame(rows, columns=["site", "target", "r2", "low", "high", "r2_shuffled", "r2_untrained"])

    def plot(self, target: str | None = None) -> Any:
        """Draw R² along the network with both controls.

        Args:
            target: One of `targets`; None takes the first.

        Returns:
            A plotly figure.
        """
        target = self.targets[0] if target is None else target
        column, sites = self.targets.index(target), list(self.probes)
        intervals = torch.stack([probe.r2_interval[column] for probe in self.probes.values()])
        shuffled = [probe.r2_shuffled[column] for probe in self.probes.values() if probe.r2_shuffled is not None]
        lines = []
        if self.untrained:
            rows = self.untrained_r2(target)
            low, high = rows.amin(0).tolist(), rows.amax(0).tolist()
            lines.append(Line("untrained networks", sites, rows.mean(0).tolist(), role_style("untrained"), low, high))
        lines.append(Line("shuffled targets", sites, [float(v) for v in shuffled], role_style("shuffled")))
        low, high = intervals[:, 0].tolist(), intervals[:, 1].tolist()
        lines.append(
            Line("this model", sites, self.r2(target).tolist(), role_style("model"), low, high, 3, markers=True)
        )
        return lines_figure(lines, x="site", y=f"held-out R² of {target}", y_range=(-0.25, 1.05))

    def _repr_html_(self) -> str:
        return str(self.plot()._repr_html_())


def probe_targets(
    prompts: Prompts, references: Mapping[str, Predictor]
) -> tuple[dict[str, Float[Tensor, "sample point"]], dict[str, str]]:
    """Compute what probes shall find: the references' predictions at points with at least one example before them.

    Args:
        prompts: What the model reads.
        references: Predictors by name.

    Returns:
        Targets by name, and for those without variance the reason why there is none.
    """
    targets, left_out = {}, {}
    for name, predictor in references.items():
        said = predictor(prompts.xs, prompts.ys)[:, 1:]
        if float(said.var()) == 0:
            left_out[name] = f"{name} predicts the same everywhere, so there is nothing to decode"
        else:
            targets[name] = said
    return targets, left_out


def probe_network(
    model: HookedModel,
    prompts: Prompts,
    targets: Mapping[str, Float[Tensor, "sample point"]],
    sites: Sequence[ResidualSite],
    *,
    batch_size: int = 64,
    seed: int = 0,
) -> dict[str, LinearProbe]:
    """Fit one probe a site: from the residual stream at x tokens, or at the query, to all targets at once.

    Args:
        model: The network.
        prompts: At least 5.
        targets: From `probe_targets` on the same prompts.
        sites: Where to look.
        batch_size: Prompts a forward pass.
        seed: Of folds and shuffles.

    Returns:
        Probes by site label; whole prompts are held out.

    Raises:
        ValueError: If there is no target.
    """
    if not targets:
        raise ValueError("linear probes need a reference whose predictions vary, got none; change the task.")
    wanted = torch.stack([target.flatten() for target in targets.values()], dim=1)
    groups = torch.arange(len(prompts)).repeat_interleave(prompts.n_points - 1)
    features = answering_features(model, prompts, sites, batch_size=batch_size)
    return {
        label: fit_linear_probe(found.flatten(0, 1), wanted, groups=groups, seed=seed, n_bootstrap=400)
        for label, found in features.items()
    }


def summarise_probes(
    probes: Mapping[str, LinearProbe],
    untrained: Sequence[Mapping[str, LinearProbe]],
    targets: Mapping[str, Tensor],
    left_out: Mapping[str, str],
) -> LinearProbeReport:
    """Put the probes of a model beside those of untrained networks.

    Args:
        probes: Of the model, by site.
        untrained: Of each untrained network.
        targets: From `probe_targets`.
        left_out: From `probe_targets`.

    Returns:
        The report.
    """
    n_prompts = len(next(iter(targets.values())))
    return LinearProbeReport(tuple(targets), left_out, probes, tuple(untrained), n_prompts)


def linear_probes(
    model: HookedModel,
    task: Task,
    *,
    layers: Sequence[int] | None = None,
    n_prompts: int = 256,
    n_points: int | None = None,
    n_controls: int = N_UNTRAINED,
    seed: int = 0,
) -> LinearProbeReport:
    """Probe the residual stream at x tokens for the predictions of the task's reference predictors.

    One ridge probe a site, over all points with at least one example before them; whole prompts are held out.
    Decodable is not used: a high R² says where a prediction could be read, not that the model reads it.

    Args:
        model: The network.
        task: What prompts are drawn from and references are derived for.
        layers: Blocks to look at; None means all.
        n_prompts: At least 5.
        n_points: Pairs a prompt, at least 2; None takes the task's usual number.
        n_controls: Untrained networks; 0 switches them off.
        seed: The only source of randomness.

    Returns:
        R² by site and target, with shuffled targets and untrained networks beside it.

    Example:
        >>> from icl_interp.models.config import ModelConfig
        >>> from icl_interp.models.build import build_model
        >>> model = build_model(ModelConfig(n_dims=2, n_points=5, n_layers=1, n_heads=1, d_model=8), seed=0)
        >>> from icl_interp.tasks.linear_regression import LinearRegression
        >>> report = linear_probes(model, LinearRegression(n_dims=2), n_prompts=64, n_controls=0)
        >>> list(report.probes)
        ['read-in', 'block 0', 'final norm']
    """
    prompts = task.sample(n_prompts, n_points, seed=derive_seed(seed, "evaluation: probes"))
    targets, left_out = probe_targets(prompts, reference_predictors(task))
    sites = residual_sites(model.cfg, layers)
    networks = [model, *untrained_networks(model.cfg, n_controls, seed=seed)]
    fitted = [probe_network(network, prompts, targets, sites, seed=seed) for network in networks]
    return summarise_probes(fitted[0], fitted[1:], targets, left_out)


def _along(probes: Mapping[str, LinearProbe], column: int) -> Float[Tensor, " site"]:
    return torch.stack([probe.r2[column] for probe in probes.values()])
