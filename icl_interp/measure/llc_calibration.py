"""Which sampler settings suit the learning coefficient of this checkpoint? A sweep, a recommendation, its plot."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from icl_interp.checkpoints.load import load_checkpoint
from icl_interp.checkpoints.record import Checkpoint
from icl_interp.figures.calibration import calibration_figure
from icl_interp.measure.development_llc import training_loss
from icl_interp.measure.development_settings import LlcSettings
from icl_interp.prompts import derive_seed
from probes.llc_calibration import DEFAULT_LOCALIZATIONS, DEFAULT_LRS, LlcCalibration, calibrate

__all__ = ["CheckpointCalibration", "calibrate_llc"]


@dataclass(frozen=True, eq=False, repr=False)
class CheckpointCalibration:
    """A sweep of step size and localisation at one checkpoint."""

    calibration: LlcCalibration
    """The grid and the recommendation."""
    settings: LlcSettings | None
    """The settings of the sweep with the recommended pair, ready for `development`; None where none is recommended."""

    def plot(self) -> Any:
        """Draw the estimates over the step size, one line a localisation, the recommended one starred.

        Returns:
            A plotly figure whose title is the reason.
        """
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
    `probes.llc_calibration.calibrate`. Each cell costs one estimate.

    Args:
        checkpoint: Loaded, or a path; of a run folder the newest is taken.
        settings: nbeta, chains, draws and batches of every cell; its lr and localization are not used.
        lrs: Step sizes; at least two.
        localizations: At least one.
        n_points: Pairs a prompt; None takes the task's usual number.
        last_point_only: Whether training asked for the last point alone.
        seed: Of noise and batches, the same in every cell.

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
    loss, params, fresh = training_loss(checkpoint, n_points=points, last_point_only=last_point_only)
    found = calibrate(
        loss, params, fresh, nbeta=settings.nbeta, lrs=lrs, localizations=localizations,
        num_chains=settings.num_chains, num_draws=settings.num_draws, num_burnin_steps=settings.num_burnin_steps,
        batch_size=settings.batch_size, seed=derive_seed(seed, "development: learning coefficient") % 2**32,
    )  # fmt: skip
    lr, localization = found.recommended_lr, found.recommended_localization
    chosen = None if lr is None or localization is None else replace(settings, lr=lr, localization=localization)
    return CheckpointCalibration(found, chosen)
