"""Results of detectors and of simple rivals, shift by shift."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pandas as pd
from jaxtyping import Float
from torch import Tensor

from icl_interp.errors import InputError
from icl_interp.figures.choices import along, of_shifts
from icl_interp.figures.heatmap import MatrixBlock, matrix_figure
from icl_interp.figures.lines import Line, lines_figure
from icl_interp.figures.theme import GREY, shift_style
from icl_interp.measure.detectors.watch import OVERLAP, Pooling
from icl_interp.measure.families import IN_DISTRIBUTION
from icl_interp.measure.result import Result
from icl_interp.measure.sites import Conventions
from icl_interp.measure.verdicts import Excess
from icl_interp.models.architecture import ResidualSite
from probes._core.results import short_repr
from probes.bootstrap import Estimate
from probes.detection import DetectionReport, RocCurve, roc_curve

Reads = Literal["hidden states", "predictions", "raw inputs", "norms of activations"]
"""What a detector looks at; only the first says anything of hidden states. The last two are the baselines to beat: raw
inputs, or norms of activations where inputs are not known."""
BASELINES: tuple[Reads, ...] = ("raw inputs", "norms of activations")
Loss = Literal["excess loss over least squares", "error", "unknown"]
ALPHA = 0.05
"""Adjusted p-values below this count as above chance."""


@dataclass(frozen=True, slots=True)
class DetectorResult:
    """One detector on every shift."""

    reads: Reads
    """What it reads."""
    shifts: Mapping[str, DetectionReport]
    """Results by label of the shift."""
    p_values: Mapping[str, float]
    """p-values of an AUROC above 0.5, by permutation inside pairs, with Holm over all detectors and shifts."""
    mean: Estimate
    """AUROC, mean over shifts."""
    untrained: Mapping[str, float]
    """AUROC in untrained networks, mean over them, by shift; empty for raw inputs and without controls."""
    excess: Excess | None
    """Mean AUROC over shifts beyond untrained networks; all excesses of a report hold together. None for raw inputs,
    which read no network."""
    correlation: float
    """Spearman of score and loss, mean inside families; NaN without a loss."""
    correlation_p: float
    """p-value of a `correlation` above 0, by permutation of prompts, with Holm over all detectors. NaN if undefined."""
    untrained_correlation: float
    """The same for scores of untrained networks with this model's excess loss; NaN without."""
    aurc: Estimate
    """Area under the risk-coverage curve of the loss, all families pooled, in units of E[y^2]; NaN without a loss."""
    gain: Estimate
    """Share of the way from a score without information (0) to a perfect one (1)."""

    __repr__ = short_repr

    def above_chance(self, label: str) -> bool:
        """Tell whether it detects a shift."""
        return self.p_values[label] < ALPHA


@dataclass(frozen=True, slots=True)
class DetectorReport(Result):
    """Every detector, and the baselines that it has to beat."""

    detectors: Mapping[str, DetectorResult]
    """By name: hidden states first, then predictions, then raw inputs."""
    left_out: Mapping[str, str]
    """Detectors that do not apply here, with the reason."""
    blind_to_scale: tuple[str, ...]
    """Shifts that change the length of the vectors, which normalised neighbours cannot see."""
    site: ResidualSite
    """Site of the residual stream."""
    conventions: Conventions
    """Which positions count."""
    pooling: Pooling
    """How positions become one vector."""
    n_networks: int
    """Number of untrained networks."""
    loss: Loss = "excess loss over least squares"
    """Loss behind risk and correlations."""
    scores: Mapping[str, Mapping[str, Float[Tensor, " sample"]]] = field(default_factory=dict)
    """Score of each prompt, by detector and family."""

    __repr__ = short_repr

    def roc(self, detector: str, shift: str) -> RocCurve:
        """Trace the errors of one detector under one shift, over all thresholds."""
        if detector not in self.scores or shift not in self.shifts:
            raise InputError(
                f"roc needs a detector out of {', '.join(self.scores) or 'none'} and a shift out of "
                f"{', '.join(self.shifts)}, got {detector!r} and {shift!r}."
            )
        scores = self.scores[detector]
        return roc_curve(scores[IN_DISTRIBUTION], scores[shift])

    def plot_roc(self, *, detectors: Sequence[str] | None = None) -> Any:
        """Draw the ROC curves of some detectors under one shift, the others to be chosen.

        By default the signature, the best detector of each kind by its mean AUROC, and the best baseline.
        """
        chosen = self.leaders() if detectors is None else list(detectors)
        lines = []
        for label in self.shifts:
            for place, name in enumerate(chosen):
                curve = self.roc(name, label)
                xs, ys = curve.false_positives.tolist(), curve.true_positives.tolist()
                lines.append(Line(name, xs, ys, shift_style(place), place={"shift": label}))
        figure = lines_figure(
            lines, x="share of prompts in distribution that are flagged", y="share of shifted prompts that are flagged",
            y_range=(-0.02, 1.02),
        )  # fmt: skip
        for trace in figure.data:
            label = trace.meta["shift"]
            trace.update(
                visible=label == self.shifts[0],
                hovertemplate=f"%{{fullData.name}}, {label}: %{{x:.3f}}, %{{y:.3f}}<extra></extra>",
            )
        figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line={"color": GREY, "dash": "dot", "width": 1})
        return figure.update_layout(hovermode="closest", xaxis_range=[-0.02, 1.02], title={"text": self.describe()})

    def leaders(self) -> list[str]:
        """Name the signature's overlap, and the detector with the largest mean AUROC of each kind of reading."""
        kinds = [found.items() for found in map(self.reading, get_args(Reads)) if found]
        best = {max(found, key=lambda pair: pair[1].mean.value)[0] for found in kinds}
        return [name for name in self.detectors if name == OVERLAP or name in best]

    @property
    def shifts(self) -> list[str]:
        """Their labels."""
        return list(next(iter(self.detectors.values())).shifts)

    @property
    def baseline(self) -> Reads:
        """What the detectors have to beat."""
        return next((what for what in BASELINES if self.reading(what)), BASELINES[0])

    @property
    def n_tests(self) -> int:
        """Detectors times shifts: the tests that Holm's method adjusts together."""
        return len(self.detectors) * len(self.shifts)

    def reading(self, what: Reads) -> dict[str, DetectorResult]:
        """Select detectors by what they read."""
        return {name: found for name, found in self.detectors.items() if found.reads == what}

    def seen_by(self, what: Reads) -> list[str]:
        """List the shifts that detectors of one kind detect."""
        found = self.reading(what).values()
        return [label for label in self.shifts if any(detector.above_chance(label) for detector in found)]

    def beats_raw(self, what: Reads, label: str) -> bool:
        """Tell whether detectors of one kind detect a shift better than the baseline."""
        own = max(found.shifts[label].auroc_interval.low for found in self.reading(what).values())
        return own > max(found.shifts[label].auroc_interval.high for found in self.reading(self.baseline).values())

    def to_frame(self) -> pd.DataFrame:
        """Lay everything out, one row per detector and shift."""
        rows = [
            {
                "detector": name, "reads": found.reads, "shift": label, "auroc": report.auroc,
                "low": report.auroc_interval.low, "high": report.auroc_interval.high,
                "p_holm": found.p_values[label], "auroc_untrained": found.untrained.get(label, float("nan")),
                "aupr_in": report.aupr_in, "aupr_out": report.aupr_out, "n_in": report.n_in, "n_out": report.n_out,
                "fpr95_ood_positive": report.fpr95_ood_positive, "fpr95_id_positive": report.fpr95_id_positive,
                "detection_error": report.detection_error,
            }
            for name, found in self.detectors.items()
            for label, report in found.shifts.items()
        ]  # fmt: skip
        return pd.DataFrame(rows).set_index(["detector", "shift"])

    def plot(self, *, of: Literal["model", "untrained"] = "model") -> Any:
        """Draw AUROC as a map, detectors over shifts."""
        blocks = []
        for what in get_args(Reads):
            rows = {
                name: [
                    found.untrained[label] if of == "untrained" else found.shifts[label].auroc for label in self.shifts
                ]
                for name, found in self.reading(what).items()
                if of == "model" or found.untrained
            }
            if rows:
                blocks.append(MatrixBlock(what, rows))
        figure = matrix_figure(blocks, self.shifts, value="AUROC", value_range=(0.0, 1.0), middle=0.5)
        return along(figure, x=of_shifts(self.shifts)).update_layout(title={"text": self.describe()})

    def describe(self) -> str:
        """Name site, positions and pooling, for figures."""
        where = "last position" if self.pooling == "last" else "mean over positions"
        return f"{self.site.hook}, {self.conventions.tokens} tokens, {where}"
