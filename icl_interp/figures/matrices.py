"""Matrices as colour maps with their numbers in the cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from icl_interp.figures.figure import Figure
from icl_interp.figures.theme import DIVERGING, SEQUENTIAL, base_layout

__all__ = ["MatrixBlock", "matrix_figure"]


@dataclass(frozen=True, slots=True)
class MatrixBlock:
    """Rows that belong together; blocks are set apart by a gap."""

    name: str
    """Of the block, for the hover."""
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
    """Draw blocks of rows above one another.

    Args:
        blocks: From top to bottom, with different row labels.
        columns: Labels, from left to right.
        value: What the colour means.
        value_range: Where the scale ends.
        middle: The value without meaning, such as chance; None takes a scale that rises from its lower end.

    Returns:
        A figure without size; numbers stand in cells that have room for them.

    Example:
        >>> block = MatrixBlock("all", {"a": [0.5, 1.0]})
        >>> len(matrix_figure([block], ["left", "right"], value="AUROC", value_range=(0.0, 1.0)).data)
        1
    """
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
