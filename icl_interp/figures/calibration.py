"""Why these settings? Estimates of a learning coefficient over step size, one line a localisation."""

import math

import plotly.graph_objects as go

from icl_interp.figures.figure import Figure
from icl_interp.figures.theme import base_layout, role_style, shift_style
from probes.llc_calibration import LlcCalibration

__all__ = ["calibration_figure"]


def calibration_figure(calibration: LlcCalibration) -> go.Figure:
    """Draw the sweep that a recommendation rests on.

    Filled markers are cells without a raised flag, open ones name their flags on hover; error bars are one standard
    error; a star marks the recommended cell.

    Args:
        calibration: From `probes.llc_calibration.calibrate`.

    Returns:
        A figure without size; its title is the reason.
    """
    figure = Figure(layout=base_layout(calibration.reason, x="step size (lr)", y="learning coefficient", x_type="log"))
    for index, localization in enumerate(calibration.localizations):
        style = shift_style(index)
        cells = calibration.results[index]
        marker = style.marker(size=8)
        marker["symbol"] = ["circle-open" if cell.raised else "circle" for cell in cells]
        figure.add_scatter(
            x=list(calibration.lrs),
            y=[_shown(cell.estimate) for cell in cells],
            error_y={"array": [_shown(cell.total_error) for cell in cells], "thickness": 1.5, "width": 0},
            mode="lines+markers",
            name=f"localization {localization:g}",
            text=[", ".join(cell.raised) or "no flag" for cell in cells],
            hovertemplate="lr %{x:g}: %{y:.3g}<br>%{text}",
            line=style.line(),
            marker=marker,
        )
    best = calibration.recommended
    if best is not None:
        star = role_style("model").marker(size=16)
        star["symbol"] = "star"
        figure.add_scatter(x=[best.lr], y=[best.estimate], mode="markers", name="recommended", marker=star)
    return figure


def _shown(value: float) -> float | None:
    return value if math.isfinite(value) else None
