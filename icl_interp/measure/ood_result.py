"""What an out-of-distribution measurement found: detection for each shift, and the score against the error."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float64
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.figures.dots import DotSeries, dots_figure
from icl_interp.figures.theme import role_style
from icl_interp.measure.controls import Excess, excess_of_replicates
from icl_interp.measure.conventions import Conventions
from icl_interp.measure.sites import ResidualSite
from probes._reprs import short_repr
from probes.correlation import CorrelationReport
from probes.detection import DetectionReport

__all__ = ["OodReport", "ShiftDetection"]


@dataclass(frozen=True, slots=True)
class ShiftDetection:
    """How well one shift is told from in-distribution prompts."""

    signature: DetectionReport
    """By the score 1 - overlap of the model."""
    norms: DetectionReport
    """By the norms of the prompt alone."""
    untrained: tuple[DetectionReport, ...]
    """By the score of each untrained network."""
    excess: Excess
    """AUROC beyond untrained networks; the bounds of all shifts of a report hold together."""

    __repr__ = short_repr


@dataclass(frozen=True, slots=True)
class OodReport:
    """Detection for each shift, and the score against the error."""

    shifts: Mapping[str, ShiftDetection]
    """By label."""
    correlation: CorrelationReport
    """Of the score 1 - overlap with the log error of the same prompt, over all families."""
    untrained_correlations: tuple[CorrelationReport, ...]
    """Of the scores of untrained networks with the same errors of this model (our choice of control)."""
    scores: Mapping[str, Float64[Tensor, " sample"]]
    """1 - overlap of each prompt, by family."""
    errors: Mapping[str, Float64[Tensor, " sample"]]
    """Error of each prompt in units of its family's E[y^2], by family."""
    site: ResidualSite
    """Where."""
    conventions: Conventions
    """How."""

    __repr__ = short_repr

    @property
    def mean_auroc(self) -> float:
        """Over the shifts; NaN without any."""
        return _mean([detection.signature.auroc for detection in self.shifts.values()])

    @property
    def mean_norm_auroc(self) -> float:
        """Of the norm baseline, over the shifts."""
        return _mean([detection.norms.auroc for detection in self.shifts.values()])

    def detection_excess(self, n_verdicts: int = 1) -> Excess:
        """Compare the mean AUROC over shifts with untrained networks.

        Args:
            n_verdicts: How many claims the report makes.

        Returns:
            The excess with its interval.

        Raises:
            InputError: If there is no shift.
        """
        if not self.shifts:
            raise InputError(
                "detection_excess needs a shift whose activations were read, got none; add one such as x_scale=3."
            )
        detections = list(self.shifts.values())
        n_controls = len(detections[0].untrained)
        controls = [[d.untrained[i] for d in detections] for i in range(n_controls)]
        return excess_of_replicates(
            (self.mean_auroc, _mean_replicates([d.signature for d in detections])),
            [(_mean([report.auroc for report in reports]), _mean_replicates(reports)) for reports in controls],
            n_verdicts=n_verdicts,
            chance=0.5,
        )

    def correlation_excess(self, n_verdicts: int = 1) -> Excess:
        """Compare the mean Spearman correlation inside families with untrained networks.

        Args:
            n_verdicts: How many claims the report makes.

        Returns:
            The excess with its interval.
        """
        own, *controls = [
            (report.within_mean.value, report.within_mean_replicates)
            for report in (self.correlation, *self.untrained_correlations)
        ]
        return excess_of_replicates(own, controls, n_verdicts=n_verdicts, chance=0.0)

    def to_frame(self) -> pd.DataFrame:
        """Lay the shifts out, one a row.

        Returns:
            AUROC with interval, both FPR95, that of norms and untrained networks, and the excess.
        """
        return pd.DataFrame([_row(label, detection) for label, detection in self.shifts.items()]).set_index("shift")

    def plot(self) -> Any:
        """Draw the AUROC of the signature beside its rivals.

        Returns:
            A plotly figure.
        """
        rows = list(self.shifts)
        reports = [self.shifts[row].signature for row in rows]
        series = [
            DotSeries(
                "norms alone",
                rows,
                [self.shifts[row].norms.auroc for row in rows],
                role_style("norm baseline"),
            ),
            DotSeries(
                "untrained networks",
                rows,
                [self.shifts[row].excess.control for row in rows],
                role_style("untrained"),
            ),
            DotSeries(
                "signature of this model",
                rows,
                [report.auroc for report in reports],
                role_style("model"),
                low=[report.auroc_interval.low for report in reports],
                high=[report.auroc_interval.high for report in reports],
            ),
        ]
        if not self.untrained_correlations:
            del series[1]
        figure = dots_figure(series, x="AUROC", reference=0.5, x_range=(-0.02, 1.02))
        return figure.update_layout(title={"text": self.describe()})

    def describe(self) -> str:
        """Name site and conventions, for figures.

        Returns:
            One clause.
        """
        return f"{self.site.hook}, {self.conventions.describe()}"

    def _repr_html_(self) -> str:
        return str(self.plot()._repr_html_())


def _row(label: str, detection: ShiftDetection) -> dict[str, object]:
    own, excess = detection.signature, detection.excess
    return {
        "shift": label,
        "auroc": own.auroc,
        "low": own.auroc_interval.low,
        "high": own.auroc_interval.high,
        "fpr95_ood_positive": own.fpr95_ood_positive,
        "fpr95_id_positive": own.fpr95_id_positive,
        "auroc_norms": detection.norms.auroc,
        "auroc_untrained": excess.control,
        "excess": excess.excess,
        "excess_low": excess.low,
        "excess_high": excess.high,
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _mean_replicates(reports: Sequence[DetectionReport]) -> Tensor:
    return torch.stack([report.auroc_replicates for report in reports]).mean(0)
