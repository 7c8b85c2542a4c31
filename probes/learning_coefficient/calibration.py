"""Which step size and localisation? A sweep, and a recommendation with its reason."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from probes._core.arrays import takes_arrays
from probes._core.errors import InputError
from probes.learning_coefficient.estimate import estimate_learning_coefficient
from probes.learning_coefficient.result import LearningCoefficient

__all__ = ["LlcCalibration", "calibrate"]

DEFAULT_LRS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
DEFAULT_LOCALIZATIONS = (1.0, 10.0, 100.0)

# Neighbouring step sizes agree when they differ by at most this share, or this many standard errors.
_AGREE_SHARE, _AGREE_ERRORS = 0.1, 3.0


@dataclass(frozen=True, eq=False, repr=False)
class LlcCalibration:
    """A grid of estimates over step sizes and localisations; rows are localisations, columns step sizes."""

    lrs: tuple[float, ...]
    """Step sizes, rising."""
    localizations: tuple[float, ...]
    """Localisations, rising."""
    nbeta: float
    """As given."""
    results: tuple[tuple[LearningCoefficient, ...], ...]
    """One result per cell."""
    estimates: Float64[Tensor, "localization lr"]
    """The learning coefficients; NaN where all chains diverged."""
    standard_errors: Float64[Tensor, "localization lr"]
    """Standard errors of the estimates, with the error of the loss at w*."""
    healthy: Bool[Tensor, "localization lr"]
    """Cells without a raised flag."""
    plateau: Bool[Tensor, "localization lr"]
    """Healthy cells that agree with a healthy neighbour in step size at the same localisation."""
    recommended_lr: float | None
    """None if no cell is on a plateau."""
    recommended_localization: float | None
    """None if no cell is on a plateau."""
    reason: str
    """Reason for this cell, or for none."""

    @property
    def recommended(self) -> LearningCoefficient | None:
        """The result at the recommended cell."""
        if self.recommended_lr is None or self.recommended_localization is None:
            return None
        row = self.localizations.index(self.recommended_localization)
        return self.results[row][self.lrs.index(self.recommended_lr)]

    def __repr__(self) -> str:
        return f"LlcCalibration({len(self.localizations)} x {len(self.lrs)} cells, {self.reason})"


@takes_arrays
def calibrate(
    loss: Callable[[dict[str, Tensor], Any], Tensor],
    params: Mapping[str, Float[Tensor, "..."]],
    data: Any,
    *,
    nbeta: float,
    lrs: Sequence[float] = DEFAULT_LRS,
    localizations: Sequence[float] = DEFAULT_LOCALIZATIONS,
    **settings: Any,
) -> LlcCalibration:
    """Sweep step size and localisation, and recommend a pair.

    Formula: of the cells without a raised flag whose estimate agrees with a neighbouring step size (within 10 % or 3
    standard errors), take those of the smallest localisation, which bends the posterior least, and among these the one
    with most effective draws. Where no cell qualifies nothing is recommended: widen the grid or lengthen the chains.
    The rule is our choice; `icl_interp.figures.lines` draws what it saw. Cells share their seed.

    Args:
        loss: As for `estimate_learning_coefficient`.
        params: w* by name.
        data: A data set or a stream.
        nbeta: Factor of the loss.
        lrs: Step sizes; at least two.
        localizations: Localisations; at least one.
        **settings: Any other argument of `estimate_learning_coefficient`.

    Returns:
        The grid and the recommendation.

    Raises:
        InputTypeError: If a setting is unknown or of the wrong kind.
        InputError: If the grid is too small, repeats a value, or a setting is out of range.

    Source:
        The plateau over a grid follows Hoogland et al. (2024), appendix on LLC estimation; the rule is our choice.

    Example:
        >>> bowl = lambda params, batch: params["w"].square().sum() + 0 * batch.sum()
        >>> start = {"w": torch.zeros(6)}
        >>> grid = {"lrs": (3e-3, 1e-3, 6e-2), "localizations": (1.0,)}
        >>> found = calibrate(bowl, start, torch.zeros(1), nbeta=50.0, **grid)
        >>> found.recommended_lr, found.healthy.tolist()
        (0.003, [[True, True, False]])
    """
    who = "calibrate"
    columns, rows = _grid(who, "lrs", lrs, 2), _grid(who, "localizations", localizations, 1)
    results: list[list[LearningCoefficient]] = []
    top = settings.pop("top_eigenvalue_at_init", None)
    for localization in rows:
        results.append([])
        for lr in columns:
            result = estimate_learning_coefficient(
                loss,
                params,
                data,
                nbeta=nbeta,
                lr=lr,
                localization=localization,
                top_eigenvalue_at_init=top,
                **settings,
            )
            # The Hessian at w* is the same in every cell, unless a preconditioner enters.
            top = result.top_eigenvalue if settings.get("sampling_method", "sgld") == "sgld" else None
            results[-1].append(result)
    return _recommend(results, columns, rows, nbeta)


def _grid(who: str, name: str, values: Sequence[float], least: int) -> tuple[float, ...]:
    grid = tuple(sorted(float(value) for value in values))
    if len(grid) < least or len(set(grid)) < len(grid):
        raise InputError(f"{who} needs at least {least} different {name}, got {list(values)}; extend the grid.")
    return grid


def _recommend(
    results: list[list[LearningCoefficient]], lrs: tuple[float, ...], localizations: tuple[float, ...], nbeta: float
) -> LlcCalibration:
    estimates = _table(results, lambda cell: cell.estimate)
    errors = _table(results, lambda cell: cell.total_error)
    healthy = torch.tensor([[not cell.raised for cell in row] for row in results])
    plateau = _plateau(estimates, errors, healthy)
    lr, localization, reason = None, None, _why_none(healthy, results)
    if bool(plateau.any()):
        row = int(plateau.any(dim=1).nonzero()[0])
        draws = [cell.flag("few_effective_draws").value for cell in results[row]]
        column = max((c for c in range(len(lrs)) if bool(plateau[row, c])), key=lambda c: draws[c])
        lr, localization = lrs[column], localizations[row]
        reason = (
            f"lr={lr:g} with localization={localization:g}: healthy, agrees with the neighbouring step size, and has "
            f"the most effective draws ({draws[column]:.0f}) at the smallest localization with a plateau"
        )
    cells = tuple(tuple(row) for row in results)
    return LlcCalibration(
        lrs, localizations, nbeta, cells, estimates, errors, healthy, plateau, lr, localization, reason
    )


def _table(results: list[list[LearningCoefficient]], read: Callable[[LearningCoefficient], float]) -> Tensor:
    return torch.tensor([[read(cell) for cell in row] for row in results], dtype=torch.float64)


def _plateau(estimates: Tensor, errors: Tensor, healthy: Tensor) -> Tensor:
    left, right = estimates[:, :-1], estimates[:, 1:]
    noise = torch.hypot(errors[:, :-1], errors[:, 1:]).nan_to_num(0.0)
    near = (left - right).abs() <= torch.maximum(_AGREE_ERRORS * noise, _AGREE_SHARE * torch.maximum(left, right).abs())
    agree = near & healthy[:, :-1] & healthy[:, 1:]
    none = torch.zeros(len(agree), 1, dtype=torch.bool)
    return torch.cat([none, agree], dim=1) | torch.cat([agree, none], dim=1)


def _why_none(healthy: Tensor, results: list[list[LearningCoefficient]]) -> str:
    if bool(healthy.any()):
        return "nothing recommended: no healthy cell agrees with a neighbouring step size; refine or widen lrs"
    counts: dict[str, int] = {}
    for cell in (cell for row in results for cell in row):
        for name in cell.raised:
            counts[name] = counts.get(name, 0) + 1
    worst = sorted(counts, key=lambda name: -counts[name])[:3]
    return f"nothing recommended: every cell raises a flag, most often {', '.join(worst)}"
