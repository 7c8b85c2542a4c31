"""The measured numbers of one checkpoint, or the reason why there are none."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass
from torch import Tensor

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.errors import CheckpointError, InputError, one_line
from probes.learning_coefficient import NonFiniteLossError

ByHead = tuple[tuple[float, ...], ...]
_KEPT = ConfigDict(extra="forbid", ser_json_inf_nan="constants")


@dataclass(frozen=True, slots=True, repr=False, config=_KEPT)
class CheckpointRecord:
    """One checkpoint, on prompts that are the same for all checkpoints of its run."""

    step: int
    sha256: str
    losses: Mapping[str, tuple[float, ...]]
    """Mean squared error after k examples, by family, in squared units of y."""
    distances: Mapping[str, Mapping[str, float]]
    """Mean squared difference from each reference's predictions over all points, by family and reference, in squared
    units of y."""
    mean_square: float
    """Mean squared prediction in distribution, squared units of y: near 0 while the model predicts zero."""
    probe_r2: Mapping[str, Mapping[str, float]]
    """Held-out R² of a linear probe, by site and reference."""
    attention_entropy: ByHead
    """Entropy over its largest value, in [0, 1], by layer and head, mean over the tokens that answer; empty where a
    family has no attention that sums to one."""
    attention_variability: ByHead
    """Total variation distance of a prompt's pattern from the mean pattern, by layer and head, in the same way."""
    weights: Mapping[str, float]
    """Norms, collapse of normalisation layers and embeddings, by name; see `weight_metrics`."""

    def loss(self, family: str) -> float:
        curve = self.losses[family]
        return sum(curve) / len(curve)

    def __repr__(self) -> str:
        losses = ", ".join(f"{family} {self.loss(family):.3g}" for family in self.losses)
        return f"CheckpointRecord(step {self.step}, loss {losses})"


@dataclass(frozen=True, slots=True, repr=False, config=_KEPT)
class LlcRecord:
    """The local learning coefficient of one checkpoint."""

    step: int
    sha256: str
    estimate: float | None
    """Estimate, dimensionless; None where every chain diverged."""
    standard_error: float | None
    """Over chains, of what they share, and of the loss at the checkpoint, in quadrature."""
    loss: float
    """Training loss at the checkpoint, on the sampler's prompts."""
    top_eigenvalue: float
    """Top eigenvalue of the Hessian of the training loss."""
    flags: Mapping[str, str]
    """Reasons to doubt the estimate, one sentence per raised flag; empty if there are none."""

    @property
    def trusted(self) -> float | None:
        """The estimate, unless it diverged or is negative, which no learning coefficient can be."""
        return None if self.estimate is None or "negative" in self.flags else self.estimate

    def __repr__(self) -> str:
        found = "diverged" if self.estimate is None else f"{self.estimate:.3g} +- {self.standard_error or 0:.2g}"
        return f"LlcRecord(step {self.step}, {found}, flags: {', '.join(self.flags) or 'none'})"


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
    """Refuse numbers of a network that are not finite, where a probe would stumble over them or hand them on."""
    bad = int((~values.isfinite()).sum())
    if bad:
        raise MeasurementError(
            f"measuring a network needs finite {what}, got {bad} NaN or infinite of {values.numel()}; training may "
            "have diverged before this checkpoint."
        )
    return values


def load_newest(
    files: Mapping[int, Path], *, try_out: Callable[[Checkpoint], object] | None = None, **how: Any
) -> tuple[Checkpoint, dict[int, str]]:
    """Load the newest checkpoint that can be read."""
    errors: dict[int, Exception] = {}
    for step in sorted(files, reverse=True):
        try:
            checkpoint = load_checkpoint(files[step], **how)
            if try_out is not None:
                try_out(checkpoint)
        except (CheckpointError, *FAILURES) as error:
            errors[step] = error
            continue
        passed = {lost: reason_without_place(error, files[lost]) for lost, error in errors.items()}
        done = {lost: "read" if isinstance(error, CheckpointError) else "measured" for lost, error in errors.items()}
        said = tuple(
            f"Step {lost} could not be {done[lost]} ({reason}); step {step} is the newest that can."
            for lost, reason in passed.items()
        )
        return dataclasses.replace(checkpoint, assumptions=(*said, *checkpoint.assumptions)), passed
    raise errors[max(errors)]


def reason_without_place(error: Exception, path: Path) -> str:
    """Say why a file cannot be read in words that are the same wherever the file lies."""
    return one_line(error).replace(str(path), path.name)
