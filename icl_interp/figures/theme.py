"""One look for all figures: palette, layout, axes on light and dark pages, and the JavaScript that draws them."""

import math
from collections.abc import Iterable
from typing import Any, Literal

from icl_interp.figures.palette import (
    COLOURS,
    DIVERGING,
    GREY,
    SEQUENTIAL,
    SHIFT_COLOURS,
    TraceStyle,
    role_style,
    shift_style,
    translucent,
)

__all__ = [
    "COLOURS",
    "DIVERGING",
    "SEQUENTIAL",
    "SHIFT_COLOURS",
    "AxisKind",
    "TraceStyle",
    "axis_range",
    "base_layout",
    "log_labels",
    "plotlyjs_source",
    "plotlyjs_version",
    "role_style",
    "shift_style",
    "translucent",
]

AxisKind = Literal["linear", "log", "category"]
"""How an axis is scaled."""

_FONT = "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', Ubuntu, Cantarell, 'Helvetica Neue', Arial, sans-serif"


def base_layout(
    title: str | None = None,
    *,
    x: str | None = None,
    y: str | None = None,
    x_type: AxisKind | None = None,
    y_type: AxisKind | None = None,
    hovermode: Literal["closest", "x unified", "x"] = "closest",
    legend: bool = True,
) -> dict[str, Any]:
    """Start a figure's layout; what it leaves open, `update_layout` adds.

    Backgrounds are transparent and the ink is a grey that reads on both pages; the report's page recolours
    ink and grid with its theme, and moves the y title above the axis.
    """
    layout: dict[str, Any] = {
        "template": _template(),
        "hovermode": hovermode,
        "showlegend": legend,
        "xaxis": _axis(x, x_type),
        "yaxis": _axis(y, y_type),
    }
    if title is not None:
        layout["title"] = {"text": title}
    return layout


def _axis(title: str | None, kind: str | None) -> dict[str, Any]:
    axis: dict[str, Any] = {} if title is None else {"title": {"text": title}}
    if kind is not None:
        axis["type"] = kind
    if kind == "log":
        axis |= {"dtick": 1, "tickformat": "~g"}  # a label a decade; plotly's own choice crowds small plots
    return axis


def _axis_template() -> dict[str, Any]:
    return {
        "automargin": True,
        "gridcolor": translucent(GREY, 0.25),
        "linecolor": translucent(GREY, 0.6),
        "zeroline": False,
        "ticks": "",
        "showline": False,
        "showspikes": False,  # their halo is white on any page
        "title": {"standoff": 10, "font": {"size": 12}},
    }


def _template() -> dict[str, Any]:
    axis = _axis_template()
    layout = {
        "font": {"family": _FONT, "size": 13, "color": "#70757d"},
        "title": {"x": 0, "xref": "paper", "font": {"size": 15}},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "colorway": [COLOURS["model"], *SHIFT_COLOURS],
        "margin": {"l": 8, "r": 12, "t": 32, "b": 8},
        "legend": {
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
        },
        "hoverlabel": {"font": {"family": _FONT, "size": 12}, "namelength": -1},
        "xaxis": axis | {"showgrid": False, "showline": True, "ticks": "outside", "ticklen": 4},
        "yaxis": axis | {"hoverformat": ".3~g"},
        "colorscale": {"sequential": SEQUENTIAL},
    }
    bar = {"colorbar": {"thickness": 12, "outlinewidth": 0, "title": {"font": {"size": 12}}}}
    return {"layout": layout, "data": {"heatmap": [bar]}}


_FEW_DECADES, _FEW_DIGITS = 2.0, 0.4
"""Below the first a label a decade would be one or none; below the second 1, 2 and 5 may be so (ours)."""


def log_labels(values: Iterable[float | int | None]) -> dict[str, Any]:
    """Choose the labels of a logarithmic axis by the decades that it covers."""
    known = [value for value in values if value is not None and value > 0 and math.isfinite(value)]
    span = math.log10(max(known) / min(known)) if known else math.inf
    dtick = 1 if span >= _FEW_DECADES else "D2" if span >= _FEW_DIGITS else None
    return {"dtick": dtick, "tickformat": "~g"}


def axis_range(limits: tuple[float | int, float | int], kind: AxisKind) -> list[float]:
    """Give the range of an axis as plotly takes it."""
    return [math.log10(limit) for limit in limits] if kind == "log" else [float(limit) for limit in limits]


def plotlyjs_source() -> str:
    """Read plotly.js, about 5 MB, from the installed plotly."""
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def plotlyjs_version() -> str:
    """Read the version of the plotly.js that the installed plotly ships."""
    from plotly.offline import get_plotlyjs_version

    return str(get_plotlyjs_version())
