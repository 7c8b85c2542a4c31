"""One look for all figures: palette, layout, axes on light and dark pages, and the JavaScript that draws them."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from icl_interp.errors import InputError
from icl_interp.predictors.references import names_in

_HEX = re.compile(r"#[0-9A-Fa-f]{6}")

# Okabe and Ito's hues, their luminance moved between 0.13 and 0.29, so that each keeps 3:1 on both pages.
_BLUE, _VERMILLION, _GREEN, _PURPLE = "#1f78b8", "#d55e00", "#009e73", "#c2649a"
_AMBER, _SKY, _OLIVE, GREY, _INDIGO, _BROWN = ("#b97a00", "#2f97cf", "#8c8a1f", "#868b94", "#7a6fd0", "#a0674b")
SHIFT_COLOURS = (_VERMILLION, _GREEN, _PURPLE, _AMBER, _SKY, _INDIGO, _OLIVE, _BROWN)
"""Colours of shifts in order; `shift_style` adds dashes and symbols and goes on past the eighth."""
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")
SEQUENTIAL = "Cividis"
"""A colour scale for magnitudes that colour-blind readers see in the same order."""
DIVERGING = ((0.0, "#1f78b8"), (0.5, "#d9dadb"), (1.0, "#d55e00"))
"""A colour scale for signed values, its middle at zero."""
AxisKind = Literal["linear", "log", "category"]
"""How an axis is scaled."""
_FONT = "-apple-system, 'Segoe UI', Roboto, 'Noto Sans', Ubuntu, Cantarell, 'Helvetica Neue', Arial, sans-serif"
_FEW_DECADES, _FEW_DIGITS = 2.0, 0.4
"""Below the first a label a decade would be one or none; below the second 1, 2 and 5 may be so: our choice."""
_OTHERS = (
    "Lasso", "10-step Newton", "oracle", "copy last", "extrapolation", "averaging", "context mean",
    "3 nearest neighbours", "reweighted 10-step GD", "GD-beta", "GD-0", "5-step GD++", "10-step CG", "online GD",
)  # fmt: skip
"""References of single families, in the order of their styles."""
_BASES = ("norm baseline", "shuffled", "untrained")
_PREDICTOR_DASHES = ("solid", "dash", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True, slots=True)
class TraceStyle:
    """How one kind of line or point is drawn: never told by its colour alone."""

    colour: str
    """`#rrggbb`, at least 3:1 against the light and the dark page."""
    dash: str
    """A plotly dash name, or lengths in pixels."""
    symbol: str

    def line(self, *, width: float | int = 2) -> dict[str, Any]:
        return {"color": self.colour, "dash": self.dash, "width": width}

    def marker(self, *, size: float | int = 7, opacity: float | int = 1) -> dict[str, Any]:
        return {"color": self.colour, "symbol": self.symbol, "size": size, "opacity": opacity}

    def band(self, *, opacity: float | int = 0.16) -> str:
        """Give the fill colour of the interval around a line."""
        return translucent(self.colour, opacity)


_ROLES: Mapping[str, TraceStyle] = MappingProxyType({
    "model": TraceStyle(_BLUE, "solid", "circle"),
    "least squares": TraceStyle(_VERMILLION, "dash", "square"),
    "ridge": TraceStyle(_AMBER, "longdashdot", "diamond"),
    "bayes": TraceStyle(_PURPLE, "9px,4px", "star"),
    "gradient descent": TraceStyle(_GREEN, "dashdot", "triangle-up"),
    "zero": TraceStyle(GREY, "dot", "cross"),
    "untrained": TraceStyle(_OLIVE, "dot", "circle-open"),
    "norm baseline": TraceStyle(_BROWN, "dashdot", "diamond-open"),
    "shuffled": TraceStyle(_INDIGO, "dot", "x"),
    "in distribution": TraceStyle(_BLUE, "solid", "circle"),
    "reference": TraceStyle(GREY, "dot", "line-ns"),
})

COLOURS: Mapping[str, str] = MappingProxyType({role: style.colour for role, style in _ROLES.items()})
"""Role to `#rrggbb`."""


def role_style(role: str) -> TraceStyle:
    if role not in _ROLES:
        raise InputError(f"role_style needs one of {', '.join(_ROLES)}, got {role!r}.")
    return _ROLES[role]


_MODELS = ("model", "norm baseline", "shuffled", "untrained")


def model_style(index: int) -> TraceStyle:
    """Give the style of the index-th of several models, in every figure of a report; solid, as references are not."""
    if index < 0:
        raise InputError(f"model_style needs an index from 0, got {index}.")
    lap, place = divmod(index, len(_MODELS))
    style = role_style(_MODELS[place])
    return TraceStyle(style.colour, ("solid", *_PREDICTOR_DASHES[1:])[lap % 5], _SYMBOLS[index % len(_SYMBOLS)])


def shift_style(index: int) -> TraceStyle:
    """Give the style of the index-th shift; the first 24 differ from one another."""
    if index < 0:
        raise InputError(f"shift_style needs an index from 0, got {index}.")
    lap = index // len(SHIFT_COLOURS)
    return TraceStyle(
        SHIFT_COLOURS[index % len(SHIFT_COLOURS)],
        _DASHES[(index + lap) % len(_DASHES)],
        _SYMBOLS[(index + lap) % len(_SYMBOLS)],
    )


def translucent(colour: str, opacity: float | int) -> str:
    if not _HEX.fullmatch(colour) or not 0 <= opacity <= 1:
        raise InputError(f"translucent needs '#rrggbb' and an opacity in [0, 1], got {colour!r} and {opacity}.")
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


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
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"},
        "hoverlabel": {"font": {"family": _FONT, "size": 12}, "namelength": -1},
        "xaxis": axis | {"showgrid": False, "showline": True, "ticks": "outside", "ticklen": 4},
        "yaxis": axis | {"hoverformat": ".3~g"},
        "colorscale": {"sequential": SEQUENTIAL},
    }
    bar = {"colorbar": {"thickness": 12, "outlinewidth": 0, "title": {"font": {"size": 12}}}}
    return {"layout": layout, "data": {"heatmap": [bar]}}


def log_labels(values: Iterable[float | int | None]) -> dict[str, Any]:
    """Choose the labels of a logarithmic axis by the decades that it covers."""
    known = [value for value in values if value is not None and value > 0 and math.isfinite(value)]
    span = math.log10(max(known) / min(known)) if known else math.inf
    dtick = 1 if span >= _FEW_DECADES else "D2" if span >= _FEW_DIGITS else None
    return {"dtick": dtick, "tickformat": "~g"}


def axis_range(limits: tuple[float | int, float | int], kind: AxisKind) -> list[float]:
    return [math.log10(limit) for limit in limits] if kind == "log" else [float(limit) for limit in limits]


def plotlyjs_source() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def plotlyjs_version() -> str:
    from plotly.offline import get_plotlyjs_version

    return str(get_plotlyjs_version())


def predictor_style(name: str) -> TraceStyle:
    first = names_in(name)[0]
    if first in _OTHERS:
        place = _OTHERS.index(first)
        return replace(role_style(_BASES[place % len(_BASES)]), dash=_PREDICTOR_DASHES[place // len(_BASES)])
    if first.endswith("-step GD"):
        style = role_style("gradient descent")
        return style if first == "1-step GD" else replace(style, dash="longdashdot", symbol="triangle-down")
    role = {"Bayes": "bayes", "dMMSE": "bayes"}.get(first, first)
    if role in COLOURS:
        return role_style(role)
    place = _OWN.setdefault(first, len(_OWN))  # a user's own
    return shift_style(place) if place else role_style("reference")


_OWN: dict[str, int] = {}
"""References of a user's own by name, in the order in which they were first drawn: one style each everywhere."""
