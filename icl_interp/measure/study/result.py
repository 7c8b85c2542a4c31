"""What a study found: the result of each measure, and the verdict on each claim."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from icl_interp.measure.controls import Excess
from icl_interp.measure.families import Families
from icl_interp.measure.sites import Conventions, ResidualSite, last_block
from icl_interp.measure.study.measure import Claim, Measure
from icl_interp.measure.study.survey import NetworkSurvey
from icl_interp.models.config import ModelConfig
from icl_interp.predictors.references import ByReference
from icl_interp.tasks.base import Task
from probes._core.results import short_repr


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that a report shows; the result of each measure is an attribute as well: `study.errors`."""

    config: ModelConfig
    """Of the model."""
    task: Task
    """What counts as in distribution."""
    families: Families
    """The prompts."""
    sites: tuple[ResidualSite, ...]
    """Along the network."""
    conventions: Conventions
    """How activations became directions."""
    results: Mapping[str, Any]
    """By name of the measure; None where `absent` says why."""
    absent: Mapping[str, str]
    """Measures without a result, and the reason."""
    verdicts: Mapping[str, Excess]
    """By claim: the model's number beside those of untrained networks."""
    claims: tuple[Claim, ...]
    """What is claimed of such a model, whatever the numbers; all intervals of verdicts hold together at 95 %."""
    answers: Mapping[str, ByReference[Float[Tensor, "sample point"]]]
    """Predictions of each reference, by family and name."""
    untrained: tuple[NetworkSurvey, ...]
    """Spectra and scores of untrained networks; empty where controls were switched off."""
    measures: tuple[Measure, ...]
    """What was asked for."""
    seed: int
    """The only source of randomness."""

    __repr__ = short_repr

    def __getattr__(self, name: str) -> Any:
        results = self.__dict__.get("results", {})  # a copy that is being made has none yet
        if name in results:
            return results[name]
        raise AttributeError(f"a Study has {', '.join(results)}, got {name!r}.")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.results]

    @property
    def main_site(self) -> ResidualSite:
        """After the last block, before the final norm."""
        return last_block(self.config)

    @property
    def meanings(self) -> dict[str, str]:
        """What the number of each claim is, in one line."""
        return {claim.name: claim.meaning for claim in self.claims}

    @property
    def n_verdicts(self) -> int:
        """Claims that the study makes; their intervals hold together at 95 %."""
        return len(self.claims)
