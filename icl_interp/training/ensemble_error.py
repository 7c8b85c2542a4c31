"""What is raised where some models of an ensemble are lost and the others are not."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from icl_interp.errors import DivergedError
from icl_interp.training.loop import StepRecord
from icl_interp.training.run import TrainResult

__all__ = ["EnsembleDivergedError"]


class EnsembleDivergedError(DivergedError):
    """Models of an ensemble diverged; the others were trained to their end and are here.

    Args:
        message: Which models, at which step, and what to do.
        results: `results` of the others, by their place in the ensemble.
        diverged: What the step saw at which a model was given up, by its place.

    Example:
        >>> error = EnsembleDivergedError("the loss of model 1 was nan", {}, {1: StepRecord(3, float("nan"), 0.1)})
        >>> error.diverged[1].step
        3
    """

    def __init__(self, message: str, results: Mapping[int, TrainResult], diverged: Mapping[int, StepRecord]) -> None:
        super().__init__(message)
        self.results: Mapping[int, TrainResult] = MappingProxyType(dict(results))
        self.diverged: Mapping[int, StepRecord] = MappingProxyType(dict(diverged))

    def __reduce__(self) -> tuple[Any, ...]:
        # Read-only mappings cannot be pickled, and workers hand errors over in that way.
        return type(self), (str(self), dict(self.results), dict(self.diverged))
