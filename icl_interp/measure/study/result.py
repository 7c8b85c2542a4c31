"""The results of a study: one per measure, and the verdict on each claim."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from icl_interp.measure.families import Families
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
class Study(Surveyed):
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
