"""Whether a figure for a paper is the plotly figure that it was made from: compared trace by trace."""

import base64
import json
import re

import numpy as np
from matplotlib.colors import to_hex
from matplotlib.text import Text

from icl_interp.figures.save import PrintStyle
from icl_interp.figures.static import SMALLEST, WIDTHS, draw

STYLE = PrintStyle()


def values(array):
    if isinstance(array, dict):
        flat = np.frombuffer(base64.b64decode(array["bdata"]), dtype=array["dtype"])
        return flat.reshape([int(n) for n in array["shape"].split(",")]) if "shape" in array else flat
    return array


def numbers(array):
    return np.array([np.nan if value is None else value for value in values(array)], dtype=float)


def rgb(colour):
    found = re.findall(r"[\d.]+", colour) if colour.startswith("rgb") else None
    return colour.lower() if found is None else to_hex([float(part) / 255 for part in found[:3]])


class Places:
    """Where plotly puts a trace's values on one axis, read from the figure's JSON."""

    def __init__(self, spec, letter):
        self.axis = spec["layout"].get(f"{letter}axis", {})
        known = self.axis.get("categoryarray") or [v for trace in spec["data"] for v in values(trace.get(letter, []))]
        words = any(isinstance(value, str) for value in known)
        self.kind = self.axis.get("type", "category" if words else "linear")
        self.names = [str(name) for name in dict.fromkeys(known)] if self.kind == "category" else []

    def __call__(self, array):
        return np.array([self.names.index(str(v)) for v in values(array)]) if self.names else numbers(array)


def drawn_as(axes, gid):
    return [artist for artist in axes.get_children() if artist.get_gid() == gid]


def assert_same_line(axes, gid, trace, xs, ys):
    (line,) = drawn_as(axes, f"{gid}-line")
    np.testing.assert_allclose(line.get_xydata(), np.stack([xs, ys], 1))
    assert to_hex(line.get_color()) == rgb(trace["line"]["color"])
    assert line.is_dashed() is (trace["line"].get("dash", "solid") != "solid")


def assert_same_markers(axes, gid, trace, xs, ys):
    clouds = drawn_as(axes, f"{gid}-markers")
    symbols = trace["marker"].get("symbol", "circle")
    assert len(clouds) == (len(set(symbols)) if isinstance(symbols, list) else 1)
    found = np.concatenate([np.ma.filled(cloud.get_offsets(), np.nan) for cloud in clouds])
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(np.stack([xs, ys], 1), axis=0))
    colours = trace["marker"]["color"]
    inks = {to_hex(ink) for cloud in clouds for ink in cloud.get_edgecolors()}
    edge = trace["marker"].get("line", {}).get("color")
    wanted = set(map(rgb, colours if isinstance(colours, list) else [colours]))
    assert inks == ({rgb(edge)} if edge and symbols not in ("circle-open",) else wanted)


def assert_same_errors(axes, gid, trace, xs, ys):
    for letter in "xy":
        error = trace.get(f"error_{letter}")
        if error is None or "array" not in error:
            continue
        high = numbers(error["array"])
        low = numbers(error.get("arrayminus", error["array"]))
        at = xs if letter == "x" else ys
        (bars,) = drawn_as(axes, f"{gid}-errors")
        ends = np.array([segment[:, "xy".index(letter)] for segment in bars.get_segments()])
        np.testing.assert_allclose(ends, np.stack([at - low.clip(0), at + high.clip(0)], 1), atol=1e-12)


def assert_same_band(axes, gid, trace, xs, ys):
    (band,) = drawn_as(axes, f"{gid}-band")
    assert to_hex(band.get_facecolor()[0]) == rgb(trace["fillcolor"])
    corners = {tuple(np.round(corner, 12)) for path in band.get_paths() for corner in path.vertices}
    wanted = {tuple(np.round(point, 12)) for point in np.stack([xs, ys], 1) if np.isfinite(point).all()}
    assert wanted <= corners


def assert_same_cells(axes, gid, trace, layout):
    if shared := layout.get(trace.get("coloraxis")):
        trace = {**trace, "zmin": shared["cmin"], "zmax": shared["cmax"], **shared}
    (mesh,) = drawn_as(axes, f"{gid}-cells")
    table = np.array([numbers(row) for row in values(trace["z"])])
    np.testing.assert_allclose(np.ma.filled(mesh.get_array(), np.nan), table)
    assert mesh.get_clim() == (trace["zmin"], trace["zmax"])
    stops = trace["colorscale"]
    assert [to_hex(mesh.cmap(end)) for end in (0.0, 1.0)] == [rgb(stops[0][1]), rgb(stops[-1][1])]
    written = [text.get_text() for text in drawn_as(axes, "cell")]
    template = trace.get("texttemplate")
    assert written in ([], [f"{z:.2f}".replace("-0.00", "0.00") for z in table.flat if np.isfinite(z)])
    if template is None:
        assert not written
    return written


def assert_same_shapes(axes, spec):
    shapes = spec["layout"].get("shapes", [])
    for number, shape in enumerate(shapes):
        (drawn,) = drawn_as(axes, f"shape-{number}")
        ends = [shape["x0"], shape["y0"], shape["x1"], shape["y1"]]
        box = drawn.get_bbox().extents if shape["type"] == "rect" else drawn.get_xydata().ravel()
        np.testing.assert_allclose(box, ends)


def assert_same_axes(axes, spec):
    for letter, drawn in (("x", axes.xaxis), ("y", axes.yaxis)):
        places = Places(spec, letter)
        assert drawn.get_scale() == ("log" if places.kind == "log" else "linear")
        assert drawn.get_inverted() == (places.axis.get("autorange") == "reversed")
        if places.kind == "category":
            labels = [label.get_text() for label in drawn.get_ticklabels()]
            assert labels == places.names
        if "range" in places.axis:
            ends = [10**end if places.kind == "log" else end for end in places.axis["range"]]
            np.testing.assert_allclose(drawn.get_view_interval(), ends)


def title_of(spec, letter):
    return spec["layout"].get(f"{letter}axis", {}).get("title", {}).get("text", "")


def assert_same_panel(axes, spec):
    x, y = Places(spec, "x"), Places(spec, "y")
    for number, trace in enumerate(spec["data"]):
        gid = f"trace-{number}"
        if trace.get("visible", True) is not True:
            assert not [artist for artist in axes.get_children() if (artist.get_gid() or "").startswith(f"{gid}-")]
            continue
        if trace["type"] == "heatmap":
            assert_same_cells(axes, gid, trace, spec["layout"])
            continue
        xs, ys, mode = x(trace["x"]), y(trace["y"]), trace["mode"]
        if trace.get("fill"):
            assert_same_band(axes, gid, trace, xs, ys)
            continue
        if "lines" in mode:
            assert_same_line(axes, gid, trace, xs, ys)
        if "markers" in mode:
            assert_same_markers(axes, gid, trace, xs, ys)
        assert_same_errors(axes, gid, trace, xs, ys)
        said = {text.get_text() for text in axes.texts}
        assert "text" not in mode or set(trace["text"]) <= said
    assert_same_shapes(axes, spec)
    assert_same_axes(axes, spec)
    notes = {note["text"] for note in spec["layout"].get("annotations", [])}
    assert notes <= {text.get_text() for text in axes.texts}


def names_in_legend(specs):
    return {
        trace["name"]
        for spec in specs
        if spec["layout"].get("showlegend", True)
        for trace in spec["data"]
        if trace.get("name") and trace.get("showlegend") is not False and trace.get("visible", True) is True
    }


def assert_can_be_read(figure):
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert texts
    assert min(text.get_fontsize() for text in texts) >= SMALLEST
    # Nothing is cut by an edge.
    box = figure.get_tightbbox()
    assert min(box.x0, box.y0) > -0.01
    assert box.x1 < figure.get_figwidth() + 0.01
    assert box.y1 < figure.get_figheight() + 0.01


def assert_same_figure(panels, style=STYLE, *, laid_out=True):
    figure = draw(panels, style)
    specs = [json.loads(panel.figure.to_json()) for panel in panels]
    for axes, spec in zip(figure.axes, specs, strict=False):
        assert_same_panel(axes, spec)
    legends = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert legends == names_in_legend(specs)
    if laid_out:
        assert_can_be_read(figure)
    assert figure.get_figwidth() == WIDTHS[style.width]
    return figure
