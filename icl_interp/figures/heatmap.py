"""Heat maps: one number per row and column, such as layers by steps, heads, or the entries of a matrix."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import plotly.graph_objects as go

from icl_interp.errors import InputError
from icl_interp.figures.figure import Figure
from icl_interp.figures.theme import DIVERGING, SEQUENTIAL, base_layout
from icl_interp.files import finite

_Scale = Literal["sequential", "diverging"]
_MANY = 48


def heatmap_figure(
    values: Sequence[Sequence[float]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    x: str,
    y: str,
    unit: str,
    marked: Sequence[tuple[int, int]] = (),
    limits: tuple[float, float] | None = None,
    scale: _Scale = "sequential",
    text: bool = False,
) -> go.Figure:
    """Draw a table of numbers as colours, the first row on top."""
    if len(values) != len(rows) or any(len(row) != len(columns) for row in values):
        raise InputError(
            f"heatmap_figure needs {len(rows)} rows of {len(columns)} values, got {len(values)} rows of "
            f"{sorted({len(row) for row in values})}."
        )
    low, high = _limits(values, scale) if limits is None else limits
    figure = Figure(layout=base_layout(x=x, y=y, legend=False))
    figure.add_heatmap(
        z=finite([list(row) for row in values]),
        x=list(columns),
        y=list(rows),
        zmin=low,
        zmax=high,
        colorscale=[list(stop) for stop in DIVERGING] if scale == "diverging" else SEQUENTIAL,
        colorbar={"title": {"text": unit}},
        hovertemplate=f"%{{y}}, %{{x}}: %{{z:.3g}} {unit}<extra></extra>",
        xgap=1 if len(columns) <= _MANY else 0,  # of many thin columns the gaps would be all that is seen
        ygap=1,
        texttemplate="%{z:.2f}" if text else None,
    )
    for row, column in marked:
        box = {"x0": column - 0.5, "x1": column + 0.5, "y0": row - 0.5, "y1": row + 0.5}
        figure.add_shape(type="rect", **box, line={"color": "#d55e00", "width": 2.5})
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    figure.update_xaxes(type="category", showgrid=False)
    return figure


def _limits(values: Sequence[Sequence[float]], scale: _Scale) -> tuple[float, float]:
    finite = [value for row in values for value in row if math.isfinite(value)] or [0.0]
    if scale == "diverging":
        most = max(abs(value) for value in finite)
        return -most, most
    return min(finite), max(finite)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several tables that are drawn in the same place."""

    name: str
    values: Sequence[Sequence[float]]
    meta: Mapping[str, Any]
    """By which it is chosen: its layer, its head, its shift."""


def choices_figure(
    choices: Sequence[Choice], *, rows: Sequence[str], columns: Sequence[str], x: str, y: str, unit: str, shown: int = 0
) -> go.Figure:
    """Draw one of several tables of signed numbers, each with a scale of its own; the others wait to be chosen."""
    parts = [
        heatmap_figure(each.values, rows=rows, columns=columns, x=x, y=y, unit=unit, scale="diverging")
        for each in choices
    ]
    figure = parts[shown]
    drawn = [part.data[0] for part in parts]
    for place, (trace, each) in enumerate(zip(drawn, choices, strict=True)):
        trace.update(name=each.name, meta=dict(each.meta), visible=place == shown)
        trace.hovertemplate = trace.hovertemplate.replace("<extra></extra>", "<extra>%{fullData.name}</extra>")
    figure.data = ()
    figure.add_traces(drawn)
    return figure


@dataclass(frozen=True, slots=True)
class MatrixBlock:
    """Rows that belong together; blocks are set apart by a gap."""

    name: str
    rows: Mapping[str, Sequence[float]]
    """Values by row label, one a column; NaN cells stay empty."""


def matrix_figure(
    blocks: Sequence[MatrixBlock],
    columns: Sequence[str],
    *,
    value: str,
    value_range: tuple[float, float],
    middle: float | None = None,
) -> go.Figure:
    """Draw blocks of rows above one another."""
    labels: list[str] = []
    values: list[list[float | None]] = []
    for i, block in enumerate(blocks):
        if i:
            labels.append(" " * i)  # an empty row; categories must differ
            values.append([None] * len(columns))
        labels += list(block.rows)
        values += [[float(cell) for cell in row] for row in block.rows.values()]
    figure = Figure(layout=base_layout(hovermode="closest", legend=False))
    figure.add_heatmap(
        x=list(columns),
        y=labels,
        z=values,
        zmin=value_range[0],
        zmax=value_range[1],
        zmid=middle,
        colorscale=SEQUENTIAL if middle is None else DIVERGING,
        xgap=1,
        ygap=1,
        texttemplate="%{z:.2f}",
        hovertemplate=f"%{{y}}<br>%{{x}}<br>{value} %{{z:.3f}}<extra></extra>",
        hoverongaps=False,
        colorbar={"title": {"text": value}, "len": 0.6},
    )
    figure.update_yaxes(autorange="reversed", type="category", showgrid=False)
    figure.update_xaxes(type="category", showline=False, ticks="", tickangle=-40)
    return figure


@dataclass(frozen=True, slots=True)
class Pattern:
    """One table of small whole numbers, out of several that are drawn in the same place."""

    name: str
    codes: np.ndarray
    """[row column], 0 to 255 as uint8, or -127 to 127 as int8."""
    meta: Mapping[str, int]
    """By which it is chosen: its layer and its head."""


def patterns_figure(
    patterns: Sequence[Pattern], *, names: Sequence[str], shown: int, largest: float, unit: str, x: str, y: str
) -> go.Figure:
    """Draw one of several tables, each of 8 bits per cell; `largest` is what the largest code stands for."""
    signed = patterns[0].codes.dtype == np.int8
    most = 127 if signed else 255
    ends = [-most, 0, most] if signed else [0, most]
    of = f"/{most}" if largest == 1 else f"/{most} of {largest:.3g}"
    # What all tables share stands once, so that hundreds of them fit on a page.
    figure = Figure(layout=base_layout(x=x, y=y, legend=False))
    figure.update_layout(
        coloraxis={
            "cmin": ends[0],
            "cmax": ends[-1],
            "colorscale": [list(stop) for stop in DIVERGING] if signed else SEQUENTIAL,
            "colorbar": {
                "title": {"text": unit, "side": "right", "font": {"size": 12}},
                "thickness": 12,
                "outlinewidth": 0,
                "tickvals": ends,
                "ticktext": [f"{largest * end / most:.3g}" for end in ends],
            },
        }
    )
    for place, pattern in enumerate(patterns):
        figure.add_heatmap(
            z=pattern.codes,
            name=pattern.name,
            meta=dict(pattern.meta),
            visible=place == shown,
            showlegend=False,
            coloraxis="coloraxis",
            hovertemplate=f"%{{y}} to %{{x}}: %{{z}}{of}<extra>%{{fullData.name}}</extra>",
        )
    axis = {"type": "category", "categoryorder": "array", "categoryarray": list(names), "showgrid": False}
    figure.update_yaxes(autorange="reversed", **axis)
    figure.update_xaxes(**axis)
    return figure


_NEAR = 0.2
"""Decades: a label as near to one of the ends would touch it."""


def log_heatmap_figure(
    values: Sequence[Sequence[float]],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    x: str,
    y: str,
    unit: str,
    floor: float | None = None,
) -> go.Figure:
    """Draw a table of positive numbers on a logarithmic scale of colours; the hover shows the numbers themselves."""
    positive = [v for row in values for v in row if v > 0 and math.isfinite(v)] or [1.0]
    lowest = max(min(positive), floor or 0.0)
    logs = [[math.log10(max(v, lowest)) if math.isfinite(v) else math.nan for v in row] for row in values]
    figure = heatmap_figure(logs, rows=rows, columns=columns, x=x, y=y, unit=unit)
    low, high = figure.data[0].zmin, figure.data[0].zmax
    decades = [n for n in range(math.ceil(low), math.floor(high) + 1) if min(n - low, high - n) > _NEAR]
    ticks = [low, *decades, *([] if decades else [high])]  # at the end it would touch the title
    figure.update_traces(
        customdata=[[f"{v:.3g}" for v in row] for row in values],
        hovertemplate=f"%{{y}}, %{{x}}: %{{customdata}} {unit}<extra></extra>",
        colorbar={"title": {"text": unit}, "tickvals": ticks, "ticktext": [f"{10.0**tick:.2g}" for tick in ticks]},
    )
    return figure
