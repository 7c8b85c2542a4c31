"""One look for all figures: the palette, and the layout that they share on light and dark pages."""

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

AxisKind = Literal["linear", "log", "category"]
"""How an axis is scaled."""

__all__ = [
    "COLOURS",
    "DIVERGING",
    "SEQUENTIAL",
    "SHIFT_COLOURS",
    "AxisKind",
    "TraceStyle",
    "base_layout",
    "role_style",
    "shift_style",
    "translucent",
]

FONT = "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', Ubuntu, Cantarell, 'Helvetica Neue', Arial, sans-serif"


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

    Args:
        title: For notebooks; the page shows a heading of its own instead.
        x: Title of the x axis, with its unit.
        y: Title of the y axis, with its unit.
        x_type: None lets plotly choose.
        y_type: None lets plotly choose.
        hovermode: "x unified" suits lines over one axis.
        legend: Whether to show one, horizontally below the plot.

    Returns:
        For `Figure(layout=...)`.

    Example:
        >>> base_layout(x="in-context examples", y="error", y_type="log")["yaxis"]
        {'title': {'text': 'error'}, 'type': 'log', 'dtick': 1, 'tickformat': '~g'}
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
        "font": {"family": FONT, "size": 13, "color": "#70757d"},
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
        "hoverlabel": {"font": {"family": FONT, "size": 12}, "namelength": -1},
        "xaxis": axis | {"showgrid": False, "showline": True, "ticks": "outside", "ticklen": 4},
        "yaxis": axis | {"hoverformat": ".3~g"},
        "colorscale": {"sequential": SEQUENTIAL},
    }
    bar = {"colorbar": {"thickness": 12, "outlinewidth": 0, "title": {"font": {"size": 12}}}}
    return {"layout": layout, "data": {"heatmap": [bar]}}
