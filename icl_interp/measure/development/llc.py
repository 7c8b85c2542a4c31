"""The local learning coefficient of a checkpoint, on fresh prompts of its training task, and how to calibrate it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.func import functional_call

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.errors import InputError
from icl_interp.figures.lines import calibration_figure
from icl_interp.measure.development.record import LlcRecord, demand_finite
from icl_interp.measure.development.settings import LlcSettings
from icl_interp.measure.result import Result
from icl_interp.prompts import derive_seed
from probes.learning_coefficient import estimate_learning_coefficient
from probes.learning_coefficient.calibration import DEFAULT_LOCALIZATIONS, DEFAULT_LRS, LlcCalibration, calibrate


def llc_steps(steps: Sequence[int], settings: LlcSettings) -> tuple[int, ...]:
    """Choose the checkpoints whose learning coefficient is estimated."""
    if not isinstance(settings.checkpoints, int):
        if lost := sorted(set(settings.checkpoints) - set(steps)):
            raise InputError(
                f"learning coefficients need steps that the run has kept, got {lost}; there are "
                f"{', '.join(map(str, steps))}."
            )
        return tuple(sorted(set(settings.checkpoints)))
    if settings.checkpoints == 0:
        return ()
    if settings.checkpoints == 1:
        return (steps[-1],)
    places = np.log1p(np.array(steps, dtype=float))
    wanted = np.linspace(places[0], places[-1], settings.checkpoints)
    chosen: set[int] = set()
    for place in wanted:
        # Linear schedules have few early checkpoints, and several places of the log scale fall on one.
        nearest = np.abs(places - place).argsort(kind="stable").tolist()
        chosen |= set([steps[number] for number in nearest if steps[number] not in chosen][:1])
    return tuple(sorted(chosen))


def _training_loss(
    checkpoint: Checkpoint, *, n_points: int, last_point_only: bool
) -> tuple[Callable[..., Tensor], dict[str, Tensor], Callable[..., tuple[Tensor, Tensor]]]:
    """Give the loss that a checkpoint was trained on, in the form that samplers take."""
    model, task = checkpoint.model, checkpoint.task
    asked: dict[str, Any] = {"points": [-1]} if last_point_only else {}
    kept = slice(-1, None) if last_point_only else slice(None)

    def loss(params: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
        said = functional_call(model, params, batch, asked)
        return (said - batch[1][:, kept]).square().mean()

    def fresh(n_samples: int, *, seed: int) -> tuple[Tensor, Tensor]:
        prompts = task.sample(n_samples, n_points, seed=seed).to(model.device)
        return prompts.xs, prompts.ys

    return loss, {name: value.detach() for name, value in model.named_parameters()}, fresh


def checkpoint_llc(
    checkpoint: Checkpoint, settings: LlcSettings, *, step: int, n_points: int, last_point_only: bool, seed: int
) -> LlcRecord:
    """Estimate a learning coefficient.

    The loss is the training loss, the mean squared error over points (or at the last one) against the noisy labels;
    values compare with log-likelihood coefficients only after nbeta is rescaled.
    """
    loss, params, fresh = _training_loss(checkpoint, n_points=n_points, last_point_only=last_point_only)
    found = estimate_learning_coefficient(
        loss, params, fresh,
        nbeta=settings.nbeta, lr=settings.lr, localization=settings.localization, num_chains=settings.num_chains,
        num_draws=settings.num_draws, num_burnin_steps=settings.num_burnin_steps, batch_size=settings.batch_size,
        seed=derive_seed(seed, "development: learning coefficient") % 2**32,
    )  # fmt: skip
    demand_finite("eigenvalues of the loss's Hessian", torch.tensor(found.top_eigenvalue))
    return LlcRecord(
        step=step,
        sha256=checkpoint.sha256,
        estimate=found.estimate if math.isfinite(found.estimate) else None,
        standard_error=found.total_error if math.isfinite(found.total_error) else None,
        loss=found.init_loss,
        top_eigenvalue=found.top_eigenvalue,
        flags={flag.name: flag.message for flag in found.flags if flag.raised},
    )


@dataclass(frozen=True, eq=False, repr=False)
class CheckpointCalibration(Result):
    """A sweep of step size and localisation at one checkpoint."""

    calibration: LlcCalibration
    """The grid and the recommendation."""
    settings: LlcSettings | None
    """Settings of the sweep with the recommended values, ready for `development`; None if nothing is recommended."""

    def to_frame(self) -> pd.DataFrame:
        """Lay the cells out, one a row."""
        found = self.calibration
        return pd.DataFrame([
            {
                "localization": localization, "lr": lr, "llc": cell.estimate, "llc_error": cell.total_error,
                "healthy": not cell.raised, "flags": ", ".join(cell.raised), "recommended": cell is found.recommended,
            }
            for localization, cells in zip(found.localizations, found.results, strict=True)
            for lr, cell in zip(found.lrs, cells, strict=True)
        ])  # fmt: skip

    def plot(self) -> Any:
        """Draw the estimates over the step size, one line a localisation, the recommended one starred."""
        return calibration_figure(self.calibration)

    def __repr__(self) -> str:
        return f"CheckpointCalibration({self.calibration.reason})"


def calibrate_llc(
    checkpoint: Checkpoint | str | Path,
    *,
    settings: LlcSettings = LlcSettings(),  # noqa: B008  # frozen
    lrs: Sequence[float] = DEFAULT_LRS,
    localizations: Sequence[float] = DEFAULT_LOCALIZATIONS,
    n_points: int | None = None,
    last_point_only: bool = False,
    seed: int = 0,
) -> CheckpointCalibration:
    """Sweep step size and localisation of the sampler at one checkpoint.

    The loss is the training loss on fresh prompts, as in `development`, and the rule is that of
    `probes.learning_coefficient.calibration.calibrate`. Each cell costs one estimate.

    Args:
        checkpoint: A loaded checkpoint or a path; a run folder stands for its newest checkpoint.
        settings: nbeta, chains, draws and batches of every cell; its lr and localization are not used.
        lrs: Step sizes; at least two.
        localizations: Localisations; at least one.
        n_points: Number of examples per prompt; None takes the task's usual number.
        last_point_only: Whether training used the last point only.
        seed: Seed of noise and batches, the same in every cell.

    Returns:
        The grid, the recommendation, and its plot.

    Raises:
        InputError: If the checkpoint cannot be read, the grid is too small or repeats a value, or a setting is out of
            range.

    Example:
        >>> from icl_interp.data import demo_path
        >>> short = LlcSettings(num_chains=2, num_draws=4, num_burnin_steps=2, batch_size=4)
        >>> found = calibrate_llc(demo_path(), settings=short, lrs=(1e-5, 1e-4), localizations=(10.0,))
        >>> found.settings, found.calibration.lrs  # eight draws recommend nothing
        (None, (1e-05, 0.0001))
    """
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = load_checkpoint(checkpoint)
    points = n_points or checkpoint.task.default_points
    loss, params, fresh = _training_loss(checkpoint, n_points=points, last_point_only=last_point_only)
    found = calibrate(
        loss, params, fresh, nbeta=settings.nbeta, lrs=lrs, localizations=localizations,
        num_chains=settings.num_chains, num_draws=settings.num_draws, num_burnin_steps=settings.num_burnin_steps,
        batch_size=settings.batch_size, seed=derive_seed(seed, "development: learning coefficient") % 2**32,
    )  # fmt: skip
    lr, localization = found.recommended_lr, found.recommended_localization
    chosen = None if lr is None or localization is None else replace(settings, lr=lr, localization=localization)
    return CheckpointCalibration(found, chosen)
