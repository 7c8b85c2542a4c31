"""Which algorithm a predictor acts like: every metric of agreement, one reference a row."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from icl_interp.figures.lines import Line, lines_figure
from icl_interp.measure.roles import predictor_style
from probes.bootstrap import Estimate
from probes.curves import Curve
from probes.effective_descent import EffectiveStep
from probes.sensitivity import SensitivityAgreement

__all__ = ["AgreementReport", "ReferenceAgreement"]

_COLUMNS = {
    "SPD": "spd",
    "MSPD": "mspd",
    "ILWD": "ilwd",
    "SimE": "similarity_of_errors",
    "SimW": "similarity_of_weights",
    "R² of linear fit": "linear_r2",
}
_GRADIENTS = {
    "|f - g|": "prediction_difference",
    "cosine of gradients": "cosine",
    "|f' - g'|": "gradient_difference",
}


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class ReferenceAgreement:
    """How far the model agrees with one reference."""

    spd: Curve
    """Squared prediction difference by number of examples, in units of E[y^2]."""
    mspd: Estimate
    """Its mean over 1 <= n < d examples; NaN with a reason where there are none."""
    ilwd: Curve
    """Squared distance of induced weights at `points`, times E[x_j^2] / E[y^2]: for inputs of one variance, the part
    of a prediction difference that is linear in the query."""
    linear_r2: Curve
    """R² of the linear fit to the reference at `points`."""
    similarity_of_errors: Estimate
    """SimE over all points, in [-1, 1]; blind to scale."""
    similarity_of_weights: Estimate
    """SimW over `points`, in [-1, 1]; blind to scale."""
    sensitivity: SensitivityAgreement | None
    """Three metrics of gradients at the last point; None where `undefined` says why."""

    def __repr__(self) -> str:
        return f"ReferenceAgreement(spd={self.spd.mean}, similarity_of_weights={self.similarity_of_weights})"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class AgreementReport:
    """How far a predictor agrees with each reference."""

    references: Mapping[str, ReferenceAgreement]
    """By name."""
    linear_r2: Curve
    """R² of the linear fit to the model at `points`; where it is low, ILWD and SimW say nothing."""
    step: EffectiveStep | None
    """The one gradient step that reacts to labels most like the model at the last point; None where `undefined` says
    why."""
    undefined: Mapping[str, str]
    """What could not be computed, and why."""
    points: tuple[int, ...]
    """Examples before the fresh queries."""
    n_points: int
    """Pairs a prompt."""
    n_prompts: int
    """Prompts."""
    n_queries: int
    """Fresh queries a prompt and point."""

    def nearest(self) -> list[str]:
        """Order the references.

        Returns:
            Names by SPD, the smallest first.
        """
        return sorted(self.references, key=lambda name: self.references[name].spd.mean.value)

    def to_frame(self) -> pd.DataFrame:
        """Lay all metrics out in long form.

        Returns:
            Columns reference, metric, value, low, high; references by SPD, the smallest first.
        """
        rows = []
        for name in self.nearest():
            found = self.references[name]
            estimates = {metric: _mean(getattr(found, field)) for metric, field in _COLUMNS.items()}
            if found.sensitivity is not None:
                estimates |= {metric: getattr(found.sensitivity, field) for metric, field in _GRADIENTS.items()}
            rows += [(name, metric, e.value, e.low, e.high) for metric, e in estimates.items()]
        return pd.DataFrame(rows, columns=["reference", "metric", "value", "low", "high"])

    def plot(self) -> Any:
        """Draw SPD against the number of examples.

        Returns:
            A plotly figure.
        """
        lines = []
        for name in reversed(self.nearest()):
            curve = self.references[name].spd
            low, high = (_floored(ends.tolist()) for ends in (curve.low, curve.high))
            values = _floored(curve.values.tolist())
            lines.append(Line(name, list(range(len(values))), values, predictor_style(name), low, high))
        return lines_figure(
            lines, x="in-context examples", y="squared difference / E[y²]", y_type="log", y_range=(FLOOR, 10.0)
        )

    def _repr_html_(self) -> str:
        return str(self.plot()._repr_html_())

    def __repr__(self) -> str:
        name = self.nearest()[0]
        return f"AgreementReport(nearest={name!r}, spd={self.references[name].spd.mean}, n_prompts={self.n_prompts})"


FLOOR = 1e-6
"""Smaller differences are drawn there."""


def _mean(found: Curve | Estimate) -> Estimate:
    return found.mean if isinstance(found, Curve) else found


def _floored(values: list[float]) -> list[float]:
    return [value if math.isnan(value) else max(value, FLOOR) for value in values]
