"""One legend for a grid of figures, drawn as HTML beside the grid's title."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup

__all__ = ["shared_legend"]

_DASHES = {
    "solid": "none",
    "dot": "2 3",
    "dash": "7 4",
    "longdash": "12 4",
    "dashdot": "7 3 2 3",
    "longdashdot": "12 3 2 3",
}
_DASH_LENGTHS = re.compile(r"[\dpx., ]+")
_COLOUR = re.compile(r"#[0-9A-Fa-f]{3,8}|rgba?\([\d., ]+\)")


def shared_legend(figures: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List the named traces of all figures, each name once.

    Args:
        figures: Plotly JSON, parsed.

    Returns:
        Name and swatch of each, in the order of their first appearance.

    Example:
        >>> trace = {"name": "model", "mode": "lines", "line": {"color": "#1f78b8"}}
        >>> [entry["name"] for entry in shared_legend([{"data": [trace]}, {"data": [trace]}])]
        ['model']
    """
    entries: dict[str, dict[str, Any]] = {}
    for trace in (trace for figure in figures for trace in figure["data"]):
        name = trace.get("name")
        if name and trace.get("showlegend") is not False and name not in entries:
            entries[name] = {"name": str(name), "swatch": _swatch(trace)}
    return list(entries.values())


def _swatch(trace: Mapping[str, Any]) -> Markup:
    line, marker = trace.get("line") or {}, trace.get("marker") or {}
    colour = str(line.get("color") or marker.get("color") or "")
    colour = colour if _COLOUR.fullmatch(colour) else "currentColor"
    mode = str(trace.get("mode") or "lines")
    shapes = ""
    if "lines" in mode:
        dash = str(line.get("dash") or "solid")
        dashes = dash if _DASH_LENGTHS.fullmatch(dash) else _DASHES.get(dash, "none")
        shapes += f'<path d="M0 5h30" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"/>'
    if "markers" in mode:
        shapes += f'<circle cx="15" cy="5" r="3.5" fill="{colour}"/>'
    return Markup(f'<svg viewBox="0 0 30 10" aria-hidden="true">{shapes}</svg>')
