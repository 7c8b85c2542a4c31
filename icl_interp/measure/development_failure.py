"""What counts as a checkpoint that cannot be measured, and what is said of one that is left out."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from icl_interp.errors import InputError
from probes.learning_coefficient import NonFiniteLossError

__all__ = ["FAILURES", "LeftOut", "MeasurementError", "demand_finite"]


class MeasurementError(InputError):
    """A network that was read cannot be measured, since its own numbers are not finite."""


FAILURES = (MeasurementError, NonFiniteLossError, torch.linalg.LinAlgError, np.linalg.LinAlgError)  # type: ignore[attr-defined]
"""What ends the measurement of one checkpoint and of no other (our choice): numbers of the network that are not finite,
or a decomposition of them that does not converge. Anything else, a ValueError too, is an error of the settings, of the
machine or of ours, and ends the analysis."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why there is no record."""

    what: Literal["file", "checkpoint", "learning coefficient"]
    """What has failed: the file cannot be read, the network cannot be measured, or only its learning coefficient."""
    reason: str
    """A clause without full stop."""


def demand_finite(what: str, values: Tensor) -> Tensor:
    """Refuse numbers of a network that are not finite, where a probe would stumble over them or hand them on.

    Args:
        what: What the numbers are, in the plural.
        values: Of any shape.

    Returns:
        The same tensor.

    Raises:
        MeasurementError: If there is NaN or infinity among them.

    Example:
        >>> demand_finite("answers", torch.tensor([1.0, torch.nan]))
        Traceback (most recent call last):
        icl_interp.measure.development_failure.MeasurementError: measuring a network needs finite answers, got 1 NaN or
        infinite of 2; training may have diverged before this checkpoint.
    """
    bad = int((~values.isfinite()).sum())
    if bad:
        raise MeasurementError(
            f"measuring a network needs finite {what}, got {bad} NaN or infinite of {values.numel()}; training may "
            "have diverged before this checkpoint."
        )
    return values
