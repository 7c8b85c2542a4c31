"""Plotly figures drawn by matplotlib, for print: the figure's own traces, shapes and axes are walked, nothing else.

Sizes in pixels of the page become points; text keeps a size that can be read in print. What moves or is pressed
(hover, sliders, buttons) is left out. A kind of trace or axis that is not known here is an error, never left out.
"""

import base64
import html
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import matplotlib
import numpy as np
import plotly.graph_objects as go
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from icl_interp.errors import InputError
from icl_interp.figures.save import MADE_BY, PIXELS_PER_INCH, Format, Panel, PrintStyle
from icl_interp.figures.theme import GREY

WIDTHS = {"single": 3.35, "double": 7.0}
"""Inches: 85 and 178 mm, the columns of most journals."""
SMALLEST = 6.5
"""No text is smaller, in points."""
_SIZES = {
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.0,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "legend.fontsize": 7.0,
}
# Fonts that come with matplotlib: the same everywhere. Later ones have the letters that earlier ones lack.
_FONTS = {"sans-serif": ["DejaVu Sans"], "serif": ["STIXGeneral", "DejaVu Serif", "DejaVu Sans"]}
_INK, _GRID = "#222222", "#dddddd"
_LOOK = {
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": "#666666",
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.titlelocation": "left",
    "text.parse_math": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.5,
    "xtick.color": "#666666",
    "ytick.color": "#666666",
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "pdf.fonttype": 42,  # letters stay letters, as publishers ask
    "svg.hashsalt": MADE_BY,  # equal figures give equal files
    "savefig.facecolor": "white",
}
_POINTS_PER_PIXEL = 0.6
_ROW = 0.17
"""Inches for each row of an axis of names."""
_DASHES: Mapping[str, Any] = {
    "solid": "solid",
    "dot": (0, (1, 1.6)),
    "dash": (0, (4, 2)),
    "longdash": (0, (7, 2.5)),
    "dashdot": (0, (4, 1.6, 1, 1.6)),
    "longdashdot": (0, (7, 2, 1, 2)),
}
_MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "cross": "P",
    "x": "X",
    "star": "*",
    "line-ns": "|",
}
_ABOVE, _BELOW = 4.0, 0.6  # where shapes stand: traces are at 2 to 3
_TRIES, _CLOSE = 3, 0.05
"""How often the height is mended, and how many inches too much or too little are left as they are."""


def draw(panels: Sequence[Panel], style: PrintStyle) -> Figure:
    """Draw panels side by side, under them one legend for all."""
    with matplotlib.rc_context({**_SIZES, **_LOOK, "font.family": _FONTS[style.font]}):
        figure = Figure(figsize=(WIDTHS[style.width], 4.0), layout="constrained")
        FigureCanvasAgg(figure)
        figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03)
        plots = [_Plot(panel) for panel in panels]
        n_columns = _columns(plots, style)
        n_rows = -(-len(plots) // n_columns)
        figure.set_figheight(2.5 * n_rows + 1)
        grid = figure.subplots(n_rows, n_columns, squeeze=False)
        for axes in grid.flat[len(plots) :]:
            axes.remove()
        for plot, axes in zip(plots, grid.flat, strict=False):
            plot.draw(axes)
        _share_titles(plots, n_columns)
        _legend(figure, plots)
        _fit(figure, plots, n_columns)
        figure.set_layout_engine("none")  # it stays as it is, and is not laid out again for each format
    return figure


def write(figure: Figure, file: BinaryIO, kind: Format) -> None:
    """Write what was drawn, without the time of day."""
    known: Mapping[Format, dict[str, Any]] = {
        "svg": {"Creator": MADE_BY, "Date": None},
        "pdf": {"Creator": MADE_BY, "CreationDate": None},
        "png": {"Software": MADE_BY},
    }
    with matplotlib.rc_context(_LOOK):
        figure.savefig(file, format=kind, dpi=PIXELS_PER_INCH, metadata=known[kind])


@dataclass(slots=True)
class _Scale:
    """One axis of a plotly figure: how it is scaled, and where a value lies on it."""

    letter: str
    axis: Any
    kind: str
    names: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, figure: go.Figure, letter: str) -> "_Scale":
        axis = figure.layout[f"{letter}axis"]
        known = [value for trace in figure.data for value in _values(trace[letter])]
        words = [value for value in known if isinstance(value, str)]
        kind = axis.type
        if kind in (None, "-"):  # as plotly guesses it: texts that are numbers are numbers
            kind = "category" if words and not all(map(_is_number, words)) else "linear"
        if kind not in ("linear", "log", "category"):
            raise InputError(f"a figure for print needs a linear, log or category axis, got {kind!r} for {letter}.")
        named = axis.categoryarray if axis.categoryarray is not None else known
        return cls(letter, axis, kind, [str(name) for name in dict.fromkeys(named)] if kind == "category" else [])

    def at(self, values: Any) -> np.ndarray:
        """Place values: names by their order, numbers as they are, gaps as NaN."""
        if self.kind == "category" and not isinstance(values, range):
            return np.array([self.names.index(str(value)) for value in _values(values)], dtype=float)
        return np.array([math.nan if value is None else float(value) for value in _values(values)])

    def of_shape(self, value: Any) -> float:
        """Place an end of a shape, which names are counted for."""
        return float(self.names.index(value)) if isinstance(value, str) and self.names else float(value)

    def of_annotation(self, value: Any) -> float:
        """Place a text: on a logarithmic axis plotly takes the exponent there."""
        return 10.0 ** float(value) if self.kind == "log" else self.of_shape(value)

    @property
    def limits(self) -> tuple[float, float] | None:
        """The range that is asked for, low to high as drawn."""
        if self.axis.range is None:
            return None
        low, high = (float(end) for end in self.axis.range)
        return (10.0**low, 10.0**high) if self.kind == "log" else (low, high)

    @property
    def is_reversed(self) -> bool:
        return self.axis.autorange == "reversed"

    @property
    def title(self) -> str:
        return _text(self.axis.title.text)


class _Plot:
    """One plotly figure on its way to one matplotlib axes."""

    def __init__(self, panel: Panel) -> None:
        self.figure, self.layout = panel.figure, panel.figure.layout
        if more := [name for name in self.layout.to_plotly_json() if re.fullmatch(r"[xy]axis\d+", name)]:
            raise InputError(f"a figure for print has one pair of axes, got {', '.join(more)}; draw one panel each.")
        given, own = _text(panel.title), _text(self.layout.title.text)
        self.title = given if own in given else "\n".join(filter(None, (given, own)))
        self.x, self.y = _Scale.read(self.figure, "x"), _Scale.read(self.figure, "y")
        self.handles: dict[str, Line2D] = {}
        self.cells: list[tuple[QuadMesh, Any, np.ndarray, np.ndarray]] = []
        self.bars: list[Axes] = []

    def draw(self, axes: Axes) -> None:
        self.axes = axes
        for scale, set_scale in ((self.x, axes.set_xscale), (self.y, axes.set_yscale)):
            if scale.kind == "log":
                set_scale("log")
        for number, trace in enumerate(self.figure.data):
            if trace.type not in _TRACES:
                raise InputError(f"a figure for print has {' and '.join(_TRACES)} traces, got {trace.type!r}.")
            if trace.visible in (None, True):
                _TRACES[trace.type](self, trace, f"trace-{number}", self._colour(number))
        for number, shape in enumerate(self.layout.shapes):
            self._draw_shape(shape, f"shape-{number}")
        for annotation in self.layout.annotations:
            self._write_annotation(annotation)
        self._dress()

    def _colour(self, number: int) -> str:
        ways = self.layout.colorway or self.layout.template.layout.colorway or (GREY,)
        return str(ways[number % len(ways)])

    # Traces

    def scatter(self, trace: Any, gid: str, colour: str) -> None:
        xs, ys = self.x.at(trace.x), self.y.at(trace.y)
        mode = trace.mode or ("lines+markers" if len(xs) < 20 else "lines")  # plotly's own rule
        line_colour = _colour(trace.line.color or _single(trace.marker.color) or colour)
        opacity = 1.0 if trace.opacity is None else trace.opacity
        if trace.fill not in (None, "none"):
            self._fill(trace, xs, ys, gid)
            return
        handle = Line2D([], [], linestyle="none", color=line_colour)
        if "lines" in mode and trace.line.width != 0:
            look: dict[str, Any] = {
                "color": line_colour,
                "linewidth": _points(trace.line.width, 2),
                "linestyle": _dash(trace.line.dash),
                "alpha": opacity,
            }
            (drawn,) = self.axes.plot(xs, ys, **look, gid=f"{gid}-line")
            drawn.set_dash_capstyle("butt")
            handle.set(**look)
        if "markers" in mode:
            self._mark(trace, xs, ys, gid, line_colour, handle)
        for name, error in (("xerr", trace.error_x), ("yerr", trace.error_y)):
            if error.array is not None and error.visible is not False:
                self._err(xs, ys, name, error, gid, line_colour)
        if "text" in mode:
            self._write_beside(trace, xs, ys)
        shown = self.layout.showlegend if self.layout.showlegend is not None else len(self.figure.data) > 1
        if shown and trace.name and trace.showlegend is not False:
            self.handles.setdefault(_text(trace.name), handle)

    def _fill(self, trace: Any, xs: np.ndarray, ys: np.ndarray, gid: str) -> None:
        if trace.fill != "toself":
            raise InputError(f"a figure for print has bands that are filled 'toself', got {trace.fill!r}.")
        # A gap in a line is a gap in its band: what lies between two gaps is a polygon of its own.
        half = len(xs) // 2
        upper, lower, over = ys[:half], ys[half:][::-1], xs[:half]
        if len(xs) % 2 == 0 and np.array_equal(over, xs[half:][::-1]):
            self.axes.fill_between(over, lower, upper, color=_colour(trace.fillcolor), linewidth=0, gid=f"{gid}-band")
            return
        self.axes.fill(xs, ys, color=_colour(trace.fillcolor), linewidth=0, gid=f"{gid}-band")

    def _mark(self, trace: Any, xs: np.ndarray, ys: np.ndarray, gid: str, colour: Any, handle: Line2D) -> None:
        marker, n = trace.marker, len(xs)
        symbols = _each(marker.symbol or "circle", n)
        colours = [colour] * n if marker.color is None else _each(marker.color, n)
        sizes = [_points(size, 6) for size in _each(marker.size or 6, n)]
        opacity = 1.0 if marker.opacity is None else float(marker.opacity)
        for symbol in dict.fromkeys(symbols):  # matplotlib draws one symbol at a time
            chosen = [i for i in range(n) if symbols[i] == symbol]
            shape, is_open = _marker(symbol)
            ink = [_colour(colours[i]) for i in chosen]
            edge = [_colour(marker.line.color)] * len(ink) if marker.line.color and not is_open else ink
            self.axes.scatter(
                xs[chosen],
                ys[chosen],
                s=[sizes[i] ** 2 for i in chosen],
                marker=shape,
                facecolors="none" if is_open else ink,
                edgecolors=edge,
                linewidths=_points(marker.line.width, 1.6) if is_open or shape == "|" else 0.4,
                alpha=opacity,
                zorder=2.5,
                gid=f"{gid}-markers",
            )
        shape, is_open = _marker(symbols[0] if symbols else "circle")
        first = _colour(colours[0]) if n else colour
        handle.set(marker=shape, markersize=min(max(sizes or [4.0]), 6.0), markeredgecolor=first, alpha=1.0)
        handle.set(
            markerfacecolor="none" if is_open else first, markeredgewidth=0.9 if is_open or shape == "|" else 0.4
        )

    def _err(self, xs: np.ndarray, ys: np.ndarray, name: str, error: Any, gid: str, colour: Any) -> None:
        above = np.array([math.nan if value is None else float(value) for value in _values(error.array)])
        minus = error.array if error.arrayminus is None else error.arrayminus
        below = np.array([math.nan if value is None else float(value) for value in _values(minus)])
        ends = np.maximum(np.nan_to_num([below, above]), 0.0)  # rounding may put an end past its value
        width = _points(error.thickness, 2)
        drawn = self.axes.errorbar(xs, ys, **{name: ends}, fmt="none", ecolor=colour, elinewidth=width, capsize=0)
        for bars in drawn[2]:
            bars.set_gid(f"{gid}-errors")

    def _write_beside(self, trace: Any, xs: np.ndarray, ys: np.ndarray) -> None:
        places = _each(trace.textposition or "middle center", len(xs))
        for x, y, text, place in zip(xs, ys, _each(trace.text, len(xs)), places, strict=True):
            vertical, _, horizontal = place.partition(" ")
            ha = {"left": "right", "right": "left"}.get(horizontal, "center")
            va = {"top": "bottom", "bottom": "top"}.get(vertical, "center")
            self.axes.annotate(
                _text(text),
                (x, y),
                xytext=(0, {"bottom": 3.5, "top": -3.5}.get(va, 0)),
                textcoords="offset points",
                ha=ha,
                va=va,
                fontsize=SMALLEST,
                annotation_clip=True,
            )

    def heatmap(self, trace: Any, gid: str, _: str) -> None:
        table = [[math.nan if value is None else float(value) for value in _values(row)] for row in _rows(trace.z)]
        cells = np.ma.masked_invalid(np.array(table, dtype=float))
        xs = self.x.at(trace.x if trace.x is not None else range(cells.shape[1]))
        ys = self.y.at(trace.y if trace.y is not None else range(cells.shape[0]))
        # Several traces may share one scale of colours.
        shared = self.layout.coloraxis if trace.coloraxis else None
        zmin, zmax = (trace.zmin, trace.zmax) if shared is None else (shared.cmin, shared.cmax)
        low = float(cells.min()) if zmin is None else float(zmin)
        high = float(cells.max()) if zmax is None else float(zmax)
        if trace.zmid is not None and zmin is None:
            reach = max(abs(low - trace.zmid), abs(high - trace.zmid))
            low, high = trace.zmid - reach, trace.zmid + reach
        stops = [(float(place), _colour(colour)) for place, colour in self._colour_scale(shared or trace)]
        mesh = self.axes.pcolormesh(
            _edges(xs),
            _edges(ys),
            cells,
            cmap=LinearSegmentedColormap.from_list("of the figure", stops),
            norm=Normalize(low, high),
            edgecolors="white",
            linewidth=_points(trace.xgap, 0),
            gid=f"{gid}-cells",
            rasterized=cells.size > _MANY_CELLS,
        )
        if trace.showscale is not False:
            bar = self.axes.figure.colorbar(mesh, ax=self.axes, fraction=0.05, aspect=30, pad=0.02)
            bar.outline.set_visible(False)
            said = (shared or trace).colorbar
            bar.set_label(_text(said.title.text))
            if said.tickvals is None:
                bar.locator = ticker.MaxNLocator(5)
                bar.update_ticks()
            else:
                bar.set_ticks(_values(said.tickvals), labels=[_text(text) for text in said.ticktext or said.tickvals])
            self.bars.append(bar.ax)
        if trace.texttemplate or trace.text is not None:
            self.cells.append((mesh, trace, xs, ys))

    def _colour_scale(self, look: Any) -> Any:
        scales = self.layout.template.layout.colorscale
        return look.colorscale or scales.sequential or go.Heatmap(colorscale="Cividis").colorscale

    def write_cells(self) -> None:
        """Write the numbers into the cells, along or across them; where neither fits, the colours must do."""
        renderer = self.axes.figure.canvas.get_renderer()
        for mesh, trace, xs, ys in self.cells:
            table = np.ma.getdata(mesh.get_array())
            rows = _rows(trace.text) if trace.text is not None else [[None] * table.shape[1]] * table.shape[0]
            texts = [
                self.axes.text(
                    xs[j],
                    ys[i],
                    _filled(trace.texttemplate or "%{text}", z=table[i, j], text=rows[i][j]),
                    ha="center",
                    va="center",
                    fontsize=SMALLEST,
                    color=_readable(mesh.cmap(mesh.norm(table[i, j]))),
                    gid="cell",
                )
                for i in range(table.shape[0])
                for j in range(table.shape[1])
                if math.isfinite(table[i, j])
            ]
            box = self.axes.get_window_extent(renderer)
            room = (box.width / table.shape[1], box.height / table.shape[0])
            sizes = [text.get_window_extent(renderer) for text in texts]
            wide, high = max((s.width for s in sizes), default=0), max((s.height for s in sizes), default=0)
            if wide <= room[0] and high <= room[1]:
                continue
            fits = high <= room[0] and wide <= room[1]
            for text in texts:
                if fits:
                    text.set_rotation(90)
                else:
                    text.remove()

    # Shapes and texts

    def _draw_shape(self, shape: Any, gid: str) -> None:
        transform, ends = self._frame(shape.xref, shape.yref), []
        for scale, reference, values in (
            (self.x, shape.xref, (shape.x0, shape.x1)),
            (self.y, shape.yref, (shape.y0, shape.y1)),
        ):
            place = float if _is_relative(reference) else scale.of_shape
            ends.append([place(value) for value in values])
        (x0, x1), (y0, y1) = ends
        over = _BELOW if shape.layer == "below" else _ABOVE
        line = {"linewidth": _points(shape.line.width, 2), "linestyle": _dash(shape.line.dash)}
        ink: Any = _colour(shape.line.color or _INK)
        if shape.type == "line":
            drawn: Any = Line2D([x0, x1], [y0, y1], color=ink, transform=transform, zorder=over, **line)
            drawn.set_gid(gid)
            self.axes.add_line(drawn)
            return
        if shape.type != "rect":
            raise InputError(f"a figure for print has shapes that are lines or rectangles, got {shape.type!r}.")
        face = _colour(shape.fillcolor) if shape.fillcolor else "none"
        if not line["linewidth"]:
            ink = "none"
        box = Rectangle(
            (x0, y0), x1 - x0, y1 - y0, facecolor=face, edgecolor=ink, transform=transform, zorder=over, **line
        )
        box.set_gid(gid)
        self.axes.add_patch(box)

    def _write_annotation(self, note: Any) -> None:
        x = float(note.x) if _is_relative(note.xref) else self.x.of_annotation(note.x)
        y = float(note.y) if _is_relative(note.yref) else self.y.of_annotation(note.y)
        va = {"top": "top", "bottom": "bottom"}.get(note.yanchor, "center")
        ha = note.xanchor if note.xanchor in ("left", "right") else "center"
        move = ({"left": 2, "right": -2}.get(ha, 0), {"top": -2, "bottom": 2}.get(va, 0))
        self.axes.annotate(
            _text(note.text),
            (x, y),
            xycoords=self._frame(note.xref, note.yref),
            xytext=move,
            textcoords="offset points",
            ha=ha,
            va=va,
            fontsize=SMALLEST,
            gid="annotation",
        )

    def _frame(self, xref: str | None, yref: str | None) -> Any:
        match _is_relative(xref), _is_relative(yref):
            case False, False:
                return self.axes.transData
            case False, True:
                return self.axes.get_xaxis_transform()
            case True, False:
                return self.axes.get_yaxis_transform()
        return self.axes.transAxes

    # Axes

    def _dress(self) -> None:
        axes = self.axes
        axes.set_xlabel(self.x.title)
        axes.set_ylabel(self.y.title)
        has_cells = any(trace.type == "heatmap" for trace in self.figure.data)
        self._limit()
        for scale, axis in ((self.x, axes.xaxis), (self.y, axes.yaxis)):
            _tick(scale, axis)
            fallback = self.layout.template.layout[f"{scale.letter}axis"].showgrid
            grid = scale.axis.showgrid if scale.axis.showgrid is not None else fallback
            axis.grid(visible=grid is not False and not has_cells)
            axis.grid(visible=False, which="minor")
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        if has_cells:
            axes.spines["bottom"].set_visible(False)
            axes.tick_params(axis="x", length=0)
        if self.y.axis.scaleanchor == "x":
            axes.set_aspect(float(self.y.axis.scaleratio or 1), adjustable="datalim")

    def _limit(self) -> None:
        self.axes.margins(x=0.02, y=0.06)
        for scale, limit in ((self.x, self.axes.set_xlim), (self.y, self.axes.set_ylim)):
            if scale.limits is not None:
                limit(*scale.limits)
            elif scale.kind == "category" and scale.names:
                limit(-0.5, len(scale.names) - 0.5)
        # An axis is turned last: limits that are computed would turn it back.
        for scale, turn in ((self.x, self.axes.xaxis), (self.y, self.axes.yaxis)):
            if scale.is_reversed:
                turn.set_inverted(True)

    @property
    def wanted_height(self) -> float:
        """Inches of the axes themselves."""
        least = 0.85 if self.bars else 0.5
        return max(_ROW * len(self.y.names), least) if self.y.names else min(0.62 * self._width, 2.8)

    @property
    def _width(self) -> float:
        figure = self.axes.figure
        return float(self.axes.get_position().width * figure.get_figwidth())

    def wrap(self) -> None:
        """Break the titles into lines as long as the axes are wide or high."""
        self.axes.set_title(_wrapped(self.title, self._width), linespacing=1.0)
        for axes in (self.axes, *self.bars):
            axes.set_ylabel(_wrapped(axes.get_ylabel(), self.wanted_height), linespacing=1.0)

    def turn_names(self) -> None:
        """Turn the names under the axes where they would touch; leave some out where even that does not help."""
        axis, names = self.axes.xaxis, self.x.names
        if not names:
            return
        renderer = self.axes.figure.canvas.get_renderer()
        inch = self.axes.figure.dpi
        room = self._width / len(names)
        widths = [label.get_window_extent(renderer).width / inch for label in axis.get_ticklabels()]
        if max(widths, default=0) < 0.85 * room:
            return
        every = max(1, math.ceil(0.095 / room))
        places = list(range(0, len(names), every))
        axis.set_ticks(places, [_text(names[i]) for i in places])
        if room * every > max(widths, default=0):
            return
        angle = 40 if room * every > 0.16 else 90
        for label in axis.get_ticklabels():
            label.set(
                rotation=angle,
                ha="right" if angle < 90 else "center",
                rotation_mode="anchor" if angle < 90 else "default",
            )


_MANY_CELLS = 4000
_TRACES = {"scatter": _Plot.scatter, "heatmap": _Plot.heatmap}


def _tick(scale: _Scale, axis: Any) -> None:
    given = scale.axis
    if given.tickvals is not None:
        axis.set_ticks(scale.at(given.tickvals), [_text(text) for text in given.ticktext or given.tickvals])
    elif scale.kind == "category":
        axis.set_ticks(range(len(scale.names)), [_text(name) for name in scale.names])
    elif scale.kind == "log":
        subs = (1.0,) if given.dtick == 1 else (1.0, 2.0, 5.0)
        axis.set_major_locator(ticker.LogLocator(base=10, subs=subs, numticks=10))
        axis.set_major_formatter(ticker.FuncFormatter(_power))
        axis.set_minor_locator(ticker.NullLocator())
    else:
        axis.set_major_locator(ticker.MaxNLocator(6, steps=[1, 2, 5, 10]))


def _power(value: float | int, _: Any = None) -> str:
    if value <= 0 or 1e-3 <= value < 1e5:
        return f"{value:g}"
    mantissa, _, exponent = f"{value:.2e}".partition("e")
    power = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{power}" if float(mantissa) == 1 else f"{float(mantissa):g}·10{power}"


def _columns(plots: Sequence[_Plot], style: PrintStyle) -> int:
    # Long names at the side, or a title for every panel, leave a narrow one no room.
    longest = max((len(name) for plot in plots for name in plot.y.names), default=0)
    differ = len({plot.y.title for plot in plots}) > 1
    most = {"single": 1 if longest > 8 or differ else 2, "double": 2 if longest > 8 else 3}[style.width]
    return min(len(plots), most)


def _share_titles(plots: Sequence[_Plot], n_columns: int) -> None:
    """Say what all panels have in common once: at the left and below."""
    if len({plot.y.title for plot in plots}) == 1:
        for number, plot in enumerate(plots):
            if number % n_columns:
                plot.axes.set_ylabel("")
    if len({plot.x.title for plot in plots}) == 1:
        for plot in plots[:-n_columns]:
            plot.axes.set_xlabel("")


def _legend(figure: Figure, plots: Sequence[_Plot]) -> None:
    handles = {name: handle for plot in plots for name, handle in plot.handles.items()}
    if not handles:
        return
    room = figure.get_figwidth() * 72
    widest = max(len(line) for name in handles for line in name.split("\n"))
    each = widest * 0.56 * _SIZES["legend.fontsize"] + 36
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower left",
        ncols=max(1, min(len(handles), int(room // each))),
        frameon=False,
        handlelength=2.6,
        columnspacing=1.2,
        borderaxespad=0.2,
        labelspacing=0.35,
    )


def _fit(figure: Figure, plots: Sequence[_Plot], n_columns: int) -> None:
    """Give the axes the height that they want, once it is known what stands around them."""
    figure.draw_without_rendering()
    for plot in plots:
        plot.turn_names()
        plot.wrap()
    rows = [plots[start : start + n_columns] for start in range(0, len(plots), n_columns)]
    for _ in range(_TRIES):
        figure.draw_without_rendering()
        lacking = sum(max(plot.wanted_height for plot in row) - _height(row[0]) for row in rows)
        if abs(lacking) < _CLOSE:
            break
        figure.set_figheight(figure.get_figheight() + lacking)
    for plot in plots:
        plot.write_cells()


def _height(plot: _Plot) -> float:
    return float(plot.axes.get_position(original=True).height * plot.axes.figure.get_figheight())


def _edges(centres: np.ndarray) -> np.ndarray:
    if len(centres) < 2:
        return np.array([centres[0] - 0.5, centres[0] + 0.5]) if len(centres) else centres
    middle = (centres[1:] + centres[:-1]) / 2
    return np.array([2 * centres[0] - middle[0], *middle, 2 * centres[-1] - middle[-1]])


def _values(array: Any) -> list[Any]:
    """Read one row of a trace's data, however plotly keeps it."""
    if array is None:
        return []
    if isinstance(array, Mapping):
        return np.frombuffer(base64.b64decode(array["bdata"]), dtype=np.dtype(array["dtype"])).tolist()
    return array.tolist() if isinstance(array, np.ndarray) else list(array)


def _rows(table: Any) -> list[Any]:
    if isinstance(table, Mapping):
        shape = [int(size) for size in str(table["shape"]).split(",")]
        return np.array(_values(table)).reshape(shape).tolist()
    return _values(table)


def _each(value: Any, n: int) -> list[Any]:
    many = isinstance(value, list | tuple | np.ndarray | Mapping)
    return _values(value) if many else [value] * n


def _single(value: Any) -> Any:
    return value if isinstance(value, str) else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_relative(reference: str | None) -> bool:
    return reference == "paper" or (reference or "").endswith(" domain")


def _wrapped(text: str, inches: float | int) -> str:
    letters = max(8, int(inches * 72 / (0.52 * _SIZES["axes.labelsize"])))
    return "\n".join(line for part in text.split("\n") for line in textwrap.wrap(part, letters))


def _points(pixels: float | int | None, default: float | int) -> float:
    return _POINTS_PER_PIXEL * float(default if pixels is None else pixels)


def _dash(name: str | None) -> Any:
    if name is None or name in _DASHES:
        return _DASHES[name or "solid"]
    return (0, tuple(float(length) / 2 for length in re.findall(r"[\d.]+", name)))


def _marker(symbol: str) -> tuple[str, bool]:
    base = symbol.removesuffix("-open")
    if base not in _MARKERS:
        raise InputError(f"a figure for print has markers out of {', '.join(_MARKERS)}, got {symbol!r}.")
    return _MARKERS[base], base != symbol


def _colour(text: Any) -> tuple[float, float, float, float]:
    found = re.fullmatch(r"rgba?\(([\d.\s,]+)\)", str(text))
    if not found:
        return to_rgba(text)
    red, green, blue, *alpha = (float(part) for part in found[1].split(","))
    return (red / 255, green / 255, blue / 255, alpha[0] if alpha else 1.0)


def _readable(colour: Sequence[float]) -> str:
    red, green, blue = colour[:3]
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else "#111111"


def _text(markup: Any) -> str:
    """Take HTML out: line breaks stay, other tags go."""
    lines = re.sub(r"<br\s*/?>", "\n", str("" if markup is None else markup))
    return html.unescape(re.sub(r"</?[a-zA-Z][^<>]*>", "", lines))


def _filled(template: str, *, z: float | int, text: Any) -> str:
    def value(found: "re.Match[str]") -> str:
        if found[1] == "text":
            return str("" if text is None else text)
        if found[1] != "z":
            raise InputError(f"the text of a cell is made of z and text, got {found[1]!r}.")
        said = format(z, found[2] or "g")
        return said if float(said) else said.lstrip("-")  # as plotly, no minus before zero

    return _text(re.sub(r"%\{(\w+)(?::([^}]*))?\}", value, template))


def artists(figure: Figure) -> Iterator[tuple[str, Any]]:
    """List what was drawn for traces and shapes, by a name such as trace-0-line, in the order of drawing."""
    for axes in figure.axes:
        for artist in axes.get_children():
            if artist.get_gid():
                yield str(artist.get_gid()), artist
