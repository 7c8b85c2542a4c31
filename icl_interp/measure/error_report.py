"""What an error measurement found: curves of the model and of every reference, for each family."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
from jaxtyping import Float64
from torch import Tensor

from icl_interp.figures.lines import Line, Stretch, lines_figure
from icl_interp.measure.families import IN_DISTRIBUTION, Family
from icl_interp.measure.roles import predictor_style
from probes._reprs import short_repr
from probes.bootstrap import Estimate

__all__ = ["MODEL", "TOLERATED", "UNSEEN", "ErrorCurve", "ErrorReport", "FamilyErrors"]

UNSEEN = "never seen in training"
"""What figures and tables call points beyond the length of training prompts."""
TOLERATED = 0.05
"""A shortfall of this share of E[y^2] is not called a failure (ours)."""
MODEL = "model"
"""The model's name among the predictors."""
COLUMNS = ("family", "predictor", "examples", "error", "low", "high")


@dataclass(frozen=True, slots=True)
class ErrorCurve:
    """Mean squared error after k in-context examples, divided by E[y^2] of the family."""

    mean: Float64[Tensor, " point"]
    """Over prompts; entry k has k examples before it."""
    low: Float64[Tensor, " point"]
    """Lower 95 % bootstrap band over prompts."""
    high: Float64[Tensor, " point"]
    """Upper band."""
    late: Estimate
    """Mean over the points with at least d examples before them: the error of the family."""
    unseen: Estimate | None = None
    """Mean over the points that training never had; None where it had all of them."""

    __repr__ = short_repr


@dataclass(frozen=True, slots=True)
class FamilyErrors:
    """Errors of the model and of every reference on one family."""

    family: Family
    """The prompts and their unit."""
    curves: Mapping[str, ErrorCurve]
    """By name; "model" first."""
    excess: Estimate
    """Late error of the model minus that of least squares, prompt by prompt."""
    shortfalls: Mapping[str, Estimate]
    """Late error of the model and of each reference minus that of the best reference here, prompt by prompt: what
    could have been known and was not. Noise that nobody can predict cancels."""
    distances: Mapping[str, Estimate]
    """Mean squared difference between the model's and each reference's predictions over all points, in units of
    E[y^2]: how far the model is from doing what the reference does, whatever the labels."""

    first_point: int
    """The first point that counts as late."""

    __repr__ = short_repr

    @property
    def first_unseen_point(self) -> int | None:
        """The first point at which training never asked the model; None where training had all of them."""
        return self.family.first_unseen_point

    def fails(self, name: str) -> bool:
        """Tell whether a predictor fails on this family.

        Args:
            name: "model", or a reference.

        Returns:
            True if the whole interval of its shortfall lies above `TOLERATED`, or if the shortfall is undefined.
        """
        return not self.shortfalls[name].low <= TOLERATED  # NaN fails as well

    def closest(self) -> str:
        """Name the reference that predicts most like the model.

        Returns:
            A name of `distances`.
        """
        return self.nearest()[0]

    def nearest(self) -> list[str]:
        """Order the references by how alike they predict.

        Returns:
            Names of `distances`, the most alike first.
        """
        return sorted(self.distances, key=lambda name: self.distances[name].value)


@dataclass(frozen=True, slots=True)
class ErrorReport:
    """Error curves of a model beside the reference algorithms, in distribution and under each shift."""

    families: Mapping[str, FamilyErrors]
    """By label; in distribution first."""
    first_point: int
    """The first point that counts as late, in distribution."""
    notes: tuple[str, ...] = ()
    """What was left out or cut, and why, a sentence each."""

    __repr__ = short_repr

    @property
    def in_distribution(self) -> FamilyErrors:
        """The unshifted family."""
        return self.families[IN_DISTRIBUTION]

    def to_frame(self) -> pd.DataFrame:
        """Lay all curves out in long form.

        Returns:
            Columns family, predictor, examples, error, low, high, seen_in_training; errors in units of E[y^2].
        """
        rows = [
            (label, name, k, *map(float, triple), errors.family.seen(k))
            for label, errors in self.families.items()
            for name, curve in errors.curves.items()
            for k, triple in enumerate(zip(curve.mean, curve.low, curve.high, strict=True))
        ]
        return pd.DataFrame(rows, columns=[*COLUMNS, "seen_in_training"])

    def plot(self, label: str = IN_DISTRIBUTION, *, axis: Literal["log", "linear"] = "log") -> Any:
        """Draw one family's curves; points that training never had are shaded and labelled.

        Args:
            label: Of the family.
            axis: "log" (what lies below 1e-4 is drawn at 1e-4; `to_frame` has it as it is) or "linear".

        Returns:
            A plotly figure.
        """
        lines = [
            Line(
                name=name,
                x=range(len(curve.mean)),
                y=_floor(curve.mean, axis),
                low=_floor(curve.low, axis) if name == MODEL else None,
                high=_floor(curve.high, axis) if name == MODEL else None,
                style=predictor_style(name),
                width=3 if name == MODEL else 1.8,
            )
            for name, curve in self.families[label].curves.items()
        ]
        return lines_figure(
            lines, x="in-context examples", y="squared error / E[y²]", y_type=axis, stretch=self._unseen(label)
        )

    def _unseen(self, label: str) -> Stretch | None:
        family = self.families[label].family
        if family.first_unseen_point is None:
            return None
        return Stretch(family.first_unseen_point - 0.5, family.prompts.n_points - 0.5, UNSEEN)

    def _repr_html_(self) -> str:
        return str(self.plot()._repr_html_())


def _floor(values: Tensor, axis: str) -> list[float]:
    return (values.clamp(min=1e-4) if axis == "log" else values).tolist()
