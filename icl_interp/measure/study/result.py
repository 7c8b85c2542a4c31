"""The results of a study: one per measure, and the verdict on each claim."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from icl_interp.figures.dots import DotSeries, dots_figure
from icl_interp.figures.theme import role_style
from icl_interp.files import finite
from icl_interp.measure.families import Families
from icl_interp.measure.result import Result, field_names, plain
from icl_interp.measure.sites import Conventions
from icl_interp.measure.study.measure import Claim, Measure
from icl_interp.measure.study.survey import NetworkSurvey
from icl_interp.measure.verdicts import Excess
from icl_interp.models.architecture import Architecture, ResidualSite
from icl_interp.predictors.references import ByReference
from icl_interp.tasks.base import Task
from probes._core.results import short_repr

NO_SHIFT = (
    "Nothing to compare with: under none of the shifts that were asked for are activations read, since their prompts "
    "have queries of their own or more points; add one such as x_scale=3 to --shifts."
)
"""Said where a claim over shifts would stand."""


@dataclass(frozen=True, eq=False, repr=False)
class Surveyed(ABC):
    """What studies of networks and of given activations share; each result is an attribute as well: `study.ood`."""

    families: Families
    """The prompts."""
    sites: tuple[ResidualSite, ...]
    """Sites along the network."""
    conventions: Conventions
    """How activations became directions."""
    results: Mapping[str, Any]
    """Results by name of the measure; None where `absent` says why."""
    absent: Mapping[str, str]
    """Measures without a result, with the reason."""
    verdicts: Mapping[str, Excess]
    """Verdict on each claim: the model's number beside those of untrained networks."""
    untrained: tuple[NetworkSurvey, ...]
    """Spectra and scores of untrained networks; empty where there are no controls."""
    seed: int
    """The only source of randomness."""

    def __getattr__(self, name: str) -> Any:
        results = self.__dict__.get("results", {})  # a copy that is being made has none yet
        if name in results:
            return results[name]
        raise AttributeError(f"a {type(self).__name__} has {', '.join(results)}, got {name!r}.")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.results]

    @property
    @abstractmethod
    def main_site(self) -> ResidualSite:
        """Where spectra, scores and detectors are judged."""

    @property
    @abstractmethod
    def meanings(self) -> Mapping[str, str]:
        """What the number of each claim is, in one line."""

    @property
    def measured(self) -> Mapping[str, Excess]:
        """By claim, whether it can be judged or not."""
        return self.verdicts

    @property
    def n_verdicts(self) -> int:
        """Claims that the study makes; their intervals hold together at 95 %."""
        return len(self.meanings)

    @property
    @abstractmethod
    def subject(self) -> str:
        """What the spectra of one prompt are spectra of."""

    @property
    @abstractmethod
    def controls_are(self) -> str:
        """What the untrained networks are, in a sentence."""

    @property
    @abstractmethod
    def uncontrolled(self) -> str:
        """Why there are no controls, in a clause, where there are none."""

    @property
    @abstractmethod
    def unshifted(self) -> str:
        """Why there is no shift, in a sentence, where there is none."""


@dataclass(frozen=True, eq=False)
class Study(Surveyed, Result):
    """Everything that a report of a model shows."""

    config: Architecture
    """Configuration of the model."""
    task: Task
    """Task in distribution."""
    claims: tuple[Claim, ...]
    """What is claimed of such a model, whatever the numbers; all intervals of verdicts hold together at 95 %."""
    answers: Mapping[str, ByReference[Float[Tensor, "sample point"]]]
    """Predictions of each reference, by family and name."""
    measures: tuple[Measure, ...]
    """What was asked for."""

    __repr__ = short_repr

    @property
    def main_site(self) -> ResidualSite:
        return self.config.last_block  # before the final norm

    @property
    def meanings(self) -> dict[str, str]:
        return {claim.name: claim.meaning for claim in self.claims}

    @property
    def subject(self) -> str:
        where = "after the last block, before the final norm" if self.config.final_norm else "after the last block"
        return f"one prompt's residual stream {where}"

    @property
    def controls_are(self) -> str:
        return (
            "Untrained networks have the model's own configuration and initialisation, other seeds, and read the same "
            "prompts."
        )

    @property
    def uncontrolled(self) -> str:
        return "there are no untrained networks to compare with"

    @property
    def unshifted(self) -> str:
        return NO_SHIFT

    def to_frame(self) -> pd.DataFrame:
        """Lay the claims out, one per row.

        Returns:
            Columns claim, verdict, value, control (mean of untrained networks), low and high (of the excess over
            control), p_value, detectable and meaning.
        """
        names = ("verdict", "value", "control", "low", "high", "p_value", "detectable")
        rows = [
            {"claim": claim, **{name: getattr(found, name) for name in names}, "meaning": self.meanings[claim]}
            for claim, found in self.verdicts.items()
        ]
        return pd.DataFrame(rows, columns=["claim", *names, "meaning"])

    def plot(self) -> Any:
        """Draw every claim beside its untrained control."""
        return claims_figure(self.verdicts)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain data that JSON can hold.

        Returns:
            The model's configuration, the task, the claims, and the results by measure.
        """
        return {
            "config": plain(self.config, field_names),
            "task": plain(self.task, field_names),
            "claims": finite(self.to_frame().to_dict("records")),
            "results": {name: found.to_dict() for name, found in self.results.items() if isinstance(found, Result)},
            "absent": dict(self.absent),
        }

    def _repr_html_(self) -> str:
        shown = self.to_frame()[["claim", "verdict", "value", "control", "low", "high"]]
        return str(shown.to_html(index=False, float_format="{:.3g}".format))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002
        return {"text/plain": repr(self), "text/html": self._repr_html_()}


def claims_figure(claims: Mapping[str, Excess]) -> Any:
    """Draw the excess over control of each claim, with the interval that is corrected for all claims."""
    drawn = {name: excess for name, excess in claims.items() if math.isfinite(excess.low)}
    rows = list(drawn) or list(claims)
    series = DotSeries(
        "excess over control",
        rows,
        [claims[name].excess if name in drawn else math.nan for name in rows],
        role_style("model"),
        low=[claims[name].low for name in rows],
        high=[claims[name].high for name in rows],
    )
    figure = dots_figure([series], x="excess over control", reference=0.0, x_range=_range(drawn))
    return figure.update_layout(showlegend=False)


def _range(drawn: Mapping[str, Excess]) -> tuple[float, float] | None:
    # Wide intervals are cut off rather than allowed to squeeze all others; the table has them in full.
    if not drawn:
        return None
    low, high = (sorted(values) for values in zip(*((e.low, e.high) for e in drawn.values()), strict=True))
    middle = [e.excess for e in drawn.values()]
    least, most = max(low[len(low) // 4], min(middle) - 1), min(high[3 * len(high) // 4], max(middle) + 1)
    return min(least, *middle, -0.05) - 0.05, max(most, *middle, 0.05) + 0.05
