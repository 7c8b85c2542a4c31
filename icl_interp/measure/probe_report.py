"""What linear probes found: held-out R² by site and target, beside both controls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import role_style
from icl_interp.measure.controls import Excess, excess_over_controls
from probes.linear import LinearProbe

__all__ = ["LinearProbeReport"]


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


def _along(probes: Mapping[str, LinearProbe], column: int) -> Float[Tensor, " site"]:
    return torch.stack([probe.r2[column] for probe in probes.values()])
