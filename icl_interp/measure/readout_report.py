"""What each layer would answer: errors along the network, the nearest algorithms and the nearest numbers of steps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jaxtyping import Float64
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.figures.heatmap import heatmap_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import role_style
from icl_interp.measure.controls import Excess, excess_of_replicates
from icl_interp.measure.roles import predictor_style
from icl_interp.measure.statistics import resampled_means
from probes.bootstrap import Estimate
from probes.step_matching import StepMatches

__all__ = ["LayerReadoutReport"]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LayerReadoutReport:
    """Linear read-outs of the labels, one a site; all errors held out by prompt, in units of E[y^2]."""

    sites: tuple[str, ...]
    """Along the network; the first is the read-in, the embedding layer."""
    errors: tuple[Estimate, ...]
    """Mean squared error of each site over points with an example before them, with intervals over prompts."""
    untrained_errors: Float64[Tensor, "network site"]
    """The same of untrained networks; none where controls were switched off."""
    errors_by_prompt: Float64[Tensor, "any_network site sample"]
    """Of each prompt: the model first, then untrained networks."""
    distances: Mapping[str, tuple[Estimate, ...]]
    """By reference: mean squared difference of its predictions and each site's, in units of E[y^2]."""
    steps: Mapping[str, StepMatches]
    """"gradient descent" and "Newton": how near each number of steps is to each site; empty where `limits` says why."""
    n_prompts: int
    """Prompts of the errors."""
    n_matched: int
    """Prompts of the steps."""
    method: str
    """How read-outs were tuned."""
    limits: tuple[str, ...]
    """What this network or task cannot show, in sentences."""

    def excess(self, n_verdicts: int = 1) -> Excess:
        """Compare what the blocks add to the embedding layer with what those of untrained networks add.

        Formula: 1 - (error after the last block) / (error of the read-in).

        Args:
            n_verdicts: How many claims the report makes.

        Returns:
            The excess with its interval, paired over prompts.
        """
        last = max(i for i, site in enumerate(self.sites) if site.startswith("block"))
        own, *controls = [_removed(errors, last) for errors in self.errors_by_prompt]
        return excess_of_replicates(own, controls, n_verdicts=n_verdicts, chance=0.0)

    def to_frame(self) -> pd.DataFrame:
        """Lay sites out, one a row.

        Returns:
            Columns site, error, low, high, error_untrained, then the distance to each reference, then the best number
            of steps of each algorithm.
        """
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
        """Draw the error along the network, with untrained networks and the distance to each reference.

        Returns:
            A plotly figure.
        """
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
        return lines_figure(lines, x="site", y="mean square / E[y²]", y_type="log")

    def plot_steps(self, algorithm: str) -> Any:
        """Draw how near each number of steps of an algorithm is to each site.

        Args:
            algorithm: A key of `steps`.

        Returns:
            A plotly figure; the best number of steps of each site is framed.

        Raises:
            InputError: If there is no such algorithm.
        """
        if algorithm not in self.steps:
            raise InputError(
                f"plot_steps needs one of {', '.join(self.steps) or 'no algorithm (see limits)'}, got {algorithm!r}."
            )
        match = self.steps[algorithm]
        return heatmap_figure(
            match.values.tolist(),
            rows=self.sites,
            columns=[str(step) for step in match.steps],
            x=f"steps of {algorithm}",
            y="site",
            unit="SimE" if match.measure == "errors" else "mean square",
            marked=list(enumerate(match.best.tolist())),
        )

    def _repr_html_(self) -> str:
        return str(self.plot()._repr_html_())

    def __repr__(self) -> str:
        errors = ", ".join(f"{estimate.value:.3g}" for estimate in self.errors)
        return f"LayerReadoutReport(errors=[{errors}], method={self.method!r}, n_prompts={self.n_prompts})"


def _removed(errors: Float64[Tensor, "site sample"], last: int) -> tuple[float, Tensor]:
    value = 1 - float(errors[last].mean() / errors[0].mean())
    return value, 1 - resampled_means(errors[last]) / resampled_means(errors[0])
