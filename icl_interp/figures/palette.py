"""Roles and their colours, dashes and symbols, told apart on light and dark pages and without colour."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from icl_interp.errors import InputError

__all__ = [
    "COLOURS",
    "DIVERGING",
    "GREY",
    "SEQUENTIAL",
    "SHIFT_COLOURS",
    "TraceStyle",
    "role_style",
    "shift_style",
    "translucent",
]

_HEX = re.compile(r"#[0-9A-Fa-f]{6}")

# Okabe and Ito's hues, their luminance moved between 0.13 and 0.29, so that each keeps 3:1 on both pages.
_BLUE, _VERMILLION, _GREEN, _PURPLE = "#1f78b8", "#d55e00", "#009e73", "#c2649a"
_AMBER, _SKY, _OLIVE, GREY, _INDIGO, _BROWN = (
    "#b97a00",
    "#2f97cf",
    "#8c8a1f",
    "#868b94",
    "#7a6fd0",
    "#a0674b",
)


@dataclass(frozen=True, slots=True)
class TraceStyle:
    """How one kind of line or point is drawn: never told by its colour alone."""

    colour: str
    """`#rrggbb`, at least 3:1 against the light and the dark page."""
    dash: str
    """A plotly dash name, or lengths in pixels."""
    symbol: str
    """A plotly marker symbol."""

    def line(self, *, width: float | int = 2) -> dict[str, Any]:
        """Give a trace's `line`."""
        return {"color": self.colour, "dash": self.dash, "width": width}

    def marker(self, *, size: float | int = 7, opacity: float | int = 1) -> dict[str, Any]:
        """Give a trace's `marker`."""
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

SHIFT_COLOURS = (_VERMILLION, _GREEN, _PURPLE, _AMBER, _SKY, _INDIGO, _OLIVE, _BROWN)
"""Colours of shifts in order; `shift_style` adds dashes and symbols and goes on past the eighth."""

_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star", "triangle-down")

SEQUENTIAL = "Cividis"
"""A colour scale for magnitudes that colour-blind readers see in the same order."""
DIVERGING = ((0.0, "#1f78b8"), (0.5, "#d9dadb"), (1.0, "#d55e00"))
"""A colour scale for signed values, its middle at zero."""


def role_style(role: str) -> TraceStyle:
    """Look up the style of a role."""
    if role not in _ROLES:
        raise InputError(f"role_style needs one of {', '.join(_ROLES)}, got {role!r}.")
    return _ROLES[role]


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
    """Make a colour see-through."""
    if not _HEX.fullmatch(colour) or not 0 <= opacity <= 1:
        raise InputError(f"translucent needs '#rrggbb' and an opacity in [0, 1], got {colour!r} and {opacity}.")
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"
