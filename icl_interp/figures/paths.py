"""Paths in a plane, along which a slider moves: joint trajectories, loss against complexity, distance to two ends."""

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from icl_interp.figures.figure import Figure
from icl_interp.figures.theme import GREY, AxisKind, TraceStyle, base_layout

_MOST_STOPS = 40
"""Places of the slider; more checkpoints are thinned."""


@dataclass(frozen=True, slots=True)
class PlanePath:
    """One run's way through a plane."""

    name: str
    steps: Sequence[int]
    x: Sequence[float]
    y: Sequence[float]
    style: TraceStyle
    ring: int | None = None
    """Index of a point that is pointed out, t_crit."""
    y_error: Sequence[float] | None = None


@dataclass(frozen=True, slots=True)
class Landmark:
    """A fixed point of the plane."""

    name: str
    x: float | int
    y: float | int
    symbol: str = "diamond"


def paths_figure(
    paths: Sequence[PlanePath],
    *,
    x: str,
    y: str,
    landmarks: Sequence[Landmark] = (),
    slider: bool = False,
    equal_scale: bool = False,
    diagonal: bool = False,
    x_type: AxisKind = "linear",
) -> go.Figure:
    """Draw paths.

    Each ends in a star; a ring marks t_crit.
    """
    figure = Figure(layout=base_layout(x=x, y=y, x_type=None if x_type == "linear" else x_type))
    for path in paths:
        _draw_path(figure, path)
    if landmarks:
        figure.add_scatter(
            x=[mark.x for mark in landmarks], y=[mark.y for mark in landmarks], mode="markers+text",
            text=[mark.name for mark in landmarks], textposition=_inwards(paths, landmarks),
            name="reference predictors",
            marker={"symbol": [mark.symbol for mark in landmarks], "size": 11, "color": GREY},
            textfont={"color": GREY, "size": 11},
        )  # fmt: skip
    if diagonal:
        most = max((max([*path.x, *path.y]) for path in paths), default=1.0)
        figure.add_scatter(
            x=[0, most], y=[0, most], mode="lines", name="equally far", line={"color": GREY, "dash": "dot", "width": 1}
        )
    if equal_scale:
        figure.update_yaxes(scaleanchor="x", scaleratio=1)
    if slider:
        _add_slider(figure, paths)
    return figure


def _inwards(paths: Sequence[PlanePath], landmarks: Sequence[Landmark]) -> list[str]:
    # Names reach towards the middle, so that the edge of a narrow page does not cut them.
    xs = [float(x) for path in paths for x in path.x] + [float(mark.x) for mark in landmarks]
    middle = (min(xs) + max(xs)) / 2
    return ["top left" if mark.x > middle else "top right" for mark in landmarks]


def _draw_path(figure: go.Figure, path: PlanePath) -> None:
    error = None if path.y_error is None else {"array": list(path.y_error), "width": 0, "thickness": 1}
    again = path.name in {trace.name for trace in figure.data}  # a name stands in the legend once
    figure.add_scatter(
        x=list(path.x), y=list(path.y), name=path.name, mode="lines+markers", legendgroup=path.name, error_y=error,
        line=path.style.line(width=1.5), marker=path.style.marker(size=4),
        customdata=list(path.steps), hovertemplate="step %{customdata}: %{x:.3~g}, %{y:.3~g}",
        showlegend=False if again else None,
    )  # fmt: skip
    ends = [(len(path.x) - 1, "star", 15)] + ([] if path.ring is None else [(path.ring, "circle-open", 13)])
    for index, symbol, size in ends:
        edge = {"width": 1, "color": GREY} if symbol == "star" else {"width": 2}
        figure.add_scatter(
            x=[path.x[index]], y=[path.y[index]], mode="markers", showlegend=False, legendgroup=path.name,
            name=f"{path.name}, {'end' if symbol == 'star' else 't_crit'}",
            marker={"symbol": symbol, "size": size, "color": path.style.colour, "line": edge},
            hovertemplate=f"step {path.steps[index]}",
        )  # fmt: skip


def _add_slider(figure: go.Figure, paths: Sequence[PlanePath]) -> None:
    steps = sorted({step for path in paths for step in path.steps})
    stops = steps[:: -(-len(steps) // _MOST_STOPS)]
    stops = stops if stops[-1] == steps[-1] else [*stops, steps[-1]]
    first = len(figure.data)
    for path in paths:
        figure.add_scatter(
            x=[path.x[-1]], y=[path.y[-1]], mode="markers", showlegend=False, legendgroup=path.name,
            name=f"{path.name}, at the slider's step",
            marker={"symbol": "circle", "size": 9, "color": path.style.colour, "line": {"width": 1, "color": GREY}},
        )  # fmt: skip
    moving = list(range(first, first + len(paths)))
    places = []
    for stop in stops:
        at = [max((i for i, step in enumerate(path.steps) if step <= stop), default=0) for path in paths]
        xs, ys = (
            [[p.x[i]] for p, i in zip(paths, at, strict=True)],
            [[p.y[i]] for p, i in zip(paths, at, strict=True)],
        )
        places.append({"label": str(stop), "method": "restyle", "args": [{"x": xs, "y": ys}, moving]})
    figure.update_layout(
        sliders=[{
            "active": len(places) - 1, "steps": places, "currentvalue": {"prefix": "step "}, "pad": {"t": 40},
            "font": {"color": GREY, "size": 10}, "bordercolor": GREY, "bgcolor": "rgba(134,139,148,0.25)",
        }]
    )  # fmt: skip
